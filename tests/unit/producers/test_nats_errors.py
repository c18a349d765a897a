"""What errors of the client mean."""

from __future__ import annotations

import socket
import ssl

import pytest
from nats import errors

from standpipe.core.errors import ConfigurationError, Disconnected, Misconfigured, NotSent, Reject, SendError
from standpipe.producers.nats_errors import (
    ERRORS,
    ConnectTimeout,
    Denied,
    DeniedForIt,
    Ended,
    EndedAtOnce,
    InboxDenied,
    NoStreamForIt,
    TooLarge,
)
from standpipe.producers.tls_errors import CertificateWanted


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errors.AuthorizationError(), Misconfigured, "refuses the login"),
        (errors.Error("nats: 'Authorization Violation'"), Misconfigured, "refuses the login"),
        (errors.Error("nats: 'User Authentication Expired'"), Misconfigured, "refuses the login"),
        (ssl.SSLCertVerificationError("expired"), Misconfigured, "tls.ca_file"),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required"), Misconfigured, "tls.cert_file"),
        (CertificateWanted(), Misconfigured, "tls.cert_file"),
        (EndedAtOnce("reset"), NotSent, "at once"),
        (errors.SecureConnWantedError(), Misconfigured, "does not encrypt"),
        (Denied("a"), Misconfigured, "may not publish"),
        (DeniedForIt("a"), Reject, "may not publish"),
        (InboxDenied("_INBOX.>"), Misconfigured, "inbox_prefix"),
        (NoStreamForIt("a"), Reject, "no stream has the subject"),
        (TooLarge("2 MiB"), Reject, "max_payload"),
        (errors.MaxPayloadError(), Reject, "max_payload"),
        (socket.gaierror(-2, "unknown"), NotSent, "DNS"),
        (ConnectionRefusedError(111, "refused"), NotSent, "cannot be reached"),
        (ConnectTimeout("10 s"), NotSent, "cannot be reached"),
        (ssl.SSLError(1, "wrong version number"), NotSent, "does not speak TLS"),
        (errors.Error("nats: 'maximum connections exceeded'"), NotSent, "max_connections"),
        (ConnectionResetError(104, "reset"), Disconnected, "ended"),
        (errors.StaleConnectionError(), Disconnected, "ended"),
        (errors.ConnectionClosedError(), Disconnected, "ended"),
        (Ended("closed"), Disconnected, "ended"),
        (ConfigurationError("credentials_file 'x' is not there"), Misconfigured, "credentials_file"),
        (RuntimeError("who knows"), SendError, "NATS failed"),
    ],
)
def test_error_has_its_meaning(error: BaseException, kind: type[SendError], words: str) -> None:
    found = ERRORS.translate(error)
    assert type(found) is kind
    assert words in str(found)
