"""TLS settings: the right files make a context that checks the server, wrong ones an error that names file and remedy."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr, ValidationError

from standpipe.core.errors import ConfigurationError
from standpipe.producers.tls import TlsConfig, ssl_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away authority, two clients' certificates, a key with a password, and what is no certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("one", "two"):
        issued = authority.issue_cert("localhost", common_name=name)
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        issued.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}-both.pem"))
    key = serialization.load_pem_private_key((folder / "one.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"opensesame")
    (folder / "locked.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked),
    )
    (folder / "text.pem").write_text("no certificate\n")
    return folder


def settings(files: Path, **names: Any) -> TlsConfig:
    return TlsConfig(**{name: str(files / value) if name.endswith("_file") else value for name, value in names.items()})


def test_without_settings_the_server_is_checked_against_the_systems_authorities() -> None:
    context = ssl_context(TlsConfig())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_only_the_authority_that_is_named_is_believed(files: Path) -> None:
    context = ssl_context(settings(files, ca_file="ca.pem", min_version=1.3))
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_checking_can_be_turned_off_only_in_so_many_words() -> None:
    context = ssl_context(TlsConfig(verify=False))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize(
    "names",
    [
        {"cert_file": "one.pem", "key_file": "one.key"},
        {"cert_file": "one-both.pem"},
        {"cert_file": "one.pem", "key_file": "locked.key", "key_password": SecretStr("opensesame")},
    ],
)
def test_a_certificate_can_be_shown_to_the_server(files: Path, names: dict[str, Any]) -> None:
    ssl_context(settings(files, **names))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"ca_file": "none.pem"}, "tls.ca_file '.*none.pem' does not exist .*; correct the path"),
        ({"ca_file": "."}, "tls.ca_file '.*' is not a file"),
        ({"ca_file": "text.pem"}, "tls.ca_file '.*text.pem' holds no usable certificates .*; name a file in PEM format"),
        ({"cert_file": "none.pem"}, "tls.cert_file '.*none.pem' does not exist"),
        ({"cert_file": "one.pem", "key_file": "none.key"}, "tls.key_file '.*none.key' does not exist"),
        ({"cert_file": "one.pem", "key_file": "two.key"}, "'.*two.key' does not belong to the certificate in '.*one.pem'; name files that"),
        ({"cert_file": "one.pem"}, "'.*one.pem' and '.*one.pem' hold no usable certificate and private key"),
        ({"cert_file": "text.pem", "key_file": "one.key"}, "'.*text.pem' and '.*one.key' hold no usable"),
        ({"cert_file": "one.pem", "key_file": "locked.key"}, "'.*locked.key' has a password; set tls.key_password"),
        (
            {"cert_file": "one.pem", "key_file": "locked.key", "key_password": SecretStr("wrong-guess")},
            "'.*locked.key' cannot be .*; check tls.key_password",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name_and_the_remedy(files: Path, names: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        ssl_context(settings(files, **names))
    assert "wrong-guess" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_must_not_be_read_is_named(files: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed.pem"
    closed.write_bytes((files / "ca.pem").read_bytes())
    closed.chmod(0)
    with pytest.raises(ConfigurationError, match="must not be read by this user; change its permissions"):
        ssl_context(TlsConfig(ca_file=str(closed)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"key_file": "a"}, "no cert_file; name the certificate"),
        ({"key_password": "a"}, "no cert_file"),
        ({"verify": False, "ca_file": "a"}, "ca_file has no effect with verify: false"),
        ({"min_version": "1.1"}, "1.2"),
        ({"verfy": False}, "verfy"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        TlsConfig(**given)


def test_a_wrong_authority_is_refused_and_the_right_one_believed(files: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files / "one.pem", files / "one.key")
    assert _shakes_hands(server, ssl_context(settings(files, ca_file="ca.pem")), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shakes_hands(server, ssl_context(TlsConfig(ca_file=str(other))), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        _shakes_hands(server, ssl_context(settings(files, ca_file="ca.pem")), "another.host")


def _shakes_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Both ends in memory, without sockets."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(to_server, to_client, server_side=True), client.wrap_bio(to_client, to_server, server_hostname=name)]
    return [_goes_on(end.do_handshake) for _ in range(4) for end in reversed(ends)][-2:] == [True, True]


def _goes_on(step: Callable[[], None]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    return True
