"""Dead letters with several processes, and with processes that are killed."""

from __future__ import annotations

import json
import random
import signal
import threading
from pathlib import Path

from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.integration.dead.processes import call, ended, eventually, python
from tests.unit.spool.letters import integrity, letter

SPOOLED = """
state_dir: state
producers:
  - type: "tests.integration.dead.processes:Rejecting"
    name: orders
    queue: {type: spool}
"""

# Puts a message aside and dies when it is stored, before it is settled in the spool.
DIES_AFTER_STORING = """
import os, sys
import standpipe
from standpipe.spool.dead_letters import SqliteDeadLetters
add = SqliteDeadLetters.add
def add_and_die(self, letters):
    add(self, letters)
    os.kill(os.getpid(), 9)
if sys.argv[1] == "die":
    SqliteDeadLetters.add = add_and_die
app = standpipe.load("standpipe.yaml")
if sys.argv[2] == "produce":
    app["orders"].produce(False, {"n": 1}, message_id="m1").wait(10)
app["orders"].flush(10)
print(app["orders"].statistics().dead_lettered, flush=True)
app.shutdown()
"""

# Adds letters one by one and says so after each.
ADDS = """
import sys
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.unit.spool.letters import letter
store = SqliteDeadLetters("orders.sqlite", max_letters=int(sys.argv[3]))
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    store.add([letter(number)])
    print(number, flush=True)
"""


def test_killed_between_storing_and_settling_a_message_is_one_letter_put_aside_twice(tmp_path: Path) -> None:
    (tmp_path / "standpipe.yaml").write_text(SPOOLED)
    store = SqliteDeadLetters(tmp_path / "state" / "dead" / "orders.sqlite")
    assert ended(python(DIES_AFTER_STORING, tmp_path, "die", "produce"))[0] == -signal.SIGKILL
    assert [(found.id, found.times) for found in store] == [("m1", 1)]
    assert ended(python(DIES_AFTER_STORING, tmp_path, "die", "nothing"))[0] == -signal.SIGKILL
    assert [(found.id, found.times) for found in store] == [("m1", 2)]
    assert ended(python(DIES_AFTER_STORING, tmp_path, "live", "nothing")) == (0, ["1"])
    assert [(found.id, found.times, found.replays, found.attempts) for found in store] == [("m1", 3, 0, 3)]
    assert ended(python(DIES_AFTER_STORING, tmp_path, "live", "nothing")) == (0, ["0"])  # settled: it does not come again
    assert [(found.id, found.times) for found in store] == [("m1", 3)]
    assert store.statistics().added == 1


def test_what_add_has_returned_for_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(5)
    stored: set[int] = set()
    for attempt in range(12):
        begin = attempt * 100_000
        process = python(ADDS, tmp_path, str(begin), str(begin + 100_000), "1000000")
        assert process.stdout is not None
        for _ in range(chance.randrange(1, 25)):
            stored.add(int(process.stdout.readline()))
        threading.Event().wait(chance.random() * 0.01)
        process.kill()
        stored |= {int(line) for line in ended(process)[1] if line}
    found = {int(found.id[1:]) for found in SqliteDeadLetters(tmp_path / "orders.sqlite")}
    assert stored <= found
    assert len(found - stored) <= 12  # stored, and killed before it could say so
    assert integrity(tmp_path / "orders.sqlite") == "ok"


def test_a_daemon_adds_while_people_look_purge_and_export(tmp_path: Path) -> None:
    (tmp_path / "state" / "dead").mkdir(parents=True)
    daemon = python(ADDS, tmp_path / "state" / "dead", "0", "400", "1000000")
    path = tmp_path / "state" / "dead" / "orders.sqlite"
    assert eventually(path.exists)
    purged, exported = 0, set()
    while daemon.poll() is None:
        lines = call(tmp_path, "dead", "export", "--state-dir", "state").stdout.splitlines()
        exported |= {json.loads(line)["id"] for line in lines}
        purged += json.loads(call(tmp_path, "dead", "purge", "--state-dir", "state", "--limit", "30", "--yes", "--json").stdout)["purged"]
        if daemon.stdout is not None and len(exported) > 300:
            break
    code, _ = ended(daemon)
    assert code == 0
    now = SqliteDeadLetters(path).statistics()
    assert (now.added, now.letters + now.purged, now.purged) == (400, 400, purged)
    assert integrity(path) == "ok"


def test_a_replay_that_is_killed_keeps_the_letter_and_the_next_one_delivers_it(tmp_path: Path) -> None:
    producer = '{type: "tests.integration.dead.processes:OnceDead", name: orders}'
    (tmp_path / "standpipe.yaml").write_text(f"state_dir: state\nproducers: [{producer}]\n")
    store = SqliteDeadLetters(tmp_path / "state" / "dead" / "orders.sqlite")
    store.add([letter(1), letter(2)])
    store.close()
    assert call(tmp_path, "dead", "replay").returncode == -signal.SIGKILL
    assert [(found.id, found.status.value, found.replays) for found in store] == [("m1", "replaying", 1), ("m2", "replaying", 1)]
    assert "rejected, being replayed" in call(tmp_path, "dead", "list").stdout
    (tmp_path / "survive").touch()
    replayed = call(tmp_path, "dead", "replay")
    assert (replayed.returncode, replayed.stderr) == (0, "2 dead letters: 2 delivered\n")
    assert (tmp_path / "arrived").read_text().split() == ["1", "1", "2"]  # the one that was under way twice, under one id
    assert len(store) == 0


def test_run_puts_aside_says_where_and_replay_delivers_once_the_fault_is_mended(tmp_path: Path) -> None:
    configuration = """
state_dir: state
producers:
  - {type: %s, name: out}
agents: [{type: generator, name: gen, rate: 0, count: 50, seed: 1}]
pipelines: [{name: main, from: gen, routes: [{to: out}]}]
"""
    (tmp_path / "standpipe.yaml").write_text(configuration % '"tests.integration.dead.processes:Rejecting"')
    run = call(tmp_path, "run", "-q")
    assert run.returncode == 1
    hint = f"dead list --config standpipe.yaml --state-dir {tmp_path}/state"
    assert "standpipe: 50 dead letters kept; to look at them: " in run.stderr, run.stderr
    assert hint in run.stderr
    assert not (tmp_path / "state" / "dead-letters.jsonl").exists()
    listed = call(tmp_path, *hint.split())
    assert listed.stderr == "50 dead letters\n"
    (tmp_path / "standpipe.yaml").write_text(configuration % "file, path: out.jsonl")
    replayed = call(tmp_path, "dead", "replay")
    assert (replayed.returncode, replayed.stderr) == (0, "50 dead letters: 50 delivered\n")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 50
    assert call(tmp_path, "dead", "list").stderr == "0 dead letters\n"
