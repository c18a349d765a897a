"""Makes `docs/explanation/performance.md` and its pictures from what has been measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.figures import number
from benchmarks.record import DESTINATION, CaseRecord, Destination, Ratio, Run, destinations, newest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "explanation" / "performance.md"
OUTAGE = "outage"

BEGIN = """# How fast it is

What Standpipe costs on top of the client that it is built on, what it gains over other clients, and what the caller
notices when the destination goes away. This page and its pictures are made by `make bench` from its own records; nobody
writes figures into it by hand."""

HOW = """## How it is measured

- Every figure is taken in a fresh process. The sides take turns (A B A B ...), round after round, and a ratio is that of
  two neighbours in the same round: both saw the same machine. The median of the rounds stands for them; pictures and
  tables show the lowest and the highest as well.
- All sides send the same message (a dict of ten fields, 250 bytes as JSON), encode it themselves, send an id with it and
  wait for every acknowledgement. Standpipe and the raw client keep the same number of messages on their way at once. The
  clock runs from the first call to the last acknowledgement, in most cases after a warm-up.
- The raw client is used at its best: never one message at a time, with callbacks, pipelines or batches, with orjson, and
  with no code around it that is not needed. That is less than an application needs: it has no retries, no bound on its
  memory, and nothing that survives the process.
- The other clients are used as their own documentation shows, with as many messages on their way as they do well with;
  slow ones send fewer messages, so that a round ends. They have an environment of their own (`benchmarks/rivals.lock`).
- CPU is the processor time of the sending process, all threads and system calls, for each message. Memory is the most
  that it ever used, with the interpreter and all that it has imported.
- `written` spool: `produce` returns when the operating system has the message, so that `kill -9` loses none
  ([what survives what](what-survives-what.md))."""

_QUICK = " **A quick run: small sizes, few rounds, rough figures.**"

NOT_SAID = """## What the figures do not say

- Client and server share the cores of one machine and talk over its loopback interface. Over a network, waiting for
  answers takes more of the time, and what Standpipe adds takes less.
- A server that shares the machine may be what limits both sides. Then the ratio says that Standpipe keeps up, and the
  CPU columns say what it costs.
- A rate is one of a single caller that does nothing else. An application that hands over a thousand messages a second
  notices nothing of these limits; it pays the CPU time.
- Bigger messages, encryption, compression and real disks change the absolute figures, and the ratios to some degree.
- Figures from a busy machine vary: where lowest and highest round are far apart, the median means little, and a side with
  more threads gets more of the processor than its share. The processor time for each message is steadier than the rate;
  how busy the machine was stands below.
