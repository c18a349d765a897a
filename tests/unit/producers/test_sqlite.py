"""The sqlite producer writes each message once, and says clearly why when it cannot."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.core.errors import ConfigurationError, Disconnected
from standpipe.producers.config import BaseProducerConfig
from standpipe.producers.database_columns import json_path
from standpipe.producers.sqlite import SqliteProducer, SqliteProducerConfig
from tests.unit.producers.reading import wait_until


def producer(path: Path, **settings: Any) -> SqliteProducer:
    config = {"retry": {"initial": "1ms", "max": "5ms"}, "reconnect_wait": "10ms", "busy_timeout": "5ms", **settings}
    return SqliteProducer(SqliteProducerConfig(name="db", path=str(path), **config))


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as opened:
        yield opened


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with database(path) as opened:
        return opened.execute(query).fetchall()


def test_a_message_becomes_a_row_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data.db"
    with producer(path) as out:
        receipt = out.produce(True, {"text": "zwölf\u2028\n", "n": 1}, key="a")
        out.produce(False, {})
    first, second = rows(path, "SELECT id, time, is_error, key, payload, typeof(payload) FROM messages ORDER BY rowid")
    assert (first[0], *first[2:]) == (receipt.message_id, 1, "a", '{"text":"zwölf\u2028\\n","n":1}', "text")
    assert abs(first[1] - time.time()) < 60
    assert second[2:5] == (0, None, "{}")
    assert path.stat().st_mode & 0o007 == 0
    assert out.destination == f"sqlite:{path}, table messages"


def test_errors_go_to_their_own_table(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path, table="normal", error_table="failed") as out:
        for number in range(10):
            out.produce(number % 3 == 0, {"n": number})
    assert [row[0] for row in rows(path, "SELECT payload ->> 'n' FROM failed ORDER BY rowid")] == [0, 3, 6, 9]
    assert rows(path, "SELECT count(*), sum(is_error) FROM normal") == [(6, 0)]


def test_a_message_that_is_sent_again_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    for text in ("first", "again"):
        with producer(path) as out:
            out.produce_many(False, [{"text": text}, {"text": text}], message_ids=["a", "b"])
        assert out.statistics().delivered == 2
    assert rows(path, "SELECT id, payload FROM messages ORDER BY id") == [("a", '{"text":"first"}'), ("b", '{"text":"first"}')]


def test_a_locked_database_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path) as out:
        out.produce(False, {"n": 0}).wait(10)
        with database(path) as other:
            other.execute("BEGIN IMMEDIATE")
            out.produce_many(False, [{"n": number} for number in range(1, 200)])
            wait_until(lambda: out.statistics().retries > 3)
            assert "is locked by another program" in (out.statistics().last_error or "")
            other.execute("COMMIT")
        assert out.flush(10) == 0
    assert rows(path, "SELECT payload ->> 'n' FROM messages ORDER BY rowid") == [(number,) for number in range(200)]
    assert out.statistics().possible_duplicates == 0


# --- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["service", "status"], ("service", "status")),
        ({"service": "service", "status": {"path": "status", "index": True}}, ("service", "status")),
    ],
)
def test_fields_of_messages_can_be_queried_as_columns(tmp_path: Path, columns: Any, names: tuple[str, str]) -> None:
    path = tmp_path / "data.db"
    with producer(path, columns=columns) as out:
        out.produce_many(False, [{"service": "pay", "status": 200}, {"service": "pay", "status": 500}, {"other": 1}])
    assert rows(path, f"SELECT {names[1]} FROM messages WHERE {names[0]} = 'pay' ORDER BY rowid") == [(200,), (500,)]
    assert rows(path, "SELECT count(*) FROM messages WHERE service IS NULL") == [(1,)]


def test_paths_types_and_indexes_of_columns_are_as_configured(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    columns = {"user": "user.name", "first": "items[0].price", "code": {"path": "a b.c-d", "type": "integer", "index": True}}
    with producer(path, columns=columns) as out:
        out.produce(False, {"user": {"name": "ann"}, "items": [{"price": 1.5}], "a b": {"c-d": "42"}})
    assert rows(path, "SELECT user, first, code, typeof(code) FROM messages") == [("ann", 1.5, 42, "integer")]
    plan = rows(path, "EXPLAIN QUERY PLAN SELECT id FROM messages WHERE code = 42")
    assert "messages_code" in plan[0][3]


def test_a_column_that_is_added_later_covers_the_old_messages(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    for columns in ({}, {"n": "n"}, {"n": "n", "m": {"path": "m", "index": True}}):
        with producer(path, columns=columns) as out:
            out.produce(False, {"n": 1, "m": 2})
    assert rows(path, "SELECT n, m FROM messages") == [(1, 2)] * 3


def test_a_column_that_means_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path, columns={"n": "n"}) as out:
        out.produce(False, {"n": 1})
    with pytest.raises(ConfigurationError, match=r"its column 'n' is not .* name the column otherwise"):
        producer(path, columns={"n": "m"})._connect()


@pytest.mark.parametrize(("path", "written"), [("a", '$."a"'), ("a.b[0][12].c", '$."a"."b"[0][12]."c"'), ("$x", '$."$x"')])
def test_paths_are_written_as_sqlite_wants_them(path: str, written: str) -> None:
    assert json_path(path) == written


# --- tables that exist ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("CREATE TABLE messages (id TEXT PRIMARY KEY)", "it has no column 'time'"),
        ("CREATE TABLE messages (id TEXT, time, is_error, key, payload)", "its primary key is not the column 'id'"),
        ("CREATE VIEW messages AS SELECT 1 AS id", "it is a view, not a table"),
        (
            "CREATE TABLE Messages (id PRIMARY KEY, time, is_error, key, payload, x NOT NULL)",
            "its column 'x' must have a value and has no default",
        ),
        ("CREATE TABLE messages (id PRIMARY KEY, time, is_error, key, payload AS (id))", "its column 'payload' is computed"),
    ],
)
def test_a_table_that_cannot_take_messages_is_an_error_that_names_the_remedy(tmp_path: Path, statement: str, why: str) -> None:
    path = tmp_path / "data.db"
    with database(path) as made:
        made.execute(statement)
    with pytest.raises(ConfigurationError) as caught:
        producer(path)._connect()
    assert str(caught.value) == f"messages cannot be written to the table 'messages': {why}; name another table, or rename this one"


def test_a_table_of_ones_own_with_more_columns_is_used(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with database(path) as made:
        made.execute("CREATE TABLE messages (payload, key, is_error, time, id TEXT PRIMARY KEY, seen NOT NULL DEFAULT 0)")
    with producer(path) as out:
        out.produce(False, {"n": 1}, message_id="x")
    assert rows(path, "SELECT id, payload, seen FROM messages") == [("x", '{"n":1}', 0)]


def test_a_message_that_a_rule_of_the_table_forbids_is_put_aside_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with database(path) as made:
        made.execute("CREATE TABLE messages (id PRIMARY KEY, time, is_error, key, payload CHECK (payload ->> 'n' < 50))")
    with producer(path) as out:
        out.produce_many(False, [{"n": number} for number in (1, 2, 99, 3)])
        assert out.flush(10) == 0
    assert rows(path, "SELECT payload ->> 'n' FROM messages ORDER BY 1") == [(1,), (2,), (3,)]
    assert [letter.payload for letter in out.dead_letters] == [b'{"n":99}']
    assert out.statistics().resets == 0


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_left_alone_with_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    path.write_bytes(b"this is my diary\n" * 100)
    with pytest.raises(Disconnected, match=r"is damaged or no SQLite database .* move it away to begin a new one, or restore it"):
        producer(path)._connect()
    assert path.read_bytes() == b"this is my diary\n" * 100


def test_a_folder_in_place_of_the_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a regular file; name another path"):
        producer(tmp_path)._connect()


def test_a_deleted_database_is_made_again_and_takes_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path) as out:
        out.produce(False, {"n": 1}).wait(10)
        for name in ("data.db", "data.db-wal", "data.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        out.produce(False, {"n": 2})
        assert out.flush(10) == 0
    assert rows(path, "SELECT payload FROM messages") == [('{"n":2}',)]
    assert out.statistics().resets == 1


def test_a_dropped_table_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path) as out:
        out.produce(False, {"n": 1}).wait(10)
        with database(path) as other:
            other.execute("DROP TABLE messages")
        out.produce(False, {"n": 2})
        assert out.flush(10) == 0
    assert rows(path, "SELECT payload FROM messages") == [('{"n":2}',)]


def test_a_full_database_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path, batch={"max_messages": 10}) as out:
        out.produce(False, {"n": 0}).wait(10)
        assert out._database is not None
        out._database.execute("PRAGMA max_page_count = 20")
        out.produce_many(False, [{"text": "x" * 2000} for _ in range(100)])
        wait_until(lambda: "cannot grow" in (out.statistics().last_error or ""))
        assert out.flush(10) == 0  # the reset after the retries opens the database without the limit
    assert rows(path, "SELECT count(*) FROM messages") == [(101,)]


def test_parent_and_forked_child_write_through_connections_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    with producer(path) as out:
        out.produce(False, {"from": "parent"}).wait(10)
        child = os.fork()
        if child == 0:
            with out:
                out.produce_many(False, [{"from": "child"}] * 100)
            os._exit(0 if out.statistics().delivered == 100 else 1)
        out.produce_many(False, [{"from": "parent"}] * 100)
        assert out.flush(10) == 0
        assert os.waitpid(child, 0)[1] == 0
        out.produce(False, {"from": "parent"})
    assert rows(path, "SELECT payload ->> 'from', count(*) FROM messages GROUP BY 1 ORDER BY 1") == [("child", 100), ("parent", 102)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert out.statistics().resets == 0


def test_no_connection_is_open_while_the_process_forks(tmp_path: Path) -> None:
    with producer(tmp_path / "data.db") as out:
        out.produce(False, {}).wait(10)
        child = os.fork()
        if child == 0:
            os._exit(0 if out._database is None else 1)
        assert os.waitpid(child, 0)[1] == 0


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"path": ""}, "at least 1 character"),
        ({"path": ":memory:"}, "is not the path of a database file"),
        ({"path": "data/"}, "is not the path of a database file"),
        ({"table": "drop table x; --"}, "cannot be the name of a table"),
        ({"table": "sqlite_master"}, "cannot be the name of a table"),
        ({"error_table": "Messages"}, "table and error_table are the same"),
        ({"columns": {"payload": "x"}}, "'payload' is the name of another column"),
        ({"columns": {"A": "x", "a": "y"}}, "'a' is the name of another column"),
        ({"columns": ["user.id"]}, "cannot be the name of a column"),
        ({"columns": {"x": "a..b"}}, "is not the path of a field"),
        ({"columns": {"x": 'a"b'}}, "is not the path of a field"),
        ({"columns": [3]}, "is not the name of a field"),
        ({"columns": {"x": {"path": "x", "type": "blob"}}}, "Input should be 'text'"),
        ({"synchronous": "maybe"}, "Input should be 'full', 'normal' or 'off'"),
    ],
)
def test_a_bad_setting_is_refused_with_the_remedy(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SqliteProducerConfig(name="db", **{"path": "data.db", **settings})
    assert problem in str(caught.value)


def test_every_setting_is_described() -> None:
    schema = SqliteProducerConfig.model_json_schema()
    models = [schema, *schema["$defs"].values()]
    assert [name for model in models for name, field in model.get("properties", {}).items() if not field.get("description")] == []


def test_another_configuration_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="SqliteProducer needs a SqliteProducerConfig, not BaseProducerConfig"):
        SqliteProducer(BaseProducerConfig(type="sqlite", name="x"))  # type: ignore[arg-type]
