"""For all tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.spool.child import Plan
from tests.integration.spool.processes import Nursery


@pytest.fixture(scope="session")
def shared_nursery(empty_home: None) -> Iterator[Nursery]:
    """One nursery for all tests: importing takes a quarter of a second."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def nursery(shared_nursery: Nursery) -> Iterator[Nursery]:
    """A nursery without a child; one that a failed test left is killed."""
    yield shared_nursery
    shared_nursery.clear()


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan with a spool and an event file of its own."""
    events = tmp_path / "events"
    events.touch()
    return Plan(spool=str(tmp_path / "spool"), events=str(events))
