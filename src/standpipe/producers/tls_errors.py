"""Rows about certificates, which mean the same whatever the service is."""

from __future__ import annotations

import ssl

from standpipe.core.errors import Misconfigured
from standpipe.producers.error_table import ErrorRow


class CertificateWanted(Exception):
    """the server says that it wants a certificate, and there is none to show"""


def is_certificate_refused(error: BaseException) -> bool:
    """Whether the server's certificate is not believed; some clients hand that on as a text only."""
    return isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error)


def is_certificate_wanted(error: BaseException) -> bool:
    """Whether the server wants a certificate of ours. With TLS 1.3 it says so only after the handshake, when something is read."""
    text = f"{error} {error.__cause__ or ''}".lower()
    return isinstance(error, CertificateWanted) or "certificate_required" in text or "certificate required" in text


def certificate_rows(other: str) -> tuple[ErrorRow, ErrorRow]:
    """Put them before the client's own rows about TLS. `other`: what is at the other end, such as `broker`."""
    return (
        ErrorRow(
            f"the {other}'s certificate is not trusted, has expired or is for another name",
            is_certificate_refused,
            Misconfigured,
            f"the {other}'s certificate was refused; correct the host in url or tls.ca_file, or have the certificate renewed",
        ),
        ErrorRow(
            f"the {other} asks for a client's certificate",
            is_certificate_wanted,
            Misconfigured,
            f"the {other} asks for a certificate of ours; set tls.cert_file and tls.key_file",
        ),
    )
