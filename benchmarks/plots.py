"""The pictures of the page about performance."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.figures import number
from benchmarks.picture import Picture, Scale, linear, logarithmic, steps
from benchmarks.record import CaseRecord, Destination, Ratio, Run, Share

WIDTH = 900
LEFT, RIGHT, TOP, FOOT = 310, 70, 76, 78
"""Pixels around the bars: for names, for figures behind the bars, for the title and the key, for the axis and the machine."""

BAR = 15

SHARE_SHOWN = 2.5
"""Shares above are cut off, with an arrow: one client that is slow must not make all others small."""


def machine_line(run: Run, what: str) -> str:
    """When and on what was measured, for the foot of a picture."""
    machine = run.machine
    what = what if run.size == "full" else f"{what} (a quick run)"
    return f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}; {what}; {run.date}, commit {machine['commit']}"


def share_picture(found: Sequence[Destination]) -> str:
    """Standpipe's share of the rate of the client that it is built on: two bars for each, and what they are to reach."""
    lines = [(destination.label, share) for destination in found for share in destination.shares]
    highest = max(1.0, *(ratio.high for _, share in lines for ratio in (share.memory, share.spool) if ratio is not None))
    picture, scale = _bars(
        "Share of the raw client's rate", "messages each second, divided by those of the raw client in the same round",
        len(lines), 50, steps(min(highest, SHARE_SHOWN)), found,
    )  # fmt: skip
    picture.key(
        20, 54, [("first", "queue in memory"), ("second", "written spool"), ("target", "promised"), ("spread", "lowest ... highest round")]
    )
    for place, (label, share) in enumerate(lines):
        _share(picture, scale, TOP + place * 50, label, share)
    picture.line(scale(1), TOP - 6, scale(1), TOP + len(lines) * 50, "axis")
    return picture.svg()


def _figure(ratio: Ratio) -> str:
    """The share, with an arrow if the bar is longer than can be shown."""
    return f"{ratio.median:.2f}" + (" \N{RIGHTWARDS ARROW}" if ratio.median > SHARE_SHOWN else "")


def _share(picture: Picture, scale: Scale, y: float, label: str, share: Share) -> None:
    picture.text(LEFT - 14, y + 17, label, "", "end")
    picture.text(LEFT - 14, y + 33, ", ".join(part for part in (share.way, f"of {share.raw}") if part), "quiet", "end")
    _bar(picture, scale, 0, y + 4, share.memory, "first", _figure(share.memory))
    if share.spool is not None:
        _bar(picture, scale, 0, y + 22, share.spool, "second", _figure(share.spool))


def rivals_picture(found: Sequence[Destination]) -> str:
    """By how much Standpipe is faster than other clients; the bars begin at 1, where both are equally fast."""
    lines = [(destination.label, name, ratio) for destination in found for name, ratio in destination.rivals]
    low, high = min(1.0, *(ratio.low for *_, ratio in lines)), max(ratio.high for *_, ratio in lines)
    marks = [mark for mark in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low / 2.5 < mark < high * 2.5 and (mark >= 1 or low < 1)]
    picture, scale = _bars(
        "Times as fast as other clients", "messages each second with the queue in memory, divided by the rival's",
        len(lines), 28, marks, found, logarithmic_axis=True,
    )  # fmt: skip
    picture.key(20, 54, [("first", "Standpipe, queue in memory; 1 is as fast as the rival"), ("spread", "lowest ... highest round")])
    for place, (label, name, ratio) in enumerate(lines):
        y = TOP + place * 28
        picture.text(LEFT - 14, y + 16, f"{label}: {name}", "", "end")
        _bar(picture, scale, 1, y + 4, Ratio(ratio.median, ratio.low, ratio.high), "first", f"{number(ratio.median)}x")
    picture.line(scale(1), TOP - 6, scale(1), TOP + len(lines) * 28, "axis")
    return picture.svg()


def _bars(
    title: str, axis: str, count: int, height: int, marks: Sequence[float], found: Sequence[Destination], *, logarithmic_axis: bool = False
) -> tuple[Picture, Scale]:
    """A picture with an axis below, marks on it, and the machine's line; bars are up to the caller."""
    bottom = TOP + count * height
    picture = Picture(WIDTH, bottom + FOOT, title, axis)
    scale = (logarithmic if logarithmic_axis else linear)(marks[0], marks[-1], LEFT, WIDTH - RIGHT)
    for mark in marks:
        picture.line(scale(mark), TOP - 6, scale(mark), bottom, "grid")
        picture.text(scale(mark), bottom + 16, f"{mark:g}", "quiet", "middle")
    picture.text((LEFT + WIDTH - RIGHT) / 2, bottom + 36, axis, "quiet", "middle")
    picture.text(20, bottom + 62, machine_line(latest(found), _rounds(found)), "quiet")
    return picture, scale


