"""For tests of producers, and of programs that use them. Public.

`check_producer` puts the promises of a producer to the test; `FaultProxy` and `Faults` mistreat it, `RecordingProducer` and
`ManualClock` take the place of a destination and of time. With pytest they are fixtures as well. Names are imported when they
are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from standpipe.testing.clock import ManualClock
    from standpipe.testing.conformance import ConformanceReport, PromiseResult, Verdict, check_producer
    from standpipe.testing.fault_proxy import FaultProxy, ProxyStatistics
    from standpipe.testing.faults import Call, Faults, Hang, faulty_class
    from standpipe.testing.recording import RecordingProducer
    from standpipe.testing.subject import Arrival, Subject

_HOME = {
    "Arrival": "standpipe.testing.subject",
    "Call": "standpipe.testing.faults",
    "ConformanceReport": "standpipe.testing.conformance",
    "FaultProxy": "standpipe.testing.fault_proxy",
    "Faults": "standpipe.testing.faults",
    "Hang": "standpipe.testing.faults",
    "ManualClock": "standpipe.testing.clock",
    "PromiseResult": "standpipe.testing.conformance",
    "ProxyStatistics": "standpipe.testing.fault_proxy",
    "RecordingProducer": "standpipe.testing.recording",
    "Subject": "standpipe.testing.subject",
    "Verdict": "standpipe.testing.conformance",
    "check_producer": "standpipe.testing.conformance",
    "faulty_class": "standpipe.testing.faults",
}

__all__ = [
    "Arrival",
    "Call",
    "ConformanceReport",
    "FaultProxy",
    "Faults",
    "Hang",
    "ManualClock",
    "PromiseResult",
    "ProxyStatistics",
    "RecordingProducer",
    "Subject",
    "Verdict",
    "check_producer",
    "faulty_class",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'standpipe.testing' has no {name!r}; it has: {', '.join(__all__)}")
    found = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = found
    return found
