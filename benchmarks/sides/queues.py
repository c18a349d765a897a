"""Messages through queues on disk: put, taken, settled."""

from __future__ import annotations

import importlib
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from benchmarks.case import Measurement, Missing, Params
from benchmarks.sides.destinations import Gated, on_disk
from benchmarks.sides.message import MESSAGE

BATCH = 1000

Message = dict[str, Any]


def installed(module: str, package: str) -> Any:
    """The module of a rival. Raises Missing if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"{package} cannot be imported ({error})") from None


def _measured(messages: int, put_all: Callable[[], None], take_all: Callable[[], int]) -> Measurement:
    started = perf_counter()
    put_all()
    put = perf_counter() - started
    taken = take_all()
    seconds = perf_counter() - started
    if taken != messages:
        raise RuntimeError(f"{taken} of {messages} messages came out again")
    return {"rate": messages / seconds, "put_rate": messages / put}


def _folder(params: Params) -> Path:
    folder = Path(params["folder"], uuid.uuid4().hex)
    folder.mkdir()
    return folder


# --- ours -------------------------------------------------------------------------------------------------------------


def written(params: Params) -> Measurement:
    """`produce`; the destination takes batches."""
    return _standpipe(params, params["many"], "written", 1)


def synced(params: Params) -> Measurement:
    """`produce`, each call waiting for the disk."""
    return _standpipe(params, params["messages"], "synced", 1)


def synced_many(params: Params) -> Measurement:
    """`produce_many`, each call waiting for the disk."""
    return _standpipe(params, params["many"], "synced", BATCH)


def _standpipe(params: Params, messages: int, durability: str, at_a_time: int) -> Measurement:
    with Gated(on_disk("queues", Path(params["folder"], "spool"), durability)) as producer:
        producer.produce(False, MESSAGE)  # connects
        producer.drain()

        def put_all() -> None:
            if at_a_time == 1:
                for _ in range(messages):
                    producer.produce(False, MESSAGE)
            else:
                for _ in range(messages // at_a_time):
                    producer.produce_many(False, [MESSAGE] * at_a_time)

        def take_all() -> int:
            producer.drain()
            return producer.statistics().delivered - 1

        try:
            return _measured(messages, put_all, take_all)
        finally:
            producer.gate.set()


# --- rivals -----------------------------------------------------------------------------------------------------------


def persist_queue(params: Params) -> Measurement:
    """`SQLiteAckQueue`: `put`, `get` and `ack`, as its documentation shows them."""
    module = installed("persistqueue", "persist-queue")
    queue = module.SQLiteAckQueue(str(_folder(params)), multithreading=True)

    def put_all() -> None:
        for _ in range(params["messages"]):
            queue.put(MESSAGE)

    def take_all() -> int:
        for _ in range(params["messages"]):
            found = queue.get(block=False, raw=True)
            queue.ack(id=found["pqid"])
        return int(queue.acked_count())

    try:
        return _measured(params["messages"], put_all, take_all)
    finally:
        queue.close()


def litequeue(params: Params) -> Measurement:
    """`LiteQueue`: `put`, `pop` and `done`."""
    module = installed("litequeue", "litequeue")
    queue = module.LiteQueue(_folder(params) / "queue.sqlite3")

    def put_all() -> None:
        for _ in range(params["messages"]):
            queue.put(orjson.dumps(MESSAGE).decode())

    def take_all() -> int:
        taken = 0
        while (found := queue.pop()) is not None:
            orjson.loads(found.data)
            queue.done(found.message_id)
            taken += 1
        return taken

    try:
        return _measured(params["messages"], put_all, take_all)
    finally:
        queue.close()


def logstash_async(params: Params) -> Measurement:
    """The database of the handler: an event at a time in, fifty at a time out, as its worker does it."""
    module = installed("logstash_async.database", "python-logstash-async")
    cache = module.DatabaseCache(str(_folder(params) / "events.sqlite3"))

    def put_all() -> None:
        for _ in range(params["messages"]):
            cache.add_event(orjson.dumps(MESSAGE).decode())

    def take_all() -> int:
        taken = 0
        while events := cache.get_queued_events():
            taken += len(events)
            cache.delete_queued_events()
        return taken

    return _measured(params["messages"], put_all, take_all)


def sqlite_many(params: Params) -> Measurement:
    """What people write by hand: a table, a transaction for every 1,000 messages in, and one for every 1,000 out."""
    path = _folder(params) / "table.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)")

    def put_all() -> None:
        for _ in range(params["many"] // BATCH):
            connection.execute("BEGIN IMMEDIATE")
            rows = [(orjson.dumps(message),) for message in [MESSAGE] * BATCH]
            connection.executemany("INSERT INTO messages (payload) VALUES (?)", rows)
            connection.execute("COMMIT")

    def take_all() -> int:
        taken = 0
        while rows := connection.execute("SELECT id, payload FROM messages ORDER BY id LIMIT ?", (BATCH,)).fetchall():
            connection.execute("DELETE FROM messages WHERE id <= ?", (rows[-1][0],))
            taken += len(rows)
        return taken

    try:
        return _measured(params["many"], put_all, take_all)
    finally:
        connection.close()
        shutil.rmtree(path.parent)
