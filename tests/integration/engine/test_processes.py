"""Forks, children and the end of the process."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.engine.programs import run


def test_after_a_fork_parent_and_child_each_deliver_their_own_messages(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        Lines.delay = 0.005
        producer = make()
        for n in range(50):
            producer.produce(False, {"n": n})
        child = os.fork()
        if child == 0:
            before = producer.statistics()
            for n in range(100, 120):
                producer.produce(False, {"n": n})
            report = producer.shutdown(timeout=10)
            say(who="child", accepted=before.accepted, pending=before.pending, delivered=report.delivered)
            os._exit(0)
        os.waitpid(child, 0)
        report = producer.shutdown(timeout=10)
        say(who="parent", child=child, delivered=report.delivered)
        """,
    )
    child, parent = result.said
    assert child == {"who": "child", "accepted": 0, "pending": 0, "delivered": 20}
    assert (parent["who"], parent["delivered"]) == ("parent", 50)
    assert sorted(result.numbers()) == [*range(50), *range(100, 120)]
    assert {number for pid, number in result.lines if pid == parent["child"]} == set(range(100, 120))


def test_a_fork_while_other_threads_hold_every_lock_leaves_a_child_that_works(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        producer = make(queue={"max_messages": 50})
        stop = threading.Event()
        def storm():
            n = 0
            while not stop.is_set():
                receipt = producer.produce(False, {"n": 0}, headers={"a": "b"})
                receipt.add_done_callback(lambda _: None)
                receipt.wait(0.0001)
                producer.statistics()
        threads = [threading.Thread(target=storm) for _ in range(4)]
        for thread in threads:
            thread.start()
        codes = []
        for turn in range(40):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                receipt = producer.produce(False, {"n": turn + 1}, headers={"c": "d"})
                receipt.add_done_callback(lambda _: None)
                good = receipt.wait(5) is State.DELIVERED and producer.shutdown(timeout=5).delivered == 1
                os._exit(0 if good else 3)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join()
        report = producer.shutdown(timeout=10)
        say(codes=codes, undelivered=report.undelivered, same=report.delivered == producer.statistics().accepted)
        """,
    )
    assert result.said == [{"codes": [0] * 40, "undelivered": 0, "same": True}], result.errors
    assert [number for number in result.numbers() if number] == list(range(1, 41))


def test_a_fork_from_within_the_worker_sends_nothing_twice(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        producer = make()
        children = []
        def fork(_):
            child = os.fork()
            if child:
                children.append(child)
        receipts = [producer.produce(False, {"n": n}) for n in range(5)]
        receipts[1].add_done_callback(fork)
        if producer.shutdown(timeout=5).delivered == 5:
            say(code=[os.waitpid(child, 0)[1] for child in children])
        """,
    )
    assert sorted(result.numbers()) == list(range(5)), result.errors


