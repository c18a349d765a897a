"""Lines of `key=value`, as many programs written in Go log them: `level=warn msg="disk \\"sda\\" is full" retry`."""

from __future__ import annotations

import re

_PAIR = re.compile(r'([^\s="]++)(?:=(?:"((?:[^"\\]++|\\.)*+)"|([^\s"]*+)))?+(?:\s++|$)')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}


def parse_logfmt(text: str) -> dict[str, str | bool]:
    """The pairs of `text`; a key alone is True, values are text. The last of several equal keys counts.

    Raises ValueError that says where `text` is not logfmt, and for text without any pair, which would be prose taken for keys.
    """
    text = text.strip()
    found: dict[str, str | bool] = {}
    end = 0
    pairs = 0
    for match in _PAIR.finditer(text):
        if match.start() != end:
            break
        end = match.end()
        key, quoted, plain = match.groups()
        found[key] = _unescape(quoted) if quoted is not None else True if plain is None else plain
        pairs += found[key] is not True
    if end != len(text):
        raise ValueError(f"is not key=value from column {end + 1}")
    if not pairs:
        raise ValueError("has no key=value")
    return found


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), text)
