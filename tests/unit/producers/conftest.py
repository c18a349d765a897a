"""What the tests of producers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.testing import ManualClock
from standpipe.testing.crashing_files import CrashingFileSystem
from tests.unit.producers.spooled import Destination, OnCrashingDisk, config


@pytest.fixture
def lives() -> Iterator[Callable[..., Any]]:
    """Makes producers on a crashing disk, and ends their threads."""
    made: list[OnCrashingDisk] = []

    def live(files: CrashingFileSystem, letters: Any = None, **settings: Any) -> OnCrashingDisk:
        store = MemoryDeadLetters() if letters is None else letters
        producer = OnCrashingDisk(
            files, Destination(), len(made), clock=ManualClock(), dead_letters=store, jitter=lambda: 0.5, config=config(**settings)
        )
        producer.start()
        made.append(producer)
        return producer

    yield live
    for producer in made:
        producer.end()
