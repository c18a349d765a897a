"""What every server for the tests has in common: start, stop, kill, freeze; a port and a data folder that outlive restarts."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from tests.servers.certificates import ServerTls
from tests.servers.processes import GUARD_OF_THIS_PROCESS, freeze, signal_all

HOST = "127.0.0.1"
LOG_LINES_SHOWN = 40
"""Last lines of the server's log in the error of a failed start: enough for an Erlang report."""
PORTS = range(15_000, 32_000)
"""Below 32768, where Linux begins to give away ports for outgoing connections: nobody takes the port while the server is down."""
POLL = 0.02
"""Seconds between two looks whether a server is ready."""


@dataclass(frozen=True)
class Address:
    """Where a running server is, and as whom to log in."""

    host: str
    port: int
    url: str
    user: str | None = None
    password: str | None = None


class ServerMissing(Exception):
    """The programs of a server are not on this machine; the text says what is missing and how to get it."""


class ServerFailed(Exception):
    """A server did not start or stop in time; the text has the end of its log."""


def free_port() -> int:
    """A port on loopback that nobody listens on, and that no outgoing connection is given."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def find_program(name: str, *folders: str) -> str | None:
    """The path of a program: in `folders`, on PATH, or where system programs are that a user's PATH lacks."""
    places = [*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/opt/homebrew/bin"]
    return shutil.which(name, path=os.pathsep.join(places))


def answers(port: int, send: bytes = b"", *, host: str = HOST, timeout: float = 1.0) -> bytes:
    """What a server says first after `send`. Empty: it says nothing, or nobody listens there."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            if send:
                connection.sendall(send)
            return connection.recv(4096)
    except OSError:
        return b""


def accepts(port: int, *, host: str = HOST) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


class Server(ABC):
    """One server of the test's own. `folder` holds its data, configuration and log; the port stays the same over restarts.

    Not for several threads at once. A context manager: started on entry, closed on exit.
    """

    service: ClassVar[str]
    """`redis`, `postgres`, ..."""
    debian: ClassVar[str]
    """the Debian package"""
    brew: ClassVar[str]
    """the Homebrew formula"""
    scheme: ClassVar[tuple[str, str]]
    """of the URL, without and with TLS"""
    start_within: ClassVar[float] = 20.0
    stop_within: ClassVar[float] = 20.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """what ends it gracefully, with clients connected"""

    def __init__(
        self,
        folder: Path,
        *,
        user: str | None = None,
        password: str | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`user` and `password`: then nobody else gets in. `tls`: then no plain connections. `settings`: more lines of its
        own configuration file, which win."""
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.user, self.password, self.tls = user, password, tls
        self.settings = dict(settings or {})
        self.stays = False
        """set before the start: it outlives this process"""
        self.log_file = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self._prepared = False

    # --- what each server says of itself ------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def program(cls) -> str | None:
        """The path of the program, or None if it is not installed."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make data and configuration; once, before the first start."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The program and its arguments; it must stay in the foreground."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether it does its work (not only listens)."""

    def _environment(self) -> dict[str, str] | None:
        return None

    def _owner(self) -> str | None:
        """The user it runs as, if not ours."""
        return None

    # --- what tests do with it ----------------------------------------------------------------------------------------

    @classmethod
    def missing(cls) -> str | None:
        """What is missing for it and how to get it; None if nothing is."""
        if cls.program() is not None:
            return None
        return f"{cls.service} is not installed; get it with: apt-get install {cls.debian} (Debian), brew install {cls.brew} (macOS)"

    @property
    def host(self) -> str:
        """`127.0.0.1`, or `localhost` with TLS; the certificate is for both."""
        return "localhost" if self.tls else HOST

    @property
    def url(self) -> str:
        """With user and password, if there are any."""
        login = f"{self.user or ''}:{self.password}@" if self.password else ""
        return f"{self.scheme[self.tls is not None]}://{login}{self.host}:{self.port}{self._path()}"

    def _path(self) -> str:
        return ""

    @property
    def address(self) -> Address:
        """Where it is."""
        return Address(self.host, self.port, self.url, self.user, self.password)

    @property
    def pid(self) -> int:
        """Of its main process."""
        if self._process is None:
            raise ServerFailed(f"{self.service} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Started and not ended (it may be frozen)."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that it has said so far."""
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def start(self) -> Self:
        """Start it with the data it had, and wait until it is ready. Nothing happens if it runs."""
        if self.running:
            return self
        if (missing := self.missing()) is not None:
            raise ServerMissing(missing)
        if not self._prepared:
            self._prepare()
            self._prepared = True
        self._launch()
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """End it gracefully; it may finish what it is doing and save its data."""
        self.thaw()
        if not self.running:
            return
        self._signal(self.stop_signal)
        self._reap(self.stop_within)

    def kill(self) -> None:
        """`kill -9` of the whole server at once: nothing is finished, nothing saved."""
        if self.running:
            signal_all(freeze(self.pid), signal.SIGKILL)
            self._reap(self.stop_within)
        self._frozen = []

    def restart(self) -> None:
        """Stop gracefully and start again: same port, same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and new ones are accepted by the kernel, but nothing answers."""
        if not self._frozen:
            self._frozen = freeze(self.pid)

    def thaw(self) -> None:
        """Let it go on."""
        signal_all(self._frozen, signal.SIGCONT)
        self._frozen = []

    def ensure_running(self) -> Self:
        """Thawed and started, whatever the former user did to it."""
        self.thaw()
        return self.start()

    def close(self) -> None:
        """End it without ado and for good. May be called twice."""
        self.kill()

    def leave(self) -> None:
        """Let it run on: with `stays`, after the start. Nobody here will wait for it."""
        if self._process is not None:
            self._process.returncode = 0
            self._process = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- how ----------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        owner = self._owner()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._working_folder(),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for pytest, which then closes the servers
                user=owner,
                group=owner,
                extra_groups=None if owner is None else (),
            )
        self._guard(self._process)

    def _guard(self, process: subprocess.Popen[bytes]) -> None:
        if not self.stays:
            GUARD_OF_THIS_PROCESS.watch(process.pid)

    def _working_folder(self) -> Path:
        return self.folder

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_within
        while not self._is_ready():
            if not self.running:
                raise self._failed("ended while starting")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready after {self.start_within:g} s")
            time.sleep(POLL)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _reap(self, within: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {within:g} s") from None
        GUARD_OF_THIS_PROCESS.forget(self._process.pid)

    def _failed(self, what: str) -> ServerFailed:
        end = "\n".join(self.log.splitlines()[-LOG_LINES_SHOWN:])
        return ServerFailed(f"{self.service} on port {self.port} {what}; the end of {self.log_file}:\n{end}")
