"""The producer that CONTRIBUTING teaches to write works, and its tests pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.house.source import ROOT


def test_the_producer_of_the_twenty_minutes_passes_its_own_tests(tmp_path: Path) -> None:
    producer, tests = re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "socket_producer.py").write_text(producer)
    (tmp_path / "test_socket.py").write_text(tests.replace("standpipe.producers.socket", "socket_producer"))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=60", "--rootdir", str(tmp_path), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr


def test_contributing_names_only_paths_and_verbs_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    verbs = set(re.findall(r"\bmake ([a-z]+)\b *(?:#|`)", text))
    assert verbs <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    folders = set(re.findall(r"`(tests/[a-z]+|scripts/[a-z]+|docs/[a-z]+)`", text))
    assert {folder for folder in folders if not (ROOT / folder).exists()} == set()
