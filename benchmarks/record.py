"""What has been measured: reads the records in benchmarks/results, and finds in them what a page about destinations needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

DESTINATION = "destination_"
"""The cases of destinations have names that begin so."""

OURS = "standpipe"
"""The sides that are Standpipe have names that begin so; all others are what it is compared with."""

RATE, CPU, PEAK = "rate", "cpu_us", "peak"
"""What every side of a destination measures: messages each second, microseconds of processor time for each, most memory in MB."""


@dataclass(frozen=True)
class Run:
    """One run of the benchmarks: when and where, and in which size."""

    date: str
    machine: Mapping[str, Any]
    size: str


@dataclass(frozen=True)
class CaseRecord:
    """What a run found out about a case."""

    run: Run
    found: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The case's name."""
        name: str = self.found["case"]
        return name

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """The rows that say what they are of; those that do not, such as in old records, are for people only."""
        return [row for row in self.found["rows"] if row.get("of")]

    @property
    def label(self) -> str:
        """The case in a word or two: its title up to the first comma."""
        return str(self.found["title"]).partition(",")[0]

    @property
    def measured(self) -> bool:
        """Whether there are figures."""
        return bool(self.rows) and self.found["failure"] is None

    @property
    def rank(self) -> tuple[bool, bool, str]:
        """The more it is worth, the greater: with figures, in full size, new."""
        return self.measured, self.run.size == "full", self.run.date

    @property
    def reasons(self) -> list[str]:
        """Why the case, or sides of it, were not measured, each reason once."""
        notes = [note.partition(": ")[2] or note for note in self.found["notes"]]
        failure = str(self.found["failure"]).partition(chr(10))[0].removesuffix(":")
        return list(dict.fromkeys([*notes, *([failure] if self.found["failure"] else [])]))

    @property
    def rounds(self) -> int:
        """How often each side was measured."""
        rounds: int = self.found["sizes"]["rounds"]
        return rounds

    def row(self, side: str, measure: str) -> Mapping[str, Any] | None:
        """What was measured at a side under a name; None: there is no such row."""
        wanted = {"side": side, "measure": measure}
        return next((row for row in self.rows if row["of"] == wanted), None)


@dataclass(frozen=True)
class Ratio:
    """One rate divided by another, and what was promised; `least` None: nothing."""

    median: float
    low: float
    high: float
    least: float | None = None

    @property
    def reached(self) -> bool:
        """Whether it is what was promised, or more."""
        return self.least is None or self.median >= self.least


@dataclass(frozen=True)
class Client:
    """A way to send, and what it took."""

    name: str
    ours: bool
    rate: float
    cpu_us: float
    peak: float


@dataclass(frozen=True)
class Share:
    """Standpipe against the client that it is built on."""

    way: str
    """how Standpipe was used, besides the queue in memory; empty: as is"""
    raw: str
    memory: Ratio
    spool: Ratio | None
    """with a `written` spool, of the raw client; what it is to reach follows from `memory`"""
    spool_of_memory: Ratio | None


@dataclass(frozen=True)
class Destination:
    """What one case says about one destination."""

    record: CaseRecord
    label: str
    shares: list[Share]
    rivals: list[tuple[str, Ratio]]
    clients: list[Client]


def newest(folder: Path) -> dict[str, CaseRecord]:
    """By case the newest record of it in full size; if there is none, the newest of a quick run; if there are no figures, why not."""
    found: dict[str, CaseRecord] = {}
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        run = Run(record["date"], record["machine"], record.get("size", "unknown"))
        for case in record["cases"]:
            new = CaseRecord(run, case)
            if new.name not in found or new.rank > found[new.name].rank:
                found[new.name] = new
    return found


def destinations(records: Iterable[CaseRecord]) -> list[Destination]:
    """What the records say about destinations, by name."""
    chosen = [record for record in records if record.name.startswith(DESTINATION) and record.measured]
    return [_destination(record) for record in sorted(chosen, key=lambda record: record.name)]


def _destination(record: CaseRecord) -> Destination:
    clients = list(_clients(record))
    return Destination(record, record.label, list(_shares(record)), list(_rivals(record)), clients)


def _clients(record: CaseRecord) -> Iterator[Client]:
    for row in record.rows:
        if row["of"]["measure"] != RATE or "side" not in row["of"]:
            continue
        side = row["of"]["side"]
        cpu, peak = record.row(side, CPU), record.row(side, PEAK)
        if cpu is not None and peak is not None:
            yield Client(row["what"], side.startswith(OURS), row["median"], cpu["median"], peak["median"])


def _ratios(record: CaseRecord) -> Iterator[tuple[str, str, Ratio]]:
    """Of each ratio of rates: the side above, the side below, the ratio."""
    for row in record.rows:
        if row["of"]["measure"] == RATE and "above" in row["of"]:
            least = (row["reach"] or {}).get("at least")
            yield row["of"]["above"], row["of"]["below"], Ratio(row["median"], row["min"], row["max"], least)


def _is_rival(record: CaseRecord, below: str, ratio: Ratio) -> bool:
    """A client that Standpipe is to be faster than, rather than as fast as possible."""
    return not below.startswith(OURS) and (below in record.found["rivals"] or (ratio.least is not None and ratio.least >= 1))


def _rivals(record: CaseRecord) -> Iterator[tuple[str, Ratio]]:
    for _, below, ratio in _ratios(record):
        if _is_rival(record, below, ratio):
            yield _name(record, below), ratio


def _shares(record: CaseRecord) -> Iterator[Share]:
    spools = {below: (above, ratio) for above, below, ratio in _ratios(record) if below.startswith(OURS)}
    for above, below, ratio in _ratios(record):
        if below.startswith(OURS) or _is_rival(record, below, ratio) or ratio.least is None:
            continue
        spool, spool_of_memory = spools.get(above, ("", None))
        of_raw = _divided(record, spool, below, ratio, spool_of_memory)
        yield Share(_way(_name(record, above)), _name(record, below), ratio, of_raw, spool_of_memory)


def _divided(record: CaseRecord, above: str, below: str, memory: Ratio, promised: Ratio | None) -> Ratio | None:
    """The rates of two sides, round by round."""
    ours, theirs = record.row(above, RATE), record.row(below, RATE)
    if ours is None or theirs is None or len(ours["rounds"]) != len(theirs["rounds"]):
        return None
    figure = Figure.of((a / b for a, b in zip(ours["rounds"], theirs["rounds"], strict=True)), "x")
    least = None if promised is None or promised.least is None else promised.least * memory.median
    return Ratio(figure.median, min(figure.values), max(figure.values), least)


def _name(record: CaseRecord, side: str) -> str:
    """What people call a side."""
    row = record.row(side, RATE)
    return side if row is None else row["what"]


def _way(name: str) -> str:
    """`Standpipe, memory, copy` without what goes without saying."""
    return ", ".join(part for part in name.split(", ") if part not in ("Standpipe", "memory"))
