"""A good producer in each of the four styles keeps every promise, and the report says so."""

from __future__ import annotations

import socket

import orjson
import pytest

from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.testing import PromiseResult, Subject, Verdict, check_producer
from standpipe.testing.promise import PROMISES
from standpipe.testing.pytest_plugin import PROMISE_NAMES, CheckPromise
from tests.integration.conformance.broken import MixesErrors
from tests.integration.conformance.ledger import GOOD, Ledger, LedgerConfig, LedgerSubject, OneByOne


@pytest.mark.parametrize("kind", GOOD)
def test_keeps_the_promise(conformance: CheckPromise, ledger: Ledger, kind: type[BaseProducer]) -> None:
    conformance(LedgerSubject(kind, ledger))


def test_the_plugin_names_every_promise_in_order() -> None:
    assert tuple(PROMISES) == PROMISE_NAMES


def test_a_report_is_for_people_and_for_programs(ledger: Ledger) -> None:
    seen: list[PromiseResult] = []
    report = check_producer(
        LedgerSubject(MixesErrors, ledger), seed=5, quick=True, only=["errors-told-apart", "bytes"], on_result=seen.append
    )
    assert [result.verdict for result in report.results] == [Verdict.KEPT, Verdict.BROKEN]
    assert tuple(seen) == report.results
    text = str(report)
    assert "tests.integration.conformance.broken:MixesErrors, seed 5" in text
    assert "was produced with is_error=True and arrived as False\n     " in text
    assert text.endswith("1 kept, 1 broken; for the same again: seed 5")
    told = orjson.loads(orjson.dumps(report.as_dict()))
    assert (told["holds"], told["counts"], told["promises"][1]["verdict"]) == (
        False,
        {"kept": 1, "broken": 1, "not applicable": 0},
        "broken",
    )
    assert any("_send" in line for line in told["promises"][1]["history"])
    with pytest.raises(AssertionError, match="errors-told-apart"):
        report.raise_if_broken()


def test_when_the_destination_is_not_there_only_one_promise_is_broken_and_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    config = LedgerConfig(type="ledger", name="nowhere", port=port)
    report = check_producer(OneByOne, config, quick=True, patience=0.5, only=["delivers", "order", "cuts"])
    assert [result.verdict for result in report.results] == [Verdict.BROKEN, Verdict.NOT_APPLICABLE, Verdict.NOT_APPLICABLE]
    assert "Connection refused" in (report.broken[0].reason or "")


def test_without_reading_back_and_an_address_what_cannot_be_checked_is_said(ledger: Ledger) -> None:
    class Blind(Subject[BaseProducerConfig]):
        def address(self) -> None:
            return None

    config = LedgerConfig(type="ledger", name="blind", port=ledger.port)
    report = check_producer(Blind(OneByOne, config), quick=True, only=["order", "cuts", "refusal"])
    assert report.holds
    assert [result.reason for result in report.results] == [
        "no message is known that the destination refuses; the subject's `refused` may name one",
        "the destination cannot be read; the subject's `read_back` may do it",
        "the configuration has no address, so no proxy can be put before the service",
    ]


def test_what_cannot_be_checked_at_all_is_an_error_at_once(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="there is no promise 'speed'; there are: nothing-early, "):
        check_producer(LedgerSubject(OneByOne, ledger), only=["speed"])
    with pytest.raises(TypeError, match="needs a configuration"):
        check_producer(OneByOne)
    with pytest.raises(TypeError, match="a subject has its configuration"):
        check_producer(LedgerSubject(OneByOne, ledger), LedgerConfig(type="ledger", name="twice", port=1))
    with pytest.raises(TypeError, match="is not a producer"):
        Subject(int, LedgerConfig(type="ledger", name="no", port=1))  # type: ignore[arg-type]
