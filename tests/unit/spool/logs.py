"""Logs for tests: opened, written and read in one line each."""

from __future__ import annotations

import threading

from standpipe.spool.files import FileSystem
from standpipe.spool.log import Spool


def opened(files: FileSystem, segment_bytes: int = 4096, *, careful: bool = True) -> Spool:
    spool = Spool(files, threading.RLock(), segment_bytes=segment_bytes, careful=careful)
    spool.open()
    return spool


def put(spool: Spool, *payloads: bytes) -> None:
    for payload in payloads:
        spool.append(1, 0, 1.0, b"", payload)


def payloads(spool: Spool) -> list[bytes]:
    return [record.payload for record, _ in spool.read(2**30)]
