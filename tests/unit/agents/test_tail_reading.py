"""The `tail` agent on files that only grow: where it starts, what a line is, which files it reads."""

from __future__ import annotations

import gzip
import logging
import os
import threading
from pathlib import Path

import pytest

from standpipe.agents.tail import TailAgent
from standpipe.agents.tail_config import TailConfig
from standpipe.core.errors import ConfigurationError
from tests.unit.agents.tailing import Tailing


def test_existing_lines_are_read_and_then_new_ones(tailing: Tailing) -> None:
    tailing.write("one\ntwo\n")
    tailing.start()
    assert tailing.lines() == ["one", "two"]
    tailing.write("three\n")
    assert tailing.lines() == ["three"]
    assert tailing.lines() == []


def test_a_batch_says_where_it_is_from_and_how_large_it_was(tailing: Tailing) -> None:
    tailing.write("one\r\ntwo\n")
    tailing.start()
    (batch,) = tailing.batches()
    assert batch.source == {"agent": "logs", "path": str(tailing.path())}
    assert (batch.size, len(batch), batch.records, batch.extras) == (9, 2, None, None)


def test_start_at_end_skips_what_is_there_but_no_file_that_appears_later(tailing: Tailing) -> None:
    tailing.write("old\n")
    tailing.start(paths=[str(tailing.logs / "*.log")], start_at="end")
    tailing.write("new\n")
    tailing.write("first\n", "other.log")
    assert sorted(tailing.lines()) == ["first", "new"]


def test_start_at_end_in_the_middle_of_a_line_reads_that_line_whole(tailing: Tailing) -> None:
    tailing.write("old\nhalf")
    tailing.start(start_at="end")
    tailing.write(" line\n")
    assert tailing.lines() == ["half line"]


def test_start_at_end_marks_the_rest_of_a_line_that_began_too_long_ago(tailing: Tailing) -> None:
    tailing.write(b"x" * 200_000)
    tailing.start(start_at="end", max_line_bytes=1000)
    tailing.write("rest\nnext\n")
    (batch,) = tailing.batches()
    assert (batch.lines, batch.extras) == (["rest", "next"], {0: {"continued": True}})


def test_a_file_that_does_not_exist_yet_is_waited_for(tailing: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "standpipe.agents"):
        agent = tailing.start(start_at="end")
        assert tailing.lines(looks=10) == []
        assert [record.message for record in caplog.records] == [
            f"agent 'logs': {tailing.path()}: cannot be found (No such file or directory); waiting for it"
        ]
        tailing.write("hello\n")
        assert tailing.lines() == ["hello"]
    assert agent.statistics().errors == 1


def test_a_line_is_kept_until_its_end_is_written(tailing: Tailing) -> None:
    tailing.start()
    for piece in (b"a", b"\xc3", b"\xa4", b"\r"):
        tailing.write(piece)
        assert tailing.lines(looks=100) == []
    tailing.write("\n")
    assert tailing.lines() == ["aä"]


def test_an_unfinished_line_is_handed_over_after_its_timeout_and_its_rest_is_marked(tailing: Tailing) -> None:
    agent = tailing.start(partial_line_timeout=5)
    tailing.write("slow")
    assert tailing.lines(looks=10) == []
    tailing.write("er")
    assert tailing.lines(looks=19) == []
    (batch,) = tailing.batches()
    assert (batch.lines, batch.extras) == (["slower"], {0: {"partial": True}})
    agent.acknowledge(batch)
    tailing.write(" line\nnext\n")
    (batch,) = tailing.batches()
    assert (batch.lines, batch.extras) == ([" line", "next"], {0: {"continued": True}})


def test_the_newline_after_a_line_that_was_handed_over_is_no_line_also_after_a_restart(tailing: Tailing) -> None:
    tailing.write("all of it")
    tailing.start(follow=False)
    assert tailing.lines() == ["all of it"]
    tailing.stop()
    tailing.write("\nnext\n")
    tailing.start(follow=False)
    assert tailing.lines() == ["next"]


def test_a_long_line_is_cut_marked_and_counted_and_the_next_one_is_whole(tailing: Tailing) -> None:
    tailing.write(b"short\n" + b"x" * 300_000 + b"\nlast\n")
    agent = tailing.start(max_line_bytes=1000, chunk_bytes=4096)
    found = [
        (line, (batch.extras or {}).get(index)) for batch in tailing.batches(looks=100) for index, line in enumerate(batch.lines or [])
    ]
    assert found == [("short", None), ("x" * 1000, {"truncated": True}), ("last", None)]
    statistics = agent.statistics()
    assert (statistics.truncated_lines, statistics.truncated_bytes) == (1, 299_000)


def test_invalid_bytes_are_counted(tailing: Tailing) -> None:
    tailing.write(b"good\nb\xffd\n")
    agent = tailing.start()
    assert tailing.lines() == ["good", "b\ufffdd"]
    statistics = agent.statistics()
    assert (statistics.invalid_lines, statistics.replaced_characters) == (1, 1)


def test_another_encoding_is_decoded(tailing: Tailing) -> None:
    tailing.write("Größe\n".encode("latin-1"))
    tailing.start(encoding="latin-1")
    assert tailing.lines() == ["Größe"]


