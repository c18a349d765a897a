"""The HTTP producer keeps every promise of the conformance kit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.testing.pytest_plugin import CheckPromise
from tests.integration.http.recorder import Recorder

FORMATS = ("json", "jsonl", "json_array")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """In a process of its own: what it keeps in memory is not taken for the producer's."""
    with Recorder(tmp_path_factory.mktemp("recorder")) as server:
        yield server


@pytest.mark.parametrize("format", FORMATS)
def test_keeps_the_promise(conformance: CheckPromise, format: str, recorder: Recorder) -> None:
    conformance(HttpProducer, HttpProducerConfig.model_validate({"name": "checked", "url": f"{recorder.url}/in", "format": format}))
