"""Signatures by which the receiver of a webhook knows who sent it, as the Standard Webhooks specification has them
(https://www.standardwebhooks.com): the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`.

What is signed is `id.timestamp.body`, with HMAC-SHA256. The timestamp is that of the attempt, because receivers refuse old
ones; the id is the same in every attempt, by which they tell repetitions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"

SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
"""What the specification recommends for the size of a secret: 24 bytes (192 bits) to 64 bytes (512 bits)."""


def secret_bytes(text: str) -> bytes:
    """The key behind a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`. Raises ValueError, without showing the secret."""
    if not text.startswith(PREFIX):
        raise ValueError(f"the secret does not begin with {PREFIX!r}; write {PREFIX} and the key in base64")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {PREFIX!r} in the secret is not base64; copy the secret again") from None
    if not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ValueError(f"the key in the secret has {len(key)} bytes; it must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}")
    return key


class Signer:
    """Signs with one secret, or with several while one is being replaced by another. Immutable, thread-safe."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = tuple(keys)

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three headers of an attempt at `timestamp` (seconds since 1970)."""
        signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
        signatures = [b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in self._keys]
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": b" ".join(signatures).decode("ascii"),
        }
