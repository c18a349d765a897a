"""Producers with a temper, for configurations: `type: tests.unit.cli.destinations:Picky`."""

from __future__ import annotations

from typing import Any

from standpipe.core.errors import Reject
from standpipe.producers.base import BaseProducer


class Picky(BaseProducer):
    """Rejects error messages."""

    def _connect(self) -> None: ...

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if is_error:
            raise Reject("no errors, please")

    def _close(self) -> None: ...


class Unreachable(BaseProducer):
    """Cannot be connected to."""

    def _connect(self) -> None:
        raise ConnectionRefusedError("nobody listens")

    def _send(self, is_error: bool, message: dict[str, Any]) -> None: ...

    def _close(self) -> None: ...


class Hesitant(BaseProducer):
    """Fails twice before it takes a message."""

    failures = 2

    def _connect(self) -> None: ...

    def _send(self, is_error: bool, message: dict[str, Any]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")

    def _close(self) -> None: ...


class Broken(BaseProducer):
    """Cannot even be made: a bug of its author's."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        raise ZeroDivisionError("a bug")

    def _connect(self) -> None: ...

    def _send(self, is_error: bool, message: dict[str, Any]) -> None: ...

    def _close(self) -> None: ...
