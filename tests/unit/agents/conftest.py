"""What the tests of the agents share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agents.tailing import Tailing


@pytest.fixture
def tailing(tmp_path: Path) -> Iterator[Tailing]:
    """See `Tailing`."""
    tailing = Tailing(tmp_path)
    yield tailing
    tailing.stop()
