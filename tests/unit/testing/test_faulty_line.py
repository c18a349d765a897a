"""What the fault proxy does to bytes, without sockets: one direction of one connection under a clock of numbers."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from standpipe.testing.faulty_line import LINE_BYTES, CutAfter, End, FaultyLine, LineFaults


def line(**faults: object) -> FaultyLine:
    return FaultyLine(LineFaults(**faults), random.Random(1))  # type: ignore[arg-type]


def drained(of: FaultyLine, now: float) -> bytes:
    found = b""
    while data := of.due(now):
        found += data
        of.passed(len(data))
    return found


def test_without_a_fault_everything_is_due_at_once_and_in_order() -> None:
    plain = line()
    plain.take(b"ab", 0.0)
    plain.take(b"cd", 0.0)
    plain.take_end(End.FIN, 0.0)
    assert plain.end_due(0.0) is None
    assert drained(plain, 0.0) == b"abcd"
    assert plain.end_due(0.0) is End.FIN


def test_a_delay_holds_bytes_and_the_end_back() -> None:
    late = line(delay=1.0)
    late.take(b"ab", 0.0)
    late.take_end(End.FIN, 0.5)
    assert (late.due(0.9), late.next_time(0.9)) == (b"", 1.0)
    assert drained(late, 1.0) == b"ab"
    assert (late.end_due(1.0), late.next_time(1.0)) == (None, 1.5)
    assert late.end_due(1.5) is End.FIN


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.floats(0, 1)), max_size=20))
def test_jitter_never_changes_the_order(pieces: list[tuple[bytes, float]]) -> None:
    shaky, now, found = line(delay=0.1, jitter=3.0), 0.0, b""
    for data, gap in pieces:
        now += gap
        shaky.take(data, now)
        found += drained(shaky, now)
    assert found + drained(shaky, now + 10) == b"".join(data for data, _ in pieces)


@given(st.floats(1.0, 1e6), st.floats(0.001, 0.5))
def test_a_throttled_line_passes_on_what_its_rate_allows_and_no_more(rate: float, step: float) -> None:
    slow, now, total = line(rate=rate), 0.0, 0
    slow.take(bytes(LINE_BYTES), now)
    slow.due(now)
    for _ in range(50):
        now += step
        total += len(drained(slow, now))
    assert total <= 50 * step * rate + max(1.0, rate * 0.02) + 1
    assert total >= min(LINE_BYTES, 50 * min(step, 0.02) * rate * 0.5) - 1


def test_time_that_a_throttled_line_asks_for_is_enough() -> None:
    slow, now = line(rate=100.0), 0.0
    slow.take(bytes(50), now)
    for _ in range(1000):
        drained(slow, now)
        when = slow.next_time(now)
        if when is None:
            break
        now = max(when, now + 1e-9)
    assert slow.next_time(now) is None
    assert 0.3 <= now <= 0.6


def test_a_full_line_reads_nothing_more_until_it_has_passed_something_on() -> None:
    full = line(delay=1.0)
    full.take(bytes(LINE_BYTES), 0.0)
    assert not full.wants()
    drained(full, 1.0)
    assert full.wants()


def test_what_a_black_hole_swallowed_is_never_followed_by_later_bytes() -> None:
    faults = LineFaults()
    hole = FaultyLine(faults, random.Random(1))
    hole.take(b"before", 0.0)
    faults.black_hole = True
    assert hole.due(0.0) == b""
    hole.take(b"within", 0.0)
    faults.black_hole = False
    hole.take(b"after", 0.0)
    assert (hole.due(0.0), hole.lost, hole.swallowed) == (b"", True, 17)


def test_an_end_in_a_black_hole_is_lost_too() -> None:
    hole = line(black_hole=True)
    hole.take_end(End.RST, 0.0)
    assert hole.end_due(0.0) is None
    assert (hole.ended, hole.lost) == (True, True)


def test_a_line_is_cut_after_exactly_so_many_bytes_and_so_often() -> None:
    fault = CutAfter(3, End.FIN, 1)
    first, second = line(cut_after=fault), line(cut_after=fault)
    for each in (first, second):
        each.take(b"abcd", 0.0)
    assert (drained(first, 0.0), first.cut()) == (b"abc", End.FIN)
    assert (drained(second, 0.0), second.cut()) == (b"abcd", None)


def test_cut_after_nothing_waits_for_the_first_byte() -> None:
    cut = line(cut_after=CutAfter(0, End.RST, None))
    assert cut.cut() is None
    cut.take(b"a", 0.0)
    assert (cut.due(0.0), cut.cut()) == (b"", End.RST)


@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(1, 30))
def test_corruption_flips_single_bits_and_no_more_often_than_asked(pieces: list[bytes], every: int) -> None:
    noisy, now = line(corrupt_every=every), 0.0
    for data in pieces:
        if data:
            noisy.take(data, now)
    sent, found = b"".join(pieces), drained(noisy, now)
    wrong = [a ^ b for a, b in zip(sent, found, strict=True) if a != b]
    assert len(wrong) == noisy.corrupted
    assert all(bits & (bits - 1) == 0 for bits in wrong)
    assert bool(wrong) is bool(sent)
