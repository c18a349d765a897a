"""Producers for replays: they take, refuse or ignore messages as a file beside the configuration says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from standpipe.core.errors import Reject
from standpipe.producers.base import BaseProducer, Batch


class Moody(BaseProducer):
    """Rejects messages with `bad` in them; appends the others, with their ids, to the file `arrived`."""

    def _connect(self) -> None:
        if os.path.exists("down"):
            raise ConnectionRefusedError("nobody listens")

    def _send_batch(self, batch: Batch) -> Any:
        results: list[Any] = []
        for message in batch:
            if message.content().get("bad"):
                results.append(Reject("bad message", response="<h1>400</h1>"))
                continue
            line: dict[str, Any] = {"id": message.id, "message": message.content(), "raw": message.payload.decode(), "key": message.key}
            line |= {"headers": dict(message.headers or {}), "is_error": message.is_error, "at": time.monotonic()}
            with open("arrived", "a") as file:
                file.write(json.dumps(line) + "\n")
            results.append(batch.delivered()[0])
        return results

    def _close(self) -> None: ...


def arrived(folder: Path) -> list[dict[str, Any]]:
    """What reached the destination."""
    path = folder / "arrived"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
