"""What the server or the configuration does not allow: the messages wait, and the error says what to do."""

from __future__ import annotations

import socket
from typing import Any

import psycopg
import pytest

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, RetryAfter, SendError
from standpipe.delivery.receipt import State
from standpipe.producers.postgres import PostgresProducer
from tests.integration.conftest import MakeServer
from tests.integration.postgres.database import execute, producer, rows
from tests.servers.certificates import Certificates
from tests.servers.postgres import PostgresServer
from tests.servers.scenario import QUICK
from tests.servers.server import Address, free_port
from tests.servers.waiting import until
from tests.unit.producers.batches import batch_of, given

PAUSE = {**QUICK, "pause": 0.1}


def refusal(made: PostgresProducer) -> SendError:
    """What connecting raises."""
    with pytest.raises(SendError) as caught:
        made._connect()
    made._close()
    return caught.value


# --- connecting -------------------------------------------------------------------------------------------------------


def test_wrong_passwords_databases_and_users_are_said_and_the_messages_wait(own_server: MakeServer) -> None:
    server = own_server(PostgresServer, password="right-password")
    good = server.url
    for url in (
        good.replace("right", "wrong"),
        good.replace("standpipe:right-password", "standpipe"),
        good.replace("standpipe:", "nobody:"),
    ):
        error = refusal(producer(url, "t"))
        assert isinstance(error, Misconfigured), error
        assert "correct user and password in url" in str(error)
        assert "password@" not in str(error)
        assert "wrong-password" not in str(error)
    error = refusal(producer(good.rpartition("/")[0] + "/nowhere", "t"))
    assert isinstance(error, Misconfigured)
    assert 'database "nowhere" does not exist' in str(error)
    with producer(good.replace("right", "wrong"), "t", **PAUSE) as made:
        receipt = made.produce(False, {"n": 1})
        until(lambda: made.statistics().last_error)
        assert not receipt.done()
        execute(good, "ALTER USER standpipe PASSWORD 'wrong-password'")
        assert receipt.wait(10) is State.DELIVERED


def test_a_server_that_is_not_there_is_named_with_a_remedy() -> None:
    error = refusal(producer(f"postgresql://u@127.0.0.1:{free_port()}/d", "t"))
    assert isinstance(error, NotSent)
    assert "check host and port in url" in str(error)
    error = refusal(producer("postgresql://u@no-such-host.invalid/d", "t"))
    assert isinstance(error, NotSent)


