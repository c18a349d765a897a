"""Mosquitto, an MQTT broker."""

from __future__ import annotations

import getpass
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from tests.servers.certificates import ServerTls
from tests.servers.server import HOST, Server, answers, find_program

PERSISTENCE = {
    "changes": {"persistence": "true", "autosave_on_changes": "true", "autosave_interval": "1"},
    "none": {"persistence": "false"},
}

HELLO = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x05\x00\x04ping"
"""CONNECT of MQTT 3.1.1: clean session, 5 s, client id `ping`."""
CONNACK = 0x20


class MosquittoServer(Server):
    """`persistence`: `changes` saves after each change (and still a kill may take the last one or two), `none` keeps nothing."""

    service: ClassVar[str] = "mqtt"
    debian: ClassVar[str] = "mosquitto"
    brew: ClassVar[str] = "mosquitto"
    scheme: ClassVar[tuple[str, str]] = ("mqtt", "mqtts")

    def __init__(
        self,
        folder: Path,
        *,
        persistence: Literal["changes", "none"] = "changes",
        user: str | None = None,
        password: str | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, user=user, password=password, tls=tls, settings=settings)
        self._persistence = persistence

    @classmethod
    def program(cls) -> str | None:
        return find_program("mosquitto")

    def _prepare(self) -> None:
        lines = {
            "persistence_location": f"{self.folder}/",
            "log_dest": "stderr",
            "user": getpass.getuser(),  # started as root it would become `mosquitto`, which cannot enter the folder
            **PERSISTENCE[self._persistence],
            "max_queued_messages": "1000000",
            "max_queued_bytes": "0",
            "listener": f"{self.port} {HOST}",
            "allow_anonymous": "true" if self.password is None else "false",
        }
        if self.password is not None:
            lines["password_file"] = str(self._write_passwords())
        if self.tls is not None:
            lines |= _tls(self.tls)
        text = "".join(f"{name} {value}\n" for name, value in (lines | self.settings).items())
        (self.folder / "mosquitto.conf").write_text(text)

    def _write_passwords(self) -> Path:
        path = self.folder / "passwords"
        path.touch(0o600)
        tool = find_program("mosquitto_passwd")
        subprocess.run([str(tool), "-b", str(path), str(self.user), str(self.password)], check=True, capture_output=True)
        return path

    def _command(self) -> Sequence[str]:
        return [str(self.program()), "-c", str(self.folder / "mosquitto.conf")]

    def _is_ready(self) -> bool:
        if self.tls is not None:
            return f"Opening ipv4 listen socket on port {self.port}" in self.log
        return answers(self.port, HELLO)[:1] == bytes([CONNACK])


def _tls(tls: ServerTls) -> dict[str, str]:
    found = {"certfile": str(tls.pair.cert_file), "keyfile": str(tls.pair.key_file)}
    return found | ({"cafile": str(tls.ca_file), "require_certificate": "true"} if tls.client_required else {})
