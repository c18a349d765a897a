"""Waiting until replicas have the messages, without sending them again while they do not.

Messages that too few replicas have are in the stream all the same: to send them again would double them. So they are
remembered for as long as the connection lasts, and when they come again only the waiting is repeated.
"""

from __future__ import annotations

from typing import Any

from standpipe.core.errors import RetryAfter
from standpipe.producers.redis_config import WaitConfig
from standpipe.producers.redis_connection import SpeakingConnection

PAUSE_SECONDS = 1.0
"""Between two looks whether replicas have caught up."""

Detail = dict[str, Any]


class Replicas:
    """What the replicas are known to have, of one connection. Not thread-safe."""

    def __init__(self, config: WaitConfig, send_timeout: float | None) -> None:
        self._wanted = config.replicas
        self._milliseconds = max(1, round(config.timeout * 1000))
        self._seconds = None if send_timeout is None else config.timeout + send_timeout
        self._behind: dict[str, Detail | None] = {}
        self._safe: dict[str, Detail | None] = {}

    def caught_up(self, connection: SpeakingConnection, ids: list[str]) -> dict[int, Detail | None]:
        """The positions of messages that have been sent before and are safe by now, with what is known of them. Raises RetryAfter
        while replicas are missing, and what `ask` raises."""
        if self._behind:
            found = self._ask(connection)
            if found < self._wanted:
                raise RetryAfter(PAUSE_SECONDS, self._shortage(found))
            self._safe |= self._behind
            self._behind = {}
        if not self._safe:
            return {}
        return {position: self._safe.pop(id) for position, id in enumerate(ids) if id in self._safe}

    def shortage(self, connection: SpeakingConnection, sent: dict[str, Detail | None]) -> str | None:
        """Why what has just been sent does not count as delivered yet; None: it does. Raises what `ask` raises."""
        found = self._ask(connection)
        if found >= self._wanted:
            return None
        self._behind |= sent
        return self._shortage(found)

    def _ask(self, connection: SpeakingConnection) -> int:
        found: int = connection.ask("WAIT", self._wanted, self._milliseconds, seconds=self._seconds)
        return found

    def _shortage(self, found: int) -> str:
        return f"{found} of {self._wanted} replicas have the messages; look after the replicas, or change wait"
