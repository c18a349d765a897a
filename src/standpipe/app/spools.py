"""Which spools there are: those that the configuration means, and those that lie in the state folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from standpipe.app.configuration import Plan
from standpipe.producers.config import BaseProducerConfig, SpoolConfig
from standpipe.producers.state_dir import SPILL_PARTS, SPOOLS, spool_folder
from standpipe.spool.inspect import waiting_in
from standpipe.spool.inspection import Waiting


@dataclass(frozen=True)
class SpoolPlace:
    """One spool of a producer. `part` is None, or which one of a queue that spills."""

    producer: str
    folder: Path
    part: str | None = None
    configured: bool | None = None
    """whether a producer is configured to use it; None when no configuration is known"""

    @property
    def label(self) -> str:
        """The producer's name, with the part if there is one."""
        return self.producer if self.part is None else f"{self.producer} ({self.part})"

    @property
    def exists(self) -> bool:
        """Whether anything was ever stored there."""
        return self.folder.is_dir()


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message in a spool that is to be delivered. `accepted_at` is in seconds since 1970."""

    id: str
    number: int
    accepted_at: float
    key: str | None
    is_error: bool
    headers: dict[str, str] | None
    payload: bytes


def find_spools(plan: Plan | None, state_dir: Path) -> list[SpoolPlace]:
    """All of them, those of the configuration first; also configured ones that do not exist yet."""
    places = [] if plan is None else [place for _, config in plan.producers.values() for place in _configured(config, state_dir)]
    known = {place.folder.absolute() for place in places}
    for folder in _folders(state_dir / SPOOLS):
        parts = [folder / part for part in SPILL_PARTS if (folder / part).is_dir()]
        for path in [folder] if not parts or any(each.is_file() for each in folder.iterdir()) else []:
            if path.absolute() not in known:
                places.append(SpoolPlace(folder.name, path, configured=None if plan is None else False))
        for path in parts:
            if path.absolute() not in known:
                places.append(SpoolPlace(folder.name, path, path.name, configured=None if plan is None else False))
    return places


def _configured(config: BaseProducerConfig, state_dir: Path) -> Iterator[SpoolPlace]:
    queue = config.queue
    folder = spool_folder(config.name, queue.path, state_dir)
    if isinstance(queue, SpoolConfig):
        yield SpoolPlace(config.name, folder, configured=True)
    elif queue.on_full == "spill":
        yield from (SpoolPlace(config.name, folder / part, part, configured=True) for part in SPILL_PARTS)


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return []


def messages_in(place: SpoolPlace) -> Iterator[WaitingMessage]:
    """What waits in a spool, oldest first, without disturbing it. Raises SpoolTooNew, OSError."""
    for waiting in waiting_in(place.folder):
        yield from messages_of(waiting)


def messages_of(waiting: Waiting) -> Iterator[WaitingMessage]:
    """The messages of a record that wait: the spooled queue's reading of its `meta`, and its way to make ids."""
    record, meta = waiting.record, waiting.record.meta or {}
    payloads = [record.payload] if record.count == 1 else record.payload.split(b"\n")
    keys, ids, headers = meta.get("keys", meta.get("key")), meta.get("ids"), meta.get("headers")
    for start, stop in waiting.parts:
        for at in range(start, min(stop, len(payloads))):
            number = record.first + at
            yield WaitingMessage(
                id=_at(ids, at) or f"{waiting.prefix}{number:012x}",
                number=number,
                accepted_at=record.time,
                key=_at(keys, at),
                is_error=record.is_error,
                headers=headers if isinstance(headers, dict) else None,
                payload=payloads[at],
            )


def _at(value: Any, at: int) -> str | None:
    """The value of one message: a list has one for each, a text is that of all."""
    if isinstance(value, list):
        value = value[at] if at < len(value) else None
    return value if isinstance(value, str) else None
