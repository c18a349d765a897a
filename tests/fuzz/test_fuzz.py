"""Any bytes in the place of a spool's file: tried by Hypothesis, by a fuzzer that sees which lines it reaches, and by what they found."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.opening import FILES, check_opening, mended
from tests.house.source import ROOT

SPOOLS = ROOT / "tests" / "fixtures" / "spool"
FOUND = SPOOLS / "found"
"""Inputs that once broke something, in a folder for each kind."""

RUNS = {"segment": 12_000, "positions": 4_000, "journal": 4_000}
TORTURE = int(os.environ.get("STANDPIPE_TORTURE") or 1)

SECONDS_MAX = 5
"""For one input; it takes a millisecond."""
MEBIBYTES_MAX = 300
"""For the whole process; it takes 50."""

START = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
"""A small process that starts the fuzzer: the kernel counts what the starting process has ever had as the peak of the started one,
and this one may have had more than the limit, in other tests."""

no_wheels = importlib.util.find_spec("atheris") is None


def seeds(kind: str) -> list[Path]:
    """Files as released versions wrote them."""
    pattern = "*.seg" if kind == "segment" else FILES[kind]
    return sorted(SPOOLS.glob(f"version-*/{pattern}"))


def test_atheris_is_there_in_ci() -> None:
    if os.environ.get("CI"):
        assert not no_wheels, "the lock installs atheris on Linux (x86-64): CI must not skip what needs it"


@pytest.mark.skipif(no_wheels, reason="atheris has no wheel for this platform")
@pytest.mark.timeout(120 * TORTURE)
@pytest.mark.parametrize("kind", FILES)
def test_fuzzer_finds_no_bytes_that_a_spool_can_neither_read_nor_refuse(kind: str, tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    for number, seed in enumerate([*seeds(kind), *FOUND.glob(f"{kind}/*")]):
        (tmp_path / "inputs" / str(number)).write_bytes(seed.read_bytes())
    # The same runs every time where it has to be fast and dependable, new ones where there is time.
    seed_option = "-seed=1" if TORTURE == 1 else "-seed=0"
    limits = [f"-timeout={SECONDS_MAX}", f"-rss_limit_mb={MEBIBYTES_MAX}", "-max_len=4096", f"-artifact_prefix={tmp_path}/"]
    command = [
        sys.executable,
        "-c",
        START,
        sys.executable,
        "-m",
        "tests.fuzz.target",
        kind,
        f"-runs={RUNS[kind] * TORTURE}",
        seed_option,
        *limits,
    ]
    ran = subprocess.run([*command, str(tmp_path / "inputs")], cwd=ROOT, capture_output=True, text=True)
    found = [path.name for path in tmp_path.iterdir() if path.is_file()]
    assert ran.returncode == 0, f"keep {tmp_path}/{found} in {FOUND / kind}:\n{ran.stderr[-3000:]}"
    assert f"Done {RUNS[kind] * TORTURE} runs" in ran.stderr, ran.stderr[-3000:]


@pytest.mark.parametrize("kind", FILES)
def test_what_a_released_version_wrote_is_read(kind: str) -> None:
    assert seeds(kind)
    for seed in seeds(kind):
        check_opening(kind, seed.read_bytes())


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_broke_something_does_not_any_more(path: Path) -> None:
    check_opening(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("kind", FILES)
def test_any_bytes_are_read_or_refused(kind: str) -> None:
    originals = [seed.read_bytes() for seed in seeds(kind)]
    parts = st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(originals)), max_size=4).map(b"".join)

    @settings(max_examples=150)
    @given(data=parts, start=st.integers(0, 400), changed=st.binary(max_size=24), mends=st.booleans())
    def check(data: bytes, start: int, changed: bytes, mends: bool) -> None:
        data = data[:start] + changed + data[start + len(changed) :]
        check_opening(kind, mended(kind, data) if mends else data)

    check()
