"""Keeping the secrets of a document out of what is printed of it."""

from __future__ import annotations

from typing import Any

from standpipe.config.problems import Path
from standpipe.core.redaction import REDACTED, redact_text, redact_url

__all__ = ["REDACTED", "redact_data", "redact_text", "redact_url"]


def redact_data(data: Any, secret_paths: frozenset[Path], path: Path = ()) -> Any:
    """A copy of plain data with the values at `secret_paths` and the passwords in URLs replaced; `nothing` stays nothing."""
    if path in secret_paths and data is not None:
        return REDACTED
    if isinstance(data, dict):
        return {key: redact_data(value, secret_paths, (*path, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [redact_data(item, secret_paths, (*path, index)) for index, item in enumerate(data)]
    return redact_url(data) if isinstance(data, str) else data
