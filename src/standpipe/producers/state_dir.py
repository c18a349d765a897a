"""Where everything is kept that must survive a restart, unless the user says otherwise."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SPOOLS: Final = "spool"
"""Where spools are, in the state folder."""

LEFT: Final = "left"
SPILL: Final = "spill"
SPILL_PARTS: Final = (LEFT, SPILL)
"""The two spools of a queue in memory that spills, folders within its own, in the order in which they are delivered."""


def default_state_dir() -> Path:
    """`standpipe` in the XDG state folder (XDG Base Directory Specification 0.8: `$XDG_STATE_HOME`, else `~/.local/state`)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "standpipe"


def spool_folder(producer: str, path: str | None, state_dir: Path | None) -> Path:
    """Where the spool of a producer is: in `path` if its queue has one, else in the state folder, under the producer's name."""
    return Path(path) if path is not None else (state_dir or default_state_dir()) / SPOOLS / producer
