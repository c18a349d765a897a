"""Promises about a producer's life: closing, shutdown, forks, thousands of reconnects, and what it says about itself."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import os
import select
import signal
import threading
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from standpipe.core.errors import Disconnected, Reject
from standpipe.producers.base import BaseProducer
from standpipe.producers.config import BatchConfig, RetryConfig, secrets_in
from standpipe.testing.fault_proxy import FaultProxy
from standpipe.testing.promise import promise
from standpipe.testing.trial import Broken, NotApplicable, Trial, last_error

RECONNECTS, RECONNECTS_QUICK = 2000, 200
RECONNECT_SECONDS = 30.0
"""After which fewer reconnects are enough: some destinations sync a disk at each."""
LEAKED_FILES = 8
"""Descriptors that may be open more than at first: pools and caches of a client; a leak has one per reconnect."""
LEAKED_THREADS = 2
"""Threads that may run more than at first: of a test's own server."""
SETTLING_SECONDS = 5.0
"""How long threads and sockets of the other side may take to end."""
LEAKED_BYTES = 4096
"""Bytes of memory per reconnect that may be kept: what a test's own destination keeps of the message; a leaked connection is more."""
LEAKED_RESIDENT = 32 * 1024
"""As `LEAKED_BYTES`, of all memory of the process, for clients that are not written in Python: the allocators' own noise is some
megabytes over all reconnects; a client that is leaked is 100 kB and more."""
SHUTDOWN_SECONDS = 0.5
"""What `shutdown` is given where something hangs."""
SECRET_MIN = 4
"""Characters of a secret that is looked for: shorter ones occur by chance."""


@promise("close-twice", "_close may be called twice, without a connection, and after a connect that failed")
def close_twice(trial: Trial) -> None:
    """And it never raises."""
    unused = trial.subject.make(trial.subject.kind, trial.config())
    for _ in range(2):
        _call_close(unused)
    unused.shutdown(timeout=0.0)
    producer = trial.producer()
    trial.faults.closes = 2
    trial.faults.fail("connect", ConnectionError("put in after connecting"), times=2, when="after")
    trial.faults.fail("connect", ConnectionError("put in before connecting"), times=2)
    trial.send(producer).wait(trial.patience)
    _never_raised(trial)
    trial.settle(producer, "after failed connects")
    trial.faults.fail("send", Disconnected("put in by the conformance check"), times=2)
    trial.send(producer)
    trial.delivered(producer, "after resets with _close called twice")
    trial.shut_down(producer, trial.patience, "with _close called twice")
    _never_raised(trial)


@promise("shutdown", "shutdown keeps its time at every point and accounts for every message; then the worker ends and sends nothing more")
def shutdown(trial: Trial) -> None:
    """While connecting, between attempts to connect, while sending, and with a backlog."""
    for method, count in (("connect", 5), ("send", 5), ("send", 300)):
        what = f"while _{method} hangs, with {count} messages"
        producer = trial.producer()
        hang = trial.faults.hang(method)  # type: ignore[arg-type]
        trial.send_many(producer, count, keys=3)
        trial.expect(hang.wait_entered(trial.patience), f"{what}: it was never called")
        _ends_in_time(trial, producer, what)
    what = "while connecting fails"
    producer = trial.producer(reconnect_wait=60.0)
    trial.faults.fail("connect", ConnectionError("put in by the conformance check"), times=10**6)
    trial.send_many(producer, 5)
    trial.wait_for(lambda: producer.statistics().connect_failures, trial.patience)
    _ends_in_time(trial, producer, what)


@promise("shutdown-delivers", "shutdown with time enough delivers the whole backlog, then closes")
def shutdown_delivers(trial: Trial) -> None:
    """Called at once after producing."""
    producer = trial.producer()
    trial.send_many(producer, 300, keys=5)
    report = trial.shut_down(producer, trial.patience, "with time enough")
    trial.expect(report.delivered == len(trial.sent), f"with time enough: {report!r}")
    trial.nothing_is_missing("after shutdown")
    trial.expect(trial.faults.counts["close"] >= 1, "_close was not called")
    trial.worker_ends(producer, "with time enough")


