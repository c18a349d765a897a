"""Requests made of messages: URL, headers and body. Nothing here is sent, and nothing waits.

The body of a request is the same, byte by byte, in every attempt, as servers want it that compare it under one idempotency key.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson
from pydantic import SecretStr
from yarl import URL

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch, lines_of
from standpipe.producers.envelope import Envelope
from standpipe.producers.http_config import HttpProducerConfig
from standpipe.producers.http_identity import quoted, request_id
from standpipe.producers.http_url import UrlTemplate
from standpipe.producers.record_fields import RecordFields

COMPRESS_FROM = 1024
"""Bytes from which on a body is compressed: below, the saving is less than a network packet."""
COMPRESS_LEVEL = 6

USER_AGENT = "standpipe"
BATCH_EVENTS_TYPE = "application/cloudevents-batch+json; charset=UTF-8"

_BODY_TYPES = {"jsonl": "application/x-ndjson", "json_array": "application/json", "form": "application/x-www-form-urlencoded"}
_SET_LATER = "-"


class Request(NamedTuple):
    """What is sent."""

    url: URL
    headers: dict[str, str]
    body: bytes


class RequestMaker:
    """Makes the requests of one producer. `now`: seconds since 1970, for signatures. Not thread-safe."""

    def __init__(self, config: HttpProducerConfig, now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._urls = (UrlTemplate(config.url), UrlTemplate(config.error_url or config.url, "error_url" if config.error_url else "url"))
        self._compress = config.compression == "gzip"
        self._signer = None if config.signature is None else config.signature.signer()
        self._idempotency = config.idempotency_header
        self._fields = RecordFields(config.field_names)
        self._has_fields = bool(config.field_names)
        self._envelope = Envelope(config, self._own_headers(config))
        self._plain = config.format == "json" and not self._has_fields
        one_place = all(url.constant is not None for url in self._urls)
        as_it_is = self._plain and one_place and config.cloudevents is None and not self._compress and self._signer is None
        self._quick = as_it_is and config.message_id_header is None and config.key_header is None
        self._bases = tuple(self._envelope.headers(_SET_LATER, is_error=flag) for flag in (False, True)) if self._quick else ()

    def make(self, batch: Batch, is_error: bool) -> Request:
        """The request of a batch, of which either all or none are errors if they go to different places. Raises Reject."""
        if self._quick and (request := self._made_quickly(batch, is_error)) is not None:
            return request
        url = self._urls[is_error].of(batch)
        headers, body = self._single(batch) if self._config.single else self._several(batch, is_error)
        if self._idempotency is not None or self._signer is not None:
            self._identify(batch, headers, body)
        if self._compress and len(body) >= COMPRESS_FROM:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, COMPRESS_LEVEL, mtime=0)  # the time would make the bytes differ from attempt to attempt
        return Request(url, headers, body)

    def _made_quickly(self, batch: Batch, is_error: bool) -> Request | None:
        """The most frequent request by far: a message that has nothing but its payload and the id that we gave it."""
        receipt, index, _ = batch.slices[0]
        url = self._urls[is_error].constant
        if receipt._more is not None or url is None:
            return None
        headers = self._bases[is_error].copy()
        if self._idempotency is not None:
            headers[self._idempotency] = f'"{receipt._id(index)}"'  # hexadecimal digits: nothing in it needs an escape
        return Request(url, headers, lines_of(batch.slices[0])[0])

    # --- headers ------------------------------------------------------------------------------------------------------

    def _own_headers(self, config: HttpProducerConfig) -> dict[str, str]:
        """Headers that no message can replace by its own; the values of some follow when a request is made.

        Answers are asked for uncompressed: there is nothing to save, and a small answer can unpack to gigabytes.
        """
        content_type = _BODY_TYPES.get(config.format, "application/json")
        if config.cloudevents is not None and config.cloudevents.mode == "structured":
            content_type = BATCH_EVENTS_TYPE if config.format == "json_array" else "application/cloudevents+json; charset=UTF-8"
        own = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Content-Type": content_type}
        own |= {name: value.get_secret_value() for name, value in config.headers.items() if isinstance(value, SecretStr)}
        own |= {
            name: value
            for name, value in config.headers.items()
            if name.lower() in ("user-agent", "accept", "content-type") and isinstance(value, str)
        }
        if config.auth is not None:
            own["Authorization"] = config.auth.header()
        if config.idempotency_header is not None:
            own[config.idempotency_header] = _SET_LATER
        if config.signature is not None:
            own |= {"webhook-id": _SET_LATER, "webhook-timestamp": _SET_LATER, "webhook-signature": _SET_LATER}
        return own

    def _identify(self, batch: Batch, headers: dict[str, str], body: bytes) -> None:
        identity = request_id(batch.ids())
        if self._idempotency is not None:
            headers[self._idempotency] = quoted(identity)
        if self._signer is not None:
            headers.update(self._signer.headers(identity, int(self._now()), body))

    # --- bodies -------------------------------------------------------------------------------------------------------

    def _single(self, batch: Batch) -> tuple[dict[str, str], bytes]:
        faults: dict[int, Reject] = {}
        wrapped = self._envelope.wrap(batch, faults)
        if faults:
            raise faults[0]
        headers = dict(wrapped.headers[0])
        if self._plain:
            return headers, wrapped.bodies[0]
        record = self._fields.jsonl(batch)[:-1]
        return headers, record if self._config.format == "json" else _form(record)

    def _several(self, batch: Batch, is_error: bool) -> tuple[dict[str, str], bytes]:
        """Several messages have no headers of their own; an envelope of CloudEvents carries what there is."""
        headers = self._envelope.headers(request_id(batch.ids()), is_error=is_error and self._config.error_url is not None)
        if self._config.cloudevents is not None:
            return headers, b"[" + b",".join(self._events(batch)) + b"]"
        records = self._fields.jsonl(batch)
        if self._config.format == "jsonl":
            return headers, records
        return headers, b"[" + records[:-1].replace(b"\n", b",") + b"]"

    def _events(self, batch: Batch) -> list[bytes]:
        faults: dict[int, Reject] = {}
        wrapped = self._envelope.wrap(batch, faults)
        if faults:  # the batch is tried in halves until the message at fault is alone
            raise next(iter(faults.values()))
        return wrapped.bodies


def _form(record: bytes) -> bytes:
    content: Mapping[str, Any] = orjson.loads(record)
    return urlencode([(name, _form_value(value)) for name, value in content.items()]).encode("ascii")


def _form_value(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
