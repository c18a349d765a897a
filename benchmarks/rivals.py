"""The environment of the rivals: made by the benchmarks when they first need it, never part of the project's own."""

from __future__ import annotations

import fcntl
import functools
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.case import Missing

FOLDER = Path(__file__).parent
LOCK = FOLDER / "rivals.lock"
NAMED = FOLDER / "rivals.in"
ENVIRONMENT = FOLDER / ".rivals"

INSTALL_TIMEOUT = 600.0
"""Seconds that installing them may take; some thirty megabytes."""


@functools.cache
def python() -> str:
    """The interpreter that has them, made ready first. Raises Missing when they cannot be installed."""
    interpreter, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".ready"
    wanted = f"{sys.version}\n{LOCK.read_text('utf-8')}"
    ENVIRONMENT.mkdir(exist_ok=True)
    with (ENVIRONMENT / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two benchmarks at once: the second finds it ready
        if not stamp.exists() or stamp.read_text("utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            _run(sys.executable, "-m", "venv", str(ENVIRONMENT))
            options = ("--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes", "--no-deps")
            _run(str(interpreter), "-m", "pip", "install", *options, "-r", str(LOCK))
            stamp.write_text(wanted, "utf-8")
    return str(interpreter)


def versions() -> dict[str, str]:
    """The version of each rival, as it is locked; what they need themselves is left out."""
    named = re.findall(r"^[A-Za-z0-9._-]+", NAMED.read_text("utf-8"), re.MULTILINE)
    locked = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK.read_text("utf-8"), re.MULTILINE))
    return {name: locked.get(name, "not locked") for name in named}


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"the rivals could not be installed within {INSTALL_TIMEOUT:g} s") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise Missing(f"the rivals could not be installed ({reason[-1] if reason else done.returncode})")
