"""What is noted between two checkpoints: a crash repeats what was not noted, a note never sets a position back or ahead."""

from __future__ import annotations

from pathlib import Path

from standpipe.agents.checkpoint import CheckpointFile
from standpipe.agents.checkpoint_notes import CheckpointNotes
from tests.unit.agents.tailing import Tailing


def notes_of(tailing: Tailing) -> Path:
    return tailing.state / "logs.notes"


def numbered(start: int, stop: int) -> list[str]:
    return [f"{number:07}" for number in range(start, stop)]


def test_a_crash_between_two_checkpoints_repeats_only_what_was_not_settled(tailing: Tailing) -> None:
    tailing.write("".join(f"{line}\n" for line in numbered(0, 512)))
    agent = tailing.start(chunk_bytes=1024)
    batches = tailing.batches()
    writes = agent.statistics().checkpoint_writes
    for batch in batches[:3]:
        agent.acknowledge(batch)
    assert agent.statistics().checkpoint_writes <= writes + 1
    tailing.crash()
    tailing.start()
    assert tailing.lines() == numbered(384, 512)


def test_notes_are_gone_once_the_checkpoint_holds_them(tailing: Tailing) -> None:
    tailing.write("".join(f"{line}\n" for line in numbered(0, 512)))
    agent = tailing.start(chunk_bytes=1024)
    for batch in tailing.batches():
        agent.acknowledge(batch)
    assert notes_of(tailing).exists()
    tailing.stop()
    assert not notes_of(tailing).exists()
    tailing.start()
    assert tailing.lines() == []


def test_notes_of_an_older_checkpoint_are_not_believed(tailing: Tailing) -> None:
    tailing.write("".join(f"{line}\n" for line in numbered(0, 512)))
    agent = tailing.start(chunk_bytes=1024)
    batches = tailing.batches()
    for batch in batches[:2]:
        agent.acknowledge(batch)
    old = notes_of(tailing).read_bytes()
    for batch in batches[2:]:
        agent.acknowledge(batch)
    tailing.stop()
    notes_of(tailing).write_bytes(old)  # as if the kill had come before they were removed
    tailing.start()
    assert tailing.lines() == []


def test_a_torn_note_ends_them_and_costs_only_repetition(tailing: Tailing) -> None:
    tailing.write("".join(f"{line}\n" for line in numbered(0, 512)))
    agent = tailing.start(chunk_bytes=1024)
    for batch in tailing.batches():
        agent.acknowledge(batch)
    tailing.crash()
    whole = notes_of(tailing).read_bytes()
    notes_of(tailing).write_bytes(whole[:-10])
    tailing.start()
    assert tailing.lines() == numbered(384, 512)


def test_a_flipped_bit_in_a_note_costs_only_repetition(tmp_path: Path) -> None:
    notes = CheckpointNotes(tmp_path / "a.notes")
    notes.begin("checksum")
    for number in range(3):
        notes.add({"offset": number})
    notes.close()
    whole = notes.path.read_bytes()
    for position in range(len(whole)):
        notes.path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert [note["offset"] for note in notes.load("checksum")] in ([], [0], [0, 1], [0, 1, 2])


def test_a_batch_from_before_a_truncation_notes_nothing(tailing: Tailing) -> None:
    tailing.write("old one\nold two\n")
    agent = tailing.start(checkpoint_interval=3600)
    (before,) = tailing.batches()
    tailing.path().write_text("")
    assert tailing.batches() == []
    tailing.write("old one\nold two\nnew\n")  # begins as the old content did
    (after,) = tailing.batches()
    agent.acknowledge(before)
    tailing.crash()
    tailing.start()
    assert tailing.lines() == after.lines == ["old one", "old two", "new"]


def test_a_disk_that_refuses_a_note_stops_nobody(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path, "a")
    assert checkpoint.open() is None
    checkpoint.write({"files": []})
    (tmp_path / "a.notes").mkdir()
    checkpoint.note({"offset": 1})
    checkpoint.note({"offset": 2})
    (tmp_path / "a.notes").rmdir()
    checkpoint.write({"files": []})
    checkpoint.note({"offset": 3})
    checkpoint.close()
    again = CheckpointFile(tmp_path, "a")
    assert again.open() == {"files": []}
    assert again.notes == [{"offset": 3}]
    again.close()
