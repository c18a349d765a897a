"""NATS with JetStream."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.servers.certificates import ServerTls
from tests.servers.server import HOST, Server, answers, find_program


class NatsServer(Server):
    """`max_file_store`: bytes that JetStream may keep on disk, then publishes are refused. `token` instead of user and password."""

    service: ClassVar[str] = "nats"
    debian: ClassVar[str] = "nats-server"
    brew: ClassVar[str] = "nats-server"
    scheme: ClassVar[tuple[str, str]] = ("nats", "tls")

    def __init__(
        self,
        folder: Path,
        *,
        max_file_store: int | None = None,
        max_payload: int | None = None,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, user=user, password=password, tls=tls, settings=settings)
        self._max_file_store, self._max_payload, self._token = max_file_store, max_payload, token

    @classmethod
    def program(cls) -> str | None:
        return find_program("nats-server")

    def _prepare(self) -> None:
        # The configuration language takes JSON.
        lines = {name: json.dumps(value) for name, value in self._configuration().items()} | self.settings
        (self.folder / "nats.conf").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))

    def _configuration(self) -> dict[str, object]:
        jetstream: dict[str, object] = {"store_dir": str(self.folder / "data")}
        if self._max_file_store is not None:
            jetstream["max_file_store"] = self._max_file_store
        found: dict[str, object] = {"host": HOST, "port": self.port, "jetstream": jetstream}
        if self._max_payload is not None:
            found["max_payload"] = self._max_payload
        if self._token is not None:
            found["authorization"] = {"token": self._token}
        elif self.password is not None:
            found["authorization"] = {"user": self.user, "password": self.password}
        if self.tls is not None:
            found["tls"] = _tls(self.tls)
        return found

    def _command(self) -> Sequence[str]:
        return [str(self.program()), "-c", str(self.folder / "nats.conf")]

    def _is_ready(self) -> bool:
        return answers(self.port).startswith(b"INFO ")


def _tls(tls: ServerTls) -> dict[str, object]:
    found: dict[str, object] = {"cert_file": str(tls.pair.cert_file), "key_file": str(tls.pair.key_file)}
    return found | ({"ca_file": str(tls.ca_file), "verify": True} if tls.client_required else {})
