"""From messages to the commands of Redis, packed for the wire."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.producers.envelope import Envelope, Wrapped
from standpipe.producers.redis_config import SEEN, RedisProducerConfig
from standpipe.producers.redis_connection import Word, pack
from standpipe.producers.text_template import TextChoice

MULTI = pack(("MULTI",))
EXEC = pack(("EXEC",))

SCRIPT = b"""
local seen = redis.call('GET', KEYS[1])
if seen then return {seen} end
local made = redis.call(unpack(ARGV, 2))
if made then redis.call('SET', KEYS[1], tostring(made), 'PX', ARGV[1]) end
return made
"""
"""Carries a command out unless the message has been seen; a second time it answers what the first did, in a table. The id is
remembered last, so that a command that fails leaves no trace."""
SCRIPT_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
LOAD_SCRIPT = ("SCRIPT", "LOAD", SCRIPT)

SCRIPT_WORDS_MAX = 6000
"""Of a command in a script: Lua's stack holds 8000."""
KNOWN_NAMES_MAX = 4096
"""Names whose beginning of a command is remembered."""


class Commands:
    """Makes one command for each message. Not thread-safe."""

    def __init__(self, config: RedisProducerConfig) -> None:
        self._config = config
        self._names = TextChoice(*config.names)
        self._envelope = Envelope(config)
        self._heads: dict[str, tuple[Word, ...]] = {}
        normal, error = (template.constant for template in config.names)
        usual = config.mode == "stream" and config.format == "json" and config.deduplicate is None and normal == error
        self._only_name = (normal or "") if usual else ""
        self._window = None if config.deduplicate is None else max(1, round(config.deduplicate * 1000))

    def made(self, batch: Batch, faults: dict[int, Reject]) -> tuple[list[str], list[bytes]]:
        """Names and commands, one each per message. What cannot be sent is put into `faults` under its position; the command is
        empty then."""
        names = self._names.of(batch, faults)
        if self._config.mode != "stream":
            tails = self._elements(batch, faults)
        else:
            wrapped = self._envelope.wrap(batch, faults)
            if self._only_name and not faults and self._has_ids_only(wrapped):
                return names, self._plain(wrapped)
            tails = self._entries(batch, wrapped, faults)
        heads = self._heads_of(names, batch)
        return names, [
            self._packed((*head, *tail), position, faults) if position not in faults else b""
            for position, (head, tail) in enumerate(zip(heads, tails, strict=True))
        ]

    def _packed(self, words: tuple[Word, ...], position: int, faults: dict[int, Reject]) -> bytes:
        if self._window is not None and len(words) > SCRIPT_WORDS_MAX:
            faults[position] = Reject(f"the message has too many fields for deduplicate: {len(words) // 2}; use format: json")
            return b""
        return pack(words)

    def _has_ids_only(self, wrapped: Wrapped) -> bool:
        name = self._config.message_id_header
        return name is not None and all(len(header) == 1 and name in header for header in wrapped.headers)

    def _plain(self, wrapped: Wrapped) -> list[bytes]:
        """The usual case: one stream, and nothing but its id goes with each message. Written out here, because packing word for
        word costs twice as much."""
        head, field, id_name = self._head(self._only_name), self._config.payload_field, self._config.message_id_header or ""
        start = b"*%d\r\n%b$" % (len(head) + 4, b"".join(map(_word, (*head, id_name))))
        middle = b"\r\n%b$" % _word(field)
        ids = [header[id_name].encode() for header in wrapped.headers]
        return [
            b"%b%d\r\n%b%b%d\r\n%b\r\n" % (start, len(id), id, middle, len(body), body)
            for id, body in zip(ids, wrapped.bodies, strict=True)
        ]

    # --- beginnings: command and name ---------------------------------------------------------------------------------

    def _heads_of(self, names: list[str], batch: Batch) -> list[tuple[Word, ...]]:
        known = self._heads
        if len(known) > KNOWN_NAMES_MAX:
            known.clear()
        for name in set(names):
            if name not in known:
                known[name] = self._head(name)
        heads = [known[name] for name in names]
        if self._window is None:
            return heads
        return [
            ("EVALSHA", SCRIPT_SHA, 2, f"{SEEN}{name}:{id}", name, self._window, *head)
            for name, id, head in zip(names, batch.ids(), heads, strict=True)
        ]

    def _head(self, name: str) -> tuple[Word, ...]:
        config = self._config
        if config.mode == "pubsub":
            return ("PUBLISH", name)
        if config.mode == "list":
            return ("RPUSH" if config.push == "right" else "LPUSH", name)
        head: tuple[Word, ...] = ("XADD", name) if config.create else ("XADD", name, "NOMKSTREAM")
        return (*head, "*") if config.max_length is None else (*head, "MAXLEN", "~", config.max_length, "*")

    # --- ends: the message --------------------------------------------------------------------------------------------

    def _elements(self, batch: Batch, faults: dict[int, Reject]) -> list[tuple[Word, ...]]:
        bodies = batch.payloads() if self._config.cloudevents is None else self._envelope.wrap(batch, faults).bodies
        return [(body,) for body in bodies]

    def _entries(self, batch: Batch, wrapped: Wrapped, faults: dict[int, Reject]) -> list[tuple[Word, ...]]:
        if self._config.format == "flat":
            return _each(self._flat, batch.contents(), wrapped.headers, faults)
        return _each(self._json, wrapped.bodies, wrapped.headers, faults)

    def _json(self, body: bytes, header: dict[str, str]) -> list[Word]:
        field = self._config.payload_field
        if field in header:
            raise Reject(f"the header {field!r} has the name of the field that holds the message; rename it, or set payload_field")
        return [*_flattened(header), field, body]

    def _flat(self, content: dict[str, Any], header: dict[str, str]) -> list[Word]:
        both = content.keys() & header.keys()
        if both:
            raise Reject(f"{min(both)!r} is a field of the message and a header; rename one, for example with message_id_header")
        words = _flattened(header)
        for name, value in content.items():
            words += (name, value if isinstance(value, str) else orjson.dumps(value))
        if not words:
            raise Reject("the message has no fields, and an entry needs one; use format: json, or message_id_header")
        return words


def _word(word: Word) -> bytes:
    data = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _flattened(header: dict[str, str]) -> list[Word]:
    return [word for item in header.items() for word in item]


def _each(
    make: Callable[[Any, dict[str, str]], list[Word]], contents: list[Any], headers: list[dict[str, str]], faults: dict[int, Reject]
) -> list[tuple[Word, ...]]:
    tails: list[tuple[Word, ...]] = []
    for content, header in zip(contents, headers, strict=True):
        try:
            tails.append(tuple(make(content, header)))
        except Reject as fault:
            faults.setdefault(len(tails), fault)
            tails.append(())
    return tails
