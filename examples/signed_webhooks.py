"""Webhooks with signatures: a producer that sends them, and a receiver that believes no other.

    python examples/signed_webhooks.py

The receiver here is busy now and then and has seen some messages before; both are taken care of.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standpipe.producers.http import HttpProducer
from standpipe.producers.http_config import HttpProducerConfig

SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
TOLERANCE = 300
"""Seconds that the clocks of the two may differ; older requests are refused, so that nobody can send one again later."""


class Receiver(BaseHTTPRequestHandler):
    """What a customer runs. `events` are the messages by their id: each once, however often it came."""

    events: dict[str, dict[str, Any]] = {}  # noqa: RUF012  # shared by all requests on purpose
    requests = 0

    def do_POST(self) -> None:
        """Check who sent it and when, then take it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        Receiver.requests += 1
        if not is_signed(self.headers["webhook-id"], self.headers["webhook-timestamp"], body, self.headers["webhook-signature"]):
            self.answer(401)
        elif Receiver.requests % 10 == 0:
            self.answer(503, {"retry-after": "0"})  # it comes again, under the same id
        else:
            Receiver.events.setdefault(self.headers["webhook-id"], json.loads(body))
            self.answer(204)

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        """A status without a body."""
        self.send_response(status)
        for name, value in {"content-length": "0", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Not to the terminal."""


def is_signed(identity: str, timestamp: str, body: bytes, signatures: str) -> bool:
    """As https://www.standardwebhooks.com says: HMAC-SHA256 over `id.timestamp.body`."""
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.digest(key, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256)).decode()
    return any(hmac.compare_digest(f"v1,{expected}", signature) for signature in signatures.split(" "))


def main() -> None:
    """A hundred events."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = HttpProducerConfig.model_validate(
        {"name": "customer-hooks", "url": f"http://127.0.0.1:{server.server_address[1]}/hooks/{{event}}", "signature": {"secret": SECRET}}
    )
    with HttpProducer(config) as producer:
        for number in range(100):
            producer.produce(False, {"event": "order.placed", "order": number}, key=f"customer-{number % 7}")
    server.shutdown()
    server.server_close()
    now = producer.statistics()
    print(f"{now.delivered} delivered in {now.attempts} attempts; the receiver has {len(Receiver.events)} events")


if __name__ == "__main__":
    main()
