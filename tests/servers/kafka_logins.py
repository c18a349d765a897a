"""The server's side of SASL as Kafka has it: PLAIN, SCRAM (RFC 5802) and OAUTHBEARER (RFC 7628).

A conversation is a generator: it is sent what the client says, yields what is answered, and ends by returning the last answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Generator, Mapping
from functools import partial

Conversation = Generator[bytes, bytes, bytes]

ITERATIONS = 4096
"""Of SCRAM's hash: as many as RFC 5802 asks for, and Kafka's default."""


class LoginRefused(Exception):
    """The client is not let in; the text is the broker's."""


class Logins:
    """Who is let in, and how. Users and tokens may be changed at any time, for logins that begin afterwards."""

    def __init__(self, users: Mapping[str, str] | None = None, *, tokens: Collection[str] = (), only: Collection[str] = ()) -> None:
        """`users`: passwords by name. `only`: mechanisms that are offered (all, if there are none)."""
        self.users = dict(users or {})
        self.tokens = set(tokens)
        self._kinds: dict[str, Callable[[], Conversation]] = {
            "PLAIN": self._plain,
            "SCRAM-SHA-256": partial(self._scram, "sha256"),
            "SCRAM-SHA-512": partial(self._scram, "sha512"),
            "OAUTHBEARER": self._token,
        }
        self.offered = [kind for kind in self._kinds if not only or kind in only]

    def conversation(self, mechanism: str) -> Conversation:
        """A new one, which waits for the client's first words."""
        made = self._kinds[mechanism]()
        next(made)
        return made

    def _plain(self) -> Conversation:
        _, user, password = (yield b"").decode().split("\0")
        if self.users.get(user) != password:
            raise LoginRefused("Authentication failed: Invalid username or password")
        return b""

    def _scram(self, digest: str) -> Conversation:
        kind = f"SCRAM-SHA-{digest[3:]}"
        refused = LoginRefused(f"Authentication failed during authentication due to invalid credentials with SASL mechanism {kind}")
        first = (yield b"").decode().removeprefix("n,,")
        said = _fields(first)
        password = self.users.get(said["n"].replace("=2C", ",").replace("=3D", "="))
        if password is None:
            raise refused
        salt, nonce = secrets.token_bytes(16), said["r"] + secrets.token_hex(12)
        challenge = f"r={nonce},s={base64.b64encode(salt).decode()},i={ITERATIONS}"
        last = (yield challenge.encode()).decode()
        unproven, _, proof = last.rpartition(",p=")
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, ITERATIONS)
        conversation = f"{first},{challenge},{unproven}".encode()
        client_key = hmac.digest(salted, b"Client Key", digest)
        signature = hmac.digest(hashlib.new(digest, client_key).digest(), conversation, digest)
        wanted = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
        if _fields(unproven)["r"] != nonce or not hmac.compare_digest(wanted, base64.b64decode(proof)):
            raise refused
        proven = hmac.digest(hmac.digest(salted, b"Server Key", digest), conversation, digest)
        return b"v=" + base64.b64encode(proven)

    def _token(self) -> Conversation:
        said = (yield b"").decode().split("\x01")
        token = next(part for part in said if part.startswith("auth=Bearer ")).removeprefix("auth=Bearer ")
        if token not in self.tokens:
            yield b'{"status":"invalid_token"}'
            raise LoginRefused("Authentication failed during authentication due to invalid credentials with SASL mechanism OAUTHBEARER")
        return b""


def _fields(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(","))
