"""Keeping secrets out of what people and logs get to see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

REDACTED = "**********"

_LONG_SECRET = 4  # shorter ones are replaced as whole words only: "5" as a secret must not blot out every 5
_LONG_LINE = 8  # lines of a secret of several lines (a key in PEM) that are redacted on their own
# The second form is a password with a bare slash, as people write it; bounded, so that no text takes quadratic time.
_USER_INFO = re.compile(r"(?<=://)(?:[^\s/?#]{1,1024}@|[^\s/?#:@]{0,256}:(?!\d*[/?#])\S{0,256}@)")
_SECRET_PARAMETER = re.compile(
    r"([?&;](?:password|passwd|pwd|pass|secret|client_secret|token|access_token|api_?key|key|sig|signature|auth)=)[^&;#\s'\"]+",
    re.IGNORECASE,
)


def redact_url(text: str) -> str:
    """`text` without the passwords and tokens in its URLs: `amqp://user:**********@host/`, `https://host/?token=**********`."""
    return _SECRET_PARAMETER.sub(rf"\1{REDACTED}", _USER_INFO.sub(_hidden_user_info, text))


def _hidden_user_info(match: re.Match[str]) -> str:
    user, colon, _ = match[0].partition(":")
    return f"{user}:{REDACTED}@" if colon and user else f"{REDACTED}@"


def redact_text(text: str, secrets: Iterable[str]) -> str:
    """`text` with every occurrence of a secret, as it is or escaped as in JSON, Python or a URL, and every password in a URL replaced."""
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    if forms:
        text = re.sub("|".join(_pattern(form) for form in forms), REDACTED, text)
    return redact_url(text)


def _pattern(form: str) -> str:
    return re.escape(form) if len(form) >= _LONG_SECRET else rf"(?<!\w){re.escape(form)}(?!\w)"


def _forms(secret: str) -> Iterator[str]:
    lines = secret.splitlines()
    parts = [secret, secret.strip()] + [line for line in lines if len(line) >= _LONG_LINE and len(lines) > 1]
    for part in parts:
        if part:
            # Python escapes the single quotes of a text that holds both kinds; the two appended ones make sure of that.
            yield from (
                part,
                repr(part)[1:-1],
                repr(part + "\"'")[1:-4],
                json.dumps(part)[1:-1],
                json.dumps(part, ensure_ascii=False)[1:-1],
            )
            yield from (quote(part, safe=""), quote_plus(part))
