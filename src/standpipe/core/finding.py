"""What an examination of a configuration and its destinations found (`standpipe doctor`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How bad a finding is."""

    CRITICAL = "critical"
    """messages are lost in an event that has to be expected (a restart, a full disk), or nothing can be delivered at all"""
    WARNING = "warning"
    """messages are lost, repeated or seen by others in a rare event, such as a power cut"""
    INFO = "info"
    """worth knowing; also what was checked and is well"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. All texts are for people: lower-case start, no full stop, no secrets."""

    severity: Severity
    what: str
    """what is so: the setting and its value, such as `appendonly is no`"""
    consequence: str
    """what is lost, repeated or refused because of it, and when"""
    remedy: str
    """what to do; empty for what is well"""
