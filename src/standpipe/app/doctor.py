"""Examining a configuration and all its destinations: what would be lost when (`standpipe doctor`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from standpipe.app.configuration import Plan
from standpipe.app.doctor_local import local_findings
from standpipe.core.errors import StandpipeError
from standpipe.core.finding import Finding, Severity
from standpipe.core.redaction import redact_text
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.config import secrets_in

_ORDER = list(Severity)


@dataclass(frozen=True, slots=True)
class Examination:
    """One producer's: the worst findings first. `seconds`: how long its destination took to answer."""

    producer: str
    type: str
    destination: str
    findings: tuple[Finding, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        findings = [
            {"severity": each.severity.value, "what": each.what, "consequence": each.consequence, "remedy": each.remedy}
            for each in self.findings
        ]
        return {
            "producer": self.producer,
            "type": self.type,
            "destination": self.destination,
            "seconds": round(self.seconds, 3),
            "findings": findings,
        }


def examine(plan: Plan, state_dir: Path, timeout: float) -> list[Examination]:
    """Every producer of a configuration, all destinations at once; none takes longer than `timeout` seconds. Nothing is sent,
    started or changed."""
    patients = [_Patient(kind, config, state_dir) for kind, config in plan.producers.values()]
    until = time.monotonic() + timeout
    return [patient.result(until, timeout) for patient in patients]


class _Patient:
    """One producer, being examined in a thread of its own: a destination that hangs must not keep the others waiting."""

    def __init__(self, kind: type[BaseProducer], config: BaseProducerConfig, state_dir: Path) -> None:
        self._kind, self._config, self._state_dir = kind, config, state_dir
        self._secrets = tuple(secrets_in(config))
        self._begun = time.monotonic()
        self._found: Sequence[Finding] | None = None
        self._seconds = 0.0
        self._destination = config.type
        self._thread = threading.Thread(target=self._examine, name=f"standpipe-doctor-{config.name}", daemon=True)
        self._thread.start()

    def _examine(self) -> None:
        try:
            producer = self._kind(self._config)
            self._destination = producer.destination
            found = list(producer.examine()) if self._kind.examine is not BaseProducer.examine else [self._unknown()]
        except BaseException as error:
            found = [self._unreachable(error)]
        self._seconds = time.monotonic() - self._begun
        self._found = found

    def result(self, until: float, timeout: float) -> Examination:
        self._thread.join(max(0.0, until - time.monotonic()))
        found = self._found
        if found is None:
            found = [self._silent(f"no answer within {timeout:g} s")]
            self._seconds = timeout
        everything = [*found, *local_findings(self._config, self._state_dir)]
        everything.sort(key=lambda each: _ORDER.index(each.severity))
        clean = tuple(self._without_secrets(each) for each in everything)
        return Examination(self._config.name, self._config.type, self._clean(self._destination), clean, self._seconds)

    def _unreachable(self, error: BaseException) -> Finding:
        if not isinstance(error, StandpipeError):
            return self._silent(f"{type(error).__name__}: {error}".removesuffix(": "))
        # Ours say what is wrong and what to do.
        return Finding(Severity.CRITICAL, str(error), "nothing is delivered as long as this is so; messages wait in the queue", "")

    def _silent(self, why: str) -> Finding:
        return Finding(
            Severity.CRITICAL,
            f"the destination cannot be examined ({why})",
            "nothing is delivered as long as it cannot be reached; messages wait in the queue",
            "check address, credentials and whether the service is running",
        )

    def _unknown(self) -> Finding:
        text = "what its destination may lose is not known here"
        return Finding(Severity.INFO, f"producers of type {self._config.type} cannot examine their destination", text, "")

    def _without_secrets(self, finding: Finding) -> Finding:
        return replace(
            finding, what=self._clean(finding.what), consequence=self._clean(finding.consequence), remedy=self._clean(finding.remedy)
        )

    def _clean(self, text: str) -> str:
        return redact_text(text, self._secrets)
