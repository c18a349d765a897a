"""Where a segment ends that nobody closed: which messages were ever in it, and what the last bytes of it are. Pure."""

from __future__ import annotations

from typing import Final

from standpipe.spool.files import PAGE_BYTES, WRITE_BYTES
from standpipe.spool.format import HEAD_BYTES, HEADER_BYTES, PREAMBLE_BYTES, VERSION, Damage, End, Record
from standpipe.spool.segment import Segment

_SIZE_AT: Final = 4
_COPIED_LAST: Final = 32
"""Bytes at the front that some processors' `memcpy` writes last of all."""


def end_of(segment: Segment, last: Record | Damage | End | None, behind: int) -> int:
    """The number after the last message that was ever in a closed segment, all of which has been read.

    `last` is what stands at its end, `behind` the number after its last intact message. Where segments between this one and the
    next have been removed, `segment.stop` includes their messages, which nobody must look for here.
    """
    if segment.adjacent or not len(segment.buffer):  # somebody removed it while it was wanted: all of it was in there
        return segment.stop
    if isinstance(last, End):
        return min(last.stop, segment.stop)
    if isinstance(last, Record) and last.first >= segment.stop:  # goes on behind what was written again elsewhere
        return segment.stop
    if isinstance(last, Damage) and not is_unfinished(segment.buffer, last):
        return segment.stop  # nobody can tell how many messages that was
    return min(behind, segment.stop)  # its process was killed, and the next one went on with this number


def numbers_behind(segment: Segment) -> tuple[int, int]:
    """The numbers from the end of a closed segment, which is loaded, to where the next one begins: those of removed segments."""
    last: Record | Damage | End | None = None
    behind = segment.first
    for _, last in segment.items(HEADER_BYTES, range(segment.first, segment.stop)):
        if isinstance(last, Record):
            if last.first >= segment.stop:
                break
            behind = max(behind, last.first + last.count)
    return end_of(segment, last, behind), segment.stop


def is_unfinished(data: memoryview, damage: Damage) -> bool:
    """Whether damaged bytes can only be a record whose writer was killed while it wrote: then nobody was promised the message.

    A small record is copied into mapped memory; the process can die at the first touch of a page, so that the bytes stop where
    one begins, before the end that the record has announced. Of a large one the payload is written first, and the head, the bytes
    that make it one, is not there. Everything else (a power cut keeps any of the pages) looks like damage and is treated as such.
    """
    if not damage.torn_tail:
        return False
    text = bytes(data[damage.start : damage.stop]).rstrip(b"\0")
    ends_with_page = (damage.start + len(text)) % PAGE_BYTES == 0
    if not text[: PREAMBLE_BYTES + HEAD_BYTES].strip(b"\0"):
        in_first_page = text[: PAGE_BYTES - damage.start % PAGE_BYTES].strip(b"\0")
        return bool(in_first_page) and (len(text) >= WRITE_BYTES or ends_with_page)
    return ends_with_page and (not any(text[:_COPIED_LAST]) or _goes_on(text))


def _goes_on(text: bytes) -> bool:
    """Whether a record has announced more bytes than there are."""
    if len(text) <= PREAMBLE_BYTES:
        return True
    size = int.from_bytes(text[_SIZE_AT:PREAMBLE_BYTES], "little")
    return PREAMBLE_BYTES + size > len(text) and text[PREAMBLE_BYTES] == VERSION
