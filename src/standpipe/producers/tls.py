"""TLS settings of a producer, and the context made from them, with errors that name the file and the remedy."""

from __future__ import annotations

import os
import ssl
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from standpipe.core.errors import ConfigurationError
from standpipe.producers.config import Section


class TlsConfig(Section):
    """How the connection is encrypted, and who is believed. `tls: {}` means: encrypted, checked against the system's authorities."""

    ca_file: str | None = Field(
        default=None,
        description="certificates (PEM) of the authorities that the server's certificate is checked against; none: the system's",
    )
    cert_file: str | None = Field(default=None, description="certificate (PEM, with its chain) that Standpipe shows to the server")
    key_file: str | None = Field(default=None, description="private key (PEM) of `cert_file`; none: it is in the same file")
    key_password: SecretStr | None = Field(default=None, description="password of the private key, if it has one")
    verify: bool = Field(
        default=True,
        description="whether the server's certificate and its name are checked. **Dangerous when false**: anybody between here and the "
        "server can then read and change all messages and passwords; `standpipe doctor` reports it",
    )
    server_name: str | None = Field(default=None, description="name that the server's certificate must have; none: the host of the address")
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="oldest version of TLS that is spoken")

    @field_validator("min_version", mode="before")
    @classmethod
    def _version_is_text(cls, value: object) -> object:
        return str(value) if isinstance(value, float) else value

    @model_validator(mode="after")
    def _fit_together(self) -> TlsConfig:
        if self.cert_file is None and (self.key_file is not None or self.key_password is not None):
            raise ValueError("there is a private key but no cert_file; name the certificate that belongs to it")
        if not self.verify and self.ca_file is not None:
            raise ValueError("ca_file has no effect with verify: false; leave out one of them (verify: false is dangerous)")
        return self


def ssl_context(tls: TlsConfig) -> ssl.SSLContext:
    """A client's context. The files are read now: call it in every `_connect`, so that renewed certificates are used.

    Raises ConfigurationError that names the file and the remedy. Thread-safe.
    """
    context = ssl.create_default_context(cafile=None) if tls.ca_file is None else _trusting(tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        _show(context, tls, tls.cert_file)
    return context


def _trusting(ca_file: str) -> ssl.SSLContext:
    _check_readable(ca_file, "tls.ca_file")
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise ConfigurationError(f"tls.ca_file {ca_file!r} holds no usable certificates ({error}); name a file in PEM format") from error


def _show(context: ssl.SSLContext, tls: TlsConfig, cert_file: str) -> None:
    """Load the certificate and key that are shown to the server."""
    _check_readable(cert_file, "tls.cert_file")
    if tls.key_file is not None:
        _check_readable(tls.key_file, "tls.key_file")
    key_name = tls.key_file if tls.key_file is not None else cert_file

    # Without this function OpenSSL would ask for the password on the terminal, and wait.
    def password() -> str:
        if tls.key_password is None:
            raise ConfigurationError(f"the private key in {key_name!r} has a password; set tls.key_password")
        return tls.key_password.get_secret_value()

    try:
        context.load_cert_chain(cert_file, tls.key_file, password)
    except ssl.SSLError as error:
        raise ConfigurationError(_cert_fault(error, cert_file, key_name, tls.key_password is not None)) from error
    except OSError as error:  # a wrong password comes as EINVAL from some versions of OpenSSL
        raise ConfigurationError(f"the private key in {key_name!r} cannot be read ({error}); check tls.key_password") from error


def _cert_fault(error: ssl.SSLError, cert_file: str, key_name: str, has_password: bool) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the private key in {key_name!r} does not belong to the certificate in {cert_file!r}; name files that belong together"
    if error.reason in ("BAD_DECRYPT", "BAD_PASSWORD_READ"):
        return f"the private key in {key_name!r} cannot be decrypted; check tls.key_password"
    if has_password:
        return f"{key_name!r} cannot be read with tls.key_password ({error.reason or error}); check tls.key_password and the file"
    return f"{cert_file!r} and {key_name!r} hold no usable certificate and private key ({error.reason or error}); name files in PEM format"


def _check_readable(path: str, setting: str) -> None:
    if not os.path.exists(path):
        raise ConfigurationError(f"{setting} {path!r} does not exist (looked for in {os.getcwd()!r}); correct the path")
    if not os.path.isfile(path):
        raise ConfigurationError(f"{setting} {path!r} is not a file; name a file in PEM format")
    if not os.access(path, os.R_OK):
        raise ConfigurationError(f"{setting} {path!r} must not be read by this user; change its permissions or owner")
