"""How the Kafka producer logs in: user and password, or a token (OAUTHBEARER) from a service, a file or a function."""

from __future__ import annotations

import base64
import binascii
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Discriminator, Field, SecretStr, Tag, model_validator

from standpipe.core.errors import ConfigurationError
from standpipe.core.units import Duration
from standpipe.producers.config import Section

__all__ = ["AnyAuth", "PasswordAuth", "ServiceTokenAuth", "Token", "TokenAuth"]

Token = tuple[str, float]
"""A token, and when it ends in seconds since 1970."""


class PasswordAuth(Section):
    """User and password. `plain` sends the password as it is: only with `tls`; the SCRAM kinds prove that one knows it."""

    type: Literal["plain", "scram-sha-256", "scram-sha-512"] = Field(description="which kind the broker has set up")
    user: str = Field(min_length=1, description="name of the user")
    password: SecretStr = Field(description="password of the user")

    def properties(self) -> dict[str, Any]:
        """For librdkafka."""
        return {
            "sasl.mechanism": self.type.upper(),
            "sasl.username": self.user,
            "sasl.password": self.password.get_secret_value(),
        }


class ServiceTokenAuth(Section):
    """A token that the client fetches from an identity service (OAuth 2.0 client credentials), and renews by itself."""

    type: Literal["oauth"] = Field(description="a token from an identity service")
    token_url: str = Field(pattern=r"^https?://\S+$", description="where the service gives out tokens")
    client_id: str = Field(min_length=1, description="who we are, for the service")
    client_secret: SecretStr = Field(description="the secret that belongs to `client_id`")
    scope: str | None = Field(default=None, description="what the token is for")
    extensions: dict[str, str] = Field(default={}, description="SASL extensions for the broker, such as `logicalCluster`")

    def properties(self) -> dict[str, Any]:
        """For librdkafka."""
        found: dict[str, Any] = {
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.token_url,
            "sasl.oauthbearer.client.id": self.client_id,
            "sasl.oauthbearer.client.secret": self.client_secret.get_secret_value(),
        }
        if self.scope is not None:
            found["sasl.oauthbearer.scope"] = self.scope
        if self.extensions:
            found["sasl.oauthbearer.extensions"] = ",".join(f"{name}={value}" for name, value in self.extensions.items())
        return found


class TokenAuth(Section):
    """A token from a file that somebody else renews (Kubernetes does), or from a function of yours."""

    type: Literal["token"] = Field(description="a token from a file or a function")
    file: str | None = Field(default=None, description="file that holds the token; read anew before the token ends")
    function: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="`package.module:function` without arguments that returns the token and when it ends, in seconds since 1970",
    )
    lifetime: Duration = Field(
        default=300.0, gt=0, description="how long a token from a file is used if it does not say itself when it ends (a JWT does)"
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> TokenAuth:
        if (self.file is None) == (self.function is None):
            raise ValueError("a token comes either from a file or from a function; set one of them")
        return self

    def properties(self) -> dict[str, Any]:
        """For librdkafka: it asks for a token when it needs a new one."""
        return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": self._asked}

    def source(self) -> Callable[[], Token]:
        """Where tokens come from. Raises ConfigurationError if the function cannot be found."""
        return self._from_file if self.function is None else _function(self.function)

    def _asked(self, _: str) -> Token:
        token, ends_at = self.source()()
        return token, float(ends_at)

    def _from_file(self) -> Token:
        token = Path(self.file or "").read_text("ascii").strip()
        now = time.time()
        return token, ends_at(token) or now + self.lifetime


def _auth_type(value: object) -> str:
    kind = value.get("type", "") if isinstance(value, dict) else getattr(value, "type", "")
    return "password" if kind in ("plain", "scram-sha-256", "scram-sha-512") else kind if isinstance(kind, str) else ""


AnyAuth = Annotated[
    Annotated[PasswordAuth, Tag("password")] | Annotated[ServiceTokenAuth, Tag("oauth")] | Annotated[TokenAuth, Tag("token")],
    Discriminator(
        _auth_type,
        custom_error_type="unknown_auth",
        custom_error_message="there is no such type of authentication; there are: plain, scram-sha-256, scram-sha-512, oauth, token",
    ),
]


def ends_at(token: str) -> float | None:
    """When a JWT ends, in seconds since 1970; None if it is none, or does not say. Its signature is the broker's concern."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    found = claims.get("exp") if isinstance(claims, dict) else None
    return float(found) if isinstance(found, (int, float)) else None


def _function(name: str) -> Callable[[], Token]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"auth.function {name!r} cannot be found ({error}); write package.module:function") from error
    if not callable(found):
        raise ConfigurationError(f"auth.function {name!r} is not a function; it must return a token and when it ends")
    made: Callable[[], Token] = found
    return made
