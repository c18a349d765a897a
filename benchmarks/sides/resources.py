"""What this process has used so far."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def resident() -> float:
    """Memory in use now, in MB (the highest so far where the system does not tell)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return peak()
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """The most memory that this program has used, in MB.

    Linux's `ru_maxrss` also counts the program that started this one, before it was replaced; the status file does not.
    """
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").split("\n")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
