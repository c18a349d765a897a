"""What the headers of each service can carry: checked before a message is sent, so that it is rejected with a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from standpipe.core.errors import Reject

_ANYTHING = re.compile(r"[\s\S]*")
_SOMETHING = re.compile(r"[\s\S]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PRINTABLE = re.compile(r"(?:[!-~](?:[ \t!-~]*[!-~])?)?")
_UTF8_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]*")  # MQTT 5.0, 1.5.4: what a server may refuse

_SHOWN_MAX = 60
_CHECKED_MAX = 1000
"""Names that are remembered; applications use some ten."""


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Which headers the messages of a service can have. Lengths are bytes in UTF-8."""

    service: str
    """for errors: `Kafka`"""
    name: re.Pattern[str] = _SOMETHING
    """what a header's name must match"""
    name_says: str = "at least one character"
    """`name` in words"""
    name_longest: int = 2**15 - 1
    value: re.Pattern[str] = _ANYTHING
    """what a header's value must match"""
    value_says: str = "any text"
    """`value` in words, with the remedy"""
    value_longest: int = 2**20
    reserved: re.Pattern[str] | None = None
    """names (lower case) that neither a message nor `headers` of the configuration may have, because the producer writes them"""
    ignores_case: bool = False
    """whether two names that differ in case only are the same"""
    checked: dict[str, None] = field(default_factory=dict, compare=False, repr=False)
    """names that are known to be good"""

    def fault(self, name: str, value: str, *, ours: bool = False) -> str | None:
        """Why the service cannot carry this header, with the remedy; None: it can. `ours`: the producer itself writes it."""
        if name not in self.checked:
            why = self._name_fault(name, ours)
            if why is not None:
                return why
            if len(self.checked) < _CHECKED_MAX and self._name_fault(name, False) is None:
                self.checked[name] = None
        if self.value.fullmatch(value) is None:
            return f"the header {_shown(name)} has a value that {self.service} cannot carry{_odd(value)}; use {self.value_says}"
        if 4 * len(value) > self.value_longest and len(value.encode()) > self.value_longest:
            return f"the header {_shown(name)} has {len(value.encode())} bytes, and {self.service} takes {self.value_longest}; shorten it"
        return None

    def _name_fault(self, name: str, ours: bool) -> str | None:
        if self.name.fullmatch(name) is None:
            return f"{_shown(name)} cannot name a header of {self.service}; use {self.name_says}"
        if len(name.encode()) > self.name_longest:
            return f"the name of the header {_shown(name)} is longer than the {self.name_longest} bytes {self.service} takes; shorten it"
        if not ours and self.reserved is not None and self.reserved.fullmatch(name.lower()) is not None:
            return f"the header {_shown(name)} is written by the producer itself; leave it out"
        return None

    def folded(self, name: str) -> str:
        """`name` so that equal names are equal texts."""
        return name.lower() if self.ignores_case else name


def check_headers(headers: Mapping[str, str], rule: HeaderRule, *, ours: bool = False) -> None:
    """Raises Reject, which names the header and the remedy, for one that the service cannot carry. `ours`: the producer writes them."""
    for name, value in headers.items():
        fault = rule.fault(name, value, ours=ours)
        if fault is not None:
            raise Reject(fault)


def _odd(value: str) -> str:
    """The first unusual character: the value itself may be a secret."""
    found = next((character for character in value if not (character.isascii() and character.isprintable())), None)
    return "" if found is None else f": there is {found!r} in it"


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "...")


ANY_HEADER = HeaderRule("the destination")
"""For services that carry anything."""

KAFKA = HeaderRule("Kafka")
"""Names are UTF-8, values are bytes: everything goes (KIP-82); the broker bounds the whole message."""

AMQP = HeaderRule("AMQP", name_says="at least one character", name_longest=255)
"""Field tables (AMQP 0-9-1, 4.2.5.5): names are short strings, values long strings. The frame bounds the whole
table (`frame_max`, 128 KiB in RabbitMQ): the producer has to look at that, because a larger one ends the connection."""

HTTP = HeaderRule(
    "HTTP",
    name=_TOKEN,
    name_says="letters, digits and any of !#$%&'*+-.^_`|~",
    name_longest=256,
    value=_PRINTABLE,
    value_says="printable ASCII without spaces at its ends, and %XX for all else",
    value_longest=8 * 1024,
    reserved=re.compile(r"host|content-length|transfer-encoding|connection|keep-alive|upgrade|te|trailer|expect|proxy-[a-z-]+"),
    ignores_case=True,
)
"""8 KiB for a header is what Apache and nginx take by default."""

NATS = HeaderRule(
    "NATS",
    name=re.compile(r"[!-9;-~]+"),
    name_says="printable ASCII without spaces and colons",
    value=_PRINTABLE,
    value_says="printable ASCII without spaces at its ends, and %XX for all else",
    value_longest=32 * 1024,
    reserved=re.compile(r"nats-.+"),
    ignores_case=True,
)
"""Headers are written as in HTTP (ADR-4), and `Nats-...` are orders to the server: deduplication, expectations, roll-ups that
purge a stream. None of them may come from a message."""

MQTT = HeaderRule(
    "MQTT",
    name=re.compile(_UTF8_TEXT.pattern[:-1] + "+"),
    name_says="text without control characters",
    name_longest=2**16 - 1,
    value=_UTF8_TEXT,
    value_says="text without control characters",
    value_longest=2**16 - 1,
)
"""User properties of MQTT 5: strings with a length of two bytes."""

REDIS = HeaderRule("Redis", value_longest=2**29)
"""Fields of a stream's entry are strings of bytes, at most 512 MiB."""