def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refusal(producer(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d", "t", connect_timeout=2))
    assert isinstance(error, NotSent), error


def test_the_server_that_takes_writes_is_found_among_several(
    own_postgres: PostgresServer, own_server: MakeServer, unique_name: str
) -> None:
    standby = own_server(PostgresServer, read_only=True)
    alone = refusal(producer(standby.url, unique_name))
    assert isinstance(alone, Disconnected)
    assert alone.arrived is False
    assert "name the primary in url" in str(alone)
    with producer(standby.url, unique_name, standbys=f"127.0.0.1:{own_postgres.port}") as made:
        assert made.produce(False, {"n": 1}).wait(10) is State.DELIVERED
    assert len(rows(own_postgres.url, unique_name)) == 1


def test_a_server_that_becomes_read_only_is_left_and_waited_for(own_postgres: PostgresServer, unique_name: str) -> None:
    with producer(own_postgres.url, unique_name, **PAUSE) as made:
        made.produce(False, {"n": 1}).wait(10)
        assert made._database is not None
        execute(own_postgres.url, "ALTER SYSTEM SET default_transaction_read_only = on")
        execute(own_postgres.url, "SELECT pg_reload_conf()")
        until(lambda: execute(own_postgres.url, "SHOW default_transaction_read_only") == [("on",)])
        receipt = made.produce(False, {"n": 2})
        until(lambda: "takes no writes" in (made.statistics().last_error or ""))
        execute(own_postgres.url, "ALTER SYSTEM RESET default_transaction_read_only")
        execute(own_postgres.url, "SELECT pg_reload_conf()")
        assert receipt.wait(10) is State.DELIVERED
    assert len(rows(own_postgres.url, unique_name)) == 2
    assert made.statistics().possible_duplicates == 0


# --- encryption -------------------------------------------------------------------------------------------------------


def test_the_certificate_of_the_server_is_verified(own_server: MakeServer, certificates: Certificates) -> None:
    server = own_server(PostgresServer, tls=certificates.for_server(client_required=True), password="pw-of-tls")
    trusted = {
        "ca_file": str(certificates.ca_file),
        "cert_file": str(certificates.client.cert_file),
        "key_file": str(certificates.client.key_file),
    }
    with producer(server.url, "t", tls=trusted) as made:
        assert made.produce(False, {"n": 1}).wait(10) is State.DELIVERED
        assert made._database is not None
        assert made._database.pgconn.ssl_in_use
    refusals = {
        "foreign authority": producer(server.url, "t", tls=trusted | {"ca_file": str(certificates.other_ca_file)}),
        "authorities of the system": producer(server.url, "t", tls={name: trusted[name] for name in ("cert_file", "key_file")}),
        "no certificate of ours": producer(server.url, "t", tls={"ca_file": trusted["ca_file"]}),
        "another name": producer(server.url, "t", tls=trusted | {"server_name": "other.example.com"}),
    }
    for what, made in refusals.items():
        error = refusal(made)
        assert isinstance(error, Misconfigured), (what, error)
        assert "correct tls" in str(error), (what, error)


@pytest.mark.parametrize("pair", ["expired", "wrong_host"])
def test_a_bad_certificate_is_refused(own_server: MakeServer, certificates: Certificates, pair: str) -> None:
    server = own_server(PostgresServer, tls=certificates.for_server(getattr(certificates, pair)))
    error = refusal(producer(server.url, "t", tls={"ca_file": str(certificates.ca_file)}))
    assert isinstance(error, Misconfigured)
    assert "certificate" in str(error)
    with producer(server.url, "t", tls={"verify": False}) as made:
        assert made.produce(False, {"n": 1}).wait(10) is State.DELIVERED


def test_tls_is_never_left_out_silently(postgres_server: Address, postgres_name: str, tmp_path: Any) -> None:
    for tls in ({"verify": False}, {}):
        error = refusal(producer(postgres_server.url, postgres_name, tls=tls))
        if "does not encrypt" not in str(error):
            assert tls == {}, error  # a server with a certificate of its own that nobody knows
    error = refusal(producer(postgres_server.url, postgres_name, tls={"ca_file": str(tmp_path / "none.pem")}))
    assert isinstance(error, Misconfigured)
    assert "tls.ca_file" in str(error)
    assert "does not exist" in str(error)


# --- tables and rights ------------------------------------------------------------------------------------------------

WRONG_TABLES = {
    "(id text)": "it has no column 'time'; add it, set create: true, or change metadata",
    "(id text, payload jsonb)": "no unique index on its column 'id' alone",
    "(id text PRIMARY KEY, payload jsonb, more text NOT NULL)": "its column 'more' must have a value and has no default",
    "(id text PRIMARY KEY, payload integer)": "its column 'payload' is integer, which cannot hold the payload",
    "(id bigint PRIMARY KEY, payload jsonb)": "its column 'id' is bigint, which cannot hold the id",
    "(id text PRIMARY KEY, payload jsonb GENERATED ALWAYS AS ('{}'::jsonb) STORED)": "its column 'payload' is computed by the database",
    "(id text PRIMARY KEY, payload jsonb, n text)": "its column 'n' is text, and columns says integer",
    "(id text, payload jsonb, at date DEFAULT now(), PRIMARY KEY (id, at))": "no unique index on its column 'id' alone",
}


@pytest.mark.parametrize("definition", WRONG_TABLES)
def test_a_table_that_does_not_fit_is_refused_at_the_start(postgres_server: Address, postgres_name: str, definition: str) -> None:
    execute(postgres_server.url, f'CREATE TABLE "{postgres_name}" {definition}')
    settings: dict[str, Any] = {"metadata": ["id", "payload"]} if "payload" in definition else {}
    settings |= {"columns": {"n": {"path": "n", "type": "integer"}}} if " n " in definition else {}
    error = refusal(producer(postgres_server.url, postgres_name, create=False, **settings))
    assert isinstance(error, Misconfigured)
    assert f"the table '{postgres_name}'" in str(error)
    assert WRONG_TABLES[definition] in str(error)


def test_a_table_that_is_not_there_is_said_with_those_of_a_similar_name(postgres_server: Address, postgres_name: str) -> None:
    execute(postgres_server.url, f'CREATE TABLE "{postgres_name}" (id text PRIMARY KEY)')
    error = refusal(producer(postgres_server.url, postgres_name.upper(), create=False))
    assert f"there is no table '{postgres_name.upper()}', but 'public.{postgres_name}'" in str(error)
    assert "create it, set create: true, or correct the name" in str(error)
    execute(postgres_server.url, f'CREATE VIEW "{postgres_name}_view" AS SELECT 1 AS id')
    assert "it is a view; name a table" in str(refusal(producer(postgres_server.url, f"{postgres_name}_view")))
    execute(postgres_server.url, f'DROP VIEW "{postgres_name}_view"')
    error = refusal(producer(postgres_server.url, f"{postgres_name}_schema.t"))
    assert isinstance(error, Misconfigured)


def test_several_producers_make_the_same_table_at_the_same_time(postgres_server: Address, postgres_name: str) -> None:
    made = [producer(postgres_server.url, postgres_name, columns={"n": {"path": "n", "index": True}}) for _ in range(6)]
    receipts = [each.produce(False, {"n": number}) for number, each in enumerate(made)]
    assert all(receipt.wait(10) is State.DELIVERED for receipt in receipts)
    assert all(each.shutdown(10).complete and each.statistics().retries == 0 for each in made)
    assert len(rows(postgres_server.url, postgres_name)) == 6


def test_missing_rights_are_named_and_waited_for(own_postgres: PostgresServer, unique_name: str) -> None:
    url = own_postgres.url
    role = f"{unique_name}_role"
    execute(url, f'CREATE TABLE "{unique_name}" (arrival serial, id text PRIMARY KEY, payload jsonb)')
    execute(url, f'CREATE ROLE "{role}" LOGIN')
    limited = producer(url.replace("standpipe@", f"{role}@"), unique_name, create=False, metadata=["id", "payload"], **PAUSE)
    assert f'GRANT INSERT ON "public"."{unique_name}" TO that user' in str(refusal(limited))
    execute(url, f'GRANT INSERT ON "{unique_name}" TO "{role}"')
    assert f'GRANT SELECT ("id") ON "public"."{unique_name}" TO that user' in str(refusal(limited))
    execute(url, f'GRANT SELECT (id) ON "{unique_name}" TO "{role}"; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "{role}"')
    with limited as made:
        assert made.produce(False, {"n": 1}).wait(10) is State.DELIVERED
        execute(url, f'REVOKE INSERT ON "{unique_name}" FROM "{role}"')
        receipt = made.produce(False, {"n": 2})
        until(lambda: "may not insert" in (made.statistics().last_error or ""))
        assert not receipt.done()
        execute(url, f'GRANT INSERT ON "{unique_name}" TO "{role}"')
        assert receipt.wait(10) is State.DELIVERED
        execute(url, f'ALTER TABLE "{unique_name}" ENABLE ROW LEVEL SECURITY')
        execute(url, f'CREATE POLICY own ON "{unique_name}" FOR INSERT TO "{role}" WITH CHECK (id <> \'theirs\')')
        execute(url, f'CREATE POLICY look ON "{unique_name}" FOR SELECT TO "{role}" USING (true)')
        made.produce_many(False, [{"n": 3}, {"n": 4}], message_ids=["ours", "theirs"])
        assert made.flush(10) == 0
        assert [letter.id for letter in made.dead_letters] == ["theirs"]
    assert len(rows(url, unique_name)) == 3


def test_a_lock_that_is_held_too_long_costs_a_retry_and_no_message(own_postgres: PostgresServer, unique_name: str) -> None:
    # The server gives up after nine tenths of it: that must be noticed before we do.
    with producer(own_postgres.url, unique_name, **{**PAUSE, "send_timeout": 3.0}) as made:
        made.produce(False, {"n": 1}).wait(10)
        with psycopg.connect(own_postgres.url) as other:
            other.execute(f'LOCK TABLE "{unique_name}"')
            receipt = made.produce(False, {"n": 2})
            until(lambda: "57014" in (made.statistics().last_error or ""))
        assert receipt.wait(10) is State.DELIVERED
        assert made.statistics().resets == 0
    assert len(rows(own_postgres.url, unique_name)) == 2


def test_a_full_disk_is_waited_for(own_postgres: PostgresServer, unique_name: str) -> None:
    """The server says so itself: a trigger raises what a full disk raises."""
    with producer(own_postgres.url, unique_name) as made:
        made._connect()
        execute(
            own_postgres.url,
            f'CREATE FUNCTION "{unique_name}_f"() RETURNS trigger LANGUAGE plpgsql AS '
            "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
        )
        execute(own_postgres.url, f'CREATE TRIGGER full_disk BEFORE INSERT ON "{unique_name}" EXECUTE FUNCTION "{unique_name}_f"()')
        with pytest.raises(RetryAfter, match="disk is full") as caught:
            made._send_batch(batch_of(given()))
        assert caught.value.seconds == 10
        assert not isinstance(caught.value, Misconfigured)
        made._close()
