"""The built-in producers without a network keep every promise; which ones mean nothing for them is said here."""

from __future__ import annotations

from pathlib import Path

import pytest

from standpipe.producers.registry import PRODUCERS
from standpipe.testing import Verdict, check_producer

LOCAL = {
    "null": {},
    "console": {"format": "jsonl"},
    "console, errors apart": {"errors_to": "stderr", "format": "jsonl"},
    "file": {"path": "{folder}/messages.jsonl"},
    "file, errors apart": {"path": "{folder}/messages.jsonl", "error_path": "{folder}/errors.jsonl"},
    "sqlite": {"path": "{folder}/messages.db"},
}

OF_THE_NETWORK = {
    "refused-connections",
    "refused-at-first",
    "cuts",
    "lost-answers",
    "hanging-sends",
    "frozen-peer",
    "slow-peer",
    "garbled-answers",
    "shutdown-hanging-peer",
}
NOT_APPLICABLE = OF_THE_NETWORK | {"refusal", "secrets"}


@pytest.mark.parametrize("settings", LOCAL)
def test_keeps_every_promise(settings: str, tmp_path: Path) -> None:
    kind = PRODUCERS.resolve(settings.partition(",")[0])
    given = {name: value.replace("{folder}", str(tmp_path)) for name, value in LOCAL[settings].items()}
    config = kind.config_model.model_validate({"type": settings.partition(",")[0], "name": "checked", **given})
    report = check_producer(kind, config, quick=True)
    report.raise_if_broken()
    unread = {"order", "errors-told-apart"} if settings == "null" else set()
    assert {result.name for result in report.results if result.verdict is Verdict.NOT_APPLICABLE} == NOT_APPLICABLE | unread
