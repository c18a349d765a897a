"""The kit can fail: each producer that breaks a promise is caught by the promise that is meant for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from standpipe.producers.base import BaseProducer
from standpipe.testing import check_producer
from standpipe.testing.promise import PROMISES
from tests.integration.conformance import broken
from tests.integration.conformance.ledger import Ledger, LedgerSubject

CAUGHT: list[tuple[str, type[BaseProducer], str]] = [
    ("nothing-early", broken.ConnectsAtOnce, "before the first message"),
    ("nothing-early", broken.StartsAThread, "watchdog"),
    ("delivers", broken.BuffersClaims, "count as delivered and did not arrive"),
    ("delivers", broken.ForgetsTheOdd, "count as delivered and did not arrive"),
    ("bytes", broken.ChangesText, "count as delivered and did not arrive as they were sent"),
    ("bytes", broken.CutsLongText, "count as delivered and did not arrive as they were sent"),
    ("oversize", broken.TriesRefusedForEver, "had no outcome"),
    ("refusal", broken.RejectsTheWholeBatch, "was dead_lettered"),
    ("errors-told-apart", broken.MixesErrors, "was produced with is_error=True and arrived as False"),
    ("order", broken.Reorders, "arrived before"),
    ("one-thread", broken.SendsFromOtherThreads, "which is not the worker"),
    ("refused-connections", broken.SwallowsErrors, "count as delivered and cannot have been confirmed"),
    ("refused-at-first", broken.PretendsToConnect, "count as delivered and cannot have been confirmed"),
    ("cuts", broken.LosesOnReconnect, "count as delivered and did not arrive"),
    ("lost-answers", broken.ClaimsEarly, "count as delivered and cannot have been confirmed"),
    ("hanging-sends", broken.WaitsForEver, "was not noticed"),
    ("hanging-sends", broken.ClaimsEarly, "count as delivered and cannot have been confirmed"),
    ("frozen-peer", broken.WaitsForEver, "was not noticed"),
    ("slow-peer", broken.ImpatientAndSure, "count as delivered and did not arrive"),
    ("garbled-answers", broken.GivesUp, "had no outcome"),
    ("any-exception", broken.ConnectsOnlyOnce, "had no outcome"),
    ("partial-failures", broken.ForgetsTheOdd, "count as delivered and did not arrive"),
    ("close-twice", broken.ClosesOnce, "_close raised"),
    ("close-twice", broken.NeedsAConnectionToClose, "_close without a connection raised"),
    ("shutdown", broken.HangsInClose, "the worker thread is still there"),
    ("shutdown-delivers", broken.ForgetsTheRest, "count as delivered and did not arrive"),
    ("shutdown-hanging-peer", broken.SaysGoodbye, "the worker thread is still there"),
    ("reconnects", broken.LeaksSockets, "more files or sockets are open"),
    ("reconnects", broken.LeaksMemory, "each reconnect keeps"),
    ("reconnects", broken.LeaksMappings, "with each reconnect the process grows by"),
    ("reconnects", broken.LeaksThreads, "more threads run"),
    ("fork", broken.SharesItsConnection, "that of its parent|the child"),
    ("fork", broken.ShutsDownWhatItInherits, "the parent.s connection suffered from the fork"),
    ("secrets", broken.LogsItsToken, "appears in: log line"),
    ("secrets", broken.ShowsItsToken, "appears in: destination"),
]


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    """What hangs or is kept on purpose ends with its test."""
    broken.RELEASE.clear()
    yield
    broken.RELEASE.set()
    for connections in (broken.LeaksSockets.kept, broken.ConnectsAtOnce.kept):
        for connection, answers in connections:
            answers.close()
            connection.close()
        connections.clear()
    broken.LeaksMemory.notes.clear()
    for mapping in broken.LeaksMappings.kept:
        mapping.close()
    broken.LeaksMappings.kept.clear()
    broken.SharesItsConnection.shared.clear()


@pytest.mark.parametrize(("promise", "kind", "reason"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.timeout(60)
def test_a_broken_producer_is_caught(ledger: Ledger, promise: str, kind: type[BaseProducer], reason: str) -> None:
    report = check_producer(LedgerSubject(kind, ledger), only=[promise], quick=True, patience=2.0)
    assert [result.name for result in report.broken] == [promise], str(report)
    found = report.broken[0]
    assert re.search(reason, found.reason or ""), str(report)
    broken.RELEASE.set()


def test_for_every_promise_there_is_a_producer_that_breaks_it() -> None:
    assert {promise for promise, _, _ in CAUGHT} == set(PROMISES)
