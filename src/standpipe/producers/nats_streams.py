"""Questions to JetStream about streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from nats import errors
from nats.aio.client import Client

from standpipe.producers.nats_config import NatsProducerConfig

ANSWER_WITHIN = 2.0
"""Seconds for an answer; a user who may not ask gets none."""


async def without_stream(client: Client, config: NatsProducerConfig, subjects: Iterable[str]) -> set[str]:
    """Those of `subjects` that certainly no stream has; not those of which the server does not say it, because the user may not
    ask or nobody leads."""
    found: set[str] = set()
    for subject in subjects:
        names = await stream_names(client, config, subject)
        if names is None:
            break
        if not names:
            found.add(subject)
    return found


async def stream_names(client: Client, config: NatsProducerConfig, subject: str) -> list[str] | None:
    """The streams that have `subject` (which may have wildcards); None: the server does not say."""
    found = await ask(client, config, "STREAM.NAMES", {"subject": subject})
    if found is None or "error" in found:
        return None
    return list(found.get("streams") or [])


async def ask(client: Client, config: NatsProducerConfig, what: str, question: Mapping[str, Any]) -> dict[str, Any] | None:
    """JetStream's answer; None: there is none."""
    prefix = "$JS.API" if config.domain is None else f"$JS.{config.domain}.API"
    try:
        message = await client.request(f"{prefix}.{what}", orjson.dumps(question), timeout=ANSWER_WITHIN)
        found = orjson.loads(message.data)
    except (errors.Error, OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
