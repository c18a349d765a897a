"""Bytes to lines, for every agent that reads text: split at `\\n` alone, decode, mend what is invalid, cut what is too long.

The path for the normal case touches no single line: one `decode` and one `split` for a whole chunk. Only a chunk that holds
an invalid sequence or a line above the limit is taken apart line by line.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, field_validator

from standpipe.agents.base import BaseAgentConfig
from standpipe.core.units import Size

REPLACEMENT = "\ufffd"

# Fluent Bit stops at 32 KiB, Vector at 100 KiB, Filebeat at 10 MiB. Stack traces and JSON with bodies reach hundreds of KiB.
MAX_LINE_BYTES = 2**20
MAX_LINE_BYTES_LIMIT = 2**26  # a held line is memory per file
# 64 KiB are some 400 access-log lines: few enough that their dictionaries, alive at once, set off no full run of Python's
# cyclic garbage collector, and enough that the work per batch disappears.
CHUNK_BYTES = 2**16
CHUNK_BYTES_LIMIT = 2**24


class LineAgentConfig(BaseAgentConfig):
    """Configuration of every agent that reads lines of text."""

    encoding: str = Field(
        "utf-8",
        description="encoding of the text; bytes that are not valid in it are replaced by U+FFFD and counted; it must extend ASCII",
    )
    max_line_bytes: Size = Field(
        MAX_LINE_BYTES,
        ge=1,
        le=MAX_LINE_BYTES_LIMIT,
        description="longer lines are cut to this many bytes, get the field `truncated: true`, and are counted",
    )
    chunk_bytes: Size = Field(
        CHUNK_BYTES,
        ge=1024,
        le=CHUNK_BYTES_LIMIT,
        description="bytes read at once; larger chunks mean larger batches, more memory and longer garbage collections",
    )

    @field_validator("encoding")
    @classmethod
    def _encoding_extends_ascii(cls, value: str) -> str:
        try:
            name = codecs.lookup(value).name
            extends_ascii = bytes(range(128)).decode(name) == "".join(map(chr, range(128)))
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}; use utf-8, latin-1, cp1252 or another one Python knows") from None
        except (UnicodeError, TypeError):
            extends_ascii = False
        if not extends_ascii:
            raise ValueError(f"encoding {value!r} does not extend ASCII, so lines cannot be found in it; convert the input to utf-8")
        return "utf-8" if name == "utf-8-sig" else name  # a byte order mark is dropped in any case


@dataclass(slots=True)
class LineCounts:
    """What was mended or cut, over all assemblers that share it."""

    invalid_lines: int = 0
    replaced_characters: int = 0
    truncated_lines: int = 0
    truncated_bytes: int = 0


@dataclass(frozen=True, slots=True)
class LineRules:
    """How lines are read: the encoding, the limit in bytes, and where to count."""

    encoding: str = "utf-8"
    max_line_bytes: int = MAX_LINE_BYTES
    counts: LineCounts = field(default_factory=LineCounts)


class Lines:
    """Whole lines without their ends, the sparse extra fields of some of them, and the number of bytes they stand for."""

    __slots__ = ("extras", "lines", "size")

    def __init__(self, lines: list[str], extras: dict[int, dict[str, Any]] | None, size: int) -> None:
        self.lines = lines
        self.extras = extras
        self.size = size


class LineAssembler:
    """Puts the lines of one stream together from chunks that end anywhere. Not thread-safe.

    A line ends at `\\n`; one `\\r` before it belongs to the end. Everything else, also NUL, form feed and U+2028, is text.
    At most `max_line_bytes` of an unfinished line are held, however long it gets. `at_start`: the stream is read from its
    first byte, where a byte order mark is not text. `continued`: the stream is entered in the middle of a line of which the
    beginning was handed over before; the rest of it is marked `continued`, and if nothing but its end is left, it is no line.
    """

    __slots__ = ("_at_start", "_continued", "_held", "_rules", "_skipped")

    def __init__(self, rules: LineRules, *, at_start: bool = True, continued: bool = False) -> None:
        self._rules = rules
        self._at_start = at_start
        self._continued = continued
        self._held = bytearray()
        self._skipped = 0

    @property
    def pending(self) -> int:
        """Bytes taken in that belong to the unfinished last line."""
        return len(self._held) + self._skipped

    def feed(self, chunk: bytes) -> Lines | None:
        """The lines that `chunk` completes; None when it completes none."""
        end = chunk.rfind(b"\n") + 1
        if end == 0:
            self._hold(chunk)
            return None
        size = self.pending + end
        skipped = self._skipped
        start = 0
        if skipped:
            start = chunk.index(b"\n")
            skipped += start
        block = self._held + chunk[start:end]
        self._held = bytearray()
        self._skipped = 0
        self._hold(chunk[end:])
        return self._lines(block, skipped, size)

    def finish(self, *, mark: bool = False) -> Lines | None:
        """The unfinished last line as a line; None when there is none. `mark` gives it the field `partial: true`."""
        size = self.pending
        if not size:
            return None
        block = self._held + b"\n"
        skipped = self._skipped
        self._held = bytearray()
        self._skipped = 0
        last = self._lines(block, skipped, size)
        self._continued = True
        if last is not None and mark:
            extras = last.extras = last.extras or {}
            extras.setdefault(0, {})["partial"] = True
        return last

    def _hold(self, rest: bytes) -> None:
        # Two bytes above the limit are kept: enough to see that the line is too long even if one of them is a `\r`.
        self._held += rest
        surplus = len(self._held) - self._rules.max_line_bytes - 2
        if surplus > 0:
            del self._held[-surplus:]
            self._skipped += surplus

    def _lines(self, block: bytearray, skipped: int, size: int) -> Lines | None:
        lines, extras = self._decode(block, skipped)
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix("\ufeff")
        if self._continued:
            self._continued = False
            if lines[0]:
                extras = extras or {}
                extras.setdefault(0, {})["continued"] = True
            else:
                del lines[0]
                extras = {index - 1: fields for index, fields in extras.items()} if extras else None
        return Lines(lines, extras, size) if lines else None

    def _decode(self, block: bytearray, skipped: int) -> tuple[list[str], dict[int, dict[str, Any]] | None]:
        limit = self._rules.max_line_bytes
        if len(block) > limit and max(map(len, block.split(b"\n"))) > limit:
            return self._decode_each(block, skipped)
        try:
            text = block.decode(self._rules.encoding)
        except UnicodeDecodeError:
            return self._decode_each(block, skipped)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        lines.pop()
        return lines, None

    def _decode_each(self, block: bytearray, skipped: int) -> tuple[list[str], dict[int, dict[str, Any]] | None]:
        lines = []
        extras: dict[int, dict[str, Any]] = {}
        for index, raw in enumerate(block[:-1].split(b"\n")):
            line = raw.removesuffix(b"\r")
            if len(line) > self._rules.max_line_bytes:
                lines.append(self._cut(line, skipped if index == 0 else 0))
                extras[index] = {"truncated": True}
            else:
                lines.append(self._decode_line(line, final=True))
        return lines, extras or None

    def _cut(self, line: bytearray, skipped: int) -> str:
        limit = self._rules.max_line_bytes
        self._rules.counts.truncated_lines += 1
        self._rules.counts.truncated_bytes += len(line) - limit + skipped
        return self._decode_line(line[:limit], final=False)

    def _decode_line(self, line: bytearray, *, final: bool) -> str:
        """Decode one line, mending it where it is invalid; with `final=False` a character cut at the end is left out."""
        encoding = self._rules.encoding
        try:
            return line.decode(encoding) if final else codecs.getincrementaldecoder(encoding)().decode(line)
        except UnicodeDecodeError:
            text = codecs.getincrementaldecoder(encoding)("replace").decode(line, final)
        genuine = line.count(REPLACEMENT.encode()) if encoding == "utf-8" else 0
        self._rules.counts.invalid_lines += 1
        self._rules.counts.replaced_characters += text.count(REPLACEMENT) - genuine
        return text
