"""The locked dependencies are what pyproject.toml asks for, each with hashes, and the same for users and developers."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.house.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = [asked for name, extra in PROJECT["project"]["optional-dependencies"].items() if name != "all" for asked in extra]
REMEDY = "run scripts/lock"


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"] + EXTRAS),
    ],
)
def test_lock_has_everything_that_is_asked_for(lock: str, asked: list[str]) -> None:
    names = {re.split(r"[<>=!~\[; ]", requirement)[0].lower() for requirement in asked}
    assert names - set(_locked(lock)) == set(), REMEDY


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_has_a_hash(lock: str) -> None:
    assert [name for name, text in _locked(lock).items() if "--hash=sha256:" not in text] == [], REMEDY


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_holds_no_address_and_no_path(lock: str) -> None:
    assert [line for line in (ROOT / lock).read_text("utf-8").splitlines() if "/" in line] == [], REMEDY


def test_developers_run_what_users_run() -> None:
    developers = _locked("requirements-dev.lock")
    assert {name for name, text in _locked("requirements.lock").items() if _version(developers.get(name, "")) != _version(text)} == set(), (
        REMEDY
    )


def _locked(lock: str) -> dict[str, str]:
    """Each locked package's name with its whole entry."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text("utf-8"), flags=re.MULTILINE)
    return {entry.partition("==")[0]: entry for entry in entries if "==" in entry}


def _version(entry: str) -> str:
    return entry.partition("==")[2].partition(" ")[0]
