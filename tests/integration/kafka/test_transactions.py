"""With `transactional_id` readers see all of a batch or nothing of it."""

from __future__ import annotations

import orjson
import pytest

from standpipe.delivery.receipt import State
from tests.integration.kafka import reading
from tests.servers.kafka import MockKafka, TansuServer
from tests.servers.server import Address

ADD_PARTITIONS, END_TRANSACTION = 24, 26
INVALID_STATE, CONCURRENT, TOO_LARGE = 48, 51, 10


def numbers(servers: str, topic: str) -> list[int]:
    """What a reader sees that wants committed messages only."""
    found = reading.messages(servers, topic, **{"isolation.level": "read_committed"})
    return [orjson.loads(message.value() or b"")["n"] for message in found]


def test_batches_are_committed(kafka_server: Address, kafka_name: str) -> None:
    with reading.producer(kafka_server.url, kafka_name, transactional_id=kafka_name) as producer:
        many = producer.produce_many(False, [{"n": n} for n in range(2500)], key="k")
        one = producer.produce(True, {"n": 2500}, key="k")
        assert reading.arrives(many)
        assert reading.arrives(one)
        assert one.detail["topic"] == kafka_name
    assert numbers(kafka_server.url, kafka_name) == list(range(2501))


def test_a_message_that_cannot_be_sent_is_rejected_and_the_others_are_committed(kafka_server: Address, kafka_name: str) -> None:
    with reading.producer(kafka_server.url, kafka_name, transactional_id=kafka_name, max_message_bytes="10kB") as producer:
        receipt = producer.produce_many(False, [{"n": 0}, {"n": 1, "x": "x" * 20_000}, {"n": 2}], key="k")
        assert receipt.wait(20) is State.DEAD_LETTERED
        assert producer.statistics().delivered == 2
    assert numbers(kafka_server.url, kafka_name) == [0, 2]


def test_who_was_overtaken_by_another_with_the_same_id_says_so(own_kafka: TansuServer, unique_name: str) -> None:
    with reading.producer(own_kafka.url, unique_name, transactional_id=unique_name) as first:
        assert reading.arrives(first.produce(False, {"n": 0}))
        with reading.producer(own_kafka.url, unique_name, transactional_id=unique_name) as second:
            assert reading.arrives(second.produce(False, {"n": 1}))
        waiting = first.produce(False, {"n": 2})
        reading.wait_until(lambda: "give each producer its own" in str(first.statistics().last_error))
    assert waiting.delivered  # by the last try that the shutdown makes
    assert sorted(numbers(own_kafka.url, unique_name)) == [0, 1, 2]


@pytest.mark.usefixtures("one_request_at_a_time")
@pytest.mark.parametrize(("request_kind", "error"), [(0, TOO_LARGE), (ADD_PARTITIONS, CONCURRENT), (END_TRANSACTION, INVALID_STATE)])
def test_what_was_aborted_is_sent_again(mock_kafka: MockKafka, unique_name: str, request_kind: int, error: int) -> None:
    """The mock cluster keeps what was aborted, so only that everything arrives can be seen here."""
    mock_kafka.create_topic(unique_name, partitions=1)
    with reading.producer(mock_kafka.url, unique_name, transactional_id="t") as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}, key="k"))
        mock_kafka.answer_with([error], request=request_kind)
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(1, 20)]
        assert all(reading.arrives(receipt) for receipt in receipts)
        assert producer.statistics().dead_lettered == 0
    found = [orjson.loads(message.value() or b"")["n"] for message in reading.messages(mock_kafka.url, unique_name)]
    assert list(dict.fromkeys(found)) == list(range(20))


def test_a_broker_that_hangs_in_the_middle_of_a_transaction_loses_nothing(
    own_kafka: TansuServer, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("standpipe.producers.kafka_transactions.ABORT_WITHIN", 0.5)
    with reading.producer(own_kafka.url, unique_name, transactional_id=unique_name, send_timeout=1.0) as producer:
        assert reading.arrives(producer.produce(False, {"n": 0}, key="k"))
        own_kafka.freeze()
        receipts = [producer.produce(False, {"n": n}, key="k") for n in range(1, 50)]
        reading.wait_until(lambda: producer.statistics().last_error is not None, 20)
        own_kafka.thaw()
        assert all(reading.arrives(receipt) for receipt in receipts)
    assert list(dict.fromkeys(numbers(own_kafka.url, unique_name))) == list(range(50))
