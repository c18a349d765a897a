"""The broker that is measured with: that at the default address."""

from __future__ import annotations

import socket

from benchmarks.case import Missing

HOST, PORT = "127.0.0.1", 5672
URL = f"amqp://guest:guest@{HOST}:{PORT}/"


def reach() -> None:
    """Raises Missing when it does not answer."""
    try:
        socket.create_connection((HOST, PORT), 1.0).close()
    except OSError as error:
        raise Missing(f"no RabbitMQ answers at {HOST}:{PORT}") from error
