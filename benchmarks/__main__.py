"""`python -m benchmarks [--only CASE ...] [--quick] [--output FILE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, page, report
from benchmarks.case import Case, Size
from benchmarks.cases import CASES
from benchmarks.launch import in_fresh_process
from benchmarks.run import CaseReport, Launch, run_case

RESULTS = page.RESULTS


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; ends the process with 2 and a usage message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Standpipe side by side with what people use instead.",
        epilog="Exit code: 0 measured, also when a figure misses what is promised (the table says so); 1 a case did not run; 2 usage.",
    )
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=list(CASES), help=f"only these cases: {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds: under a minute, rougher figures")
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write FILE.md and FILE.json; by default a full run of all cases is written to benchmarks/results/, others are only shown",
    )
    parser.add_argument("--page", action="store_true", help="measure nothing; make docs/explanation/performance.md from what was measured")
    return parser.parse_args(arguments)


def output_stem(options: argparse.Namespace, when: datetime) -> Path | None:
    """Where the report goes, without `.md` and `.json`; None: nowhere."""
    if options.output is not None:
        output: Path = options.output
        return output.with_suffix("") if output.suffix in (".md", ".json") else output
    if options.quick or options.only:
        return None
    return RESULTS / f"{when:%Y-%m-%d}-{machine.host_class()}"


def main(arguments: Sequence[str], *, size: Size | None = None, launch: Launch = in_fresh_process) -> int:
    """Measure, print, write; returns the exit code."""
    options = parse(arguments)
    if options.page:
        return make_page()
    when = datetime.now(UTC)
    found = machine.describe()
    _tell(f"{found['cpu']}, {found['cores']} cores, {found['python']}; load {found['load_before']}")
    cases = [CASES[name] for name in dict.fromkeys(options.only or CASES)]
    chosen: Size = size or ("quick" if options.quick else "full")
    reports = measure(cases, chosen, launch)
    print(report.summary(reports))
    stem = output_stem(options, when)
    if stem is not None:
        for path in report.write(stem, reports, found, f"{when:%Y-%m-%d %H:%M} UTC", chosen):
            print(f"written: {path}")
        if stem.parent.resolve() == RESULTS and chosen == "full":
            make_page()
    return 1 if any(each.failure is not None for each in reports) else 0


def make_page() -> int:
    """Make the page about performance from the records; returns the exit code."""
    try:
        for path in page.write():
            print(f"written: {path}")
    except ValueError as error:
        print(f"the page about performance was not made: {error}", file=sys.stderr)
        return 1
    return 0


def measure(cases: Sequence[Case], size: Size, launch: Launch) -> list[CaseReport]:
    """Measure one case after the other; each is printed when it is done."""
    reports = []
    for case in cases:
        found = run_case(case, size, _tell, launch)
        print(report.table(found), end="\n\n", flush=True)
        reports.append(found)
    return reports


def _tell(text: str) -> None:
    print(f"# {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("interrupted")
