"""Commands as they go over the wire."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.producers.redis_commands import SCRIPT_SHA, Commands
from tests.unit.producers.batches import PREFIX, batch_of, given
from tests.unit.producers.test_redis_config import config


def words(commands: list[bytes]) -> list[Any]:
    """As the server reads them."""
    reader = hiredis.Reader()
    reader.feed(b"".join(commands))
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found


def made(batch: Batch, faults: dict[int, Reject] | None = None, **settings: Any) -> list[Any]:
    names, commands = Commands(config(**settings)).made(batch, {} if faults is None else faults)
    assert len(names) == len(commands) == batch.count
    return words(commands)


@pytest.mark.parametrize(
    ("settings", "head"),
    [
        ({}, [b"XADD", b"orders", b"*"]),
        ({"max_length": 1000}, [b"XADD", b"orders", b"MAXLEN", b"~", b"1000", b"*"]),
        ({"create": False}, [b"XADD", b"orders", b"NOMKSTREAM", b"*"]),
        ({"stream": "größe"}, [b"XADD", "größe".encode(), b"*"]),
        ({"stream": "{a}"}, [b"XADD", b"1", b"*"]),
    ],
)
def test_entries_have_id_and_payload(settings: dict[str, Any], head: list[bytes]) -> None:
    batch = batch_of(given(ids=["ä"]), given({"a": 1}))
    first, second = made(batch, **settings)
    assert first == [*head, b"message-id", "ä".encode(), b"payload", b'{"a":1}']
    assert second[:-3] == [*head, b"message-id"]
    assert second[-3].decode().startswith(PREFIX)


def test_quick_way_and_long_way_make_the_same() -> None:
    batch = batch_of(given({"a": 1}, {"b": "ü"}), given(ids=["x"]))
    quick = made(batch, payload_field="größe", message_id_header="ïd")
    assert quick == made(batch, payload_field="größe", message_id_header="ïd", error_stream="other")


def test_headers_key_and_error_flag_are_fields() -> None:
    (command,) = made(batch_of(given(ids=["1"], key="k", headers={"h": "v"}, is_error=True)))
    assert command[3:] == [b"h", b"v", b"is_error", b"true", b"message-id", b"1", b"message-key", b"k", b"payload", b'{"a":1}']


def test_header_with_the_name_of_the_payload_is_rejected_and_the_others_are_made() -> None:
    faults: dict[int, Reject] = {}
    batch = batch_of(given(ids=["1"]), given(ids=["2"], headers={"payload": "x"}), given(ids=["3"]))
    assert [command[4] for command in made(batch, faults)] == [b"1", b"3"]
    assert list(faults) == [1]
    assert "set payload_field" in str(faults[1])


def test_name_from_a_missing_field_is_rejected_and_the_others_are_made() -> None:
    faults: dict[int, Reject] = {}
    commands = made(batch_of(given({"b": 1}), given({"a": 2})), faults, stream="{a}")
    assert [command[1] for command in commands] == [b"2"]
    assert "'a' is missing" in str(faults[0])


def test_flat_entry_without_any_field_is_rejected() -> None:
    faults: dict[int, Reject] = {}
    assert made(batch_of(given({})), faults, format="flat", message_id_header=None) == []
    assert "an entry needs one" in str(faults[0])


def test_script_is_given_key_and_window_before_the_command() -> None:
    (command,) = made(batch_of(given(ids=["x"])), deduplicate="1m")
    assert command[:6] == [b"EVALSHA", SCRIPT_SHA.encode(), b"2", b"standpipe:seen:orders:x", b"orders", b"60000"]
    assert command[6:] == [b"XADD", b"orders", b"*", b"message-id", b"x", b"payload", b'{"a":1}']


def test_more_fields_than_a_script_can_take_are_rejected() -> None:
    faults: dict[int, Reject] = {}
    wide = {str(number): 1 for number in range(4000)}
    assert len(made(batch_of(given(wide), given({"a": 1})), faults, format="flat", deduplicate=60)) == 1
    assert "use format: json" in str(faults[0])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mode": "list"}, [b"RPUSH", b"orders", b'{"a":1}']),
        ({"mode": "list", "push": "left"}, [b"LPUSH", b"orders", b'{"a":1}']),
        ({"mode": "pubsub"}, [b"PUBLISH", b"orders", b'{"a":1}']),
    ],
)
def test_elements_are_the_messages_themselves(settings: dict[str, Any], expected: list[bytes]) -> None:
    assert made(batch_of(given()), **settings) == [expected]
    assert made(batch_of(given(is_error=True)), **settings)[0][1] == b"orders:errors"
