"""Callers that wait for the disk share what it costs, and nobody waits in vain."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from standpipe.spool import group_commit
from standpipe.spool.group_commit import NOBODY, GroupCommit

WITHIN = 20.0


class Log:
    """Numbers that are written, and a disk that brings them to safety when it is allowed to."""

    def __init__(self) -> None:
        self.group = GroupCommit(lambda: self.durable, self.sync)
        self.written = 0
        self.durable = 0
        self.syncs = 0
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.syncing = threading.Event()
        self.fails = False
        self.during: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def sync(self) -> None:
        stop = self.written
        self.syncs += 1
        self.syncing.set()
        assert self.may_sync.wait(WITHIN)
        self.during()
        if self.fails:
            raise OSError("the disk is gone")
        self.durable = max(self.durable, stop)

    def write(self) -> int:
        with self._lock:
            self.written += 1
            return self.written

    def put(self) -> None:
        number = self.write()
        self.group.commit(number)
        assert self.durable >= number

    def callers(self, count: int, errors: list[BaseException] | None = None) -> list[threading.Thread]:
        def call() -> None:
            try:
                self.put()
            except OSError as error:
                if errors is None:
                    raise
                errors.append(error)

        threads = [threading.Thread(target=call) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads

    def wait_until_waiting(self, count: int) -> None:
        until = time.monotonic() + WITHIN
        while len(self.group._waiting) < count:
            assert time.monotonic() < until, f"{len(self.group._waiting)} wait instead of {count}"
            time.sleep(0.0005)


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(WITHIN)
    assert not any(thread.is_alive() for thread in threads), "somebody waits in vain"


def test_all_who_come_during_a_sync_share_the_next_one() -> None:
    log = Log()
    log.may_sync.clear()
    first = log.callers(1)
    assert log.syncing.wait(WITHIN)
    others = log.callers(7)
    log.wait_until_waiting(7)

    log.may_sync.set()

    join(first + others)
    assert log.syncs == 2


def test_who_comes_during_a_sync_is_not_released_by_it() -> None:
    log = Log()
    log.may_sync.clear()
    first = log.callers(1)
    assert log.syncing.wait(WITHIN)
    second = log.callers(1)
    log.wait_until_waiting(1)
    log.syncing.clear()
    log.during = log.may_sync.clear

    log.may_sync.set()

    join(first)
    assert log.syncing.wait(WITHIN)
    assert (log.durable, log.written, log.syncs) == (1, 2, 2)
    assert second[0].is_alive(), "released before its message was on the disk"
    log.may_sync.set()
    join(second)


def test_what_is_on_the_disk_already_is_not_synced_again() -> None:
    log = Log()
    log.put()

    log.group.commit(1)

    assert log.syncs == 1


def test_a_failed_sync_is_told_to_each_caller_after_a_try_of_its_own() -> None:
    log = Log()
    log.fails = True
    errors: list[BaseException] = []
    log.may_sync.clear()
    first = log.callers(1, errors)
    assert log.syncing.wait(WITHIN)
    others = log.callers(3, errors)
    log.wait_until_waiting(3)

    log.may_sync.set()

    join(first + others)
    assert len(errors) == 4
    assert log.syncs == 4


def test_a_caller_that_interrupts_its_own_sync_does_not_wait_for_itself() -> None:
    log = Log()

    def handler() -> None:
        log.during = lambda: None
        log.put()

    log.during = handler
    caller = threading.Thread(target=log.put)
    caller.start()

    join([caller])
    assert log.durable == 2


def test_when_the_one_to_lead_next_is_interrupted_another_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    log.may_sync.clear()
    leader = log.callers(1)
    assert log.syncing.wait(WITHIN)
    behind: list[threading.Thread] = []

    def interrupt() -> None:
        log.wait_until_waiting(1)
        behind.extend(log.callers(1))
        log.wait_until_waiting(2)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        log.put()
    log.may_sync.set()

    join([helper, *leader, *behind])
    assert log.durable == 3


def after_a_group_of(count: int, log: Log, monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """So many seem to be about, and a watcher waits `patience` seconds for them."""
    monkeypatch.setattr(group_commit, "PATIENCE_MAX", patience)
    log.group._complete = count
    log.group._sync_seconds = 2 * patience


def wait_until_watching(log: Log) -> None:
    until = time.monotonic() + WITHIN
    while log.group._watcher == NOBODY:
        assert time.monotonic() < until, "nobody watches"
        time.sleep(0.0005)


@contextmanager
def interrupted_while_watching(log: Log, number: signal.Signals) -> Iterator[None]:
    """When the calling thread watches and another caller waits behind it, it gets a signal; from then on nobody has patience."""
    behind: list[threading.Thread] = []

    def interrupt() -> None:
        wait_until_watching(log)
        behind.extend(log.callers(1))
        log.wait_until_waiting(2)
        log.group._sync_seconds = 0.0
        signal.pthread_kill(watcher, number)

    watcher = threading.get_ident()
    helper = threading.Thread(target=interrupt)
    helper.start()
    yield
    join([helper, *behind])


def test_callers_that_come_back_share_one_sync_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    after_a_group_of(8, log, monkeypatch, WITHIN)

    join(log.callers(8))

    assert log.syncs == 1


def test_one_who_comes_alone_after_a_group_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    after_a_group_of(8, log, monkeypatch, 0.01)

    join(log.callers(1))

    assert log.syncs == 1
    assert log.group._complete == 1, "the next one has nobody to wait for"


def test_when_the_one_who_watches_is_interrupted_another_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    after_a_group_of(3, log, monkeypatch, WITHIN)

    with interrupted_while_watching(log, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        log.put()

    assert log.durable == 2
    assert log.group._waiting == {}


def test_a_signal_handler_of_the_one_who_watches_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    after_a_group_of(5, log, monkeypatch, WITHIN)
    before = signal.signal(signal.SIGUSR1, lambda *_: log.put())
    began = time.monotonic()
    try:
        with interrupted_while_watching(log, signal.SIGUSR1):
            log.put()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert time.monotonic() - began < WITHIN, "it watched until its patience was at its end"
    assert log.durable == 3


def test_many_callers_at_once_are_all_served() -> None:
    log = Log()

    def call() -> None:
        for _ in range(300):
            log.put()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()

    join(threads)
    assert log.durable == 2400
    assert log.group._waiting == {}
