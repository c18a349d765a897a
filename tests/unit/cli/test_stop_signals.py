from __future__ import annotations

import os
import signal
import threading

import pytest

from standpipe.cli.stop_signals import SIGNALS, StopSignals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_heard_instead_of_ending_the_process(number: signal.Signals) -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        assert signals.wait(10)
        assert signals.received == [number]
        assert not signals.wait(0)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.wait(0)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_waking_up_is_no_signal_and_ends_the_wait() -> None:
    with StopSignals() as signals:
        waker = threading.Thread(target=signals.wake)
        waker.start()
        assert not signals.wait(60)
        waker.join()
        assert signals.received == []
