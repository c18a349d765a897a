"""RabbitMQ: one small node with its own name, cookie and port mapper (epmd)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.servers.certificates import ServerTls
from tests.servers.processes import GUARD_OF_THIS_PROCESS
from tests.servers.server import HOST, Server, accepts, answers, find_program, free_port

ERLANG = "+S 2:2 +SDio 1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none -noinput -kernel inet_dist_use_interface {127,0,0,1}"
"""Two schedulers that do not spin: several nodes share two cores with the tests. With one the start takes a second longer."""


class RabbitServer(Server):
    """Without credentials: `guest`, `guest`. Starts in 4 to 8 seconds, so share one where you can. A disk alarm, which blocks
    all publishers: `settings={"disk_free_limit.absolute": "900GB"}`, or `alarm()` while it runs."""

    service: ClassVar[str] = "rabbitmq"
    debian: ClassVar[str] = "rabbitmq-server"
    brew: ClassVar[str] = "rabbitmq"
    scheme: ClassVar[tuple[str, str]] = ("amqp", "amqps")
    start_within: ClassVar[float] = 60.0
    stop_within: ClassVar[float] = 30.0

    def __init__(
        self,
        folder: Path,
        *,
        plugins: Sequence[str] = (),
        user: str | None = None,
        password: str | None = None,
        tls: ServerTls | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, user=user or "guest", password=password or "guest", tls=tls, settings=settings)
        self._plugins = plugins
        self._mapper_port, self._node_port = free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    @classmethod
    def program(cls) -> str | None:
        # Debian's script on PATH insists on becoming the user `rabbitmq`; the one behind it does not.
        return find_program("rabbitmq-server", "/usr/lib/rabbitmq/bin")

    def _prepare(self) -> None:
        address = f"{HOST}:{self.port}"
        lines = {"default_user": str(self.user), "default_pass": str(self.password), "disk_free_limit.absolute": "1MB"}
        lines |= {"listeners.tcp.1": address} if self.tls is None else _tls(self.tls, address)
        text = "".join(f"{name} = {value}\n" for name, value in (lines | self.settings).items())
        (self.folder / "rabbitmq.conf").write_text(text)
        (self.folder / "plugins").write_text(f"[{','.join(self._plugins)}].\n")

    def _command(self) -> Sequence[str]:
        return [str(self.program())]

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder)
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": folder,  # the cookie
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_PLUGINS_EXPAND_DIR": f"{folder}/expanded",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_ALLOW_INPUT": "1",  # the script then becomes the server, instead of standing between us and it
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
        }

    @property
    def _node(self) -> str:
        return f"test{self.port}@localhost"

    def _launch(self) -> None:
        self._launch_mapper()
        super()._launch()

    def _launch_mapper(self) -> None:
        if self._mapper is None:
            command = [find_program("epmd") or "epmd", "-port", str(self._mapper_port), "-address", HOST]
            self._mapper = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            self._guard(self._mapper)

    @property
    def mapper_pid(self) -> int:
        """Of its port mapper."""
        if self._mapper is None:
            raise self._failed("has no port mapper: it was not started")
        return self._mapper.pid

    def _is_ready(self) -> bool:
        if self.tls is not None:
            return accepts(self.port)  # the listeners open last
        method_frame = b"\x01"
        return answers(self.port, b"AMQP\x00\x00\x09\x01")[:1] == method_frame

    def control(self, *arguments: str, timeout: float = 60.0) -> str:
        """What `rabbitmqctl ARGUMENTS` says; a second or two each, as it starts Erlang."""
        tool = find_program("rabbitmqctl", "/usr/lib/rabbitmq/bin")
        command = [str(tool), "-q", "-n", self._node, *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise self._failed(f"refused {' '.join(arguments)!r}: {done.stdout}{done.stderr}")
        return done.stdout

    def note_declarations(self) -> None:
        """Have it bring to the disk which queues there are: it does so by itself only after a while, and a kill before that takes
        the queue, with the messages that it has confirmed."""
        self.control("eval", "mnesia:sync_log().")

    def alarm(self, on: bool = True) -> None:
        """Raise or lift the disk alarm: the broker sends `connection.blocked` to publishers and reads nothing more from them."""
        self.control("set_disk_free_limit", "900GB" if on else "1MB")

    def leave(self) -> None:
        super().leave()
        if self._mapper is not None:
            self._mapper.returncode = 0
            self._mapper = None

    def close(self) -> None:
        super().close()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
            GUARD_OF_THIS_PROCESS.forget(self._mapper.pid)
            self._mapper = None

    def _path(self) -> str:
        return "/"


def _tls(tls: ServerTls, address: str) -> dict[str, str]:
    return {
        "listeners.tcp": "none",
        "listeners.ssl.1": address,
        "ssl_options.cacertfile": str(tls.ca_file),
        "ssl_options.certfile": str(tls.pair.cert_file),
        "ssl_options.keyfile": str(tls.pair.key_file),
        "ssl_options.verify": "verify_peer" if tls.client_required else "verify_none",
        "ssl_options.fail_if_no_peer_cert": "true" if tls.client_required else "false",
    }
