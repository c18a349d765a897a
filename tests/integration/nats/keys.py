"""Keys and JWTs of NATS, as its tool `nsc` makes them: operators sign accounts, accounts sign users."""

from __future__ import annotations

import base64
import json
import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]

OPERATOR, ACCOUNT, USER = nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER
UNLIMITED = ("subs", "conn", "leaf", "imports", "exports", "data", "payload", "mem_storage", "disk_storage", "streams", "consumer")

CREDENTIALS = """-----BEGIN NATS USER JWT-----
{jwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
{seed}
------END USER NKEY SEED------
"""


class Key:
    """A new pair of keys of one kind: `OPERATOR`, `ACCOUNT` or `USER`."""

    def __init__(self, kind: int) -> None:
        self.seed: str = nkeys.encode_seed(os.urandom(32), kind).decode()
        self._pair = nkeys.from_seed(bytearray(self.seed.encode()))

    @cached_property
    def public(self) -> str:
        """Its name."""
        return str(self._pair.public_key.decode())

    def jwt(self, subject: Key, kind: str, claims: dict[str, Any] | None = None, lasts: float | None = None) -> str:
        """What this key says of `subject`, for `lasts` seconds."""
        now = int(time.time())
        said: dict[str, Any] = {"jti": os.urandom(16).hex(), "iat": now, "iss": self.public, "name": kind, "sub": subject.public}
        if lasts is not None:
            said["exp"] = int(time.time() + lasts)
        said["nats"] = {**(claims or {}), "type": kind, "version": 2}
        text = ".".join(_packed(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, said))
        return f"{text}.{_packed(self._pair.sign(text.encode()))}"


class Authority:
    """An operator with an account for everybody, and one for the server itself."""

    def __init__(self) -> None:
        self._operator, self._account, self._system = Key(OPERATOR), Key(ACCOUNT), Key(ACCOUNT)

    @property
    def settings(self) -> dict[str, str]:
        """Lines for the configuration of a server that trusts only this authority."""
        limits = {"limits": dict.fromkeys(UNLIMITED, -1) | {"wildcards": True}}
        accounts = {
            self._account.public: self._operator.jwt(self._account, "account", limits),
            self._system.public: self._operator.jwt(self._system, "account"),
        }
        return {
            "operator": self._operator.jwt(self._operator, "operator"),
            "system_account": self._system.public,
            "resolver": "MEMORY",
            "resolver_preload": json.dumps(accounts),
        }

    def write_credentials(self, path: Path, lasts: float | None = None) -> None:
        """A file for a new user, which may do everything for `lasts` seconds."""
        user = Key(USER)
        rights = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        text = CREDENTIALS.format(jwt=self._account.jwt(user, "user", rights, lasts), seed=user.seed)
        path.write_text(text)


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
