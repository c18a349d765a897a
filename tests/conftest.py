"""What holds for every test: no thread outlives it, no file of the user's is touched, Hypothesis behaves the same everywhere in CI."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

THREADS_END_WITHIN = 5.0
"""Seconds that threads have to end after a test; a slow machine needs a few hundred milliseconds."""

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_configure() -> None:
    """Who starts the tests in the background, or by `nohup`, has them and all their processes ignore signals that some tests send."""
    for ignored, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(ignored) == signal.SIG_IGN:
            signal.signal(ignored, usual)


@pytest.fixture(scope="session", autouse=True)
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that a test starts, sees or writes the home of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("CONFIG", "STATE", "DATA", "CACHE"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        yield


@pytest.fixture(autouse=True)
def no_thread_outlives_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a thread of ours, or one that would keep the process alive."""
    before = set(threading.enumerate())
    yield
    if request.node.get_closest_marker("threads_may_outlive"):
        return
    left = _still_running(before, deadline=time.monotonic() + THREADS_END_WITHIN)
    if left:
        pytest.fail("threads outlived the test by {:g} s:\n\n{}".format(THREADS_END_WITHIN, "\n".join(map(_describe, left))), pytrace=False)


def _still_running(before: set[threading.Thread], *, deadline: float) -> list[threading.Thread]:
    suspects = [thread for thread in threading.enumerate() if thread not in before and _must_end(thread)]
    for thread in suspects:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in suspects if thread.is_alive()]


def _must_end(thread: threading.Thread) -> bool:
    return thread is not threading.current_thread() and (not thread.daemon or thread.name.startswith("standpipe"))


def _describe(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or -1)
    stack = "".join(traceback.format_stack(frame)[-4:]) if frame is not None else "  (no stack)\n"
    return f"{thread.name} ({'daemon' if thread.daemon else 'not a daemon'}):\n{stack}"
