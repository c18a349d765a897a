"""Reading back what the file producer wrote."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from standpipe.producers.file import FileProducer, FileProducerConfig


def producer(path: Path | str, **settings: Any) -> FileProducer:
    """A file producer that retries quickly."""
    return FileProducer(FileProducerConfig(name="out", path=str(path), retry={"initial": "1ms", "max": "5ms"}, **settings))


def records(path: Path) -> list[dict[str, Any]]:
    """Every record of a file, compressed or not; fails if one is torn."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert data == b"" or data.endswith(b"\n")
    return [orjson.loads(line) for line in data.split(b"\n")[:-1]]


def everything(folder: Path) -> list[dict[str, Any]]:
    """Every record in all files of a folder, in the order of their names, the unrotated ones last."""
    rotated = sorted(path for path in folder.iterdir() if "Z-" in path.name)
    others = sorted(path for path in folder.iterdir() if "Z-" not in path.name)
    return [record for path in rotated + others for record in records(path)]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Returns as soon as `condition` holds; fails after so many seconds."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.002)
