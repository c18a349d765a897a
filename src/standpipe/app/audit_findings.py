"""What an audit has to say: findings are differences that should not be, notes are for people who wonder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One difference. `where` is a file within the state folder, or a producer."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Findings:
    """All of them, in the order in which they were found."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def add(self, kind: str, where: str, text: str) -> None:
        """A difference: the audit fails."""
        self.findings.append(Finding(kind, where, text))

    def note(self, kind: str, where: str, text: str) -> None:
        """Something to know: the audit does not fail."""
        self.notes.append(Finding(kind, where, text))
