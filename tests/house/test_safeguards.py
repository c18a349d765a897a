"""The safeguards around every test work: a test that leaks a thread fails, the user's home is out of reach."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

LEAKY = """
import threading
import pytest

release = threading.Event()

def wait_on(thread_name, daemon):
    threading.Thread(target=release.wait, args=(20,), name=thread_name, daemon=daemon).start()

def test_leaks_a_worker():
    wait_on("standpipe-orders", daemon=True)

def test_leaks_a_thread_that_keeps_the_process():
    wait_on("stranger", daemon=False)

@pytest.mark.threads_may_outlive
def test_leaks_on_purpose():
    wait_on("standpipe-known", daemon=True)

def test_leaves_a_harmless_thread():
    wait_on("stranger", daemon=True)

def test_thread_that_ends_soon_is_waited_for():
    timer = threading.Timer(0.05, release.set)
    timer.start()
"""


def test_a_test_that_leaks_a_thread_fails_and_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    (tmp_path / "plugin.py").write_text("import tests.conftest\nfrom tests.conftest import *\ntests.conftest.THREADS_END_WITHIN = 0.2\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = threads_may_outlive\n")
    command = [sys.executable, "-m", "pytest", "-p", "plugin", "-p", "no:cacheprovider", "--timeout=30", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert "5 passed, 2 errors" in ran.stdout, ran.stdout + ran.stderr
    assert "standpipe-orders (daemon)" in ran.stdout
    assert "stranger (not a daemon)" in ran.stdout


def test_home_is_empty_for_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert Path.home().is_relative_to(tmp_path_factory.getbasetemp())
    assert Path(os.environ["XDG_STATE_HOME"]).is_relative_to(Path.home())
