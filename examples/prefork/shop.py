"""What the workers of gunicorn and Celery share: a producer that is made before they are forked.

Making it connects nothing and starts no thread. Each worker process gets a queue, a connection and a thread of its own with
its first message, and delivers what is pending when it ends.
"""

from __future__ import annotations

import os

from standpipe.producers.file import FileProducer, FileProducerConfig

EVENTS = FileProducer(FileProducerConfig(name="events", path=os.environ.get("EVENTS", "events.jsonl"), fields=["id"]))