def test_files_take_turns(tailing: Tailing) -> None:
    for name in ("a.log", "b.log", "c.log"):
        tailing.write("x" * 99 + "\n", name)
        tailing.write(("x" * 99 + "\n") * 99, name)
    tailing.start(paths=[str(tailing.logs / "*.log")], chunk_bytes=1024)
    order = [os.path.basename(batch.source["path"])[0] for batch in tailing.batches()]
    assert order[:9] == list("abcabcabc")


def test_lines_of_one_file_stay_in_order(tailing: Tailing) -> None:
    expected = [f"line {number}" for number in range(10_000)]
    tailing.write("".join(f"{line}\n" for line in expected))
    tailing.start(chunk_bytes=1024)
    assert tailing.lines() == expected


def test_excluded_files_are_not_read(tailing: Tailing) -> None:
    for name in ("a.log", "b.log", "debug.log"):
        tailing.write(f"{name}\n", name)
    tailing.start(paths=[str(tailing.logs / "*.log")], exclude=["debug*", str(tailing.logs / "b.*")])
    assert tailing.lines() == ["a.log"]


def test_a_glob_reaches_into_folders_and_finds_new_ones(tailing: Tailing) -> None:
    tailing.start(paths=[str(tailing.logs / "**" / "*.log")])
    (tailing.logs / "deep" / "er").mkdir(parents=True)
    tailing.write("deep\n", "deep/er/a.log")
    assert tailing.lines() == ["deep"]


def test_a_file_is_read_once_however_many_names_lead_to_it(tailing: Tailing) -> None:
    tailing.write("once\n", "real.log")
    os.link(tailing.path("real.log"), tailing.path("hard.log"))
    tailing.path("soft.log").symlink_to(tailing.path("real.log"))
    agent = tailing.start(paths=[str(tailing.logs / "*.log"), str(tailing.path("real.log")), str(tailing.logs / "r*")])
    assert tailing.lines() == ["once"]
    assert agent.statistics().files == 1


def test_a_name_with_glob_characters_is_found_as_it_is_written(tailing: Tailing) -> None:
    tailing.write("bracket\n", "a[1].log")
    tailing.start(paths=[str(tailing.path("a[1].log"))])
    assert tailing.lines() == ["bracket"]


def test_a_name_that_is_not_utf_8_can_be_read_resumed_and_encoded(tailing: Tailing) -> None:
    name = os.fsdecode(b"caf\xe9.log")
    tailing.write("one\n", name)
    tailing.start(paths=[str(tailing.logs / "*.log")])
    (batch,) = tailing.batches()
    assert batch.source["path"] == str(tailing.logs / "caf\ufffd.log")
    assert tailing.agent is not None
    tailing.agent.acknowledge(batch)
    tailing.stop()
    tailing.write("two\n", name)
    tailing.start(paths=[str(tailing.logs / "*.log")])
    assert tailing.lines() == ["two"]


@pytest.mark.parametrize("name", ["app.log.1.gz", "app.log.packed"])
def test_compressed_files_are_passed_over_and_counted_once(tailing: Tailing, name: str, caplog: pytest.LogCaptureFixture) -> None:
    tailing.path(name).write_bytes(gzip.compress(b"old\n"))
    tailing.write("new\n")
    with caplog.at_level(logging.WARNING, "standpipe.agents"):
        agent = tailing.start(paths=[str(tailing.logs / "*")])
        assert tailing.lines(looks=10) == ["new"]
    assert agent.statistics().skipped_files == 1
    assert len([record for record in caplog.records if "is compressed and is not read" in record.message]) == 1


def test_pipes_and_folders_matched_by_a_glob_are_not_opened(tailing: Tailing) -> None:
    os.mkfifo(tailing.path("pipe.log"))
    tailing.path("folder.log").mkdir()
    tailing.write("file\n")
    tailing.start(paths=[str(tailing.logs / "*.log")])
    assert tailing.lines() == ["file"]


def test_a_pipe_named_by_its_path_is_complained_about(tailing: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tailing.path())
    with caplog.at_level(logging.WARNING, "standpipe.agents"):
        tailing.start()
        assert tailing.lines() == []
    assert "app.log: is not a regular file and is not read" in caplog.text


def test_a_folder_named_by_its_path_is_a_configuration_error(tailing: Tailing) -> None:
    with pytest.raises(ConfigurationError, match=r"logs/ is a directory; to read the files in it write .*logs/\*"):
        tailing.start(paths=[str(tailing.logs) + "/"])


def test_a_folder_that_cannot_be_listed_is_complained_about_once(tailing: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "standpipe.agents"):
        tailing.start(paths=[str(tailing.logs / "later" / "*.log")])
        tailing.lines(looks=10)
        (tailing.logs / "later").mkdir()
        tailing.write("now\n", "later/a.log")
        assert tailing.lines() == ["now"]
    messages = [record.message for record in caplog.records if "later:" in record.message]
    assert [message.split(": ", 2)[2] for message in messages] == [
        "cannot list this directory (No such file or directory); trying again",
        "all right again",
    ]


