from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.integration.conformance.ledger import Ledger


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with closing(Ledger()) as made:
        yield made
