"""A throw-away certificate authority, and certificates of it that are right or wrong in one way each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, PEM files (key: 0600)."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True)
class ServerTls:
    """What a server needs for TLS: its own certificate, and whether (and whom) it asks for one."""

    pair: Pair
    ca_file: Path
    client_required: bool = False


class Certificates:
    """Everything around one authority; files are made when first asked for. Keep one for a session: keys take a moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA()

    @cached_property
    def ca_file(self) -> Path:
        """The authority's own certificate: what a client trusts."""
        return self._write_authority(self._authority, "ca.pem")

    @cached_property
    def other_ca_file(self) -> Path:
        """Of an authority that has signed none of these: a client that trusts only this one must refuse the server."""
        return self._write_authority(trustme.CA(), "other-ca.pem")

    @cached_property
    def server(self) -> Pair:
        """For `localhost` and `127.0.0.1`."""
        return self._write(self._authority.issue_cert("localhost", "127.0.0.1", "::1"), "server")

    @cached_property
    def client(self) -> Pair:
        """For a client, common name `standpipe`, which is also a user name where the server takes it for one."""
        return self._write(self._authority.issue_cert("standpipe.test", common_name="standpipe"), "client")

    @cached_property
    def unknown_client(self) -> Pair:
        """A client's, of the right authority, common name `nobody`: whom the server knows no such user."""
        return self._write(self._authority.issue_cert("nobody.test", common_name="nobody"), "unknown-client")

    @cached_property
    def other_client(self) -> Pair:
        """A client's, from another authority: a server that asks for certificates must refuse it."""
        return self._write(trustme.CA().issue_cert("standpipe.test", common_name="standpipe"), "other-client")

    @cached_property
    def expired(self) -> Pair:
        """A server's that ended yesterday."""
        yesterday = datetime.now(UTC) - timedelta(days=1)
        made = self._authority.issue_cert("localhost", "127.0.0.1", not_before=yesterday - timedelta(days=9), not_after=yesterday)
        return self._write(made, "expired")

    @cached_property
    def wrong_host(self) -> Pair:
        """A server's, valid, but for a machine of another name."""
        return self._write(self._authority.issue_cert("elsewhere.test"), "wrong-host")

    def for_server(self, pair: Pair | None = None, *, client_required: bool = False) -> ServerTls:
        """The `tls` of a server: with its right certificate, or with `pair`."""
        return ServerTls(pair or self.server, self.ca_file, client_required)

    def _write_authority(self, authority: trustme.CA, name: str) -> Path:
        path = self.folder / name
        authority.cert_pem.write_to_path(str(path))
        return path

    def _write(self, made: trustme.LeafCert, name: str) -> Pair:
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        pair.key_file.touch(0o600)
        made.private_key_pem.write_to_path(str(pair.key_file))
        for position, part in enumerate(made.cert_chain_pems):
            part.write_to_path(str(pair.cert_file), append=position > 0)
        return pair
