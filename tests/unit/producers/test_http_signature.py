"""Signatures that receivers of webhooks accept."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from standpipe.producers.http_signature import Signer, secret_bytes

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_specification_is_signed_as_there() -> None:
    """https://github.com/standard-webhooks/standard-webhooks: the values its libraries are tested with."""
    made = Signer([secret_bytes(SECRET)]).headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_give_two_signatures_that_each_verify() -> None:
    keys = [b"k" * 24, b"o" * 32]
    made = Signer(keys).headers("a.b", 5, b"\xc3\xbc\x00")
    for key, signature in zip(keys, made["webhook-signature"].split(" "), strict=True):
        version, _, text = signature.partition(",")
        assert version == "v1"
        assert base64.b64decode(text) == hmac.digest(key, b"a.b.5.\xc3\xbc\x00", hashlib.sha256)


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with 'whsec_'"),
        ("whsec_not*base64", "is not base64"),
        ("whsec_", "has 0 bytes"),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), "has 23 bytes; it must have 24 to 64"),
        ("whsec_" + base64.b64encode(b"k" * 65).decode(), "has 65 bytes"),
    ],
)
def test_a_wrong_secret_is_refused_without_being_shown(secret: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        secret_bytes(secret)
    assert secret.removeprefix("whsec_") not in str(caught.value) or not secret.removeprefix("whsec_")