def test_a_child_of_a_producer_that_was_shut_down_is_shut_down_too(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        producer = make()
        producer.shutdown(timeout=1)
        child = os.fork()
        if child == 0:
            try:
                producer.produce(False, {"n": 1})
            except ProducerClosed:
                os._exit(7 if producer.shutdown().complete else 8)
            os._exit(9)
        say(code=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    assert result.said == [{"code": 7}]


@pytest.mark.parametrize(("method", "inherited"), [("fork", True), ("fork", False), ("spawn", False), ("forkserver", False)])
def test_children_of_multiprocessing_deliver_what_they_produce_before_they_end(tmp_path: Path, method: str, inherited: bool) -> None:
    result = run(
        tmp_path,
        f"""
        Lines.delay = 0.001
        producer = make() if {inherited} or __name__ != "__main__" else None
        def work(first):
            mine = producer or make()
            for n in range(first, first + 30):
                mine.produce(False, {{"n": n}})
            work.keep = mine
        if __name__ == "__main__":
            if producer:
                for n in range(30):
                    producer.produce(False, {{"n": n}})
            context = multiprocessing.get_context("{method}")
            children = [context.Process(target=work, args=(first,)) for first in (100, 200)]
            for child in children:
                child.start()
            for child in children:
                child.join()
            say(codes=[child.exitcode for child in children])
        """,
    )
    assert result.said == [{"codes": [0, 0]}], result.errors
    own = range(30) if inherited else ()
    assert sorted(result.numbers()) == [*own, *range(100, 130), *range(200, 230)], result.errors


ENDINGS = {
    "the end of the main program": ("pass", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception that nobody catches": ("raise ValueError('mine')", 1),
    "an interrupt": ("raise KeyboardInterrupt", 130),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_pending_when_the_process_ends_is_delivered(tmp_path: Path, ending: str) -> None:
    statement, code = ENDINGS[ending]
    result = run(
        tmp_path,
        f"""
        Lines.delay = 0.002
        producers = [make(name=f"p{{n}}") for n in range(3)]
        for n in range(100):
            for producer in producers:
                producer.produce(False, {{"n": n}})
        {statement}
        """,
    )
    assert result.code in (code, -signal.SIGINT if code == 130 else code)
    assert sorted(result.numbers()) == sorted(list(range(100)) * 3)


def test_the_end_of_the_process_waits_no_longer_than_the_shutdown_timeout_and_says_what_is_lost(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        logging.basicConfig(level=logging.WARNING)
        class Stuck(Lines):
            def _send(self, is_error, message):
                time.sleep(60)
        producers = [make(Stuck, name=f"stuck{n}", shutdown_timeout=2.0) for n in range(4)]
        for producer in producers:
            producer.produce(False, {"n": 1})
        atexit.register(lambda began=time.monotonic(): None)
        began = time.monotonic()
        import standpipe.producers.process as process
        process._at_exit()
        say(seconds=time.monotonic() - began)
        """,
    )
    (words,) = result.said
    assert 1.9 < float(str(words["seconds"])) < 6.0  # all four at the same time
    for number in range(4):
        assert f"stuck{number}: the process ends with 1 message(s) undelivered" in result.errors


def test_a_shutdown_begun_by_a_callback_is_finished_at_the_end_of_the_process(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        Lines.delay = 0.01
        producer = make()
        receipts = [producer.produce(False, {"n": n}) for n in range(50)]
        receipts[0].add_done_callback(lambda _: producer.shutdown(timeout=10))
        receipts[0].wait(5)
        """,
    )
    assert result.numbers() == list(range(50))


def test_the_end_of_the_process_does_not_wait_for_a_destination_nobody_needs(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        class Down(Lines):
            def _connect(self):
                raise OSError("down")
        producer = make(Down, shutdown_timeout=25)
        producer.start()
        """,
    )
    assert result.code == 0


def test_interrupts_in_a_storm_of_messages_leave_the_counters_consistent(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
        producer = make(queue={"max_messages": 5000})
        told = interrupts = 0
        stop = False
        armed = []  # an interrupt must meet the loop below, not what catches the one before
        def interrupt(number, frame):
            if armed:
                armed.clear()
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, interrupt)
        def ticker():
            while not stop:
                time.sleep(0.002)
                os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=ticker, daemon=True)
        end = time.monotonic() + 1.5
        thread.start()
        while True:
            try:
                armed.append(True)
                while time.monotonic() < end:
                    producer.produce(False, {"n": told})
                    told += 1
                armed.clear()
                stop = True
                thread.join()
                break
            except KeyboardInterrupt:
                interrupts += 1
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        now = producer.statistics()
        report = producer.shutdown(timeout=20)
        say(told=told, interrupts=interrupts, accepted=now.accepted, adds=now.accepted == now.delivered + now.pending,
            queue=now.queue_messages == now.pending, delivered=report.delivered, undelivered=report.undelivered,
            left=[producer.statistics().queue_messages, producer.statistics().queue_bytes])
        """,
    )
    (words,) = result.said
    accepted, told, interrupts = int(str(words["accepted"])), int(str(words["told"])), int(str(words["interrupts"]))
    assert interrupts > 50
    assert told <= accepted <= told + interrupts  # an interrupted call may or may not have handed over its message
    assert words["adds"]
    assert words["queue"]
    assert (words["delivered"], words["undelivered"], words["left"]) == (accepted, 0, [0, 0])
    assert len(result.lines) == accepted


def test_an_interrupted_shutdown_can_be_called_again(tmp_path: Path) -> None:
    def interrupt(process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)

    result = run(
        tmp_path,
        """
        Lines.delay = 0.02
        producer = make()
        for n in range(50):
            producer.produce(False, {"n": n})
        threading.Timer(0.2, lambda: os.write(1, b"{}\\n")).start()
        try:
            producer.shutdown(timeout=20)
        except KeyboardInterrupt:
            say(interrupted=True, pending=producer.statistics().pending > 0)
        report = producer.shutdown(timeout=20)
        say(delivered=report.delivered)
        """,
        meanwhile=interrupt,
    )
    assert result.said == [{"interrupted": True, "pending": True}, {"delivered": 50}]
    assert result.numbers() == list(range(50))
