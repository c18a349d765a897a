"""Killed while it recovers, again and again; two processes and one spool; a child of a process with a spool."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.spool.child import BATCH, REFUSED, Plan
from tests.integration.spool.oracle import History, check
from tests.integration.spool.processes import CHILD, SCALE, Nursery, environment, wait_until

pytestmark = pytest.mark.timeout(120 * SCALE)


def test_ten_crashes_in_a_row_during_recovery_change_nothing_but_time(nursery: Nursery, plan: Plan) -> None:
    plan = replace(plan, batches=True)
    first = nursery.start(replace(plan, down=True, messages=20_000, drain=3600.0))
    wait_until(lambda: len(list(Path(plan.spool).glob("*.seg"))) > 30, "the backlog grows")
    assert first.kill() == -9
    promised = set(History.read(Path(plan.events)).promised)
    crashes = 0
    for run in range(1, 10 * SCALE + 1):
        began = time.monotonic()
        child = nursery.start(replace(plan, run=run, down=True, messages=0, drain=3600.0))
        time.sleep(random.uniform(0.0, 0.03))
        crashes += child.kill() == -9
        assert time.monotonic() - began < 10.0
    assert crashes == 10 * SCALE
    assert nursery.run(replace(plan, run=10 * SCALE + 1, messages=0)) == 0
    history = History.read(Path(plan.events))
    check(history, window=0)
    assert history.arrived >= promised
    assert len(promised) > 3000
    assert len(history.backlogs) < history.runs, "no crash came before the recovery was over"


def test_a_second_process_is_told_who_has_the_spool_and_gets_it_when_that_is_killed(nursery: Nursery, plan: Plan) -> None:
    plan = replace(plan, batches=True, down=True)
    first = nursery.start(replace(plan, messages=100, drain=3600.0))
    wait_until(lambda: len(History.read(Path(plan.events)).promised) == 100, "the first process has promised everything")
    other = replace(plan, run=1, events=plan.events + ".second", messages=10, down=False)
    command = [sys.executable, str(CHILD), other.as_json()]
    second = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert second.returncode == REFUSED, second.stderr
    (said,) = History.read(Path(other.events)).logged
    assert said.startswith("REFUSED SpoolInUse: ")
    assert f"process {first.pid}" in said
    assert first.kill() == -9
    third = replace(other, events=plan.events)
    done = subprocess.run([*command[:2], third.as_json()], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    history = History.read(Path(plan.events))
    check(history, window=BATCH)
    assert history.backlogs == [0, 100]


FORKING = """
import json, os, sys
from tests.integration.spool.child import Plan, BatchDestination
from tests.integration.spool.oracle import EventFile

plan = Plan(**json.loads(sys.argv[1]))
events = EventFile(plan.events)
events.write("S 0")
producer = BatchDestination(plan, events)

def produce(number):
    events.write(f"A {number}")
    receipt = producer.produce(False, {"n": number, "text": text_of(number)}, key=key_of(number))
    events.write(f"K {number} {receipt.message_id} 0.0")

from tests.integration.spool.oracle import key_of, text_of
for number in range(300):
    produce(number)
pid = os.fork()
if pid == 0:
    try:
        producer.produce(False, {"n": 10**6, "text": ""})
        os._exit(1)
    except Exception as error:
        events.write(f"L CHILD {type(error).__name__}: {error}")
    try:
        producer.shutdown(1.0)
    finally:
        os._exit(7)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
for number in range(300, 600):
    produce(number)
producer.plan.down = False
assert producer.flush(30) == 0
report = producer.shutdown(30)
assert report.spooled == report.undelivered == 0, report
"""


def test_a_forked_child_never_touches_the_spool_of_its_parent(plan: Plan) -> None:
    plan = replace(plan, batches=True, down=True)
    command = [sys.executable, "-c", FORKING, plan.as_json()]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    history = History.read(Path(plan.events))
    check(history, window=0)
    assert len(history.promised) == 600
    (said,) = [text for text in history.logged if text.startswith("CHILD")]
    assert said.startswith("CHILD SpoolInUse: ")
    assert not list(Path(plan.spool).glob("*.seg"))
