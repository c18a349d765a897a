"""A server that is killed, restarted, frozen, or behind a bad network: nothing is lost, little comes twice, and order per key is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.nats import NatsProducer
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.nats.streams import WITHIN, found_in, make_stream, producer, read
from tests.servers.nats import NatsServer
from tests.servers.oracle import Oracle
from tests.servers.scenario import deliver_through_trouble, hang, kill
from tests.servers.server import Address
from tests.servers.waiting import until

WINDOW = 64
Queue = Literal["memory", "spool"]


def deliver(
    url: str,
    read_from: str,
    name: str,
    trouble: Callable[[], object],
    folder: Path,
    queue: Queue,
    *,
    successor: bool = False,
    **settings: Any,
) -> Oracle:
    def make(config: AnyQueueConfig) -> NatsProducer:
        return producer(url, name, max_pending=WINDOW, batch={"max_messages": 16}, queue=config, **settings)

    return deliver_through_trouble(make, trouble, lambda: found_in(read_from, name), folder=folder, queue=queue, successor=successor)


@pytest.mark.parametrize(
    ("trouble", "queue"),
    [(kill, "memory"), (kill, "spool"), (NatsServer.restart, "memory"), (NatsServer.restart, "spool"), (hang, "memory"), (hang, "spool")],
)
def test_nothing_acknowledged_is_lost_and_nothing_is_stored_twice(
    own_nats: NatsServer, unique_name: str, tmp_path: Path, trouble: Callable[[NatsServer], None], queue: Queue
) -> None:
    make_stream(own_nats.url, unique_name)
    oracle = deliver(own_nats.url, own_nats.url, unique_name, lambda: trouble(own_nats), tmp_path, queue)
    oracle.check(lost=0, duplicates=0, out_of_order=0, unacknowledged=0)


def test_without_deduplication_only_what_was_on_its_way_is_stored_twice(own_nats: NatsServer, unique_name: str, tmp_path: Path) -> None:
    make_stream(own_nats.url, unique_name, duplicate_window=100_000_000)  # 0.1 s, the least there is
    oracle = deliver(own_nats.url, own_nats.url, unique_name, lambda: hang(own_nats), tmp_path, "memory")
    oracle.check(lost=0, duplicates=3 * WINDOW, out_of_order=0, unacknowledged=0)


def test_successor_on_the_same_spool_delivers_the_rest(own_nats: NatsServer, unique_name: str, tmp_path: Path) -> None:
    make_stream(own_nats.url, unique_name)
    oracle = deliver(own_nats.url, own_nats.url, unique_name, lambda: kill(own_nats), tmp_path, "spool", successor=True)
    oracle.check(lost=0, duplicates=0, out_of_order=0, unacknowledged=0)


def cut(proxy: FaultProxy) -> None:
    for count in (0, 8, 300, 1000, 3000):
        proxy.cut_after(count, direction="to_upstream", times=1)
        threading.Event().wait(0.1)
    for count in (0, 100, 600, 2000):
        proxy.cut_after(count, direction="to_client", times=1)
        threading.Event().wait(0.1)
    proxy.cut("fin")
    proxy.heal()


def refuse(proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.cut()
    threading.Event().wait(0.5)
    proxy.heal()


@pytest.mark.parametrize("trouble", [cut, refuse])
def test_connections_cut_at_any_byte_lose_nothing(
    nats_server: Address, nats_name: str, tmp_path: Path, trouble: Callable[[FaultProxy], None]
) -> None:
    make_stream(nats_server.url, nats_name)
    with FaultProxy(nats_server.host, nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        oracle = deliver(url, nats_server.url, nats_name, lambda: trouble(proxy), tmp_path, "memory")
    oracle.check(lost=0, duplicates=0, out_of_order=0, unacknowledged=0)


def test_peer_that_is_silently_gone_is_noticed_by_its_missing_signs_of_life(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name)
    with (
        FaultProxy(nats_server.host, nats_server.port) as proxy,
        producer(f"nats://127.0.0.1:{proxy.port}", nats_name, ping_interval="200ms", send_timeout=60) as made,
    ):
        made.produce(False, {"n": 0}).wait(WITHIN)
        proxy.black_hole()
        receipt = made.produce(False, {"n": 1})
        until(lambda: made.statistics().resets > 0)
        proxy.heal()
        receipt.wait(WITHIN)
        assert receipt.delivered
    assert [each.data for each in read(nats_server.url, nats_name)] == [b'{"n":0}', b'{"n":1}']


def test_acknowledgements_that_came_count_although_others_did_not_come_in_time(nats_server: Address, nats_name: str) -> None:
    make_stream(nats_server.url, nats_name, nats_name)
    silent = f"{nats_name}_silent"
    make_stream(nats_server.url, silent, no_ack=True)
    settings: dict[str, Any] = {"subject": "{to}", "batch": {"max_messages": 10, "linger": "50ms"}, "max_pending": 10, "send_timeout": 0.3}
    with producer(nats_server.url, nats_name, **settings, shutdown_timeout=0.1) as made:
        receipts = [made.produce(False, {"to": silent if number == 4 else nats_name, "n": number}) for number in range(10)]
        until(lambda: made.statistics().delivered == 9)
        assert [receipt.delivered for receipt in receipts] == [number != 4 for number in range(10)]
        until(lambda: "no acknowledgement within" in str(made.statistics().last_error))
    assert len(read(nats_server.url, nats_name)) == 9


def test_frozen_server_does_not_hold_back_a_shutdown(own_nats: NatsServer, unique_name: str) -> None:
    make_stream(own_nats.url, unique_name)
    made = producer(own_nats.url, unique_name)
    made.produce(False, {"n": 0}).wait(WITHIN)
    own_nats.freeze()
    try:
        made.produce_many(False, [{"text": "x" * 10_000, "n": number} for number in range(2000)])
        report = made.shutdown(timeout=1.0)
    finally:
        own_nats.thaw()
    assert report.undelivered == 2000
    assert len(report.messages) == 2000


def test_core_mode_notices_the_end_of_the_connection_at_once(nats_server: Address, nats_name: str) -> None:
    with (
        FaultProxy(nats_server.host, nats_server.port) as proxy,
        producer(f"nats://127.0.0.1:{proxy.port}", nats_name, mode="core", send_timeout=60) as made,
    ):
        made.produce(False, {"n": 0}).wait(WITHIN)
        proxy.black_hole(direction="to_client")
        receipt = made.produce(False, {"n": 1})
        until(lambda: made.statistics().attempts > 1)
        proxy.heal()
        proxy.cut()
        receipt.wait(WITHIN)
        assert receipt.delivered
        assert made.statistics().possible_duplicates == 1
