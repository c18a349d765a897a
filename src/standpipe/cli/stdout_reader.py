"""Whoever reads standard output: when that program has gone away, what is left for it never arrives."""

from __future__ import annotations

import select
import sys

from standpipe.app.application import Application
from standpipe.producers.console import ConsoleProducer


class StdoutReader:
    """The reader of what an application's console producers write."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._consoles = {name for name, producer in application.producers.items() if isinstance(producer, ConsoleProducer)}

    @property
    def gone(self) -> bool:
        """Whether there are console producers, and nobody reads what they write, nor ever will."""
        return bool(self._consoles) and _nobody_reads_stdout()

    @property
    def is_all_that_is_missing(self) -> bool:
        """Whether it has gone, and all other producers have delivered everything: waiting longer helps nobody."""
        return self.gone and not self._others_are_busy()

    def _others_are_busy(self) -> bool:
        producers = self._application.producers
        if any(producer.statistics().pending for name, producer in producers.items() if name not in self._consoles):
            return True
        routes = [route for lane in self._application.lanes for route in lane.statistics().routes]
        return any(route.held for route in routes if route.to not in self._consoles)


def _nobody_reads_stdout() -> bool:
    if sys.stdout is None or sys.stdout.closed:
        return True
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, AttributeError, ValueError):  # replaced by an object of a program's, which has no reader
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
