"""The example with three destinations, against a real Kafka-compatible broker and a real RabbitMQ; one of them is away at first."""

from __future__ import annotations

import json
from pathlib import Path

import pika

from scripts.docs import ROOT
from tests.integration.cli.process import Process
from tests.integration.kafka import reading
from tests.servers.kafka import TansuServer
from tests.servers.server import Address

LINES = [{"order": number, "customer": f"c-{number % 7}", "level": "error" if number % 10 == 3 else "info"} for number in range(300)]


def queued(url: str, queue: str) -> list[int]:
    """The orders in a queue of RabbitMQ, in order."""
    found: list[int] = []
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(json.loads(got[2])["order"])
    connection.close()
    return found


def archived(folder: Path) -> list[int]:
    """The orders in the archive, in order."""
    return [json.loads(line)["order"] for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]


def test_every_destination_gets_its_share_although_one_is_away_at_first(
    own_kafka: TansuServer, unique_name: str, rabbitmq_server: Address, rabbitmq_name: str, tmp_path: Path
) -> None:
    (tmp_path / "orders.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    environment = {
        "LOGS": "orders.jsonl",
        "STATE": "state",
        "OUT": "archive",
        "KAFKA": own_kafka.url,
        "TOPIC": unique_name,
        "RABBITMQ": rabbitmq_server.url,
        "QUEUE": rabbitmq_name,
    }
    own_kafka.stop()
    configuration = str(ROOT / "examples" / "fan_out.yaml")
    with Process("run", configuration, "--quiet", folder=tmp_path, **environment) as process:
        process.wait_until(lambda: len(archived(tmp_path / "archive")) == len(LINES))
        own_kafka.start()
        process.wait_until(lambda: len(reading.messages(own_kafka.url, unique_name)) == len(LINES))
    errors = [line["order"] for line in LINES if line["level"] == "error"]
    assert sorted(archived(tmp_path / "archive")) == [line["order"] for line in LINES]
    assert sorted(queued(rabbitmq_server.url, rabbitmq_name)) == errors
    messages = reading.messages(own_kafka.url, unique_name)
    orders = [json.loads(message.value() or b"{}")["order"] for message in messages]
    assert sorted(orders) == [line["order"] for line in LINES]
    for customer in range(7):
        mine = [order for order in orders if int(str(order)) % 7 == customer]
        assert mine == sorted(mine)
    marked = [json.loads(message.value() or b"{}")["order"] for message in messages if reading.headers(message).get("is_error") == "true"]
    assert sorted(marked) == errors