def test_an_unreadable_file_is_complained_about_once_and_read_when_it_can_be(tailing: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    # A symlink loop stands in for a missing permission, which does not stop the superuser.
    tailing.path("a.log").symlink_to(tailing.path("b.log"))
    tailing.path("b.log").symlink_to(tailing.path("a.log"))
    with caplog.at_level(logging.WARNING, "standpipe.agents"):
        agent = tailing.start(paths=[str(tailing.path("a.log"))])
        tailing.lines(looks=10)
    assert len(caplog.records) == 1
    assert agent.statistics().last_error == f"{tailing.path('a.log')}: cannot be found (Too many levels of symbolic links); waiting for it"
    tailing.path("a.log").unlink()
    tailing.write("now\n", "a.log")
    assert tailing.lines() == ["now"]


def test_more_files_than_may_be_open_are_all_read(tailing: Tailing) -> None:
    names = [f"{number:02}.log" for number in range(20)]
    agent = tailing.start(paths=[str(tailing.logs / "*.log")], max_open_files=3)
    for round_number in range(4):
        for name in names:
            tailing.write(f"{name} {round_number} ", name)
        assert tailing.lines() == []
        for name in names:
            tailing.write("end\n", name)
        assert sorted(tailing.lines()) == [f"{name} {round_number} end" for name in names]
        assert agent.statistics().open_files <= 3


def test_lag_is_what_is_there_and_not_handed_over(tailing: Tailing) -> None:
    tailing.write("12345678\n" * 1000)
    agent = tailing.start(chunk_bytes=1024)
    assert agent.statistics().lag_bytes == 9000
    tailing.lines()
    assert (agent.statistics().lag_bytes, agent.statistics().lag_bytes_max) == (0, 9000)


def test_a_finite_agent_finishes_at_the_end_and_hands_the_last_line_over(tailing: Tailing) -> None:
    tailing.write("a1\na2", "a.log")
    tailing.write("", "b.log")
    tailing.write("c1\n", "c.log")
    agent = tailing.start(paths=[str(tailing.logs / "*.log")], follow=False)
    assert not agent.finished
    batches = tailing.batches()
    assert sorted(line for batch in batches for line in batch.lines or []) == ["a1", "a2", "c1"]
    assert all(batch.extras is None for batch in batches)
    assert agent.finished
    assert agent.read(60) is None
    assert (agent.statistics().lag_bytes, agent.statistics().open_files) == (0, 0)


def test_a_finite_agent_does_not_wait_for_a_missing_file(tailing: Tailing) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no file to read at .*app\.log; with follow: false it is not waited for"):
        tailing.start(follow=False)
    tailing.write("now\n")
    tailing.start(follow=False)  # nothing was left locked
    assert tailing.lines() == ["now"]


def test_a_finite_agent_says_that_a_glob_matches_nothing(tailing: Tailing, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "standpipe.agents"):
        agent = tailing.start(paths=[str(tailing.logs / "*.log")], follow=False)
    assert "*.log: matches no file; there is nothing to read" in caplog.text
    assert agent.finished


def test_a_finite_agent_reads_a_file_that_was_renamed_before_its_turn(tailing: Tailing) -> None:
    for name in ("a.log", "b.log"):
        tailing.write(f"{name}\n", name)
    tailing.start(paths=[str(tailing.logs / "*.log")], follow=False, max_open_files=1)
    tailing.path("a.log").rename(tailing.path("z"))
    assert sorted(tailing.lines()) == ["a.log", "b.log"]


def test_a_finite_agent_counts_what_was_deleted_before_its_turn(tailing: Tailing) -> None:
    for name in ("a.log", "b.log"):
        tailing.write(f"{name}\n", name)
    agent = tailing.start(paths=[str(tailing.logs / "*.log")], follow=False, max_open_files=1)
    tailing.path("a.log").unlink()
    assert tailing.lines() == ["b.log"]
    assert agent.finished
    assert agent.statistics().lost_bytes == 6
    assert "a.log: cannot be read (No such file or directory); 6 bytes of it were not read" in str(agent.statistics().last_error)


def test_a_waiting_read_returns_at_once_when_interrupted(tmp_path: Path) -> None:

    agent = TailAgent(TailConfig(name="a", paths=[str(tmp_path / "none.log")], poll_interval=3600))
    with agent:
        timer = threading.Timer(0.05, agent.interrupt)
        timer.start()
        assert agent.read(3600) is None
        agent.interrupt()
        assert agent.read(3600) is None
        timer.join()


def test_a_read_without_data_returns_in_time(tmp_path: Path) -> None:

    with TailAgent(TailConfig(name="a", paths=[str(tmp_path / "none.log")], poll_interval=0.01)) as agent:
        assert agent.read(0.03) is None


def test_a_closed_agent_reads_nothing_and_is_not_opened_again(tailing: Tailing) -> None:
    tailing.write("one\n")
    agent = tailing.start()
    agent.open()
    agent.close()
    agent.close()
    assert agent.read(1) is None
    with pytest.raises(ConfigurationError, match="agent 'logs' was closed; make a new one to read again"):
        agent.open()
