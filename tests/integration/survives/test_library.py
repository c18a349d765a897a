"""What survives what in a program that calls `produce`, with each kind of queue."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from standpipe.core.errors import QueueFull
from standpipe.delivery.receipt import Receipt, State
from standpipe.spool.dead_letters import SqliteDeadLetters
from tests.integration.engine.programs import Result, run
from tests.integration.survives.destinations import Lines, LinesConfig, arrived, down_file

ON_DISK = ["written", "synced"]
FAST = {"max_retries": 1, "retry": {"initial": 0.01, "max": 0.05}, "reconnect_wait": 0.05}


def _queue(kind: str, folder: Path, **settings: Any) -> dict[str, Any]:
    return settings if kind == "memory" else {"type": "spool", "path": str(folder / "spool"), "durability": kind, **settings}


Make = Callable[..., Lines]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes producers with a kind of queue; shuts them down at the end."""
    made: list[Lines] = []

    def make(kind: str, queue: dict[str, Any] | None = None, **settings: Any) -> Lines:
        settings = {"name": "lines", "path": tmp_path / "out", "dead_letters": {"type": "sqlite"}, **FAST, **settings}
        producer = Lines(LinesConfig.model_validate({"type": "lines", "queue": _queue(kind, tmp_path, **(queue or {})), **settings}))
        producer.keep_state_in(tmp_path / "state")
        made.append(producer)
        return producer

    yield make
    for producer in made:
        producer.shutdown(0)


def _produce(producer: Lines, count: int) -> list[Receipt]:
    return [producer.produce(False, {"message": number}) for number in range(count)]


# --- the destination --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", *ON_DISK])
def test_a_destination_that_comes_back_gets_everything_in_order(kind: str, make: Make, tmp_path: Path) -> None:
    down_file(tmp_path / "out").touch()
    producer = make(kind)
    receipts = _produce(producer, 100)
    _until(lambda: producer.statistics().connect_failures >= 5)
    assert producer.statistics().pending == 100
    assert {receipt.state for receipt in receipts} == {State.QUEUED if kind == "memory" else State.STORED}
    down_file(tmp_path / "out").unlink()
    assert producer.flush(10) == 0
    assert arrived(tmp_path / "out") == list(range(100))


@pytest.mark.parametrize("kind", ON_DISK)
def test_what_waits_on_the_disk_for_a_destination_that_stays_down_is_delivered_after_a_restart(
    kind: str, make: Make, tmp_path: Path
) -> None:
    down_file(tmp_path / "out").touch()
    first = make(kind)
    ids = [receipt.message_id for receipt in _produce(first, 20)]
    report = first.shutdown(timeout=0.2)
    assert (report.spooled, report.undelivered, report.delivered) == (20, 0, 0)
    down_file(tmp_path / "out").unlink()
    second = make(kind)
    second.start()
    assert second.flush(10) == 0
    assert arrived(tmp_path / "out") == list(range(20))
    assert second.statistics().accepted == len(set(ids)) == 20


@pytest.mark.parametrize("kind", ["memory", *ON_DISK])
def test_a_slow_destination_does_not_hold_up_the_caller(kind: str, make: Make, tmp_path: Path) -> None:
    producer = make(kind, delay=0.05)
    _produce(producer, 30)
    assert producer.statistics().pending > 0, "producing took as long as sending"
    assert producer.flush(10) == 0
    assert arrived(tmp_path / "out") == list(range(30))


@pytest.mark.parametrize("kind", ["memory", *ON_DISK])
def test_a_poison_message_is_put_aside_and_the_others_pass(kind: str, make: Make, tmp_path: Path) -> None:
    producer = make(kind)
    receipts = [producer.produce(False, {"message": text}) for text in ("a", "poison", "b")]
    assert producer.flush(10) == 0
    assert [receipt.state for receipt in receipts] == [State.DELIVERED, State.DEAD_LETTERED, State.DELIVERED]
    producer.shutdown(5)
    again = make(kind)
    again.start()
    assert again.flush(5) == 0
    assert again.statistics().accepted == 0, "the poison message came back"
    assert arrived(tmp_path / "out") == ["a", "b"]
    store = again.dead_letters
    assert isinstance(store, SqliteDeadLetters)
    assert [(letter.reason.value, letter.content()) for letter in store] == [("rejected", {"message": "poison"})]


