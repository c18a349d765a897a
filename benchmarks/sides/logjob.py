"""Access-log lines -> ten named groups -> JSON Lines in a file: as a Standpipe pipeline, and as the loop that people write."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from string import Template
from time import perf_counter, process_time

import orjson

from benchmarks.case import Measurement, Params
from benchmarks.sides.resources import peak
from standpipe.agents.generator import GeneratorAgent, GeneratorConfig
from standpipe.app.application import Application
from standpipe.app.configuration import read_plan
from standpipe.pipelines.presets import PRESETS

PATTERN = PRESETS["nginx_combined"].pattern

# As parsers of nginx logs have it since Fluentd's: a lazy group for the path, which is tried again character by character.
LAZY_PATTERN = (
    r'(?P<remote>[^ ]*) (?P<host>[^ ]*) (?P<user>[^ ]*) \[(?P<time>[^\]]*)\] "(?P<method>\S+)(?: +(?P<path>[^"]*?)(?: +\S*)?)?" '
    r'(?P<code>[^ ]*) (?P<size>[^ ]*)(?: "(?P<referer>[^"]*)" "(?P<agent>[^"]*)")'
)

CONFIGURATION = Template("""\
agents:
  - type: tail
    name: access-log
    paths: [$source]
    follow: false
producers:
  - type: file
    name: out
    path: $output
    fields: []
    queue: {type: $queue}
pipelines:
  - name: log-job
    from: access-log
    steps:
      - parse: {preset: nginx_combined}
    routes:
      - to: out
""")

WRITE_BUFFER = 1 << 20  # bytes that the loop writes at once
FINISH_WITHIN = 150.0  # seconds


def make_lines(params: Params) -> Measurement:
    """The input, the same in every run."""
    path = Path(params["folder"], "access.log")
    agent = GeneratorAgent(GeneratorConfig(type="generator", name="lines", rate=0, count=params["lines"], seed=1))
    with agent, path.open("w", encoding="utf-8", buffering=WRITE_BUFFER) as output:
        while (batch := agent.read(1.0)) is not None:
            output.write("\n".join(batch.lines or ()) + "\n")
    return {"lines": params["lines"], "bytes": path.stat().st_size}


def standpipe(params: Params) -> Measurement:
    """An application from YAML: `tail` -> `parse` -> `file`."""
    return run(params, "memory")


def run(params: Params, queue: str) -> Measurement:
    """The same with a queue of that type."""
    folder = Path(params["folder"])
    path = folder / "standpipe.yaml"
    path.write_text(_configuration(folder, queue), "utf-8")
    read_plan(path)  # imports what the configuration names: imports are not measured
    started, cpu = perf_counter(), process_time()
    app = Application(read_plan(path), state_dir=folder / "state").start()
    finished = app.wait(FINISH_WITHIN)
    ledger = app.shutdown()
    seconds, cpu = perf_counter() - started, process_time() - cpu
    if not finished or not ledger.all_delivered or ledger.rows[0].delivered != params["lines"]:
        raise RuntimeError(f"not everything was delivered: {ledger.as_dict()}")
    _forget_positions(folder / "state")
    return _measurement(params["lines"], seconds, cpu, folder / "standpipe.jsonl")


def _configuration(folder: Path, queue: str) -> str:
    source, output = (orjson.dumps(str(folder / name)).decode() for name in ("access.log", "standpipe.jsonl"))
    return CONFIGURATION.substitute(source=source, output=output, queue=queue)


def _forget_positions(state: Path) -> None:
    for path in sorted(state.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def loop(params: Params) -> Measurement:
    """The hand-written loop, with the pattern that Standpipe has."""
    return _loop(params, PATTERN)


def loop_lazy(params: Params) -> Measurement:
    """The hand-written loop, with the pattern as people write it."""
    return _loop(params, LAZY_PATTERN)


def _loop(params: Params, pattern: str) -> Measurement:
    source, output = Path(params["folder"], "access.log"), Path(params["folder"], "loop.jsonl")
    started, cpu = perf_counter(), process_time()
    match, dumps, option = re.compile(pattern).match, orjson.dumps, orjson.OPT_APPEND_NEWLINE
    with source.open(encoding="utf-8") as lines, output.open("wb", buffering=WRITE_BUFFER) as sink:
        write = sink.write
        for line in lines:
            found = match(line)
            if found is not None:
                write(dumps(found.groupdict(), option=option))
    return _measurement(params["lines"], perf_counter() - started, process_time() - cpu, output)


def _measurement(lines: int, seconds: float, cpu: float, output: Path) -> Measurement:
    """The figures, and what was written as a digest; the file itself is not needed any more."""
    used = peak()
    with output.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    output.unlink()
    return {"rate": lines / seconds, "cpu_s": cpu / lines * 1e6, "peak": used, "digest": digest}
