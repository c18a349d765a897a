"""The table "What survives what" of the README: behind every cell stands a test, and the page that explains it has the same rows."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from scripts.docs import ROOT

MEMORY, WRITTEN, SYNCED, TAIL = "library, memory queue", "library, spool `written`", "library, spool `synced`", "`tail` in `standpipe run`"
COLUMNS = [MEMORY, WRITTEN, SYNCED, TAIL]

HERE = "tests/integration/survives/test_library.py"
LOG = "tests/integration/survives/test_tail.py"
ENGINE = "tests/integration/engine/test_processes.py"
SIGNALS = "tests/integration/cli/test_signals.py"
CUTS = "tests/integration/spool/test_power_cut.py"
KILLS = "tests/integration/spool/test_kill.py"

_COMES_BACK = f"{HERE}::test_a_destination_that_comes_back_gets_everything_in_order"
_AFTER_RESTART = f"{HERE}::test_what_waits_on_the_disk_for_a_destination_that_stays_down_is_delivered_after_a_restart"
_SLOW = f"{HERE}::test_a_slow_destination_does_not_hold_up_the_caller"
_POISON = f"{HERE}::test_a_poison_message_is_put_aside_and_the_others_pass"
_FULL = f"{HERE}::test_a_full_queue_does_what_was_chosen"
_ROOM = f"{HERE}::test_a_caller_blocked_by_a_full_spool_goes_on_when_there_is_room"
_FORK = f"{HERE}::test_a_forked_child_is_told_that_the_spool_is_its_parents"
_LEFT = f"{HERE}::test_what_the_end_of_the_process_leaves_on_the_disk_is_delivered_after_the_next_start"
_SIGNAL = f"{HERE}::test_what_waits_on_the_disk_survives_a_signal_that_ends_the_process"
_LOST = f"{HERE}::test_what_waits_in_memory_is_lost_by_a_signal_that_ends_the_process"
_ANY_INSTANT = f"{KILLS}::test_no_instant_to_be_killed_at_loses_what_was_promised"
_BUFFER = f"{LOG}::test_while_the_destination_is_down_reading_stops_and_the_file_is_the_buffer"
_READ_AGAIN = f"{LOG}::test_what_was_not_delivered_when_the_run_ended_is_read_again"

TESTS: dict[str, dict[str, list[str]]] = {
    "destination down": {
        MEMORY: [_COMES_BACK, "tests/unit/producers/test_contract_retries.py::test_the_retries_start_again_after_each_reset_and_never_end"],
        WRITTEN: [_COMES_BACK, _AFTER_RESTART],
        SYNCED: [_COMES_BACK, _AFTER_RESTART],
        TAIL: [_BUFFER],
    },
    "slow destination": {
        MEMORY: [_SLOW],
        WRITTEN: [_SLOW],
        SYNCED: [_SLOW],
        TAIL: [f"{LOG}::test_reading_keeps_the_pace_of_a_slow_destination"],
    },
    "poison message": {
        MEMORY: [_POISON],
        WRITTEN: [_POISON],
        SYNCED: [_POISON],
        TAIL: [f"{LOG}::test_a_poison_line_is_put_aside_and_not_read_again"],
    },
    "full queue": {MEMORY: [_FULL], WRITTEN: [_FULL, _ROOM], SYNCED: [_FULL, _ROOM], TAIL: [_BUFFER]},
    "`fork`": {
        MEMORY: [f"{ENGINE}::test_after_a_fork_parent_and_child_each_deliver_their_own_messages"],
        WRITTEN: [_FORK],
        SYNCED: [_FORK],
    },
    "`sys.exit`, end of program, exception": {
        MEMORY: [
            f"{ENGINE}::test_what_is_pending_when_the_process_ends_is_delivered",
            f"{ENGINE}::test_the_end_of_the_process_waits_no_longer_than_the_shutdown_timeout_and_says_what_is_lost",
        ],
        WRITTEN: [_LEFT],
        SYNCED: [_LEFT],
        TAIL: [_READ_AGAIN],
    },
    "SIGTERM": {
        MEMORY: [_LOST, f"{HERE}::test_a_handler_that_exits_makes_sigterm_an_orderly_end"],
        WRITTEN: [_SIGNAL],
        SYNCED: [_SIGNAL],
        TAIL: [f"{SIGNALS}::test_a_signal_delivers_what_was_read_and_ends_well", _READ_AGAIN],
    },
    "`kill -9`, out of memory": {
        MEMORY: [_LOST],
        WRITTEN: [_SIGNAL, _ANY_INSTANT],
        SYNCED: [_SIGNAL, _ANY_INSTANT],
        TAIL: [f"{LOG}::test_after_kill_9_the_log_is_read_on_from_the_checkpoint"],
    },
    "power cut": {
        MEMORY: [_LOST],  # nothing of a process is left
        WRITTEN: [f"{CUTS}::test_a_power_cut_takes_at_most_the_last_moments_of_a_written_spool"],
        SYNCED: [f"{CUTS}::test_no_power_cut_takes_what_a_synced_spool_has_promised"],
        TAIL: [f"{LOG}::test_after_a_power_cut_the_log_is_read_on_from_a_checkpoint_on_the_disk"],
    },
}
"""Row and column of each cell, and the tests that show it. The table and this must change together."""

NOTHING_TO_SAY = "-"


@cache
def _table() -> dict[str, dict[str, str]]:
    """The cells of the README's table by row and column."""
    section = (ROOT / "README.md").read_text("utf-8").split("\n## What survives what\n")[1].split("\n## ")[0]
    lines = [line for line in section.split("\n") if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    columns = [cell.strip("| ") for cell in header[-len(COLUMNS) :]]
    return {row[0].strip("| "): dict(zip(columns, row[1:], strict=True)) for row in rows}


@cache
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_the_table_can_be_read() -> None:
    table = _table()
    assert list(table) == list(TESTS)
    assert {tuple(cells) for cells in table.values()} == {tuple(COLUMNS)}
    assert all(cell for cells in table.values() for cell in cells.values())


@pytest.mark.parametrize("row", TESTS)
@pytest.mark.parametrize("column", COLUMNS)
def test_behind_every_cell_stands_a_test_that_exists(row: str, column: str) -> None:
    says = _table()[row][column]
    tests = TESTS[row].get(column, [])
    assert bool(tests) is (says != NOTHING_TO_SAY), f"{row}, {column}: {says}"
    for test in tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), f"{row}, {column}: there is no {file}"
        assert name in _tests_in(file), f"{row}, {column}: there is no {name} in {file}"


@pytest.mark.parametrize("kind", ["written", "synced"])
def test_a_test_behind_a_cell_of_a_spool_is_run_with_that_durability(kind: str) -> None:
    column = WRITTEN if kind == "written" else SYNCED
    text = (ROOT / HERE).read_text("utf-8")
    for tests in TESTS.values():
        for name in (test.partition("::")[2] for test in tests.get(column, []) if test.startswith(HERE)):
            before = text[: text.index(f"def {name}(")].rpartition("\n\n\n")[2]
            assert re.search(r'parametrize\("kind", (ON_DISK|\["memory", \*ON_DISK\])\)', before), name
