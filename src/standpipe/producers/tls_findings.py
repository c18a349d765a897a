"""What an examination finds about the encryption of a connection, whatever the service is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from standpipe.core.finding import Finding, Severity
from standpipe.producers.addresses import is_local
from standpipe.producers.tls import TlsConfig


def encryption_findings(
    tls: TlsConfig | None, encrypted: bool, hosts: Iterable[str], other: str, remedy: str, what: str = "the connection is not encrypted"
) -> Iterator[Finding]:
    """`hosts`: where it leads; nobody listens between here and this machine itself. `other`: what is there, such as `broker`;
    `what` and `remedy`: of a connection that is not encrypted."""
    danger = f"anybody between here and the {other} can read and change messages and passwords"
    if tls is not None and not tls.verify:
        yield Finding(Severity.WARNING, "tls.verify is false", danger, "leave out verify: false, and name the authority in tls.ca_file")
    elif encrypted:
        checked = f"the connection is encrypted, and the {other}'s certificate is checked"
        yield Finding(Severity.INFO, checked, "nobody reads or changes messages", "")
    elif not all(is_local(host) for host in hosts):
        yield Finding(Severity.WARNING, what, danger, remedy)
