"""What an HTTP answer says about the messages of its request. Pure: numbers and texts in, values out.

Rules, in order of the first that fits (the lists of statuses can be configured):

1. A status of `success`: delivered.
2. A status of `pause` (401, 403, 407), or a redirect: the fault is the configuration's. The messages are kept, nothing is
   sent for a while, and the log says what to do.
3. A status of `retry` (408, 409, 425, 429, 5xx but 501): tried again; after as long as `Retry-After` says, if it does.
4. Anything else: rejected. A batch is tried again in halves first, so that only the message at fault is put aside.

Which of the retried ones may have arrived: 408, 425, 429 and 503 say that the request was not processed; 409 that another
attempt with the same idempotency key is still running; the others can come from a gateway after the work was done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

from standpipe.core.outcome import RETRY_AFTER_MAX

EXCERPT_BYTES = 2000
"""Bytes of an answer that are kept with a dead letter: enough for a problem report in JSON, too little for a page of HTML."""

NOT_PROCESSED = frozenset({408, 425, 429, 503})
"""Statuses by which a server says that it has not processed the request (RFC 9110 15.5.9, 15.6.4; RFC 8470 5.2; RFC 6585 4)."""

_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)")
_DELAY_SECONDS = re.compile(r"[0-9]{1,15}")


class Meaning(Enum):
    """What has to be done after an answer."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PAUSE = "pause"
    REJECT = "reject"


class StatusSet:
    """Statuses as people list them: `404`, `"5xx"`, and `"!501"` for what is excepted. Immutable."""

    def __init__(self, listed: Sequence[int | str]) -> None:
        """Raises ValueError, with the remedy, for what is no status."""
        found: set[int] = set()
        excepted: set[int] = set()
        for item in listed:
            text = str(item).lower()
            target = excepted if text.startswith("!") else found
            target.update(_statuses(item, text.removeprefix("!")))
        self.statuses = frozenset(found - excepted)

    def __contains__(self, status: int) -> bool:
        return status in self.statuses


def _statuses(item: int | str, text: str) -> range:
    if _STATUS.fullmatch(text) is None:
        raise ValueError(f'{item!r} is not an HTTP status; write a number such as 404, a class such as "5xx", or "!501" for an exception')
    if text.endswith("xx"):
        return range(int(text[0]) * 100, int(text[0]) * 100 + 100)
    return range(int(text), int(text) + 1)


@dataclass(frozen=True, slots=True)
class Statuses:
    """Which statuses mean what; see the rules at the top of this file."""

    success: StatusSet
    retry: StatusSet
    pause: StatusSet

    def meaning(self, status: int) -> Meaning:
        """What has to be done after an answer with this status."""
        if status in self.success:
            return Meaning.DELIVERED
        if status in self.pause or 300 <= status < 400:
            return Meaning.PAUSE
        return Meaning.RETRY if status in self.retry else Meaning.REJECT


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The pause that the answer asks for in `Retry-After`, in seconds from `now` (seconds since 1970): 0 to an hour.

    Both forms are understood, a number of seconds and a date (RFC 9110 10.2.3). None: there is none, or it is garbled.
    """
    text = headers.get("Retry-After", "").strip()
    if _DELAY_SECONDS.fullmatch(text) is not None:
        return float(min(int(text), RETRY_AFTER_MAX))
    until = _date(text)
    return None if until is None else min(max(0.0, until - now), RETRY_AFTER_MAX)


def _date(text: str) -> float | None:
    if not text or len(text) > 64:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def excerpt(body: bytes) -> str:
    """The beginning of an answer, for people: control characters that are not white space are replaced."""
    text = body[:EXCERPT_BYTES].decode("utf-8", "replace")
    shown = "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text.replace("\r\n", "\n"))
    return shown + ("..." if len(body) > EXCERPT_BYTES else "")
