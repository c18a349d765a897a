"""Values and names in the words of somebody who writes YAML."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from standpipe.config.problems import quoted
from standpipe.config.redaction import redact_url
from standpipe.core.redaction import REDACTED

_NAMES_MAX = 25  # a longer list hides the rest of the message


def found(value: Any, *, secret: bool = False) -> str:
    """What `value` is, as in `found text 'abc'`, `found a list`; a secret is shown as asterisks."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "a list"
    if secret:
        return REDACTED
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return f"text {quoted(redact_url(value))}" if isinstance(value, str) else f"a {type(value).__name__}"


def shown(value: Any, *, secret: bool = False) -> str:
    """As `found`, shorter: a text is only quoted, a number stands alone."""
    return found(value, secret=secret).removeprefix("text ").removeprefix("the number ")


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the choice nearest to `name`, None if nothing is near."""
    listed = list(choices)
    near = difflib.get_close_matches(name, listed, n=1) or difflib.get_close_matches(name.lower().replace("-", "_"), listed, n=1)
    return f"did you mean {quoted(near[0])}?" if near else None


def there_are(choices: Iterable[str]) -> str:
    """`there are: a, b, c`, cut when there are very many."""
    listed = list(choices)
    if not listed:
        return "there are none"
    rest = f" and {len(listed) - _NAMES_MAX} more" if len(listed) > _NAMES_MAX else ""
    return f"there are: {', '.join(listed[:_NAMES_MAX])}{rest}"
