"""What can be configured of the PostgreSQL producer, and what is refused with which remedy."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from standpipe.producers.addresses import HostPort
from standpipe.producers.postgres import PostgresProducer
from standpipe.producers.postgres_config import PostgresProducerConfig
from standpipe.producers.postgres_connection import parameters


def config(**settings: Any) -> PostgresProducerConfig:
    return PostgresProducerConfig.model_validate({"name": "orders", "url": "postgresql://u:secret-word@db.example.com/shop%20a"} | settings)


def test_defaults_lose_nothing() -> None:
    found = config()
    assert (found.mode, found.synchronous_commit, found.create) == ("insert", "on", False)
    assert list(found.metadata) == ["id", "time", "is_error", "key", "headers", "payload"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "mysql://h/d"}, "must begin with postgresql://"),
        ({"url": "postgresql://h/d?synchronous_commit=off"}, "'synchronous_commit' cannot stand in url"),
        ({"url": "postgresql://h/d?host=other"}, "write other hosts into standbys"),
        ({"url": "postgresql://h/d?sslmode=disable", "tls": {}}, "there is tls, and sslmode in url"),
        ({"tls": {"server_name": "x"}, "standbys": "b"}, "tls.server_name is for one server"),
        ({"table": 'messages"; DROP TABLE users; --'}, "cannot be the name of a table"),
        ({"table": "a.b.c"}, "cannot be the name of a schema"),
        ({"table": ""}, "cannot be the name of a table"),
        ({"table": "x" * 64}, "cannot be the name of a table"),
        ({"error_table": "messages"}, "table and error_table are the same"),
        ({"columns": {"payload": "x"}}, "'payload' is the name of another column; write another one, such as payload_: x"),
        ({"columns": {"arrival": "x"}, "create": True}, "'arrival' is the name of another column"),
        ({"columns": {"x; --": "x"}}, "cannot be the name of a column"),
        ({"columns": {"x": "a..b"}}, "is not the path of a field"),
        ({"columns": {"x": {"path": "x", "type": "blob"}}}, "Input should be 'any'"),
        ({"metadata": {"id": "a", "payload": "a"}}, "'a' is the name of another column"),
        ({"metadata": ["ids"]}, "Input should be 'id'"),
        ({"metadata": []}, "there is neither metadata nor columns"),
        ({"mode": "upsert"}, "Input should be 'insert'"),
        ({"synchronous_commit": "maybe"}, "Input should be 'on'"),
    ],
)
def test_what_cannot_work_is_refused_with_its_remedy(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**settings)
    assert complaint in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_names_may_be_in_a_schema_and_columns_in_any_form() -> None:
    found = config(table="events.Orders", columns=["user"], metadata={"id": "message_id", "payload": "body"})
    assert found.columns["user"].path == "user"
    assert found.metadata == {"id": "message_id", "payload": "body"}
    assert config(columns={"amount": {"path": "a.b[3]", "type": "numeric"}}).columns["amount"].type == "numeric"


def test_a_table_made_by_others_may_have_a_column_called_arrival() -> None:
    assert config(columns={"arrival": "arrival.time"}).columns["arrival"].path == "arrival.time"


def test_what_libpq_is_told() -> None:
    found = parameters(config(connect_timeout=2.5, send_timeout=7))
    assert (found["host"], found["port"]) == ("db.example.com", "5432")
    assert (found["user"], found["password"], found["dbname"]) == ("u", "secret-word", "shop a")
    assert (found["connect_timeout"], found["tcp_user_timeout"], found["application_name"]) == (3, 7000, "standpipe/orders")
    assert "sslmode" not in found
    assert "target_session_attrs" not in found


def test_of_several_servers_the_one_that_takes_writes_is_asked_for() -> None:
    found = config(standbys="b:5433,[::1]")
    assert found.servers == (HostPort("db.example.com", 5432), HostPort("b", 5433), HostPort("::1", 5432))
    told = parameters(found)
    assert (told["host"], told["port"]) == ("db.example.com,b,::1", "5432,5433,5432")
    assert told["target_session_attrs"] == "read-write"


def test_tls_means_verified_unless_it_is_said_otherwise() -> None:
    told = parameters(config(tls={}))
    assert (told["sslmode"], told["ssl_min_protocol_version"], told["gssencmode"]) == ("verify-full", "TLSv1.2", "disable")
    assert told["sslrootcert"]
    assert parameters(config(tls={"verify": False, "min_version": "1.3"}))["sslmode"] == "require"
    named = parameters(config(tls={"server_name": "db.internal"}, url="postgresql://127.0.0.1/d"))
    assert (named["host"], named["hostaddr"]) == ("db.internal", "127.0.0.1")


def test_parameters_of_the_url_are_passed_on() -> None:
    told = parameters(config(url="postgresql://u@localhost/d?host=/run/postgresql&sslmode=verify-full"))
    assert told["host"] == "/run/postgresql"
    assert told["sslmode"] == "verify-full"
    assert told["sslrootcert"], "libpq's own place for it is empty on most machines"


def test_the_password_is_never_shown() -> None:
    made = PostgresProducer(config(error_table="wrong"))
    assert made.destination == "postgresql://db.example.com/shop%20a, table messages, errors: wrong"
    assert "secret-word" not in repr(made.config)