- `make bench` measures it on your machine; a single case in minutes: `.venv/bin/python -m benchmarks --only destination_http`."""


def make(results: Path = RESULTS) -> dict[str, str]:
    """The page and its pictures by file name. Raises ValueError if nothing of it has been measured."""
    records = newest(results)
    found = destinations(records.values())
    if not found:
        raise ValueError(f"{results}: no record of a destination; measure one: python -m benchmarks --only destination_http")
    outage = next((record for name, record in records.items() if name == OUTAGE and record.measured), None)
    pictures = {"performance-share.svg": plots.share_picture(found)} if any(each.shares for each in found) else {}
    if any(each.rivals for each in found):
        pictures["performance-rivals.svg"] = plots.rivals_picture(found)
    if outage is not None and "series" in outage.found:
        pictures["performance-outage.svg"] = plots.outage_picture(outage)
    missing = [record for name, record in sorted(records.items()) if not record.measured and name.startswith((DESTINATION, OUTAGE))]
    return {PAGE.name: _page(found, outage, missing, pictures), **pictures}


def short(results: Path = RESULTS) -> str:
    """The page as one small table, for pages that lead to it: of each destination the first way to send. Raises ValueError as `make`."""
    found = [each for each in destinations(newest(results).values()) if each.shares]
    if not found:
        raise ValueError(f"{results}: no record of a destination; measure one: python -m benchmarks --only destination_http")
    rows = []
    for each in found:
        share = each.shares[0]
        rivals = ", ".join(f"{name} {number(ratio.median)}x" for name, ratio in each.rivals)
        spool = "" if share.spool is None else f"{share.spool.median:.2f}"
        rows.append([", ".join(part for part in (each.label, share.way) if part), share.raw, f"{share.memory.median:.2f}", spool, rivals])
    head = ["destination", "raw client", "share of its rate, queue in memory", "`written` spool", "times as fast as"]
    return _table(head, rows, names=2).replace("| --: | --: | --: |\n", "| --: | --: | --- |\n") + "\n"


def write(results: Path = RESULTS, folder: Path = PAGE.parent) -> list[Path]:
    """Write page and pictures into `folder`; returns their paths. Raises ValueError as `make`."""
    written = []
    for name, text in make(results).items():
        (folder / name).write_text(text, "utf-8")
        written.append(folder / name)
    return written


def _page(found: Sequence[Destination], outage: CaseRecord | None, missing: Sequence[CaseRecord], pictures: Mapping[str, str]) -> str:
    parts = [BEGIN, *_shares(found, pictures), *_rivals(found, pictures), *_clients(found)]
    if outage is not None:
        parts += _outage(outage, pictures)
    records = [each.record for each in found] + ([outage] if outage is not None else [])
    return "\n\n".join([*parts, HOW, NOT_SAID, *_not_measured(missing), *_machine(records)]) + "\n"


def _not_measured(missing: Sequence[CaseRecord]) -> Iterator[str]:
    if missing:
        yield "## What was not measured"
        yield "\n".join(f"- {record.label}: {'; '.join(record.reasons) or 'no figures'}" for record in missing)


def _image(name: str, words: str, pictures: Mapping[str, str]) -> list[str]:
    return [f"![{words}]({name})"] if name in pictures else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """A table whose first `names` columns hold words, the others figures."""
    lines = [head, ["---" if place < names else "--:" for place in range(len(head))], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _shares(found: Sequence[Destination], pictures: Mapping[str, str]) -> Iterator[str]:
    yield "## Share of the raw client"
    yield from _image("performance-share.svg", "Standpipe's rate as a share of the raw client's, for each destination", pictures)
    yield (
        "Messages each second, divided by those of the client underneath, used directly and at its best; 1 is as fast. With a spool, "
        "what is promised is a share of the figure with the queue in memory."
    )
    head = ["destination", "Standpipe", "raw client", "queue in memory", "promised", "`written` spool", "of that in memory", "promised"]
    rows = [
        [
            each.label, share.way or "as it comes", share.raw, _spread(share.memory), _promised(share.memory),
            _spread(share.spool), _spread(share.spool_of_memory), _promised(share.spool_of_memory),
        ]
        for each in found for share in each.shares
    ]  # fmt: skip
    yield _table(head, rows, names=3)


def _spread(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.median:.2f}" + (f" ({ratio.low:.2f} ... {ratio.high:.2f})" if ratio.low != ratio.high else "")


def _promised(ratio: Ratio | None) -> str:
    if ratio is None or ratio.least is None:
        return ""
    return f"{ratio.least:g}" if ratio.reached else f"{ratio.least:g}, **not reached**"


def _rivals(found: Sequence[Destination], pictures: Mapping[str, str]) -> Iterator[str]:
    rows = [
        [each.label, name, f"{number(ratio.median)}x", _ends(ratio.low, ratio.high), "yes" if ratio.reached else "**no**"]
        for each in found
        for name, ratio in each.rivals
    ]
    if rows:
        yield "## Against other clients"
        yield from _image("performance-rivals.svg", "How many times as fast as other clients Standpipe is", pictures)
        yield "Messages each second of Standpipe with the queue in memory, divided by those of another client."
        yield _table(["destination", "client", "times as fast", "lowest ... highest", "faster"], rows, names=2)


def _ends(low: float, high: float) -> str:
    return f"{number(low)} ... {number(high)}"


def _clients(found: Sequence[Destination]) -> Iterator[str]:
    yield "## What a message costs"
    yield "Medians. CPU is what the sending process used; how each case is measured stands above its table."
    for each in found:
        yield f"### {each.label}"
        sizes = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in each.record.found["sizes"].items())
        left_out = "".join(f" Not measured: {note}." for note in each.record.found["notes"])
        yield f"{each.record.found['title']}. {each.record.found['note']} ({sizes}.){left_out}"
        rows = [[client.name, number(client.rate), number(client.cpu_us), number(client.peak)] for client in each.clients]
        yield _table(["client", "messages/s", "CPU, us per message", "peak memory, MB"], rows)


def _outage(record: CaseRecord, pictures: Mapping[str, str]) -> Iterator[str]:
    yield "## In an outage"
    yield from _image("performance-outage.svg", "Messages that wait, and time that produce() takes, while a destination is down", pictures)
    yield record.found["note"]
    sides = {"memory": "queue in memory", "spool": "`written` spool"}
    rows = [[what, *(_cell(record, side, measure, unit) for side in sides)] for what, measure, unit in _outage_lines()]
    yield _table([f"rounds: {record.rounds}", *sides.values()], rows)


def _outage_lines() -> Iterator[tuple[str, str, str]]:
    for phase, words in (("before", "before"), ("during", "while it is down"), ("after", "afterwards")):
        for quantile, name in (("p50", "median"), ("p99", "99th percentile"), ("max", "longest")):
            yield f"`produce()` {words}, {name}", f"{phase}_{quantile}", "us"
    yield "waiting when it comes back", "waiting", "messages"
    yield "backlog gone after", "drained", "s"
    yield "memory before", "memory_before", "MB"
    yield "most memory", "memory_outage", "MB"
    yield "handed over in all", "messages", "messages"
    yield "missing", "lost", "messages"
    yield "arrived twice", "duplicates", "messages"


def _cell(record: CaseRecord, side: str, measure: str, unit: str) -> str:
    row: Mapping[str, Any] | None = record.row(side, measure)
    if row is None:
        return "not measured"
    spread = "" if row["min"] == row["max"] else f" ({_ends(row['min'], row['max'])})"
    return f"{number(row['median'])} {unit}{spread}"


def _machine(records: Sequence[CaseRecord]) -> Iterator[str]:
    yield "## The machine"
    runs: dict[str, tuple[Run, list[str]]] = {}
    for record in records:
        runs.setdefault(record.run.date, (record.run, []))[1].append(f"`{record.name}`")
    for run, names in runs.values():
        machine = run.machine
        packages = ", ".join(f"{name} {version}" for name, version in (machine["packages"] | machine["rivals"]).items())
        quick = "" if run.size == "full" else _QUICK
        yield (
            f"{', '.join(names)}: {run.date}, commit {machine['commit']}.{quick} {machine['cpu']}, {machine['cores']} cores, "
            f"{machine['memory_gib']} GiB, {machine['system']} {machine['kernel']} {machine['architecture']}, {machine['python']}; load "
            f"before: {machine['load_before']} (of {machine['cores']} cores). {packages}."
        )
