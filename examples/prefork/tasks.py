"""Celery tasks that emit events from forked worker processes.

celery --app tasks worker --concurrency 2     (in examples/prefork)

Celery ends its worker processes without Python's own `atexit`, so that what is pending is delivered when Celery says so.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown
from shop import EVENTS  # beside this file

app = Celery("tasks", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))
app.conf.broker_connection_retry_on_startup = True


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def bill(order: int) -> None:
    """Some work, and an event about it."""
    EVENTS.produce(False, {"event": "order billed", "order": order, "worker": os.getpid()})


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def deliver(**_: Any) -> None:
    """Deliver what is pending in this worker process."""
    EVENTS.shutdown()
