"""Messages become rows as configured; what the database refuses concerns nobody else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from standpipe.core.errors import Disconnected
from standpipe.core.outcome import Outcome
from standpipe.delivery.receipt import State
from tests.integration.postgres.database import execute, producer, rows
from tests.servers.scenario import QUICK
from tests.servers.server import Address
from tests.unit.producers.batches import batch_of, given


def interrupted(database: object) -> None:
    """What the machine may do at any moment."""
    raise MemoryError


MODES = pytest.mark.parametrize("mode", ["insert", "copy"])
ODD = {
    "text": 'tab\t, line\n, quote" \\ \\N \\. {}',
    "unicode": "世界 \U0001f6b0 \x7f",
    "number": 1e300,
    "nested": {"list": [None, True, -0.0]},
}


def reasons(made: Any) -> list[str]:
    return [letter.error for letter in made.dead_letters]


@MODES
def test_what_was_produced_is_what_is_in_the_table(postgres_server: Address, postgres_name: str, mode: str) -> None:
    with producer(postgres_server.url, postgres_name, mode=mode) as made:
        first = made.produce(False, ODD, key='k\t"\\\n', headers={"traceparent": "00-1\t"}, message_id='id \\N "\n')
        made.produce(True, {}, message_id="second")
        made.produce_many(False, [{"n": 1}, {"n": 2}], message_ids=["third", "fourth"])
        assert made.flush(10) == 0
    there = rows(postgres_server.url, postgres_name, "id, is_error, key, headers, payload::text")
    assert there[0] == ('id \\N "\n', False, 'k\t"\\\n', {"traceparent": "00-1\t"}, orjson.dumps(ODD).decode())
    assert [row[:4] for row in there[1:]] == [("second", True, None, None), ("third", False, None, None), ("fourth", False, None, None)]
    assert first.detail == {"table": f"public.{postgres_name}", "rows": 1}
    ((lag,),) = execute(postgres_server.url, f'SELECT max(abs(extract(epoch FROM now() - time))) < 60 FROM "{postgres_name}"')
    assert lag


@MODES
def test_a_message_that_is_there_already_is_left_out(postgres_server: Address, postgres_name: str, mode: str) -> None:
    with producer(postgres_server.url, postgres_name, mode=mode) as made:
        made.produce(False, {"n": 1}, message_id="once").wait(10)
        again = made.produce(False, {"n": 1}, message_id="once")
        assert again.wait(10) is State.DELIVERED
        assert again.detail == {"table": f"public.{postgres_name}", "rows": 0}
        made.produce_many(False, [{"n": 2}, {"n": 1}, {"n": 3}], message_ids=["two", "once", "three"]).wait(10)
        assert made.statistics().delivered == 5
    assert [id for (id,) in rows(postgres_server.url, postgres_name, "id")] == ["once", "two", "three"]


@MODES
def test_errors_go_to_a_table_of_their_own_in_the_same_transaction(postgres_server: Address, postgres_name: str, mode: str) -> None:
    errors = f"{postgres_name}_errors"
    with producer(postgres_server.url, postgres_name, mode=mode, error_table=errors) as made:
        receipts = [made.produce(number % 2 == 1, {"n": number}, message_id=str(number)) for number in range(10)]
        assert made.flush(10) == 0
        assert receipts[3].detail == {"table": f"public.{errors}", "rows": 1}
    assert [id for (id,) in rows(postgres_server.url, postgres_name, "id")] == ["0", "2", "4", "6", "8"]
    assert [id for (id,) in rows(postgres_server.url, errors, "id")] == ["1", "3", "5", "7", "9"]


@MODES
def test_bad_rows_fail_alone(postgres_server: Address, postgres_name: str, mode: str) -> None:
    with producer(postgres_server.url, postgres_name, mode=mode, columns={"at": {"path": "at", "type": "timestamp"}}) as made:
        made._connect()
        made._close()
        execute(postgres_server.url, f"ALTER TABLE \"{postgres_name}\" ADD CHECK (id <> 'refused'), ADD UNIQUE (at)")
        messages: list[dict[str, Any]] = [{"n": number} for number in range(200)]
        messages[7]["at"] = "no time"
        messages[8]["at"] = "2026-01-01"
        messages[150]["at"] = "2026-01-01T00:00:00Z"
        ids = [str(number) for number in range(200)]
        ids[199] = "refused"
        made.produce_many(False, messages, message_ids=ids)
        assert made.flush(10) == 0
        assert made.statistics().delivered == 197
        assert [letter.id for letter in made.dead_letters] == ["7", "150", "refused"]
        first, second, third = made.dead_letters
    assert 'invalid input syntax for type timestamp with time zone: "no time"' in str(first.error)
    assert "23505" in str(second.error)
    assert "_at_key" in str(second.error)
    assert "23514" in str(third.error)
    assert '"n"' not in str(third.error), "the reason is for logs, and must not show the row"
    assert "refused" in str(third.response), "the details are kept with the dead letter"
    assert [id for (id,) in rows(postgres_server.url, postgres_name, "id")] == [id for id in ids if id not in ("7", "150", "refused")]


@MODES
def test_bad_rows_fail_alone_among_messages_that_came_one_by_one(postgres_server: Address, postgres_name: str, mode: str) -> None:
    columns = {"n": {"path": "n", "type": "integer"}}
    errors = f"{postgres_name}_errors"
    with producer(postgres_server.url, postgres_name, mode=mode, columns=columns, error_table=errors) as made:
        made._connect()
        execute(postgres_server.url, f'ALTER TABLE "{postgres_name}" ADD CHECK (n <> 777)')
        calls = [given({"n": "x" if n == 333 else n}, ids=[str(n)], is_error=n % 10 == 9) for n in range(900)]
        results = made._send_batch(batch_of(*calls))
        made._close()
    bad = {position: str(result) for position, result in enumerate(results) if result is not Outcome.DELIVERED}
    assert set(bad) == {333, 777}
    assert "which is no whole number" in bad[333]
    assert "23514" in bad[777]
    assert [id for (id,) in rows(postgres_server.url, errors, "id")] == [str(n) for n in range(900) if n % 10 == 9]
    assert [id for (id,) in rows(postgres_server.url, postgres_name, "id")] == [
        str(n) for n in range(900) if n % 10 != 9 and n not in (333, 777)
    ]


def test_a_constraint_that_is_checked_at_the_end_finds_its_row(postgres_server: Address, postgres_name: str) -> None:
    with producer(postgres_server.url, postgres_name, columns={"parent": "parent"}) as made:
        made._connect()
        made._close()
        foreign = f'FOREIGN KEY (parent) REFERENCES "{postgres_name}" (id) DEFERRABLE INITIALLY DEFERRED'
        execute(postgres_server.url, f'ALTER TABLE "{postgres_name}" ADD {foreign}')
        made.produce_many(False, [{"n": 1}, {"parent": "a"}, {"parent": "nobody"}], message_ids=["a", "b", "c"])
        assert made.flush(10) == 0
        assert [letter.id for letter in made.dead_letters] == ["c"]
    assert len(rows(postgres_server.url, postgres_name)) == 2


def test_a_trigger_refuses_a_row_and_not_the_batch(postgres_server: Address, postgres_name: str) -> None:
    function = f"{postgres_name}_check"
    with producer(postgres_server.url, postgres_name) as made:
        made._connect()
        made._close()
        execute(
            postgres_server.url,
            f'CREATE FUNCTION "{function}"() RETURNS trigger LANGUAGE plpgsql AS '
            "$$ BEGIN IF NEW.id = 'bad' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$",
        )
        trigger = f'CREATE TRIGGER refuse BEFORE INSERT ON "{postgres_name}" FOR EACH ROW EXECUTE FUNCTION "{function}"()'
        execute(postgres_server.url, trigger)
        made.produce_many(False, [{"n": 1}, {"n": 2}, {"n": 3}], message_ids=["a", "bad", "c"])
        assert made.flush(10) == 0
        assert "not this one" in reasons(made)[0]
    execute(postgres_server.url, f'DROP FUNCTION "{function}" CASCADE')
    assert len(rows(postgres_server.url, postgres_name)) == 2


def test_every_kind_of_column_takes_what_fits_and_rejects_the_rest(postgres_server: Address, postgres_name: str) -> None:
    execute(
        postgres_server.url,
        f'CREATE TABLE "{postgres_name}" (id text PRIMARY KEY, small smallint, real real, exact numeric(5,2), flag boolean, '
        "at timestamptz, day date, uid uuid, tags text[], doc jsonb, short varchar(3), fixed char(5), net inet)",
    )
    names = ["small", "real", "exact", "flag", "at", "day", "uid", "tags", "doc", "short", "fixed", "net"]
    good = {
        "small": 32767.0,
        "real": 1.5,
        "exact": "12.345",
        "flag": True,
        "at": 1_800_000_000,
        "day": "2026-11-23",
        "uid": "8c5ba7e1-6f0a-4a60-a4a6-19cf5e3dfd24",
        "tags": ['a"b', None, "c\\"],
        "doc": {"a": [1]},
        "short": 123,
        "fixed": "ab",
        "net": "10.0.0.1",
    }
    bad: dict[str, Any] = {
        "small": 32768,
        "real": True,
        "exact": 1000,
        "flag": 2,
        "at": [1],
        "day": "no day",
        "uid": "x",
        "tags": 1,
        "doc": "nul \x00",
        "short": "four",
        "fixed": "sixsix",
        "net": "nowhere",
    }
    with producer(postgres_server.url, postgres_name, create=False, metadata=["id"], columns=names) as made:
        made.produce(False, good, message_id="good")
        for name, value in bad.items():
            made.produce(False, {name: value}, message_id=name)
        assert made.flush(10) == 0
        assert {letter.id for letter in made.dead_letters} == set(bad)
    wanted = "small, real, exact::text, flag, extract(epoch FROM at)::int, day::text, uid::text, tags, doc, short, fixed, net::text"
    ((*values,),) = rows(postgres_server.url, postgres_name, wanted, order="id")
    assert values[:7] == [32767, 1.5, "12.35", True, 1_800_000_000, "2026-11-23", good["uid"]]
    assert values[7:] == [['a"b', None, "c\\"], {"a": [1]}, "123", "ab   ", "10.0.0.1/32"]


def test_names_of_fields_and_values_are_never_sql(postgres_server: Address, postgres_name: str) -> None:
    nasty = f'\'); DROP TABLE "{postgres_name}"; --'
    with producer(postgres_server.url, postgres_name, columns={"SELECT": "from"}) as made:
        made.produce(False, {"from": nasty}, key=nasty, message_id=nasty, headers={nasty: nasty})
        assert made.flush(10) == 0
    assert rows(postgres_server.url, postgres_name, 'id, key, "SELECT"') == [(nasty, nasty, nasty)]


def test_a_missing_field_is_null_or_a_reason(postgres_server: Address, postgres_name: str) -> None:
    columns = {"user": "user.name", "first": {"path": "items[0].price", "type": "real", "index": True}}
    with producer(postgres_server.url, postgres_name, columns=columns) as made:
        made.produce(False, {"user": {"name": "u"}, "items": [{"price": 2}]}).wait(10)
        made.produce(False, {"user": "no mapping", "items": []}).wait(10)
        assert rows(postgres_server.url, postgres_name, '"user", first') == [("u", 2.0), (None, None)]
        made._close()
        execute(postgres_server.url, f'ALTER TABLE "{postgres_name}" ALTER COLUMN "user" SET DEFAULT \'x\'')
        execute(postgres_server.url, f'UPDATE "{postgres_name}" SET "user" = \'\'')
        execute(postgres_server.url, f'ALTER TABLE "{postgres_name}" ALTER COLUMN "user" SET NOT NULL')
    with producer(postgres_server.url, postgres_name, columns=columns) as made:
        receipt = made.produce(False, {})
        receipt.wait(10)
        assert receipt.state is State.DEAD_LETTERED
        assert "the field 'user.name' is missing, and the column must have a value" in reasons(made)[0]


def test_columns_that_a_table_lacks_are_added(postgres_server: Address, postgres_name: str) -> None:
    with producer(postgres_server.url, postgres_name, metadata=["id", "payload"]) as made:
        made.produce(False, {"n": 1}).wait(10)
    with producer(postgres_server.url, postgres_name, columns=["n"], **QUICK) as made:
        made.produce(False, {"n": 2}).wait(10)
    assert rows(postgres_server.url, postgres_name, "payload, n, is_error") == [({"n": 1}, None, None), ({"n": 2}, "2", False)]


def test_without_an_id_what_is_sent_again_is_there_again(postgres_server: Address, postgres_name: str) -> None:
    with producer(postgres_server.url, postgres_name, metadata=["payload"]) as made:
        for _ in range(2):
            made.produce(False, {"n": 1}, message_id="same").wait(10)
    assert len(rows(postgres_server.url, postgres_name)) == 2


def test_nothing_is_claimed_within_a_transaction_that_was_left_open(postgres_server: Address, postgres_name: str) -> None:
    made = producer(postgres_server.url, postgres_name)
    made._connect()
    assert made._database is not None
    made._database.execute("BEGIN")
    with pytest.raises(Disconnected, match="left open"):
        made._send_batch(batch_of(given()))
    made._close()


def test_an_interruption_between_two_tables_undoes_both(
    postgres_server: Address, postgres_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = producer(postgres_server.url, postgres_name, error_table=f"{postgres_name}_errors")
    made._connect()
    batch = batch_of(given(), given(is_error=True))
    with monkeypatch.context() as patched:
        patched.setattr("standpipe.producers.postgres._commit", interrupted)
        with pytest.raises(MemoryError):
            made._send_batch(batch)
    assert made._send_batch(batch) == batch.delivered()
    made._close()
    assert len(rows(postgres_server.url, postgres_name)) == 1