def _bar(picture: Picture, scale: Scale, base: float, y: float, ratio: Ratio, style: str, words: str) -> None:
    """A bar from `base`, the spread of its rounds, what was promised, and the figure behind it all."""
    ends = sorted((scale(base), scale(ratio.median)))
    picture.box(ends[0], y, ends[1] - ends[0], BAR, style)
    picture.line(scale(ratio.low), y + BAR / 2, scale(ratio.high), y + BAR / 2, "spread")
    for end in (ratio.low, ratio.high):
        picture.line(scale(end), y + 4, scale(end), y + BAR - 4, "spread")
    if ratio.least is not None:
        picture.line(scale(ratio.least), y - 2, scale(ratio.least), y + BAR + 2, "target")
    picture.text(max(scale(ratio.high), ends[1], scale(ratio.least or 0)) + 8, y + 12, words)


def latest(found: Iterable[Destination]) -> Run:
    """The newest of the runs that the records are from."""
    return max((destination.record.run for destination in found), key=lambda run: run.date)


def _rounds(found: Iterable[Destination]) -> str:
    """How many rounds: `5 rounds`, or `3 to 5 rounds`."""
    rounds = sorted({destination.record.rounds for destination in found})
    return f"{rounds[0]} rounds" if len(rounds) == 1 else f"{rounds[0]} to {rounds[-1]} rounds"


# --- the outage -------------------------------------------------------------------------------------------------------

PANEL, GAP = 170, 58
SIDES = (("memory", "first", "queue in memory"), ("spool", "second", "written spool"))


def outage_picture(record: CaseRecord) -> str:
    """What waits, and how long `produce` takes, before, during and after an outage; of the last round."""
    series: Mapping[str, Mapping[str, Any]] = record.found["series"]
    sizes = record.found["sizes"]
    end = max(max(side["seconds"]) for side in series.values())
    bottom = TOP + 2 * PANEL + GAP
    picture = Picture(WIDTH, bottom + FOOT, "A destination is killed and comes back", "messages that wait, and time that produce() takes")
    picture.key(20, 54, [*((style, words) for _, style, words in SIDES), ("band", "the destination is down")])
    across = linear(0, end, 90, WIDTH - 30)
    down = (across(sizes["before"]), across(sizes["before"] + sizes["outage"]))
    for top in (TOP, TOP + PANEL + GAP):
        picture.box(down[0], top, down[1] - down[0], PANEL, "band")
        for second in steps(end, 12)[:-1]:
            picture.text(across(second), top + PANEL + 16, f"{second:g}", "quiet", "middle")
    _waiting(picture, series, across, TOP)
    _calls(picture, series, across, TOP + PANEL + GAP)
    picture.text((90 + WIDTH - 30) / 2, bottom + 34, "seconds", "quiet", "middle")
    what = f"{sizes['rate']:,} messages each second, the last of {record.rounds} rounds"
    picture.text(20, bottom + 62, machine_line(record.run, what), "quiet")
    return picture.svg()


def _waiting(picture: Picture, series: Mapping[str, Mapping[str, Any]], across: Scale, top: float) -> None:
    marks = steps(max(max(side["waiting"]) for side in series.values()), 4)
    scale = linear(0, marks[-1], top + PANEL, top)
    picture.turned(24, top + PANEL / 2, "messages that wait")
    _panel(picture, [(mark, f"{mark:,.0f}") for mark in marks], scale)
    _curves(picture, series, "waiting", across, scale)


def _calls(picture: Picture, series: Mapping[str, Mapping[str, Any]], across: Scale, top: float) -> None:
    values = list(itertools.chain.from_iterable(side["p99"] for side in series.values()))
    marks = [mark for mark in (1, 10, 100, 1000, 10_000, 100_000) if min(values) / 10 < mark < max(values) * 10]
    scale = logarithmic(marks[0], marks[-1], top + PANEL, top)
    picture.turned(24, top + PANEL / 2, "produce(), 99th percentile, us")
    _panel(picture, [(mark, f"{mark:,}") for mark in marks], scale)
    _curves(picture, series, "p99", across, scale)


def _panel(picture: Picture, marks: Iterable[tuple[float, str]], scale: Scale) -> None:
    for mark, words in marks:
        picture.line(90, scale(mark), WIDTH - 30, scale(mark), "grid")
        picture.text(82, scale(mark) + 4, words, "quiet", "end")


def _curves(picture: Picture, series: Mapping[str, Mapping[str, Any]], name: str, across: Scale, scale: Scale) -> None:
    for side, style, _ in SIDES:
        if side in series:
            points = zip(series[side]["seconds"], series[side][name], strict=True)
            picture.curve([(across(second), scale(value)) for second, value in points], style)
