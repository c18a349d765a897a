"""A wrong configuration of `type: http` is refused before anything is sent, with the remedy and without the secrets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.producers.config import secrets_in
from standpipe.producers.http_config import HttpProducerConfig

URL = "https://api.example.com/in"
EVENTS = {"source": "/shop", "type": "com.example.order"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def config(**settings: Any) -> HttpProducerConfig:
    return HttpProducerConfig.model_validate({"name": "hook", "url": URL, **settings})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "https://{host}/in"}, "the host and port must be fixed"),
        ({"error_url": "nowhere"}, "must begin with https:// or http://"),
        ({"url": URL + "/{id}", "format": "jsonl"}, "a request holds many messages; url and error_url cannot have fields then"),
        ({"error_url": URL + "/{id}", "format": "json_array"}, "url and error_url cannot have fields then"),
        ({"url": "http://api.example.com", "tls": {}}, "tls has no effect, because the URL begins with http://"),
        ({"batch": {"max_messages": 10}}, "has one message in a request; for batches set format to jsonl or json_array"),
        ({"format": "form", "batch": {"max_messages": 10}}, "format form has one message in a request"),
        ({"format": "jsonl", "cloudevents": EVENTS}, "cannot be sent as jsonl; set format to json or json_array"),
        ({"format": "form", "cloudevents": EVENTS}, "cannot be sent as form"),
        (
            {"format": "json_array", "cloudevents": {**EVENTS, "mode": "binary"}},
            "binary mode cannot be sent as json_array; set format to json",
        ),
        ({"fields": ["id"], "cloudevents": EVENTS}, "with cloudevents, fields has no effect"),
        ({"signature": {"secret": SECRET}, "compression": "gzip"}, "a signed body cannot be compressed"),
        ({"signature": {"secret": "hush-hush"}}, "does not begin with 'whsec_'"),
        ({"auth": {"type": "bearer", "token": "hush-hush\nX: y"}}, "characters that a header cannot carry"),
        ({"auth": {"type": "basic", "user": "a:b", "password": "hush-hush"}}, "a user name cannot have a ':'"),
        ({"auth": {"type": "digest"}}, "there is no such type of authentication; there are: basic, bearer"),
        ({"auth": {"type": "bearer", "token": "hush-hush"}, "headers": {"authorization": "x"}}, "are two logins; leave out one"),
        ({"headers": {"Host": "evil.example.com"}}, "the header 'Host' is written by the producer itself"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "has a value that HTTP cannot carry"),
        ({"idempotency_header": "Idempotency Key"}, "idempotency_header: 'Idempotency Key' cannot name a header"),
        ({"success_statuses": ["2x"]}, "is not an HTTP status"),
        ({"fields": {"id": "a b"}}, "'a b' cannot name a field"),
        ({"fields": {"id": "a", "key": "a"}}, "each field needs a name of its own"),
        ({"proxy": "socks5://proxy"}, "must begin with http:// or https://"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"method": "GET"}, "Input should be 'POST', 'PUT' or 'PATCH'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_remedy(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    assert complaint in str(caught.value)
    assert "hush-hush" not in str(caught.value)


def test_a_request_of_one_message_has_a_batch_of_one() -> None:
    assert config().batch.max_messages == 1
    assert config(format="form", batch={"max_messages": 1, "max_bytes": "2MiB"}).batch.max_messages == 1
    assert config(format="form", batch={"max_bytes": "2MiB"}).batch.max_bytes == 2 * 2**20
    assert config(format="jsonl").batch.max_messages == 1000
    assert config(format="jsonl", batch={"max_messages": 10}).batch.max_messages == 10


def test_records_of_batches_say_whether_they_are_errors_unless_errors_go_elsewhere() -> None:
    assert config().field_names == {}
    assert config(format="jsonl").field_names == {"is_error": "is_error"}
    assert config(format="jsonl", error_url=URL).field_names == {}
    assert config(format="json_array", cloudevents=EVENTS).field_names == {}
    assert config(fields=["id", "key"]).field_names == {"id": "id", "key": "key"}
    assert config(fields={"id": "@id"}).field_names == {"id": "@id"}


def test_every_secret_is_known_as_one_and_shown_nowhere() -> None:
    made = config(
        auth={"type": "basic", "user": "shop", "password": "hush-1"},
        signature={"secret": SECRET, "old_secret": SECRET},
        headers={"X-Api-Key": "hush-2", "X-Shop": "seven"},
        proxy="http://user:hush-3@proxy.example.com:3128",
        tls={"cert_file": "a.pem", "key_password": "hush-4"},
    )
    assert {"hush-1", "hush-2", "hush-3", "hush-4", SECRET} <= set(secrets_in(made))
    shown = repr(made) + str(made) + made.model_dump_json()
    assert "hush" not in shown
    assert SECRET not in shown
    assert "seven" in shown
