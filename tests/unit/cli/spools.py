"""Spools in the state folder `state`, as producers leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.spool.segment import segment_number

CONFIGURATION = """\
state_dir: state
producers:
  - {type: file, name: events, path: out.jsonl, queue: {type: spool, segment_bytes: 64KiB}}
  - {type: file, name: plain, path: plain.jsonl}
"""


class Unreachable(BaseProducer):
    """Its destination is down for good."""

    def _connect(self) -> None:
        raise ConnectionError("the destination is down")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        raise ConnectionError("the destination is down")

    def _close(self) -> None:
        pass


def unreachable(state: Path, name: str = "events", **queue: Any) -> Unreachable:
    """A producer that keeps what it is given in its spool."""
    settings = queue or {"type": "spool", "segment_bytes": 2**16}
    producer = Unreachable(BaseProducerConfig.model_validate({"type": "custom", "name": name, "queue": settings}))
    producer.keep_state_in(state)
    return producer


def store(state: Path, count: int, name: str = "events") -> list[str]:
    """Leave so many messages waiting; returns their ids."""
    producer = unreachable(state, name)
    receipts = [producer.produce(False, {"n": number}, key=f"k{number % 3}") for number in range(count)]
    producer.shutdown(0)
    return [receipt.message_id for receipt in receipts]


def first_segment(folder: Path) -> Path:
    """The oldest segment of a spool."""
    return min(path for path in folder.iterdir() if segment_number(path.name) is not None)


def damage(folder: Path, text: bytes) -> None:
    """Change one character of what is stored."""
    path = first_segment(folder)
    data = path.read_bytes()
    assert text in data
    path.write_bytes(data.replace(text, b"#" + text[1:], 1))
