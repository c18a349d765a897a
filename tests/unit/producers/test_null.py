"""The null producer takes everything."""

from __future__ import annotations

from standpipe.producers.null import BaseProducerConfig, NullProducer


def test_everything_is_taken_and_counted_as_delivered() -> None:
    with NullProducer(BaseProducerConfig(type="null", name="nowhere")) as out:
        out.produce(True, {"n": 1})
        out.produce_many(False, [{"n": number} for number in range(5000)], key="a")
    statistics = out.statistics()
    assert (statistics.accepted, statistics.delivered, statistics.pending) == (5001, 5001, 0)


def test_it_says_that_messages_are_discarded() -> None:
    assert NullProducer(BaseProducerConfig(type="null", name="nowhere")).destination == "null: what is sent there is discarded"
