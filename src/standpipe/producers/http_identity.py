"""The id of a request: the same for the same messages in every attempt, so that a server can tell repetitions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import quote

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))


def request_id(message_ids: Sequence[str]) -> str:
    """The id of a request with these messages: of one message its own id, of several a digest of theirs. Printable ASCII.

    A batch that is taken apart gets other ids for its parts, because they are other requests with other bodies.
    """
    if len(message_ids) == 1:
        only = message_ids[0]
        return only if only.isascii() and only.isprintable() else quote(only, safe=_PRINTABLE.replace("%", ""))
    digest = hashlib.sha256()
    for message_id in message_ids:
        encoded = message_id.encode()
        digest.update(b"%d:%s" % (len(encoded), encoded))
    return f"batch-{digest.hexdigest()[:40]}"


def quoted(text: str) -> str:
    """Printable ASCII as a string of structured fields (RFC 9651 3.3.3): in quotes, with quotes and backslashes escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
