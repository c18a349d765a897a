"""Pages that come next are made ready by the sync before, and nothing else changes."""

from __future__ import annotations

import random
from pathlib import Path

from standpipe.spool.files import PAGE_BYTES, RealFileSystem
from standpipe.spool.format import HEADER_BYTES
from standpipe.spool.segment import READY_BYTES, Segment
from tests.unit.spool.logs import opened, payloads, put


def touched(segment: Segment, data: bytearray) -> list[int]:
    """The pages that `make_ready` writes to: all of `data` is made other than zero to see them."""
    data[:] = b"x" * len(data)
    segment.make_ready()
    return [at // PAGE_BYTES for at in range(0, len(data), PAGE_BYTES) if data[at] == 0]


def a_segment(pages: int = 64) -> tuple[Segment, bytearray]:
    data = bytearray(pages * PAGE_BYTES)
    segment = Segment(0, 0, "p" * 20, len(data))
    segment.buffer = memoryview(data)
    return segment, data


def test_a_run_of_pages_is_made_ready_once() -> None:
    segment, data = a_segment()
    run = READY_BYTES // PAGE_BYTES
    assert touched(segment, data) == list(range(1, 1 + run))
    segment.used = PAGE_BYTES * run
    segment._used_before = segment.used - 300
    assert touched(segment, data) == []
    segment.used += 300
    assert touched(segment, data) == list(range(1 + run, 1 + 2 * run))


def test_the_page_that_is_being_written_is_left_alone() -> None:
    for used in (HEADER_BYTES, PAGE_BYTES - 8, PAGE_BYTES, PAGE_BYTES + 8):
        segment, data = a_segment()
        segment.used = segment._used_before = used
        pages = touched(segment, data)
        assert min(pages) * PAGE_BYTES >= used


def test_large_batches_need_none_of_it() -> None:
    segment, data = a_segment()
    segment.used += READY_BYTES
    assert touched(segment, data) == []


def test_it_ends_with_the_segment() -> None:
    segment, data = a_segment(pages=3)
    assert touched(segment, data) == [1, 2]
    segment.used = segment._used_before = len(data) - 8
    assert touched(segment, data) == []


def test_what_is_stored_is_the_same(tmp_path: Path) -> None:
    chance = random.Random(1)
    texts = [b"%d" % number * chance.randrange(1, 3000) for number in range(300)]
    spool = opened(RealFileSystem(tmp_path), 2**18)
    for text in texts:
        put(spool, text)
        spool.sync()
    assert payloads(spool) == texts
    spool.forget()
    assert payloads(opened(RealFileSystem(tmp_path), 2**18)) == texts
