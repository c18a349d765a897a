"""Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from tests.servers.certificates import ServerTls
from tests.servers.server import HOST, Server, accepts, answers, find_program

PERSISTENCE = {
    "always": {"appendonly": "yes", "appendfsync": "always"},
    "everysec": {"appendonly": "yes", "appendfsync": "everysec"},
    "none": {"appendonly": "no", "save": '""'},
}


class RedisServer(Server):
    """`persistence`: `always` loses nothing acknowledged, `everysec` up to a second, `none` all. `max_memory`: bytes, then
    writes are refused with OOM (nothing is evicted). `password` alone is the default user's; with `user` an ACL user is made."""

    service: ClassVar[str] = "redis"
    debian: ClassVar[str] = "redis-server"
    brew: ClassVar[str] = "redis"
    scheme: ClassVar[tuple[str, str]] = ("redis", "rediss")

    def __init__(
        self,
        folder: Path,
        *,
        persistence: Literal["always", "everysec", "none"] = "always",
        max_memory: int | None = None,
        user: str | None = None,
        password: str | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, user=user, password=password, tls=tls, settings=settings)
        self._persistence, self._max_memory = persistence, max_memory

    @classmethod
    def program(cls) -> str | None:
        return find_program("redis-server")

    def _prepare(self) -> None:
        lines = {
            "bind": HOST,
            "dir": str(self.folder),
            "daemonize": "no",
            "protected-mode": "no",
            "set-proc-title": "no",
            **PERSISTENCE[self._persistence],
        }
        lines |= {"port": str(self.port)} if self.tls is None else self._tls_lines(self.tls)
        if self._max_memory is not None:
            lines |= {"maxmemory": str(self._max_memory), "maxmemory-policy": "noeviction"}
        text = "".join(f"{name} {value}\n" for name, value in (lines | self.settings).items()) + self._login_lines()
        (self.folder / "redis.conf").write_text(text)

    def _tls_lines(self, tls: ServerTls) -> dict[str, str]:
        return {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(tls.pair.cert_file),
            "tls-key-file": str(tls.pair.key_file),
            "tls-ca-cert-file": str(tls.ca_file),
            "tls-auth-clients": "yes" if tls.client_required else "no",
        }

    def _login_lines(self) -> str:
        if self.password is None:
            return ""
        if self.user is None:
            return f"requirepass {self.password}\n"
        return f"user default off\nuser {self.user} on >{self.password} ~* &* +@all\n"

    def _command(self) -> Sequence[str]:
        return [str(self.program()), str(self.folder / "redis.conf")]

    def _is_ready(self) -> bool:
        if self.tls is not None:
            return accepts(self.port)
        return answers(self.port, b"PING\r\n").startswith((b"+PONG", b"-NOAUTH"))

    def _path(self) -> str:
        return "/0"
