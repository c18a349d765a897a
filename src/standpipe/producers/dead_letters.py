"""Which store a producer's dead letters go to, as its configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from standpipe.core.clock import Clock
from standpipe.delivery.dead_letters import DeadLetters, MemoryDeadLetters
from standpipe.producers.config import DeadLettersConfig
from standpipe.producers.state_dir import default_state_dir
from standpipe.spool.dead_letters import SqliteDeadLetters

FOLDER = "dead"
"""Where the stores are, in the state folder."""
SUFFIX = ".sqlite"


def dead_letter_file(state_dir: Path, producer: str) -> Path:
    """The store of `producer`."""
    return state_dir / FOLDER / f"{producer}{SUFFIX}"


def make_dead_letters(config: DeadLettersConfig, producer: str, state_dir: Path | None, clock: Clock) -> DeadLetters:
    """The store; nothing is opened or made by this. Without a state folder and without a word about it: in memory."""
    bounds: dict[str, Any] = {name: value for name in ("max_letters", "max_bytes") if (value := getattr(config, name)) is not None}
    bounds |= {"max_age": config.max_age, "on_full": config.on_full, "clock": clock}
    if (config.type or ("memory" if state_dir is None else "sqlite")) == "memory":
        return MemoryDeadLetters(**bounds)
    return SqliteDeadLetters(dead_letter_file(state_dir or default_state_dir(), producer), **bounds)
