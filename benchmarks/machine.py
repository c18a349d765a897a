"""The machine that was measured on, as far as it matters to the figures and says nothing about whose it is."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import rivals

PACKAGES = (
    "standpipe",
    "orjson",
    "pydantic",
    "PyYAML",
    "typer",
    "opentelemetry-sdk",
    "persist-queue",
    "litequeue",
    "python-logstash-async",
    "aiohttp",
    "confluent-kafka",
    "nats-py",
    "paho-mqtt",
    "pika",
    "psycopg",
    "redis",
)
"""What is measured and what it is made of; what is measured against in its own environment says benchmarks/rivals.in."""


def describe() -> dict[str, Any]:
    """Processor, cores, memory, system, Python, packages, commit, and how busy the machine was before."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _versions(),
        "rivals": rivals.versions(),
        "commit": _commit(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def host_class() -> str:
    """What kind of machine it is, for a file's name: `linux-x86_64-2-cores`."""
    return f"{platform.system()}-{platform.machine()}-{cores()}-cores".lower()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").split("\n")
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _commit() -> str:
    """The commit that is checked out, with `+` if files were changed since."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()
