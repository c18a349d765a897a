"""A broker that is killed, restarted, frozen, blocked or full: nothing is lost, little comes twice, and order per key is kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import orjson
import pytest

from standpipe.producers import header_rules
from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.rabbitmq import RabbitmqProducer
from standpipe.producers.rabbitmq_config import RabbitmqProducerConfig
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.rabbitmq.broker import channel_to, count_in, found_in, producer, read
from tests.servers import scenario
from tests.servers.oracle import Oracle
from tests.servers.rabbitmq import RabbitServer
from tests.servers.scenario import deliver_through_trouble, hang
from tests.servers.server import Address
from tests.servers.waiting import until

WINDOW = 64
"""Messages on their way at once, so that the bound on what may come twice says something."""
WITHIN = 20.0


def kill(server: RabbitServer) -> None:
    server.note_declarations()
    scenario.kill(server)


def deliver(
    url: str, name: str, trouble: Callable[[], object], folder: Path, queue: Literal["memory", "spool"], kind: str = "quorum"
) -> Oracle:
    declare = {"queues": [{"name": name, "type": kind}]}

    def make(config: AnyQueueConfig) -> RabbitmqProducer:
        return producer(url, name, declare=declare, max_in_flight=WINDOW, batch={"max_messages": WINDOW}, queue=config)

    return deliver_through_trouble(make, trouble, lambda: found_in(url, name), folder=folder, queue=queue)


@pytest.mark.parametrize(
    ("trouble", "queue", "kind"),
    [
        # Classic, because RabbitMQ 3.10 does not find a quorum queue again that was made shortly before a kill -9: nobody leads it.
        (kill, "spool", "classic"),
        (RabbitServer.restart, "memory", "quorum"),
        (hang, "memory", "quorum"),
        (hang, "spool", "quorum"),
    ],
)
def test_nothing_acknowledged_is_lost(
    own_rabbitmq: RabbitServer,
    unique_name: str,
    tmp_path: Path,
    trouble: Callable[[RabbitServer], object],
    queue: Literal["memory", "spool"],
    kind: str,
) -> None:
    oracle = deliver(own_rabbitmq.url, unique_name, lambda: trouble(own_rabbitmq), tmp_path, queue, kind)
    oracle.check(lost=0, duplicates=3 * WINDOW, out_of_order=0, unacknowledged=0)


def cut(proxy: FaultProxy) -> None:
    for count in (0, 8, 300, 1000):
        proxy.cut_after(count, direction="to_upstream", times=1)
        threading.Event().wait(0.1)
    for count in (0, 100, 600):
        proxy.cut_after(count, direction="to_client", times=1)
        threading.Event().wait(0.1)
    proxy.heal()


def test_connections_cut_at_any_byte_lose_nothing(rabbitmq_server: Address, rabbitmq_name: str, tmp_path: Path) -> None:
    with FaultProxy(rabbitmq_server.host, rabbitmq_server.port) as proxy:
        url = rabbitmq_server.url.replace(f":{rabbitmq_server.port}", f":{proxy.port}")
        oracle = deliver(url, rabbitmq_name, lambda: cut(proxy), tmp_path, "memory")
    oracle.check(lost=0, duplicates=8 * WINDOW, out_of_order=0, unacknowledged=0)


def test_blocked_broker_is_back_pressure_and_not_an_error(
    own_rabbitmq: RabbitServer, unique_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "standpipe")
    with producer(own_rabbitmq.url, unique_name, send_timeout=2.0) as made:
        made.produce(False, {"n": 0}).wait(WITHIN)
        own_rabbitmq.alarm()
        try:
            made.produce(False, {"n": 1})  # the broker still takes it, and says then that it was the last
            until(lambda: "takes no messages at the moment" in caplog.text)
            receipts = [made.produce(False, {"n": number}) for number in range(2, 50)]
            waited = threading.Event().wait(2.5)  # longer than send_timeout
            assert not waited
            assert not any(receipt.done() for receipt in receipts)
            blocked = made.statistics()
        finally:
            own_rabbitmq.alarm(False)
        assert made.flush(WITHIN) == 0
        assert (blocked.resets, blocked.retries, made.statistics().resets, made.statistics().connects) == (0, 0, 0, 1)
    assert caplog.text.count("takes no messages at the moment") == 1
    assert caplog.text.count("takes messages again") == 1
    assert [body for _, _, body in read(own_rabbitmq.url, unique_name)] == [b'{"n":%d}' % number for number in range(50)]


def test_broker_that_reads_nothing_is_left_and_memory_stays_bounded(own_rabbitmq: RabbitServer, unique_name: str) -> None:
    with producer(own_rabbitmq.url, unique_name, send_timeout=1.0, connect_timeout=0.5) as made:
        made.produce(False, {"n": 0}).wait(WITHIN)
        own_rabbitmq.freeze()
        try:
            for number in range(20):
                made.produce(False, {"n": number, "pad": "x" * 1_000_000})
            until(lambda: made.statistics().connect_failures > 0)
            assert made.statistics().attempts < 18  # the rest was not even handed to the client
        finally:
            own_rabbitmq.thaw()
        assert made.flush(WITHIN) == 0
        assert made.statistics().delivered == 21


def test_full_queue_is_waited_for_and_order_is_kept(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    queues = [{"name": rabbitmq_name, "type": "classic", "arguments": {"x-max-length": 5}}]
    with producer(rabbitmq_server.url, rabbitmq_name, declare={"queues": queues}) as made:
        for number in range(20):
            made.produce(False, {"n": number}, key="one")
        until(lambda: made.statistics().retries > 1)
        assert made.statistics().delivered == 5
        arrived: list[bytes] = []
        while len(arrived) < 20:
            arrived += [body for _, _, body in read(rabbitmq_server.url, rabbitmq_name)]
        assert made.flush(WITHIN) == 0
        assert (made.statistics().resets, made.statistics().dead_lettered) == (0, 0)
    assert arrived == [b'{"n":%d}' % number for number in range(20)]


def delete(url: str, name: str) -> None:
    with channel_to(url) as channel:
        channel.queue_delete(name)


def test_declared_queue_that_is_deleted_in_mid_stream_is_declared_again(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    with producer(rabbitmq_server.url, rabbitmq_name) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        delete(rabbitmq_server.url, rabbitmq_name)
        made.produce_many(False, [{"n": 2}, {"n": 3}])
        assert made.flush(WITHIN) == 0
        assert (made.statistics().delivered, made.statistics().dead_lettered) == (3, 0)
    assert count_in(rabbitmq_server.url, rabbitmq_name) == 2


def test_queue_that_is_deleted_in_mid_stream_is_waited_for(rabbitmq_server: Address, rabbitmq_name: str) -> None:
    def create() -> None:
        with channel_to(rabbitmq_server.url) as channel:
            channel.queue_declare(rabbitmq_name, durable=True)

    create()
    with producer(rabbitmq_server.url, rabbitmq_name, declare=None) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        delete(rabbitmq_server.url, rabbitmq_name)
        made.produce_many(False, [{"n": 2}, {"n": 3}])
        until(lambda: "does not exist" in str(made.statistics().last_error))
        create()
        assert made.flush(WITHIN) == 0
        assert (made.statistics().delivered, made.statistics().dead_lettered) == (3, 0)


def test_exchange_that_is_deleted_in_mid_stream_is_waited_for_and_nobody_is_rejected(
    rabbitmq_server: Address, rabbitmq_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.error_table.NOTICE", 0.2)

    def create() -> None:
        with channel_to(rabbitmq_server.url) as channel:
            channel.exchange_declare(rabbitmq_name, "fanout", durable=True)
            channel.queue_declare(rabbitmq_name, durable=True)
            channel.queue_bind(rabbitmq_name, rabbitmq_name, "")

    create()
    with producer(rabbitmq_server.url, rabbitmq_name, exchange=rabbitmq_name, declare=None) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        with channel_to(rabbitmq_server.url) as channel:
            channel.exchange_delete(rabbitmq_name)
        made.produce_many(False, [{"n": number} for number in range(2, 10)])
        until(lambda: "exchange" in str(made.statistics().last_error))
        create()
        assert made.flush(WITHIN) == 0
        assert (made.statistics().delivered, made.statistics().dead_lettered) == (9, 0)


@pytest.fixture
def small_messages_only(own_rabbitmq: RabbitServer) -> Iterator[RabbitServer]:
    """A broker that takes no more than 100,000 bytes."""
    before = own_rabbitmq.control("eval", "{ok, Size} = application:get_env(rabbit, max_message_size), Size.").strip()
    own_rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 100000).")
    yield own_rabbitmq
    own_rabbitmq.control("eval", f"application:set_env(rabbit, max_message_size, {before}).")


def test_message_larger_than_the_broker_takes_is_rejected_and_the_others_arrive(
    small_messages_only: RabbitServer, unique_name: str
) -> None:
    with producer(small_messages_only.url, unique_name) as made:
        good = made.produce_many(False, [{"n": number} for number in range(50)])
        bad = made.produce(False, {"text": "x" * 100_001})
        more = made.produce_many(False, [{"n": number} for number in range(50)])
        assert made.flush(WITHIN) == 0
        again = made.produce(False, {"text": "x" * 100_001})
        assert made.flush(WITHIN) == 0
        assert good.delivered
        assert more.delivered
        assert {bad.state.name, again.state.name} == {"DEAD_LETTERED"}
        assert all("max_message_size" in str(letter.error) for letter in made.dead_letters)
        assert made.statistics().resets <= 1


def test_message_for_which_the_broker_closes_the_channel_is_found_and_the_others_arrive(
    rabbitmq_server: Address, rabbitmq_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header of the name CC that is not a list: the broker says `precondition failed` to the whole channel."""
    monkeypatch.setattr(RabbitmqProducerConfig, "header_rule", header_rules.AMQP)  # which lets it through
    with producer(rabbitmq_server.url, rabbitmq_name) as made:
        for number in range(200):
            made.produce(False, {"n": number}, headers={"CC": "elsewhere"} if number in (50, 51, 120) else None)
        assert made.flush(WITHIN) == 0
        assert [letter.content()["n"] for letter in made.dead_letters] == [50, 51, 120]
        assert all("closes the channel because of it" in str(letter.error) for letter in made.dead_letters)
        assert made.statistics().delivered == 197
    arrived = [orjson.loads(body)["n"] for _, _, body in read(rabbitmq_server.url, rabbitmq_name)]
    assert set(arrived) == set(range(200)) - {50, 51, 120}
