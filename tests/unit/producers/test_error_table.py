"""What a client's errors mean: one table, the first row that fits, and never a drop for what nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from standpipe.core.errors import ConfigurationError, Disconnected, Misconfigured, NotSent, Reject, RetryAfter, SendError
from standpipe.core.outcome import Outcome, judge
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.error_table import TEXT_MAX, ErrorRow, ErrorTable, outcome_words


class Busy(Exception):
    """The service asks for a pause."""

    seconds = 7.5


TABLE = ErrorTable(
    "the service",
    ErrorRow("too large", lambda error: "large" in str(error), Reject, "the message is larger than the service takes; send less"),
    ErrorRow("busy", Busy, RetryAfter, "the service is busy", seconds=lambda error: error.seconds),  # type: ignore[attr-defined]
    ErrorRow("forbidden", PermissionError, Misconfigured, "the service refuses the password; correct it", seconds=30),
    ErrorRow("refused", ConnectionRefusedError, Disconnected, "nobody listens", arrived=False),
    ErrorRow("cut", (ConnectionError, EOFError), Disconnected, "the connection is gone"),
    ErrorRow("not yet", LookupError, NotSent, "there is no leader"),
    ErrorRow("late", TimeoutError, SendError, "no answer came in time"),
)


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (ValueError("too large"), Reject, Outcome.REJECTED),
        (Busy("wait"), RetryAfter, Outcome.FAILED),
        (PermissionError("no"), Misconfigured, Outcome.FAILED),
        (ConnectionRefusedError("no"), Disconnected, Outcome.FAILED),
        (ConnectionResetError("cut"), Disconnected, Outcome.UNKNOWN),
        (EOFError(), Disconnected, Outcome.UNKNOWN),
        (KeyError("leader"), NotSent, Outcome.FAILED),
        (TimeoutError(), SendError, Outcome.UNKNOWN),
        (RuntimeError("never heard of"), SendError, Outcome.UNKNOWN),
        (ConfigurationError("tls.ca_file 'x' does not exist"), Misconfigured, Outcome.FAILED),
        (Reject("by ourselves"), Reject, Outcome.REJECTED),
    ],
)
def test_the_first_row_that_fits_decides(error: Exception, kind: type[SendError], outcome: Outcome) -> None:
    made = TABLE.translate(error)
    assert type(made) is kind
    assert judge(made).outcome is outcome


def test_people_see_the_reason_the_remedy_and_what_the_client_said() -> None:
    error = PermissionError("access\nrefused")
    made = TABLE.translate(error, response=b"403")
    assert str(made) == "the service refuses the password; correct it (PermissionError: access refused)"
    assert made.__cause__ is error
    assert made.response == b"403"
    assert str(TABLE.translate(RuntimeError())) == "the service failed (RuntimeError)"
    assert str(TABLE.translate(ConfigurationError("name a file"))) == "name a file"


def test_pauses_are_fixed_or_asked_for() -> None:
    assert judge(TABLE.translate(Busy())).retry_after == 7.5
    assert judge(TABLE.translate(PermissionError())).retry_after == 30


def test_a_long_text_of_the_client_is_cut() -> None:
    assert len(str(TABLE.translate(RuntimeError("x" * 5000)))) < TEXT_MAX + 60


def test_every_row_can_be_printed() -> None:
    rows = list(TABLE.described())
    assert rows[0] == ("too large", "rejected: to the dead letters", "the message is larger than the service takes; send less")
    assert len({words for _, words, _ in rows}) == len({row.outcome for row in TABLE.rows})


def test_an_outcome_of_ones_own_is_described_as_what_it_extends() -> None:
    class Banned(Reject):
        """The service does not want us."""

    assert outcome_words(Banned) == outcome_words(Reject)


class Refusing(BaseProducer):
    """Refuses the password a few times, then accepts it: somebody has corrected it."""

    def __init__(self, config: BaseProducerConfig) -> None:
        self.refusals = 3
        self.sent: list[dict[str, Any]] = []
        super().__init__(config)

    def _connect(self) -> None:
        """Nothing to open."""

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Misconfigured(0.01, "the service refuses the password; correct it")
        self.sent.append(message)

    def _close(self) -> None:
        """Nothing to close."""


def test_a_fault_of_the_configuration_never_costs_a_message() -> None:
    with Refusing(BaseProducerConfig(type="x", name="p", max_retries=1, max_resets=0)) as producer:
        receipts = [producer.produce(False, {"n": number}) for number in range(3)]
        assert all(receipt.wait(10).value == "delivered" for receipt in receipts)
    statistics = producer.statistics()
    assert (statistics.delivered, statistics.dead_lettered, statistics.dropped) == (3, 0, 0)
    assert producer.sent == [{"n": number} for number in range(3)]
