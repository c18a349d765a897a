"""A broker that is killed, restarted, frozen, full or refusing: nothing is lost beyond what it loses itself, and order is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from standpipe.producers.config import AnyQueueConfig
from standpipe.producers.mqtt import MqttProducer
from standpipe.testing.fault_proxy import FaultProxy
from tests.integration.mqtt.broker import WITHIN, Reader, producer
from tests.servers.mosquitto import MosquittoServer
from tests.servers.oracle import Oracle
from tests.servers.scenario import deliver_through_trouble, hang, kill
from tests.servers.server import Address
from tests.servers.waiting import until

WINDOW = 20
"""What Mosquitto takes at once: the bound on what may come twice after one lost connection."""
LOST_BY_KILL = 2
"""Mosquitto writes to its disk after each change, and still a kill may take the last one or two."""


def deliver(
    reader: Reader, url: str, name: str, trouble: Callable[[], object], folder: Path, queue: Literal["memory", "spool"], **settings: Any
) -> Oracle:
    def make(config: AnyQueueConfig) -> MqttProducer:
        return producer(url, name, key_header="message-key", max_in_flight=WINDOW, queue=config, **settings)

    return deliver_through_trouble(make, trouble, reader.found, folder=folder, queue=queue)


@pytest.mark.parametrize(
    ("trouble", "queue", "qos", "lost"),
    [
        (kill, "memory", 1, LOST_BY_KILL),
        (kill, "spool", 2, LOST_BY_KILL),
        (MosquittoServer.restart, "memory", 2, 0),
        (MosquittoServer.restart, "spool", 1, 0),
        (hang, "memory", 1, 0),
        (hang, "spool", 2, 0),
    ],
)
def test_nothing_acknowledged_is_lost(
    own_mqtt: MosquittoServer,
    unique_name: str,
    tmp_path: Path,
    trouble: Callable[[MosquittoServer], object],
    queue: Literal["memory", "spool"],
    qos: int,
    lost: int,
) -> None:
    reader = Reader(own_mqtt.address, unique_name)
    oracle = deliver(reader, own_mqtt.url, unique_name, lambda: trouble(own_mqtt), tmp_path, queue, qos=qos)
    oracle.check(lost=lost, duplicates=3 * WINDOW, out_of_order=0, unacknowledged=0)


def cut(proxy: FaultProxy) -> None:
    for count in (0, 8, 60, 300, 1000):
        proxy.cut_after(count, direction="to_upstream", times=1)
        threading.Event().wait(0.1)
    for count in (0, 3, 25, 60):
        proxy.cut_after(count, direction="to_client", times=1)
        threading.Event().wait(0.1)
    proxy.heal()


@pytest.mark.parametrize("qos", [1, 2])
def test_connections_cut_at_any_byte_lose_nothing(mqtt_server: Address, mqtt_name: str, tmp_path: Path, qos: int) -> None:
    reader = Reader(mqtt_server, mqtt_name)
    with FaultProxy(mqtt_server.host, mqtt_server.port) as proxy:
        url = mqtt_server.url.replace(f":{mqtt_server.port}", f":{proxy.port}")
        oracle = deliver(reader, url, mqtt_name, lambda: cut(proxy), tmp_path, "memory", qos=qos)
    oracle.check(lost=0, duplicates=9 * WINDOW, out_of_order=0, unacknowledged=0)


def test_successor_on_the_same_spool_delivers_what_was_left(own_mqtt: MosquittoServer, unique_name: str, tmp_path: Path) -> None:
    reader = Reader(own_mqtt.address, unique_name)

    def make(config: AnyQueueConfig) -> MqttProducer:
        return producer(own_mqtt.url, unique_name, key_header="message-key", max_in_flight=WINDOW, queue=config)

    def trouble() -> None:
        own_mqtt.stop()
        threading.Event().wait(0.5)
        own_mqtt.start()

    oracle = deliver_through_trouble(make, trouble, reader.found, folder=tmp_path, queue="spool", successor=True)
    oracle.check(lost=0, duplicates=3 * WINDOW, out_of_order=0, unacknowledged=300)


def test_connection_that_went_dead_without_a_word_is_noticed_when_nothing_is_sent(mqtt_server: Address, mqtt_name: str) -> None:
    with FaultProxy(mqtt_server.host, mqtt_server.port) as proxy:
        url = mqtt_server.url.replace(f":{mqtt_server.port}", f":{proxy.port}")
        with producer(url, mqtt_name, keepalive=1) as made:
            made.produce(False, {"n": 1}).wait(WITHIN)
            proxy.black_hole()
            until(lambda: made.statistics().connect_failures > 0 or made.statistics().connects > 1)
            proxy.heal()
            made.produce(False, {"n": 2})
            assert made.flush(WITHIN) == 0
            assert made.statistics().delivered == 2


def test_message_that_the_broker_ends_the_connection_for_is_found_and_the_others_arrive(
    own_server: Callable[..., MosquittoServer], unique_name: str
) -> None:
    """With MQTT 3.1.1 the broker says nothing about its limit, and nothing about the reason."""
    server = own_server(MosquittoServer, settings={"max_packet_size": "2000"})
    reader = Reader(server.address, unique_name)
    retry = {"initial": 0.01, "max": 0.02}
    with producer(server.url, unique_name, protocol="3.1.1", retry=retry, reconnect_wait=0.02) as made:
        before = made.produce_many(False, [{"n": number} for number in range(30)])
        bad = made.produce(False, {"text": "x" * 3000})
        after = made.produce_many(False, [{"n": number} for number in range(30, 60)])
        assert made.flush(WITHIN) == 0
        assert (before.delivered, bad.state.name, after.delivered) == (True, "DEAD_LETTERED", True)
        assert "ends the connection because of this message" in str(bad.error)
    assert len({bytes(message.payload) for message in reader.read()}) == 60


def test_broker_that_says_its_limit_gets_no_larger_message(own_server: Callable[..., MosquittoServer], unique_name: str) -> None:
    server = own_server(MosquittoServer, settings={"max_packet_size": "2000"})
    with producer(server.url, unique_name) as made:
        good = made.produce(False, {"n": 1})
        bad = made.produce(False, {"text": "x" * 3000})
        assert made.flush(WITHIN) == 0
        assert good.delivered
        assert "2000 is the most" in str(bad.error)
        assert made.statistics().resets == 0
        assert any("packets of 2000 bytes" in finding.what for finding in made.examine())


def access(folder: Path, name: str) -> dict[str, str]:
    """Rules of the broker by which only topics below `name` may be written."""
    rules = folder / "rules"
    rules.write_text(f"topic readwrite {name}/allowed/#\n")
    return {"acl_file": str(rules)}


def test_topic_that_may_not_be_written_pauses_everything_unless_messages_choose_their_topics(
    own_server: Callable[..., MosquittoServer], unique_name: str, tmp_path: Path
) -> None:
    server = own_server(MosquittoServer, settings=access(tmp_path, unique_name))
    with producer(server.url, unique_name, topic=f"{unique_name}/secret") as made:
        waiting = made.produce(False, {"n": 1})
        until(lambda: "may not publish to this topic; allow it" in str(made.statistics().last_error))
        assert not waiting.done()
        made.shutdown(0.2)
    with producer(server.url, unique_name, topic=f"{unique_name}/{{place}}/x") as made:
        good = [made.produce(False, {"place": "allowed"}) for _ in range(3)]
        bad = made.produce(False, {"place": "secret"})
        good += [made.produce(False, {"place": "allowed"}) for _ in range(3)]
        assert made.flush(WITHIN) == 0
        assert bad.state.name == "DEAD_LETTERED"
        assert f"topic '{unique_name}/secret/x'" in str(bad.error)
        assert all(receipt.delivered for receipt in good)


def test_with_the_older_protocol_a_broker_acknowledges_what_it_drops_and_the_examination_warns(
    own_server: Callable[..., MosquittoServer], unique_name: str, tmp_path: Path
) -> None:
    server = own_server(MosquittoServer, settings=access(tmp_path, unique_name))
    reader = Reader(server.address, f"{unique_name}/allowed")
    with producer(server.url, unique_name, topic=f"{unique_name}/{{place}}/x", protocol="3.1.1") as made:
        receipts = [made.produce(False, {"place": place}) for place in ("allowed", "secret")]
        assert made.flush(WITHIN) == 0
        assert all(receipt.delivered for receipt in receipts)
        assert any("cannot refuse a message" in finding.consequence for finding in made.examine())
    assert len(reader.read()) == 1


def test_two_clients_with_one_id_are_told_so_even_if_the_broker_says_nothing(mqtt_server: Address, mqtt_name: str) -> None:
    with producer(mqtt_server.url, mqtt_name, client_id=mqtt_name) as made:
        made.produce(False, {"n": 1}).wait(WITHIN)
        assert any(finding.what.startswith("client_id is") for finding in made.examine())
        assert made.statistics().connects == 1  # the examination has not pushed it out
        with producer(mqtt_server.url, mqtt_name, client_id=mqtt_name) as other:
            other.start()
            until(lambda: f"another client has the client_id '{mqtt_name}'" in str(made.statistics().last_error))
        made.produce(False, {"n": 2})
        assert made.flush(WITHIN) == 0
        assert made.statistics().delivered == 2
