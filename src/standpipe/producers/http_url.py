"""Where requests go: a URL whose scheme, host and port the user wrote, and whose path and query may have fields in them.

No message can lead a request to another server, out of its path segment or into another parameter: a field may not stand
before the path, its value is percent-encoded (so that `/`, `?`, `&`, `@` and `%` are only text), and `.`, `..` and no text at all
are rejected, also between slashes.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from yarl import URL

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.producers.addresses import Url, parse_url
from standpipe.producers.text_template import TextRule, TextTemplate

URL_LONGEST = 8000
"""Characters of a path with its query: what servers have to take at least (RFC 9110 4.1), and more than most take."""

PORTS = {"http": 80, "https": 443}

_PARTS = re.compile(r"([A-Za-z]+)://([^/?#]*)([^#]*)(#.*)?", re.DOTALL)
_ORIGIN = re.compile(r"[A-Za-z]+://[^/?#]*")
_DOT_SEGMENT = re.compile(r"(?:^|/)(?:\.|%2[Ee]){1,2}(?:/|\?|$)")
_STEP = re.compile(r"(?:^|[/\\])\.{1,2}(?:[/\\]|$)")


def _escaped(value: str) -> str:
    """Percent-encoded. Servers that decode `%2F` before they look at the path would take `a/../b` for a step out of it."""
    if _STEP.search(value) is not None:
        raise Reject(
            f"{value[:60]!r} from a message has '.' or '..' between slashes and cannot stand in a URL; replace it before it is produced"
        )
    return quote(value, safe="")


_TARGET = TextRule(
    what="path or query",
    allowed=re.compile(r"[A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*"),
    says="letters, digits and ._~:/?@!$&'()*+,;=[]-, and % with two digits for everything else",
    longest=URL_LONGEST,
    forbidden_values=frozenset((".", "..")),
    escape=_escaped,
)


class UrlTemplate:
    """A URL with or without fields. Raises ValueError, with the remedy, if it cannot be one. Not thread-safe."""

    def __init__(self, text: str, setting: str = "url") -> None:
        match = _PARTS.fullmatch(text)
        if match is not None and ("{" in match[2] or "}" in match[2]):
            raise ValueError(f"{text!r}: the host and port must be fixed; only the path and the query may have fields in them")
        if match is not None and match[4]:
            raise ValueError(f"{text!r}: what stands behind '#' is never sent; leave it out, or write %23")
        self.address: Url = parse_url(text, ("https", "http"), PORTS, credentials=False)
        target = "/" if match is None or not match[3] else match[3] if match[3].startswith("/") else f"/{match[3]}"
        if _DOT_SEGMENT.search(target.partition("?")[0]) is not None:
            raise ValueError(f"{text!r}: write the path without '.' and '..'")
        self._origin = str(URL.build(scheme=self.address.scheme, host=self.address.host, port=self.address.port))
        self._template = TextTemplate(target, _TARGET, setting)
        constant = self._template.constant
        self.constant = None if constant is None else URL(self._origin + constant, encoded=True)
        """The URL if it is the same for every message, else None."""

    def of(self, batch: Batch) -> URL:
        """The URL of a batch; unless it is the same for all, the batch must be of one message. Raises Reject."""
        if self.constant is not None:
            return self.constant
        message = next(iter(batch))
        content = message.content() if self._template.uses_message else {}
        target = self._template.render(content, id=message.id, key=message.key, is_error=message.is_error, time=message.time)
        return URL(self._origin + target, encoded=True)


def shown(text: str) -> str:
    """The URL of a configuration for people: `https://host/...`. The path of a webhook is often all that protects it."""
    origin = _ORIGIN.match(text)
    return text if origin is None else f"{origin[0]}/..." if len(text) > len(origin[0]) + 1 else origin[0]


def without_target(text: str, url: URL) -> str:
    """`text` without path and query of `url`, wherever they stand."""
    return text if len(url.raw_path_qs) < 2 else text.replace(url.raw_path_qs, "/...")
