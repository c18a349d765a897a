"""What goes with a message: its id, key, error flag and headers in the service's own way, and the CloudEvents envelope.

Precedence, strongest first: what Standpipe says about the message (id, key, error flag, CloudEvents), the message's own headers
(`produce(headers=...)`, W3C `traceparent` and `tracestate` among them, passed through as they are), the configuration's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch, Slice
from standpipe.delivery.receipt import Receipt
from standpipe.producers.cloudevents import DATA_TYPE, CloudEvents
from standpipe.producers.header_rules import check_headers
from standpipe.producers.network_config import NetworkProducerConfig, plain_headers

ERROR_VALUE = "true"
"""The value of the header that marks error messages."""


class Wrapped(NamedTuple):
    """What is to be sent of each message of a batch, in order."""

    bodies: list[bytes]
    headers: list[dict[str, str]]
    """may be shared between messages: copy one to change it"""


class Envelope:
    """Makes bodies and headers as a producer's configuration says, by the rules that its model names. Not thread-safe.

    `extra`: headers that the producer itself gives every message; they are stronger than all others.
    """

    def __init__(self, config: NetworkProducerConfig, extra: Mapping[str, str] | None = None) -> None:
        self._rule = config.header_rule
        self._id_name, self._key_name = config.message_id_header, config.key_header
        self._fixed = plain_headers(config.headers)
        normal = dict(extra or {})
        error = normal if config.error_header is None else {**normal, config.error_header: ERROR_VALUE}
        self._flags = (normal, error)
        self._bases = ({**self._fixed, **normal}, {**self._fixed, **error})
        names = (config.message_id_header, config.key_header, config.error_header)
        self._taken = {self._rule.folded(name) for name in names if name is not None}
        self._events = None if config.cloudevents is None else CloudEvents(config.cloudevents, config.cloudevents_binding)
        self.content_type = DATA_TYPE if self._events is None else self._events.content_type
        """The content type of every body."""

    def wrap(self, batch: Batch, faults: dict[int, Reject]) -> Wrapped:
        """Bodies and headers of a batch. A message that the service cannot carry is put into `faults` under its position; its
        headers are empty then."""
        if self._events is not None:
            return self._wrap_events(batch, self._events, faults)
        return Wrapped(batch.payloads(), self._all_headers(batch, faults))

    def wrap_one_by_one(self, batch: Batch, faults: dict[int, Reject]) -> tuple[list[bytes], Iterable[dict[str, str]]]:
        """As `wrap`, but the headers can be had once: those that are let go of one by one spare the garbage collector its work."""
        if self._events is None and (name := self._only_name(batch)) is not None:
            return batch.payloads(), ({name: id} for id in batch.ids())
        return self.wrap(batch, faults)

    def _only_name(self, batch: Batch) -> str | None:
        """The name of the one header of every message, its generated id: the usual case. None if there may be others."""
        name = self._id_name
        if name is not None and not self._bases[False] and all(self._is_plain(receipt) for receipt, _, _ in batch.slices):
            return name
        return None

    def _all_headers(self, batch: Batch, faults: dict[int, Reject]) -> list[dict[str, str]]:
        if (name := self._only_name(batch)) is not None:
            return [{name: id} for id in batch.ids()]  # four times as fast as what is below
        headers: list[dict[str, str]] = []
        for part in batch.slices:
            self._add_headers(part, headers, faults)
        return headers

    def _is_plain(self, receipt: Receipt) -> bool:
        """Whether nothing but its generated id goes with each message: there is nothing to check."""
        return receipt._more is None and not receipt._is_error and (self._key_name is None or receipt._keys is None)

    # --- plain messages -----------------------------------------------------------------------------------------------

    def _add_headers(self, part: Slice, headers: list[dict[str, str]], faults: dict[int, Reject]) -> None:
        """The headers of messages of one receipt: they share all but id and key."""
        receipt, start, stop = part
        more = receipt._more
        own = more.headers if more is not None else None
        try:
            base = self._base(receipt._is_error, own)
        except Reject as fault:
            faults.update((len(headers) + number, fault) for number in range(stop - start))
            headers += [{} for _ in range(start, stop)]
            return
        foreign_ids = more is not None and more.ids is not None
        if foreign_ids or (self._key_name is not None and receipt._keys is not None):
            for index in range(start, stop):
                self._add_one(base, receipt._id(index), receipt._key(index), foreign_ids, headers, faults)
        elif self._id_name is None:
            headers += [base] * (stop - start)
        else:
            headers += [{**base, self._id_name: receipt._id(index)} for index in range(start, stop)]

    def _add_one(
        self, base: dict[str, str], id: str, key: str | None, check_id: bool, headers: list[dict[str, str]], faults: dict[int, Reject]
    ) -> None:
        try:
            headers.append({**base, **self._said(id, key, check_id)})
        except Reject as fault:
            faults[len(headers)] = fault
            headers.append({})

    def headers(self, id: str, key: str | None = None, is_error: bool = False, own: Mapping[str, str] | None = None) -> dict[str, str]:
        """The headers of one message; `own`: the message's. Raises Reject, which names the header and the remedy, for what the
        service cannot carry."""
        return {**self._base(is_error, own), **self._said(id, key)}

    def _base(self, is_error: bool, own: Mapping[str, str] | None) -> dict[str, str]:
        """All but id and key. What a message itself says under the names of id, key and error flag is left out: it could be wrong."""
        if not own:
            return self._bases[is_error]
        check_headers(own, self._rule)
        folded = self._rule.folded
        layers = (self._fixed, {name: value for name, value in own.items() if folded(name) not in self._taken}, self._flags[is_error])
        if not self._rule.ignores_case:
            return {name: value for layer in layers for name, value in layer.items()}
        return dict({name.lower(): (name, value) for layer in layers for name, value in layer.items()}.values())

    def _said(self, id: str, key: str | None, check_id: bool = True) -> dict[str, str]:
        said: dict[str, str] = {}
        if self._id_name is not None:
            if check_id and (fault := self._rule.fault(self._id_name, id, ours=True)) is not None:
                raise Reject(fault)
            said[self._id_name] = id
        if self._key_name is not None and key is not None:
            if (fault := self._rule.fault(self._key_name, key, ours=True)) is not None:
                raise Reject(fault)
            said[self._key_name] = key
        return said

    # --- events -------------------------------------------------------------------------------------------------------

    def _wrap_events(self, batch: Batch, events: CloudEvents, faults: dict[int, Reject]) -> Wrapped:
        contents: list[dict[str, Any]] = batch.contents() if events.uses_message else [{}] * batch.count
        bodies: list[bytes] = []
        headers: list[dict[str, str]] = []
        for message, content in zip(batch, contents, strict=True):
            try:
                attributes = events.attributes(message, content)
                made = self.headers(message.id, message.key, message.is_error, message.headers)
                made = self._with_events(made, events.headers(attributes))
            except Reject as fault:
                faults[len(bodies)] = fault
                made, body = {}, b""
            else:
                body = events.body(message.payload, attributes)
            headers.append(made)
            bodies.append(body)
        return Wrapped(bodies, headers)

    def _with_events(self, made: dict[str, str], said: dict[str, str]) -> dict[str, str]:
        if not said:
            return made
        check_headers(said, self._rule, ours=True)
        if self._rule.ignores_case:
            taken = {name.lower() for name in said}
            made = {name: value for name, value in made.items() if name.lower() not in taken}
        return {**made, **said}