@promise("shutdown-hanging-peer", "shutdown keeps its time while the service says nothing any more")
def shutdown_hanging_peer(trial: Trial) -> None:
    """The connection is dead, messages wait; closing must not wait for an answer for ever."""
    proxy, producer = trial.proxied()
    trial.send(producer).wait(trial.patience)
    proxy.black_hole()
    trial.send_many(producer, 20)
    trial.wait_for(lambda: proxy.statistics().swallowed, SHUTDOWN_SECONDS)
    trial.shut_down(producer, SHUTDOWN_SECONDS, "while the service says nothing")
    trial.worker_ends(producer, "while the service says nothing")


@promise("reconnects", "thousands of reconnects leave no thread, socket, file or memory behind")
def reconnects(trial: Trial) -> None:
    """Each message is delivered after one reset."""
    threads, settling = threading.active_count(), min(SETTLING_SECONDS, trial.patience)
    producer = trial.producer(batch=BatchConfig(max_messages=1), retry=RetryConfig(initial=0.0, max=0.0))
    total = RECONNECTS_QUICK if trial.quick else RECONNECTS
    reconnect = _Reconnecting(trial, producer)
    reconnect.times(total // 5)
    files, running, resident = open_files(), threading.active_count(), resident_bytes()
    kept = _grown(lambda: reconnect.times(total))
    done = f"after {reconnect.done} reconnects"
    trial.expect(
        trial.wait_for(lambda: open_files() <= files + LEAKED_FILES, settling),
        f"{done} {open_files() - files} more files or sockets are open",
    )
    trial.expect(
        trial.wait_for(lambda: threading.active_count() <= running + LEAKED_THREADS, settling),
        f"{done} {threading.active_count() - running} more threads run",
    )
    trial.expect(kept <= reconnect.done * LEAKED_BYTES, f"each reconnect keeps {kept // reconnect.done} bytes of memory")
    grown = (resident_bytes() - resident) // reconnect.done
    trial.expect(grown <= LEAKED_RESIDENT, f"with each reconnect the process grows by {grown} bytes, outside of Python's objects")
    trial.shut_down(producer, trial.patience, done)
    trial.worker_ends(producer, done)
    trial.expect(
        trial.wait_for(lambda: threading.active_count() <= threads, settling),
        f"{threading.active_count() - threads} threads are left after shutdown",
    )


class _Reconnecting:
    """Sends message after message, each through a reset of the connection."""

    def __init__(self, trial: Trial, producer: BaseProducer) -> None:
        self.done = 0
        self._trial = trial
        self._producer = producer
        self._failed = False
        self._end = time.monotonic() + RECONNECT_SECONDS
        trial.faults.before = self._fail_first

    def times(self, count: int) -> None:
        """So many; nothing is kept of the messages, and `done` begins anew."""
        self.done = 0
        while self.done < count and (time.monotonic() < self._end or self.done < RECONNECTS_QUICK // 5):
            self._failed = False
            with self._trial.forgetting():
                receipt = self._trial.send(self._producer)
                self._trial.settle(self._producer, "through a reset", [receipt])
            self._trial.expect(receipt.delivered, f"through a reset: the message was {receipt.state.value}")
            self.done += 1

    def _fail_first(self, call: Any) -> None:
        if call.method == "send" and not self._failed:
            self._failed = True
            raise Disconnected("put in by the conformance check", arrived=False)


@promise("fork", "after a fork the child has a connection of its own, the parent keeps its own, and both deliver")
def fork(trial: Trial) -> None:
    """Forked while connected."""
    if not hasattr(os, "fork"):
        raise NotApplicable("this system has no fork")
    proxy: FaultProxy | None
    try:
        proxy, producer = trial.proxied()
    except NotApplicable:
        proxy, producer = None, trial.producer()
    trial.send(producer)
    trial.settle(producer, "before the fork")
    accepted = proxy.statistics().accepted if proxy is not None else 0
    before = producer.statistics()
    childs = trial.message()
    told = _in_child(lambda: _child(trial, producer, childs), trial.patience + 10.0)
    trial.send_many(producer, 5)
    trial.delivered(producer, "in the parent, after the fork")
    now = producer.statistics()
    trial.expect(
        (now.resets, now.connects, now.retries) == (before.resets, before.connects, before.retries),
        f"the parent's connection suffered from the fork{last_error(now)}; the child must leave alone what it has inherited",
    )
    trial.expect(told is not None, "the child did not end")
    trial.expect(told and told["state"] == "delivered", f"the child's message: {told}")
    trial.expect(told and told["connects"] > 0, "the child sent without connecting: over the connection of its parent")
    if proxy is not None:
        trial.expect(proxy.statistics().accepted > accepted, "the child opened no connection: it used that of its parent")
    found = trial.subject.read_back()
    if found is not None:
        trial.expect(any(arrival.message == childs for arrival in found), "the child's message counts as delivered and did not arrive")


@promise("secrets", "no secret of the configuration appears in the log, in errors, in dead letters or in its repr")
def secrets(trial: Trial) -> None:
    """Even if the client's own errors quote it."""
    hidden = [secret for secret in secrets_in(trial.subject.config) if len(secret) >= SECRET_MIN]
    if not hidden:
        raise NotApplicable("the configuration has no secret of 4 characters or more")
    with _log_of_everything() as lines:
        producer = trial.producer()
        for secret in hidden:
            trial.faults.fail("connect", ConnectionError(f"cannot log in with {secret} at x://user:{secret}@host/"))
            trial.faults.fail("send", ConnectionError(f"not allowed: {secret}"))
        trial.send_many(producer, 3)
        trial.settle(producer, "with errors that quote a secret")
        trial.faults.fail("send", Reject(f"refused: {hidden[0]}"))
        trial.settle(producer, "with a reason that quotes a secret", [trial.send(producer)])
        said = {"repr": repr(producer), "destination": producer.destination, "statistics": str(producer.statistics())}
        said |= {f"dead letter {number}": repr(letter) for number, letter in enumerate(producer.dead_letters)}
        trial.shut_down(producer, trial.patience, "with secrets")
    said |= {f"log line {number}": line for number, line in enumerate(lines)}
    for place, text in said.items():
        trial.expect(not any(secret in text for secret in hidden), f"a secret of the configuration appears in: {place}")


# --- how ----------------------------------------------------------------------------------------------------------------


def _call_close(producer: BaseProducer) -> None:
    try:
        closing = producer._close()
        if inspect.iscoroutine(closing):
            asyncio.run(_awaited(closing))
    except Exception as error:
        raise Broken(f"_close without a connection raised {error!r}") from error


def _never_raised(trial: Trial) -> None:
    raised = [error for method, error in trial.faults.raised if method == "close"]
    trial.expect(not raised, f"_close raised {raised[0]!r}" if raised else "")


async def _awaited(coroutine: Any) -> None:
    await coroutine


def _ends_in_time(trial: Trial, producer: BaseProducer, what: str) -> None:
    trial.shut_down(producer, SHUTDOWN_SECONDS, what)
    sends = trial.faults.counts["send"]
    trial.faults.heal()
    trial.worker_ends(producer, what)
    trial.expect(trial.faults.counts["send"] == sends, f"{what}: something was sent after shutdown had reported")
    trial.nothing_is_missing(what)


def _grown(action: Any) -> int:
    """Bytes of Python's memory that are kept after `action`."""
    tracing = tracemalloc.is_tracing()
    gc.collect()
    if not tracing:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        action()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        if not tracing:
            tracemalloc.stop()


def open_files() -> int:
    """How many files and sockets this process has open (0 where the system does not tell)."""
    gc.collect()
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return 0


def resident_bytes() -> int:
    """Memory of this process (0 where the system does not tell)."""
    with suppress(OSError), open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _child(trial: Trial, producer: BaseProducer, message: dict[str, Any]) -> dict[str, Any]:
    """What the child does; it must not shut down anything of the parent's."""
    connects = trial.faults.counts["connect"]
    receipt = producer.produce(False, message)
    receipt.wait(trial.patience)
    producer.shutdown(timeout=5.0)
    return {
        "state": receipt.state.value,
        "connects": trial.faults.counts["connect"] - connects,
        "error": producer.statistics().last_error,
    }


def _in_child(action: Any, seconds: float) -> dict[str, Any] | None:
    """Run `action` in a fork and return what it returned; None if it takes longer than `seconds`."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is being tested
        child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.write(writing, json.dumps(action()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        return _told(reading, seconds)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _told(reading: int, seconds: float) -> dict[str, Any] | None:
    end, text = time.monotonic() + seconds, b""
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        data = os.read(reading, 65536)
        if not data:
            found: dict[str, Any] | None = json.loads(text) if text else None
            return found
        text += data
    return None


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter("%(name)s: %(message)s").format(record))


@contextmanager
def _log_of_everything() -> Iterator[list[str]]:
    """Every line that is logged, whatever its level under `standpipe`, from INFO on elsewhere."""
    handler, root, ours = _Lines(), logging.root, logging.getLogger("standpipe")
    levels = (root.level, ours.level)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
