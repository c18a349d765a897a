"""Keys, headers and message ids: what `produce` may be given beside the message, checked before it is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from standpipe.core.errors import EncodingError
from standpipe.delivery.receipt import Receipt


def add_details(
    receipt: Receipt,
    keys: str | Sequence[str | None] | None,
    headers: Mapping[str, str] | None,
    ids: Sequence[str] | None,
) -> None:
    """Put what most messages do not have into `receipt`. Raises EncodingError for what no destination could take."""
    for key in keys if isinstance(keys, tuple) else (keys,):
        if key is not None and not isinstance(key, str):
            raise EncodingError(f"the key {key!r} is {type(key).__name__}, not text")
        if key is not None and not _is_utf8(key):
            raise EncodingError(f"the key {key!r} cannot be encoded as UTF-8")
        receipt._size += len(key or "")
    if headers is not None:
        for name, value in headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise EncodingError(f"the header {name!r}: {value!r} is not text to text")
            if not (_is_utf8(name) and _is_utf8(value)):
                raise EncodingError(f"the header {name!r}: {value!r} cannot be encoded as UTF-8")
            receipt._size += len(name) + len(value)
        receipt._rest().headers = dict(headers)
    if ids is not None:
        for message_id in ids:
            if not isinstance(message_id, str) or not 0 < len(message_id) <= 200:
                raise EncodingError(f"the message id {message_id!r} is not a text of 1 to 200 characters")
            if not _is_utf8(message_id):
                raise EncodingError(f"the message id {message_id!r} cannot be encoded as UTF-8")
        receipt._rest().ids = list(ids)


def _is_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:  # a lone surrogate: no destination could take it, however often it is tried
        return False
