"""A WSGI application under gunicorn, loaded before the workers are forked.

gunicorn --preload --workers 2 --chdir examples/prefork web:app
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from shop import EVENTS  # beside this file


def app(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers at once; the event goes its own way."""
    EVENTS.produce(False, {"event": "page viewed", "path": environment["PATH_INFO"], "worker": os.getpid()})
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"worker {os.getpid()}\n".encode()]
