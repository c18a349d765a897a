"""What can be configured, and what is said about what cannot."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.producers.redis import RedisProducer
from standpipe.producers.redis_config import RedisProducerConfig


def config(**settings: Any) -> RedisProducerConfig:
    given = {"name": "p", "url": "redis://localhost", "stream": "orders"}
    return RedisProducerConfig.model_validate(given | settings)


def test_url_says_where_who_and_which_database() -> None:
    made = config(url="redis://me:p%40ss@host:7000/3")
    assert (made.url.host, made.url.port, made.database, made.login) == ("host", 7000, 3, ("me", "p@ss"))
    assert "p@ss" not in repr(made)
    assert config(url="redis://host?db=4").database == 4
    assert config(url="rediss://host").url.port == 6379


def test_url_of_a_socket_names_its_path() -> None:
    made = config(url="unix://me:secret@/run/redis/redis.sock?db=2")
    assert (made.url.path, made.database, made.login) == ("/run/redis/redis.sock", 2, ("me", "secret"))
    assert "secret" not in str(made.url)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://host"}, "must begin with redis:// or rediss:// or unix://"),
        ({"url": "unix://run/redis.sock"}, "names the socket by its whole path"),
        ({"url": "unix:///"}, "names the socket by its whole path"),
        ({"url": "redis://host/orders"}, "'orders' is not the number of a database"),
        ({"url": "redis://host?socket_timeout=1"}, "'socket_timeout' cannot stand in url"),
        ({"url": "redis://me:a@host", "user": "you"}, "leave out one of them"),
        ({"user": "me"}, "there is a user and no password; set password"),
        ({"tls": {}}, "write rediss://"),
        ({"stream": ""}, "'' cannot be a name in Redis"),
        ({"stream": "a b"}, "use text without spaces and control characters"),
        ({"stream": "{"}, "stands alone"),
        ({"stream": "x" * 1025}, "1024 is the most"),
        ({"error_stream": "orders"}, "leave error_stream out"),
        ({"mode": "list", "max_length": 5}, "max_length has no effect with mode: list"),
        ({"mode": "list", "headers": {"a": "b"}}, "headers has no effect with mode: list"),
        ({"mode": "pubsub", "deduplicate": "1h"}, "which keeps nothing"),
        ({"mode": "list", "cloudevents": {"mode": "binary", "source": "s", "type": "t"}}, "write cloudevents.mode: structured"),
        ({"push": "left"}, "push has no effect with mode: stream"),
        ({"payload_field": "message-id"}, "is also the name of a header"),
        ({"payload_field": "fixed", "headers": {"fixed": "1"}}, "is also the name of a header"),
        ({"format": "flat", "cloudevents": {"mode": "structured", "source": "s", "type": "t"}}, "format: flat takes the event apart"),
        ({"wait": {"replicas": 0}}, "greater than or equal to 1"),
        ({"max_length": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_said_with_the_remedy(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    assert said in str(caught.value)


def test_errors_of_lists_and_channels_have_a_place_of_their_own_by_default() -> None:
    assert [template.text for template in config(mode="list").names] == ["orders", "orders:errors"]
    assert [template.text for template in config(mode="pubsub", error_stream="bad").names] == ["orders", "bad"]
    assert [template.text for template in config().names] == ["orders", "orders"]


@pytest.mark.parametrize("transaction", [True, False])
def test_batches_are_atomic_only_as_transactions(transaction: bool) -> None:
    assert RedisProducer(config(transaction=transaction)).atomic_batches is transaction
