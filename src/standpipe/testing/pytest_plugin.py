"""Fixtures for pytest, there wherever Standpipe is installed: `conformance`, `faulty`, `fault_proxy`, `manual_clock`, `recording_producer`.

Nothing of the kit is imported before a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from standpipe.producers.base import BaseProducer, BaseProducerConfig
    from standpipe.testing import Faults, ManualClock, RecordingProducer, Subject
    from standpipe.testing.fault_proxy import FaultProxy

PROMISE_NAMES = (
    "nothing-early",
    "delivers",
    "bytes",
    "oversize",
    "refusal",
    "errors-told-apart",
    "order",
    "one-thread",
    "refused-connections",
    "refused-at-first",
    "cuts",
    "lost-answers",
    "hanging-sends",
    "frozen-peer",
    "slow-peer",
    "garbled-answers",
    "any-exception",
    "partial-failures",
    "close-twice",
    "shutdown",
    "shutdown-delivers",
    "shutdown-hanging-peer",
    "reconnects",
    "fork",
    "secrets",
)
"""The promises, in order: named here so that collecting tests imports nothing."""


class CheckPromise(Protocol):
    """What the fixture `conformance` gives."""

    def __call__(
        self,
        producer: type[BaseProducer] | Subject[Any],
        config: BaseProducerConfig | None = None,
        *,
        seed: int = 0,
        quick: bool = True,
        patience: float = 20.0,
    ) -> None:
        """Check the promise of this test, as `check_producer` does: it fails when it is broken, is skipped when it is not applicable."""


class MakeFaulty(Protocol):
    """What the fixture `faulty` gives."""

    def __call__(self, kind: type[BaseProducer], config: BaseProducerConfig) -> tuple[BaseProducer, Faults]:
        """A producer of class `kind` whose methods go through the `Faults` that come with it; shut down after the test."""


@pytest.fixture(params=PROMISE_NAMES)
def conformance(request: pytest.FixtureRequest) -> CheckPromise:
    """One test per promise of the conformance kit: call it with your producer and its configuration, or with a `Subject`."""
    from standpipe.testing.conformance import Verdict, as_subject, check_promise, chosen

    name: str = request.param

    def check(
        producer: type[BaseProducer] | Subject[Any],
        config: BaseProducerConfig | None = None,
        *,
        seed: int = 0,
        quick: bool = True,
        patience: float = 20.0,
    ) -> None:
        result = check_promise(as_subject(producer, config), chosen([name])[0], seed=seed, quick=quick, patience=patience)
        if result.verdict is Verdict.NOT_APPLICABLE:
            pytest.skip(result.reason or "not applicable")
        if result.verdict is Verdict.BROKEN:
            history = "\n".join(f"  {line}" for line in result.history)
            pytest.fail(f"{result.says}: broken (seed {seed})\n{result.reason}\n{history}", pytrace=False)

    return check


@pytest.fixture
def faulty() -> Iterator[MakeFaulty]:
    """Makes producers whose methods fail or hang as the test says: `producer, faults = faulty(MyProducer, config)`."""
    from standpipe.testing.faults import Faults, faulty_class

    made: list[tuple[BaseProducer, Faults]] = []

    def make(kind: type[BaseProducer], config: BaseProducerConfig) -> tuple[BaseProducer, Faults]:
        faults = Faults()
        made.append((faulty_class(kind, faults)(config), faults))
        return made[-1]

    yield make
    for producer, faults in made:
        faults.heal()
        producer.shutdown(timeout=5.0)


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Makes proxies before a TCP service: `proxy = fault_proxy("127.0.0.1", 5432, seed=1)`; closed after the test."""
    from standpipe.testing.fault_proxy import FaultProxy

    made: list[FaultProxy] = []

    def make(host: str, port: int, *, seed: int = 0) -> FaultProxy:
        made.append(FaultProxy(host, port, seed=seed))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that the test moves: `MyProducer(config, clock=manual_clock)`."""
    from standpipe.testing.clock import ManualClock

    return ManualClock()


@pytest.fixture
def recording_producer() -> Iterator[RecordingProducer]:
    """A producer that keeps what it is sent; shut down after the test."""
    from standpipe.testing.recording import RecordingProducer

    producer = RecordingProducer()
    yield producer
    producer.shutdown(timeout=5.0)
