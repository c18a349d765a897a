"""Keeping secrets out of logs, errors and dead letters."""

from __future__ import annotations

import re
from collections.abc import Iterable

REDACTED = "**********"

_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/@]{1,200}@")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets and without the user information of any URL in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, REDACTED)
    return _USERINFO.sub(rf"\g<scheme>{REDACTED}@", text)
