"""Standpipe: producers that deliver every message.

    from standpipe import BaseProducer, BaseProducerConfig, load

Names are imported when they are first used, so that `import standpipe` costs next to nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from standpipe.app.application import Application, load
    from standpipe.app.ledger import Ledger
    from standpipe.app.log_handler import StandpipeHandler
    from standpipe.core.dead_letter import DeadLetter, Reason
    from standpipe.core.errors import (
        ConfigurationError,
        ContractError,
        Disconnected,
        EncodingError,
        MessageTooLarge,
        Misconfigured,
        NotSent,
        ProducerClosed,
        QueueFull,
        Reject,
        RetryAfter,
        StandpipeError,
    )
    from standpipe.core.message import Message
    from standpipe.core.outcome import Outcome
    from standpipe.delivery.batch import Batch
    from standpipe.delivery.dead_letters import MemoryDeadLetters
    from standpipe.delivery.receipt import Receipt, State
    from standpipe.delivery.report import Report
    from standpipe.delivery.statistics import ProducerStatistics, ShutdownReport
    from standpipe.producers.base import BaseProducer, BaseProducerConfig
    from standpipe.spool.errors import SpoolError, SpoolFull, SpoolInUse, SpoolTooNew

__version__ = "0.1.0"

_HOME = {
    "Application": "standpipe.app.application",
    "BaseProducer": "standpipe.producers.base",
    "BaseProducerConfig": "standpipe.producers.base",
    "Batch": "standpipe.delivery.batch",
    "ConfigurationError": "standpipe.core.errors",
    "ContractError": "standpipe.core.errors",
    "DeadLetter": "standpipe.core.dead_letter",
    "Disconnected": "standpipe.core.errors",
    "EncodingError": "standpipe.core.errors",
    "Ledger": "standpipe.app.ledger",
    "MemoryDeadLetters": "standpipe.delivery.dead_letters",
    "Message": "standpipe.core.message",
    "MessageTooLarge": "standpipe.core.errors",
    "Misconfigured": "standpipe.core.errors",
    "NotSent": "standpipe.core.errors",
    "Outcome": "standpipe.core.outcome",
    "ProducerClosed": "standpipe.core.errors",
    "ProducerStatistics": "standpipe.delivery.statistics",
    "QueueFull": "standpipe.core.errors",
    "Reason": "standpipe.core.dead_letter",
    "Receipt": "standpipe.delivery.receipt",
    "Reject": "standpipe.core.errors",
    "Report": "standpipe.delivery.report",
    "RetryAfter": "standpipe.core.errors",
    "ShutdownReport": "standpipe.delivery.statistics",
    "SpoolError": "standpipe.spool.errors",
    "SpoolFull": "standpipe.spool.errors",
    "SpoolInUse": "standpipe.spool.errors",
    "SpoolTooNew": "standpipe.spool.errors",
    "StandpipeError": "standpipe.core.errors",
    "StandpipeHandler": "standpipe.app.log_handler",
    "State": "standpipe.delivery.receipt",
    "load": "standpipe.app.application",
}

__all__ = [
    "Application",
    "BaseProducer",
    "BaseProducerConfig",
    "Batch",
    "ConfigurationError",
    "ContractError",
    "DeadLetter",
    "Disconnected",
    "EncodingError",
    "Ledger",
    "MemoryDeadLetters",
    "Message",
    "MessageTooLarge",
    "Misconfigured",
    "NotSent",
    "Outcome",
    "ProducerClosed",
    "ProducerStatistics",
    "QueueFull",
    "Reason",
    "Receipt",
    "Reject",
    "Report",
    "RetryAfter",
    "ShutdownReport",
    "SpoolError",
    "SpoolFull",
    "SpoolInUse",
    "SpoolTooNew",
    "StandpipeError",
    "StandpipeHandler",
    "State",
    "__version__",
    "load",
]

logging.getLogger("standpipe").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'standpipe' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
