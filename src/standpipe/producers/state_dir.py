"""Where everything is kept that must survive a restart, unless the user says otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def default_state_dir() -> Path:
    """`standpipe` in the XDG state folder (XDG Base Directory Specification 0.8: `$XDG_STATE_HOME`, else `~/.local/state`)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "standpipe"
