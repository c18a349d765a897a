"""The cases, in the order in which they run: what is compared, how much of it, and what is to be reached."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases.engine import ENGINE
from benchmarks.cases.help import HELP
from benchmarks.cases.latency import LATENCY
from benchmarks.cases.logjob import LOGJOB
from benchmarks.cases.memory import MEMORY
from benchmarks.cases.produce import PRODUCE
from benchmarks.cases.produce_many import PRODUCE_MANY

CASES: dict[str, Case] = {case.name: case for case in (PRODUCE, PRODUCE_MANY, ENGINE, MEMORY, LOGJOB, HELP, LATENCY)}
"""Every case by name."""
