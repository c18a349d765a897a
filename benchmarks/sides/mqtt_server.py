"""The MQTT broker that is measured against. Imports nothing of Standpipe."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.case import Missing

URL = os.environ.get("STANDPIPE_BENCH_MQTT", "mqtt://127.0.0.1:1883")
"""Where it is: as `scripts/services` starts it, unless the environment says otherwise."""


def place() -> tuple[str, int]:
    """Its host and port. Raises Missing if nobody answers there."""
    parts = urlsplit(URL)
    found = (parts.hostname or "127.0.0.1", parts.port or 1883)
    try:
        socket.create_connection(found, 1).close()
    except OSError as error:
        raise Missing(f"no MQTT broker answers at {URL} ({error})") from None
    return found


def topic() -> str:
    """One that nobody uses. Nothing is retained, and nobody has subscribed: nothing is left there."""
    return f"bench/{uuid4().hex}"
