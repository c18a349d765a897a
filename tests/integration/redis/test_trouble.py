"""A server that is killed, restarted, frozen, cut off, full or a replica: nothing is lost that it keeps itself, little comes twice,
and order per key is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.redis import RedisProducer
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.redis.reading import WITHIN, entries, found, producer, raw, reached
from tests.servers.oracle import Oracle
from tests.servers.redis import RedisServer
from tests.servers.scenario import QUICK, deliver_through_trouble, hang, kill
from tests.servers.server import Address

BATCH = 20
"""Messages in a batch, so that the bound on what may come twice says something."""

MakeServer = Callable[..., RedisServer]


def deliver(
    url: str,
    name: str,
    trouble: Callable[[], object],
    folder: Path,
    queue: Literal["memory", "spool"],
    successor: bool = False,
    **settings: Any,
) -> Oracle:
    def make(config: AnyQueueConfig) -> RedisProducer:
        return producer(url, name, batch={"max_messages": BATCH}, queue=config, pause=0.2, **QUICK, **settings)

    return deliver_through_trouble(make, trouble, lambda: found(url, name), folder=folder, queue=queue, successor=successor)


CASES: list[tuple[Callable[[RedisServer], object], Literal["memory", "spool"], dict[str, Any], int]] = [
    (kill, "memory", {}, BATCH),
    (kill, "spool", {"deduplicate": 60}, 0),
    (kill, "memory", {"transaction": False}, BATCH),
    (RedisServer.restart, "spool", {}, BATCH),
    (hang, "memory", {}, 2 * BATCH),
    (hang, "spool", {"deduplicate": 60}, 0),
]


@pytest.mark.parametrize(("trouble", "queue", "settings", "duplicates"), CASES)
def test_nothing_acknowledged_is_lost(
    own_redis: RedisServer,
    unique_name: str,
    tmp_path: Path,
    trouble: Callable[[RedisServer], object],
    queue: Literal["memory", "spool"],
    settings: dict[str, Any],
    duplicates: int,
) -> None:
    oracle = deliver(own_redis.url, unique_name, lambda: trouble(own_redis), tmp_path, queue, **settings)
    oracle.check(lost=0, duplicates=duplicates)


def test_kill_of_a_server_that_writes_every_second_loses_nothing(own_server: MakeServer, unique_name: str, tmp_path: Path) -> None:
    server = own_server(RedisServer, persistence="everysec")
    deliver(server.url, unique_name, lambda: kill(server), tmp_path, "memory").check(lost=0, duplicates=BATCH)


def test_total_order_is_kept_through_a_kill(own_redis: RedisServer, unique_name: str, tmp_path: Path) -> None:
    oracle = deliver(own_redis.url, unique_name, lambda: kill(own_redis), tmp_path, "memory", ordering="fifo", deduplicate=60)
    oracle.check(lost=0, duplicates=0)
    numbers = [attempt.id for attempt in oracle.attempts]
    assert [each.id for each in oracle.found] == numbers


def test_a_successor_finishes_what_is_in_the_spool(own_redis: RedisServer, unique_name: str, tmp_path: Path) -> None:
    oracle = deliver(own_redis.url, unique_name, lambda: kill(own_redis), tmp_path, "spool", successor=True, deduplicate=60)
    oracle.check(lost=0, duplicates=0)


def cut(proxy: FaultProxy) -> None:
    for count in (0, 8, 300, 1000):
        proxy.cut_after(count, direction="to_upstream", times=1)
        threading.Event().wait(0.1)
    for count in (0, 100, 600):
        proxy.cut_after(count, direction="to_client", times=1)
        threading.Event().wait(0.1)
    proxy.heal()


@pytest.mark.parametrize(("settings", "duplicates"), [({}, 3 * BATCH), ({"deduplicate": 60}, 0), ({"transaction": False}, 7 * BATCH)])
def test_connections_cut_at_any_byte_lose_nothing(
    redis_server: Address, redis_name: str, tmp_path: Path, settings: dict[str, Any], duplicates: int
) -> None:
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        url = redis_server.url.replace(f":{redis_server.port}", f":{proxy.port}")
        oracle = deliver(url, redis_name, lambda: cut(proxy), tmp_path, "memory", **settings)
    oracle.check(lost=0, duplicates=duplicates)


def test_transaction_that_is_cut_off_leaves_nothing_behind(redis_server: Address, redis_name: str) -> None:
    with FaultProxy(redis_server.host, redis_server.port) as proxy:
        url = redis_server.url.replace(f":{redis_server.port}", f":{proxy.port}")
        with producer(url, redis_name, **QUICK) as made:
            made.produce(False, {"n": 0}).wait(WITHIN)
            proxy.cut_after(5000, direction="to_upstream", times=1)
            made.produce_many(False, [{"n": number} for number in range(1, 100)])
            assert made.flush(WITHIN) == 0
            assert made.statistics().resets == 1
    assert [fields[b"payload"] for _, fields in entries(redis_server.url, redis_name)] == [b'{"n":%d}' % number for number in range(100)]


@pytest.mark.parametrize("settings", [{}, {"transaction": False}, {"deduplicate": 60}], ids=str)
def test_full_server_is_waited_for_and_order_is_kept(own_server: MakeServer, unique_name: str, settings: dict[str, Any]) -> None:
    server = own_server(RedisServer, max_memory=3 * 2**20)
    with raw(server.url) as client, producer(server.url, unique_name, **settings) as made:
        made.produce(False, {"n": 0}, key="one").wait(WITHIN)
        client.config_set("maxmemory", 1000)
        for number in range(1, 20):
            made.produce(False, {"n": number}, key="one")
        reached(lambda: "the server is full" in str(made.statistics().last_error))
        assert (made.statistics().delivered, client.xlen(unique_name)) == (1, 1)
        client.config_set("maxmemory", 0)
        assert made.flush(WITHIN) == 0
        now = made.statistics()
        assert (now.resets, now.dead_lettered, now.possible_duplicates) == (0, 0, 0)
    assert [fields[b"payload"] for _, fields in entries(server.url, unique_name)] == [b'{"n":%d}' % number for number in range(20)]


def test_server_that_fills_up_by_itself_loses_nothing(own_server: MakeServer, unique_name: str) -> None:
    server = own_server(RedisServer, max_memory=3 * 2**20)
    with raw(server.url) as client, producer(server.url, unique_name) as made:
        receipts = [made.produce(False, {"n": number, "text": "x" * 1000}) for number in range(5000)]
        reached(lambda: "the server is full" in str(made.statistics().last_error))
        there = client.xlen(unique_name)
        assert there == made.statistics().delivered == sum(receipt.done() for receipt in receipts)
        client.config_set("maxmemory", 0)
        assert made.flush(WITHIN) == 0
        assert client.xlen(unique_name) == 5000


def test_server_that_becomes_a_replica_is_left_and_waited_for(own_server: MakeServer, unique_name: str) -> None:
    primary, other = own_server(RedisServer, persistence="none"), own_server(RedisServer, persistence="none")
    with raw(primary.url) as client, producer(primary.url, unique_name, **QUICK) as made:
        made.produce(False, {"n": 0}).wait(WITHIN)
        client.replicaof(other.host, other.port)
        receipt = made.produce(False, {"n": 1})
        reached(lambda: "takes no writes" in str(made.statistics().last_error))
        assert not receipt.done()
        client.replicaof("no", "one")
        assert made.flush(WITHIN) == 0
        assert made.statistics().possible_duplicates == 0


def test_disk_that_cannot_be_written_and_replicas_that_are_missing_are_waited_for(
    own_server: MakeServer, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.redis_errors.REFUSAL_SECONDS", 0.2)
    server = own_server(RedisServer, persistence="none", settings={"min-replicas-to-write": "1"})
    in_the_way = server.folder / "dump.rdb" / "something"
    with raw(server.url) as client, producer(server.url, unique_name) as made:
        receipt = made.produce(False, {"n": 0})
        reached(lambda: "too few good replicas" in str(made.statistics().last_error))
        assert not receipt.done()
        client.config_set("min-replicas-to-write", 0)
        assert made.flush(WITHIN) == 0
        in_the_way.mkdir(parents=True)
        client.config_set("save", "3600 1")
        client.bgsave()
        reached(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        receipt = made.produce(False, {"n": 1})
        reached(lambda: "cannot save them" in str(made.statistics().last_error))
        assert not receipt.done()
        client.config_set("save", "")
        assert made.flush(WITHIN) == 0
        assert (client.xlen(unique_name), made.statistics().possible_duplicates, made.statistics().resets) == (2, 0, 0)


@pytest.mark.parametrize("create", [True, False])
def test_stream_that_is_deleted_in_mid_stream(redis_server: Address, redis_name: str, create: bool) -> None:
    with raw(redis_server.url) as client, producer(redis_server.url, redis_name, create=create, pause=0.1) as made:
        client.xgroup_create(redis_name, "readers", mkstream=True)
        made.produce(False, {"n": 1}).wait(WITHIN)
        client.delete(redis_name)
        made.produce_many(False, [{"n": 2}, {"n": 3}])
        if not create:
            reached(lambda: "there is no such stream" in str(made.statistics().last_error))
            client.xgroup_create(redis_name, "readers", mkstream=True)
        assert made.flush(WITHIN) == 0
        assert (made.statistics().delivered, made.statistics().dead_lettered, client.xlen(redis_name)) == (3, 0, 2)


def test_script_that_is_gone_is_loaded_again(own_redis: RedisServer, unique_name: str) -> None:
    with raw(own_redis.url) as client, producer(own_redis.url, unique_name, deduplicate=60, **QUICK) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        client.script_flush()
        made.produce_many(False, [{"n": 2}, {"n": 3}])
        assert made.flush(WITHIN) == 0
        assert (client.xlen(unique_name), made.statistics().possible_duplicates) == (3, 0)


@pytest.mark.parametrize("settings", [{}, {"transaction": False}], ids=str)
def test_connection_that_was_closed_while_idle_is_noticed_before_anything_is_sent(
    own_redis: RedisServer, unique_name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.redis_connection.IDLE_SECONDS", 0.0)
    with raw(own_redis.url) as client, producer(own_redis.url, unique_name, **settings, **QUICK) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        assert client.client_kill_filter(_type="normal", skipme=True) >= 1
        made.produce(False, {"n": 2})
        assert made.flush(WITHIN) == 0
        now = made.statistics()
        assert (client.xlen(unique_name), now.resets, now.possible_duplicates) == (2, 1, 0)


def test_replicas_that_are_missing_are_waited_for_and_nothing_comes_twice(own_server: MakeServer, unique_name: str) -> None:
    primary, replica = own_server(RedisServer, persistence="none"), own_server(RedisServer, persistence="none")
    settings = {"wait": {"replicas": 1, "timeout": 0.1}, **QUICK, "max_retries": 2}
    with raw(primary.url) as client, raw(replica.url) as second, producer(primary.url, unique_name, **settings) as made:
        receipt = made.produce_many(False, [{"n": number} for number in range(50)])
        reached(lambda: "0 of 1 replicas" in str(made.statistics().last_error))
        reached(lambda: made.statistics().retries > 1)
        assert (receipt.done(), client.xlen(unique_name)) == (False, 50)
        second.config_set("repl-diskless-load", "swapdb")
        client.config_set("repl-diskless-sync-delay", 0)
        second.replicaof(primary.host, primary.port)
        assert made.flush(WITHIN * 2) == 0
        assert (client.xlen(unique_name), second.xlen(unique_name), made.statistics().resets) == (50, 50, 0)
        assert receipt.detail is not None
        made.produce(False, {"n": 50}).wait(WITHIN)
        assert second.xlen(unique_name) == 51
