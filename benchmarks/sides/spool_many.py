"""`produce_many` to a spool, and the loop that does nothing but to get the same bytes to the disk."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.destinations import Gated, on_disk
from benchmarks.sides.produce_many import rate, several_messages

_pack_head = struct.Struct("<II").pack


def synced(params: Params) -> Measurement:
    """Each call returns when the disk has its messages."""
    return _spool(params, "synced")


def written(params: Params) -> Measurement:
    """Each call returns when the operating system has its messages."""
    return _spool(params, "written")


def _spool(params: Params, durability: str) -> Measurement:
    several = several_messages(params)
    with Gated(on_disk("many", Path(params["folder"], "spool"), durability)) as producer:
        produce_many = producer.produce_many

        def burst() -> None:
            for _ in range(params["calls"]):
                produce_many(False, several)

        try:
            return rate(params, burst, producer.drain)
        finally:
            producer.gate.set()


def bare(params: Params) -> Measurement:
    """Append and sync, and nothing else: no positions, nobody who reads it."""
    several = several_messages(params)
    path = Path(params["folder"], "bare.log")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)

    def burst() -> None:
        for _ in range(params["calls"]):
            parts: list[bytes] = []
            for message in several:
                payload = orjson.dumps(message)
                parts += (_pack_head(len(payload), zlib.crc32(payload)), payload)
            os.write(descriptor, b"".join(parts))
            os.fdatasync(descriptor)

    try:
        return rate(params, burst, lambda: None)
    finally:
        os.close(descriptor)
        path.unlink()
