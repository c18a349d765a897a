"""For tests with a cluster in this process."""

from __future__ import annotations

from typing import Any

import pytest

from standpipe.producers.kafka_client import client_properties


@pytest.fixture
def one_request_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike a broker, the mock cluster takes a request although the one before it was refused: the order would depend on which
    messages happen to be in one request."""

    def properties(*arguments: Any, **more: Any) -> dict[str, Any]:
        return {**client_properties(*arguments, **more), "max.in.flight": 1}

    monkeypatch.setattr("standpipe.producers.kafka.client_properties", properties)