# --- the queue --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", *ON_DISK])
@pytest.mark.parametrize("policy", ["raise", "block", "drop_newest", "drop_oldest"])
def test_a_full_queue_does_what_was_chosen(kind: str, policy: str, make: Make, tmp_path: Path) -> None:
    down_file(tmp_path / "out").touch()
    producer = make(kind, queue={"max_bytes": 100, "on_full": policy, **({"full_timeout": 0.05} if policy == "block" else {})})
    taken, refused = [], 0
    for number in range(100, 110):  # of 15 bytes each
        try:
            producer.produce(False, {"message": number})
            taken.append(number)
        except QueueFull:
            refused += 1
    now = producer.statistics()
    assert (now.pending, now.dropped, refused) == ((6, 4, 0) if policy.startswith("drop") else (6, 0, 4))
    down_file(tmp_path / "out").unlink()
    assert producer.flush(10) == 0
    assert arrived(tmp_path / "out") == (taken[-6:] if policy == "drop_oldest" else taken[:6])


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_caller_blocked_by_a_full_spool_goes_on_when_there_is_room(kind: str, make: Make, tmp_path: Path) -> None:
    producer = make(kind, queue={"max_bytes": 100}, delay=0.005)
    _produce(producer, 50)
    assert producer.statistics().queue_bytes_max <= 100
    assert producer.flush(10) == 0
    assert arrived(tmp_path / "out") == list(range(50))


# --- the process ------------------------------------------------------------------------------------------------------


def _run(folder: Path, kind: str, program: str) -> Result:
    queue = repr(_queue(kind, folder))
    return run(folder, f"QUEUE = {queue}\n" + program)


DELIVER_WHAT_IS_THERE = """
producer = make(queue=QUEUE)
producer.start()
left = producer.flush(10)
say(left=left, found=producer.statistics().accepted)
producer.shutdown()
"""


@pytest.mark.parametrize("kind", ON_DISK)
def test_a_forked_child_is_told_that_the_spool_is_its_parents(kind: str, tmp_path: Path) -> None:
    program = """
Lines.delay = 0.005
producer = make(queue=QUEUE)
for n in range(30):
    producer.produce(False, {"n": n})
child = os.fork()
if child == 0:
    accepted = producer.statistics().accepted
    try:
        producer.produce(False, {"n": 100})
    except ConfigurationError as error:
        say(accepted=accepted, error=str(error))
    os._exit(0)
os.waitpid(child, 0)
say(delivered=producer.shutdown(timeout=10).delivered, parent=os.getpid())
"""
    result = _run(tmp_path, kind, program)
    child, parent = result.said
    assert (child["accepted"], parent["delivered"]) == (0, 30)
    assert f"the spool is used by process {parent['parent']}" in str(child["error"])
    assert result.numbers() == list(range(30))


@pytest.mark.parametrize("way", ["pass", "sys.exit(3)", "raise ValueError('a bug')"])
@pytest.mark.parametrize("kind", ON_DISK)
def test_what_the_end_of_the_process_leaves_on_the_disk_is_delivered_after_the_next_start(kind: str, way: str, tmp_path: Path) -> None:
    program = f"""
Lines.delay = 0.01
producer = make(queue=QUEUE, shutdown_timeout=0.3)
for n in range(100):
    producer.produce(False, {{"n": n}})
{way}
"""
    first = _run(tmp_path, kind, program)
    assert 0 < len(first.lines) < 100, first.errors
    second = _run(tmp_path, kind, DELIVER_WHAT_IS_THERE)
    assert second.said[0]["left"] == 0
    assert list(dict.fromkeys(second.numbers())) == list(range(100))
    assert len(second.numbers()) <= 101, "more than the message that was being sent arrived twice"


DIES = """
class Down(Lines):
    def _connect(self):
        raise ConnectionRefusedError("down")
producer = make(Down, queue=QUEUE)
for n in range(20):
    producer.produce(False, {{"n": n}})
os.kill(os.getpid(), signal.{signal})
time.sleep(30)
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", ON_DISK)
def test_what_waits_on_the_disk_survives_a_signal_that_ends_the_process(kind: str, end: signal.Signals, tmp_path: Path) -> None:
    first = _run(tmp_path, kind, DIES.format(signal=end.name))
    assert (first.code, first.lines) == (-end, [])
    second = _run(tmp_path, kind, DELIVER_WHAT_IS_THERE)
    assert second.said == [{"left": 0, "found": 20}]
    assert second.numbers() == list(range(20))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_waits_in_memory_is_lost_by_a_signal_that_ends_the_process(end: signal.Signals, tmp_path: Path) -> None:
    """As the table says; a test of the tests beside it, too."""
    assert _run(tmp_path, "memory", DIES.format(signal=end.name)).code == -end
    second = _run(tmp_path, "memory", DELIVER_WHAT_IS_THERE)
    assert (second.said, second.lines) == ([{"left": 0, "found": 0}], [])


def test_a_handler_that_exits_makes_sigterm_an_orderly_end(tmp_path: Path) -> None:
    program = """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
producer = make(queue=QUEUE)
for n in range(20):
    producer.produce(False, {"n": n})
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)
"""
    result = _run(tmp_path, "memory", program)
    assert (result.code, result.numbers()) == (0, list(range(20)))


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)
