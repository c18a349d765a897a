"""The conformance kit: does a producer keep the promises that Standpipe makes in its name?

`check_producer` puts them to the test one after the other; `standpipe conformance` and the fixture `conformance` are made of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.testing import promises_delivery, promises_failures, promises_life
from standpipe.testing.promise import PROMISES, Promise
from standpipe.testing.promises_delivery import FIRST_MESSAGE
from standpipe.testing.subject import Subject
from standpipe.testing.subjects import subject_for
from standpipe.testing.trial import Broken, NotApplicable, Trial

PATIENCE = 20.0
"""Seconds after which a message without an outcome counts as stuck, with retries that are a tenth of a second apart."""
HISTORY_SHOWN = 40
"""Lines of history in the text of a report; `as_dict` has all."""

CHECKED_BY = (promises_delivery, promises_failures, promises_life)
"""The modules whose promises are checked, in this order."""


class Verdict(Enum):
    """What came out for one promise."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class PromiseResult:
    """What came out for one promise."""

    name: str
    says: str
    """the promise"""
    verdict: Verdict
    reason: str | None = None
    """why it is broken or not applicable"""
    seconds: float = 0.0
    history: tuple[str, ...] = ()
    """of a broken one: the calls, faults and outcomes before it was, oldest first"""


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """What came out for a producer. `str()` of it is for people."""

    producer: str
    """its class"""
    seed: int
    """what was left to chance is the same with the same seed, as far as threads and the network allow"""
    quick: bool
    results: tuple[PromiseResult, ...]

    @property
    def holds(self) -> bool:
        """True when no promise is broken."""
        return not self.broken

    @property
    def broken(self) -> list[PromiseResult]:
        """The promises that are not kept."""
        return [result for result in self.results if result.verdict is Verdict.BROKEN]

    def counts(self) -> dict[str, int]:
        """How many promises are kept, broken, not applicable."""
        return {verdict.value: sum(result.verdict is verdict for result in self.results) for verdict in Verdict}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        results = [asdict(result) | {"verdict": result.verdict.value} for result in self.results]
        head = {"producer": self.producer, "seed": self.seed, "quick": self.quick, "holds": self.holds}
        return head | {"counts": self.counts(), "promises": results}

    def raise_if_broken(self) -> None:
        """Raises AssertionError with the report if a promise is broken."""
        if not self.holds:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [line_of(result) for result in self.results]
        for result in self.broken:
            lines += ["", *self.history_of(result)]
        return "\n".join([f"{self.producer}, seed {self.seed}", *lines, "", self.summary()])

    def history_of(self, result: PromiseResult) -> list[str]:
        """What happened before a promise was broken, as lines for people: the last of them."""
        return [f"{result.name}: {result.reason}", *(f"  {line}" for line in result.history[-HISTORY_SHOWN:])]

    def summary(self) -> str:
        """The counts, and how to see a failure again."""
        counted = ", ".join(f"{number} {name}" for name, number in self.counts().items() if number)
        return counted if self.holds else f"{counted}; for the same again: seed {self.seed}"


def line_of(result: PromiseResult) -> str:
    """One line about one promise."""
    head = f"{result.verdict.value:<14}  {result.name:<21}  "
    return f"{head}{result.says if result.verdict is Verdict.KEPT else result.reason}"


def check_producer(
    producer: type[BaseProducer] | Subject[Any],
    config: BaseProducerConfig | None = None,
    *,
    seed: int = 0,
    quick: bool = False,
    only: Sequence[str] | None = None,
    patience: float = PATIENCE,
    on_result: Callable[[PromiseResult], object] | None = None,
) -> ConformanceReport:
    """Put every promise to the test, and report.

        report = check_producer(MyProducer, MyConfig(type="mine", name="test", url=test_service.url))
        report.raise_if_broken()

    `producer` is a class, then `config` leads to a destination that is there for tests, because messages without meaning are
    sent to it; or a `Subject`, which knows more. Of the configuration the kit changes queue, retries, timeouts, dead letters
    and ordering. `quick`: a fifth of the rounds and 200 reconnects instead of 2,000. `only`: names of promises. `patience`:
    seconds after which a message counts as stuck. `on_result` is called after each promise. Takes some 20 seconds when quick,
    30 otherwise, more when promises are broken. Blocks; forks once.

    Raises ValueError for a promise that does not exist.
    """
    subject = as_subject(producer, config)
    results: list[PromiseResult] = []
    for each in chosen(only):
        if any(_is_dead(result) for result in results):
            result = PromiseResult(each.name, each.says, Verdict.NOT_APPLICABLE, "nothing is delivered even without a fault")
        else:
            result = check_promise(subject, each, seed=seed, quick=quick, patience=patience)
        results.append(result)
        if on_result is not None:
            on_result(result)
    kind = subject.kind
    return ConformanceReport(f"{kind.__module__}:{kind.__qualname__}", seed, quick, tuple(results))


def _is_dead(result: PromiseResult) -> bool:
    """The destination is not there, or takes nothing: whatever else is tried takes long and says nothing."""
    return result.verdict is Verdict.BROKEN and result.name == "delivers" and (result.reason or "").startswith(FIRST_MESSAGE)


def check_promise(
    subject: Subject[Any], promise: Promise, *, seed: int = 0, quick: bool = False, patience: float = PATIENCE
) -> PromiseResult:
    """Put one promise to the test. An error that is none of the producer's comes through."""
    began = time.monotonic()
    verdict, reason = Verdict.KEPT, None
    history: tuple[str, ...] = ()
    with subject.session():
        trial = Trial(subject, promise.name, seed, quick=quick, patience=patience)
        try:
            promise.check(trial)
        except NotApplicable as error:
            verdict, reason = Verdict.NOT_APPLICABLE, str(error)
        except Broken as error:
            verdict, reason, history = Verdict.BROKEN, str(error), tuple(trial.faults.lines())
        finally:
            trial.close()
    return PromiseResult(promise.name, promise.says, verdict, reason, time.monotonic() - began, history)


def as_subject(producer: type[BaseProducer] | Subject[Any], config: BaseProducerConfig | None = None) -> Subject[Any]:
    """A subject as it is, or one made for a class and its configuration. Raises TypeError for anything else."""
    if isinstance(producer, Subject):
        if config is not None:
            raise TypeError("a subject has its configuration; leave `config` out")
        return producer
    if config is None:
        raise TypeError(f"{getattr(producer, '__name__', producer)!r} needs a configuration; give `config`, or a Subject")
    return subject_for(producer, config)


def chosen(only: Iterable[str] | None) -> list[Promise]:
    """The promises of these names, all if there are none. Raises ValueError for one that does not exist."""
    if only is None:
        return list(PROMISES.values())
    unknown = [name for name in only if name not in PROMISES]
    if unknown:
        raise ValueError(f"there is no promise {unknown[0]!r}; there are: {', '.join(PROMISES)}")
    return [PROMISES[name] for name in PROMISES if name in set(only)]
