"""PostgreSQL: a cluster of its own, without Unix sockets."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.servers.certificates import ServerTls
from tests.servers.server import HOST, Server, ServerMissing, answers, find_program

STARTUP = b"\x00\x03\x00\x00user\x00standpipe\x00database\x00postgres\x00\x00"
NOT_YET = b"57P03"
"""The SQLSTATE of "the database system is starting up" (and of recovering, and of shutting down)."""
VERSIONS = Path("/usr/lib/postgresql")


class PostgresServer(Server):
    """User `standpipe` (superuser) and database `standpipe`; no password unless you give one. `read_only`: transactions refuse
    writes with 25006, as a standby does. It refuses to run as root, so root's is run as `postgres`, from a folder in /tmp."""

    service: ClassVar[str] = "postgres"
    debian: ClassVar[str] = "postgresql"
    brew: ClassVar[str] = "postgresql"
    scheme: ClassVar[tuple[str, str]] = ("postgresql", "postgresql")
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # SIGTERM would wait for the clients to leave

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool = False,
        user: str | None = None,
        password: str | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, user=user or "standpipe", password=password, tls=tls, settings=settings)
        self._read_only = read_only
        self._data = folder / "data"
        self.outside: Path | None = None
        """where root's data is: `postgres` may not enter root's folders"""

    @classmethod
    def program(cls) -> str | None:
        return cls._tool("postgres")

    @staticmethod
    def _tool(name: str) -> str | None:
        newest_first = sorted(VERSIONS.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
        return find_program(name, *map(str, newest_first))

    @classmethod
    def missing(cls) -> str | None:
        if (missing := super().missing()) is None and os.getuid() == 0 and not _is_user("postgres"):
            return "postgres does not run as root, and there is no user postgres; get it with: apt-get install postgresql"
        return missing

    def _owner(self) -> str | None:
        return "postgres" if os.getuid() == 0 else None

    def _working_folder(self) -> Path:
        return self.outside or self.folder

    def _prepare(self) -> None:
        if self._owner() is not None:
            self.outside = Path(tempfile.mkdtemp(prefix="standpipe-postgres-", dir="/tmp"))
            self._data = self.outside / "data"
            shutil.chown(self.outside, "postgres", "postgres")
        self._initialise()
        self._configure()
        self._create_database()

    def _initialise(self) -> None:
        options = ["-D", str(self._data), "-U", str(self.user), "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", *options)

    def _create_database(self) -> None:
        """Create the database and set the password, without a server that listens."""
        statements = "CREATE DATABASE standpipe;\n"
        if self.password is not None:
            quoted = self.password.replace("'", "''")
            statements += f"ALTER USER \"{self.user}\" PASSWORD '{quoted}';\n"
        # A server that is to refuse writes must take these.
        writes = ("-c", "default_transaction_read_only=off")
        self._run("postgres", "--single", "-D", str(self._data), *writes, "postgres", given=statements)

    def _configure(self) -> None:
        lines = {
            "port": str(self.port),
            "listen_addresses": f"'{HOST}'",
            "unix_socket_directories": "''",
            "max_connections": "50",
            "shared_buffers": "16MB",
            "max_wal_size": "256MB",
            "log_min_messages": "warning",
        }
        if self._read_only:
            lines["default_transaction_read_only"] = "on"
        lines |= self._tls_lines() | self.settings
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in lines.items())
        method = "trust" if self.password is None else "scram-sha-256"
        check = " clientcert=verify-full" if self.tls is not None and self.tls.client_required else ""
        kind = "host" if self.tls is None else "hostssl"
        (self._data / "pg_hba.conf").write_text(f"{kind} all all {HOST}/32 {method}{check}\n")

    def _tls_lines(self) -> dict[str, str]:
        if self.tls is None:
            return {}
        for source, name in (
            (self.tls.pair.cert_file, "server.crt"),
            (self.tls.pair.key_file, "server.key"),
            (self.tls.ca_file, "root.crt"),
        ):
            shutil.copyfile(source, self._data / name)
            (self._data / name).chmod(0o600)
            if self._owner() is not None:
                shutil.chown(self._data / name, "postgres", "postgres")
        return {"ssl": "on"} | ({"ssl_ca_file": "'root.crt'"} if self.tls.client_required else {})

    def _run(self, name: str, *arguments: str, given: str = "") -> None:
        tool = self._tool(name)
        if tool is None:
            raise ServerMissing(f"{name} is not installed; get it with: apt-get install postgresql")
        owner = self._owner()
        done = subprocess.run(
            [tool, *arguments],
            cwd=self._working_folder(),
            input=given,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            user=owner,
            group=owner,
            extra_groups=None if owner is None else (),
        )
        with self.log_file.open("a") as log:
            log.write(done.stdout)
        if done.returncode:
            raise self._failed(f"cannot be prepared: {name} ended with {done.returncode}")

    def _command(self) -> Sequence[str]:
        return [str(self.program()), "-D", str(self._data)]

    def _is_ready(self) -> bool:
        said = answers(self.port, struct.pack(">I", len(STARTUP) + 4) + STARTUP)
        return bool(said) and NOT_YET not in said

    def close(self) -> None:
        if self.running:
            self.thaw()
            self._signal(signal.SIGQUIT)  # at once, but its shared memory is given back
            self._reap(self.stop_within)
        if self.outside is not None:
            shutil.rmtree(self.outside, ignore_errors=True)

    @property
    def url(self) -> str:
        login = f"{self.user}:{self.password}" if self.password else self.user
        return f"postgresql://{login}@{self.host}:{self.port}/standpipe"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
