"""`python -m tests.servers`, for scripts/services: which servers the tests lack, how to get them, and start them.

Bare: one line `SERVICE STATE PACKAGE` for each that is not as it should be. `stopped`: installed, and nobody listens at its default
address; `absent`: not installed either; `unkillable`: it answers, but cannot be started by the tests, so those that kill it cannot run.
`start SERVICE...`: start them at their default addresses, to stay. `report`: say what is missing; exit code 1 if it must not be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers.addresses import DEFAULTS, KINDS, answering, must_be_there
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.server import Server, ServerFailed, accepts

STATE = Path(__file__).resolve().parents[2] / ".services"
"""Data, logs and process ids of the servers that were started to stay; `scripts/services stop` ends them and removes it."""


def state_of(service: str) -> str | None:
    """None: all is well. A server that answers and refuses us does no harm where the tests can start their own."""
    installed = KINDS[service].missing() is None
    if answering(service) is not None:
        return None if installed or service == "kafka" else "unkillable"
    if not installed:
        return "absent"
    is_needed = service != "kafka"  # Tansu starts in no time: the tests start their own
    return "stopped" if is_needed and not accepts(DEFAULTS[service].port) else None


def start(service: str) -> None:
    """At its default address, detached from us, without durability: it is for tests."""
    address = DEFAULTS[service]
    server = KINDS[service](STATE / service, user=address.user, password=address.password)
    server.port = address.port
    server.stays = True
    server.start()
    pids = [server.pid, *([server.mapper_pid] if isinstance(server, RabbitServer) else [])]
    # The arguments go with the number, which may be somebody else's after a reboot; they name a folder or port of ours.
    (STATE / f"{service}.pids").write_text("".join(f"{pid} {_arguments(pid)}\n" for pid in pids))
    if isinstance(server, PostgresServer) and server.outside is not None:
        (STATE / "outside").write_text(f"{server.outside}\n")
    server.leave()


def _arguments(pid: int) -> str:
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True, env=_c_locale())
    return " ".join(listed.stdout.split())


def _c_locale() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def report() -> int:
    """A line for each missing server."""
    states = {service: state for service in KINDS if (state := state_of(service)) in ("absent", "unkillable")}
    for service, state in states.items():
        kind: type[Server] = KINDS[service]
        which = "the tests of it" if state == "absent" else "those that stop it"
        verdict = "fail" if must_be_there() else "are skipped"
        print(f"services: {kind.missing()}: {which} {verdict}", file=sys.stderr)
    return 1 if states and must_be_there() else 0


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            for service, kind in KINDS.items():
                if (state := state_of(service)) is not None:
                    print(service, state, kind.debian or "-")
        case ["start", *services]:
            for service in services:
                try:
                    start(service)
                except ServerFailed as failure:
                    print(f"services: {failure}", file=sys.stderr)
                    return 1
        case ["report"]:
            return report()
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
