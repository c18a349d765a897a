"""How the log of a verb can be asked for."""

from __future__ import annotations

from enum import Enum


class LogFormat(str, Enum):
    """How log lines are written."""

    HUMAN = "human"
    JSON = "json"


class LogLevel(str, Enum):
    """The least important log lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
