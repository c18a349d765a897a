"""Which producers keep their dead letters on disk, and when a message counts as put aside."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

import standpipe
from standpipe.core.dead_letter import DeadLetter
from standpipe.delivery import engine
from standpipe.delivery.dead_letters import MemoryDeadLetters
from standpipe.delivery.receipt import State
from standpipe.producers.base import BaseProducerConfig
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.integration.dead.processes import Rejecting, eventually, rejecting

CONFIGURATION = """
state_dir: state
producers:
  - {type: "tests.integration.dead.processes:Rejecting", name: orders}
  - {type: "tests.integration.dead.processes:Rejecting", name: small, dead_letters: {max_letters: 2, on_full: drop_newest}}
  - {type: "tests.integration.dead.processes:Rejecting", name: forgetful, dead_letters: {type: memory, max_letters: 1}}
"""


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # relative paths are relative to the working folder
    path = tmp_path / "standpipe.yaml"
    path.write_text(CONFIGURATION)
    return path


def test_producers_of_a_configuration_keep_dead_letters_on_disk(configuration: Path, tmp_path: Path) -> None:
    with standpipe.load(configuration) as app:
        assert not (tmp_path / "state").exists()
        for name in app:
            for number in range(3):
                app[name].produce(False, {"n": number}).wait(10)
        assert sorted(os.listdir(tmp_path / "state" / "dead")) == [
            f"{name}.sqlite{suffix}" for name in ("orders", "small") for suffix in ("", "-shm", "-wal")
        ]
        kept = {name: [letter.content()["n"] for letter in app[name].dead_letters] for name in app}
        assert kept == {"orders": [0, 1, 2], "small": [0, 1], "forgetful": [2]}
        small = app["small"].dead_letters
        assert isinstance(small, SqliteDeadLetters)
        assert small.dropped == 1
    assert sorted(os.listdir(tmp_path / "state" / "dead")) == ["orders.sqlite", "small.sqlite"]  # nothing is left open
    assert len(app["orders"].dead_letters) == 3


def test_a_letter_on_disk_has_the_answer_of_the_destination(configuration: Path) -> None:
    with standpipe.load(configuration) as app:
        app["orders"].produce(True, {"n": 1}, key="k", headers={"a": "b"}, message_id="id-1").wait(10)
        (letter,) = app["orders"].dead_letters
    assert (letter.id, letter.key, letter.headers, letter.is_error) == ("id-1", "k", {"a": "b"}, True)
    assert (letter.error, letter.response) == ("Reject: not today", "<h1>400 \\xff</h1>")


def test_a_producer_without_a_state_folder_keeps_them_in_memory(tmp_path: Path) -> None:
    with rejecting() as producer:
        producer.produce(False, {"n": 1}).wait(10)
        assert isinstance(producer.dead_letters, MemoryDeadLetters)
    assert not Path(os.environ["XDG_STATE_HOME"], "standpipe", "dead", "orders.sqlite").exists()


def test_a_producer_without_a_state_folder_that_wants_the_disk_uses_the_usual_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with rejecting(dead_letters={"type": "sqlite", "max_age": "1d"}) as producer:
        producer.produce(False, {"n": 1}).wait(10)
    store = SqliteDeadLetters(tmp_path / "standpipe" / "dead" / "orders.sqlite")
    assert len(store) == 1


@pytest.mark.parametrize(
    "settings",
    [{"type": "redis"}, {"max_letters": 0}, {"max_bytes": 0}, {"max_age": 0}, {"on_full": "block"}, {"max_leters": 3}],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BaseProducerConfig.model_validate({"type": "x", "name": "x", "dead_letters": settings})


class Watched(SqliteDeadLetters):
    """Calls back when letters have been stored, before the engine knows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.stored = threading.Event()
        self.go_on = threading.Event()

    def add(self, letters: Sequence[DeadLetter]) -> None:
        super().add(letters)
        self.stored.set()
        assert self.go_on.wait(10)


def test_message_is_dead_lettered_on_the_disk_before_it_is_settled(tmp_path: Path) -> None:
    store = Watched(tmp_path / "orders.sqlite")
    with Rejecting(BaseProducerConfig(type="rejecting", name="orders"), dead_letters=store) as producer:
        receipt = producer.produce(False, {"n": 1})
        assert store.stored.wait(10)
        now = producer.statistics()
        assert (receipt.state, now.pending, now.dead_lettered) == (State.QUEUED, 1, 0)
        assert len(SqliteDeadLetters(store.path)) == 1
        store.go_on.set()
        assert receipt.wait(10) is State.DEAD_LETTERED


def test_a_damaged_store_keeps_messages_pending_until_it_is_mended(
    configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "DEAD_LETTER_RETRY", 0.05)
    path = tmp_path / "state" / "dead" / "orders.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    with caplog.at_level("WARNING", "standpipe"), standpipe.load(configuration) as app:
        producer = app["orders"]
        receipt = producer.produce(False, {"n": 1})
        assert (
            "orders: dead letters cannot be stored, rejected messages will wait until they can (the database of dead letters" in caplog.text
        )
        assert eventually(lambda: producer.statistics().attempts >= 3)
        now = producer.statistics()
        assert (receipt.state, now.pending, now.dead_lettered, now.accepted) == (State.QUEUED, 1, 0, 1)
        path.unlink()
        assert receipt.wait(10) is State.DEAD_LETTERED
        assert [letter.id for letter in producer.dead_letters] == [receipt.message_id]


def test_a_state_folder_that_cannot_be_used_is_told_at_the_start(
    configuration: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("no folder")
    with caplog.at_level("WARNING", "standpipe"), standpipe.load(configuration):
        pass
    assert f"orders.sqlite cannot be made: {tmp_path}/state is no folder); see `state_dir` and `dead_letters`" in caplog.text
    assert "forgetful: dead letters" not in caplog.text
