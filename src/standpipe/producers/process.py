"""What happens to producers when the process forks or ends.

After `os.fork` the child's producers start anew: empty queue, own connection, own worker on the first `produce`; the parent
keeps its own. At exit (also of a process made by `multiprocessing`) every producer that was not shut down is, all at the
same time, each within its `shutdown_timeout`.
Programs that leave by `os._exit` or a signal's default action run neither; see docs/explanation/what-survives-what.md.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
import weakref
from typing import Protocol

from standpipe.delivery.statistics import ShutdownReport

_log = logging.getLogger("standpipe.producers")


class Managed(Protocol):
    """What this module needs of a producer."""

    @property
    def name(self) -> str:
        """The name of the instance."""
        ...

    @property
    def _ended(self) -> bool: ...

    def _after_fork(self) -> None: ...

    def _begin_shutdown(self) -> float: ...

    def shutdown(self, timeout: float | None = None) -> ShutdownReport:
        """Deliver what is pending and close."""
        ...


_managed: weakref.WeakSet[Managed] = weakref.WeakSet()

_inherited: list[dict[str, object]] = []
"""In a child: what the authors' attributes held when it was forked. `_connect` puts new connections in their place; were the old
ones finalised here, they would reach into the parent's. An asyncio transport takes itself out of the selector, which both
processes share: the parent's loop would hear nothing of its connection any more."""


def manage(producer: Managed) -> None:
    """Take care of `producer` when the process forks or ends. It is not kept alive by this."""
    _managed.add(producer)


def _after_fork_in_child() -> None:
    for producer in list(_managed):
        _inherited.append({name: value for name, value in vars(producer).items() if not name.startswith("_BaseProducer__")})
        producer._after_fork()


def _at_exit() -> None:
    now = time.monotonic()
    # Also those whose shutdown was begun and is not over: by a callback, or interrupted by Ctrl-C.
    ends = [(producer, now + producer._begin_shutdown()) for producer in list(_managed) if not producer._ended]
    for producer, end in ends:
        report = producer.shutdown(timeout=max(0.0, end - time.monotonic()))
        if report.undelivered:
            _log.warning(
                "%s: the process ends with %d message(s) undelivered; call shutdown() to get them back", producer.name, report.undelivered
            )


def drain_at_exit() -> None:
    """Make sure that the end of this process drains. Called before a worker starts, because a process made by
    `multiprocessing` ends without `atexit` and forgets, when it begins, what its parent arranged."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None or process.parent_process() is None or os.getpid() in _draining:
        return
    _draining.clear()
    _draining.add(os.getpid())
    util.Finalize(None, _at_exit, exitpriority=0)


_draining: set[int] = set()
"""The process for which `multiprocessing` has been told, if any."""

atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
