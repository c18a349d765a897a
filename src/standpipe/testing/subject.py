"""What the conformance kit needs to know about a producer beyond its class and configuration; most of it can be guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.testing.addresses import address_of, here, redirected

Config = TypeVar("Config", bound=BaseProducerConfig)

OVERSIZE_BYTES = 4 * 2**20
"""Of the message that may be too large: more than Kafka (1 MiB), NATS (1 MiB) and most HTTP services (1 MiB) take by default."""


@dataclass(frozen=True)
class Arrival:
    """A message as the destination has it. `is_error` is None if that cannot be told."""

    message: dict[str, Any]
    is_error: bool | None = None


class Subject(Generic[Config]):
    """A producer to be checked. Subclass it to tell the kit more, above all what has arrived (`read_back`).

        class MySubject(Subject):
            def read_back(self):
                for row in my_database.execute("SELECT payload, is_error FROM events ORDER BY number"):
                    yield Arrival(json.loads(row[0]), bool(row[1]))

        check_producer(MySubject(MyProducer, config))

    Without `read_back` the kit believes what was claimed, unless nothing can have reached the service. It must show at once
    everything that was acknowledged, and may show what others have written.
    """

    at_most_once = False
    """True for a destination that acknowledges nothing: losing messages on a dead connection is then no broken promise."""

    def __init__(self, kind: type[BaseProducer], config: Config) -> None:
        """`config` leads to a destination that is for tests: messages without meaning are sent there."""
        if not (isinstance(kind, type) and issubclass(kind, BaseProducer)):
            raise TypeError(f"{kind!r} is not a producer; give a subclass of BaseProducer")
        self.kind = kind
        self.config = config

    # --- making it ----------------------------------------------------------------------------------------------------

    def make(self, kind: type[BaseProducer], config: BaseProducerConfig) -> BaseProducer:
        """A new producer of class `kind` (that of the subject, or a subclass of it that the kit has made)."""
        return kind(config)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Around the check of each promise: prepare the destination and clean up."""
        yield

    # --- where it is --------------------------------------------------------------------------------------------------

    def address(self) -> tuple[str, int] | None:
        """Host and TCP port of the service, to put a proxy before it; None: there is none, or the proxy must be left out.

        A producer class may answer by a classmethod `address(config)`; else it is looked for in the configuration.
        """
        if _has_hook(self.kind, "address", "through"):
            found: tuple[str, int] | None = self.kind.address(self.config)  # type: ignore[attr-defined]
            return found
        return address_of(self.config)

    def through(self, port: int) -> BaseProducerConfig:
        """The configuration with the service's address replaced by `port` of this machine, where the proxy is.

        A producer class may answer by a classmethod `through(config, host, port)`.
        """
        if _has_hook(self.kind, "address", "through"):
            address = self.address()
            host = here(address[0]) if address is not None else "127.0.0.1"
            made: BaseProducerConfig = self.kind.through(self.config, host, port)  # type: ignore[attr-defined]
            return made
        return redirected(self.config, port)

    # --- messages -----------------------------------------------------------------------------------------------------

    def message(self, run: str, number: int) -> dict[str, Any]:
        """Message `number` of a run: no two may be equal. Override it if the destination wants certain fields."""
        return {"run": run, "number": number, "text": "conformance"}

    def with_payload(self, message: dict[str, Any], payload: Any) -> dict[str, Any]:
        """`message` with something odd or large in it. Override it if the destination has a place of its own for that."""
        return message | {"payload": payload}

    def refused(self, run: str, number: int) -> dict[str, Any] | None:
        """A message that the destination itself refuses for good, if there is one."""
        return None

    def oversize(self, run: str, number: int) -> dict[str, Any]:
        """A message that is probably too large for the destination."""
        return self.with_payload(self.message(run, number), "x" * OVERSIZE_BYTES)

    def read_back(self) -> Iterable[Arrival] | None:
        """What the destination has, in the order of arrival, as far as it keeps one; None: it cannot be read."""
        return None


def _has_hook(kind: type[BaseProducer], *names: str) -> bool:
    return all(callable(getattr(kind, name, None)) for name in names)
