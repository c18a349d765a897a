"""The reference is complete and as the code says."""

from __future__ import annotations

import subprocess
import sys

import pytest

import standpipe
from scripts import docs
from scripts.reference_cli import program, verbs
from standpipe.agents.registry import AGENTS
from standpipe.app.ledger import Ledger
from standpipe.cli.exit_codes import ExitCode
from standpipe.core import errors
from standpipe.core.plugins import Registry
from standpipe.delivery.statistics import ProducerStatistics
from standpipe.pipelines.expression_functions import FUNCTIONS, METHODS
from standpipe.pipelines.step_config import STEP_TYPES
from standpipe.producers.registry import PRODUCERS

REFERENCE = docs.ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def test_the_reference_is_as_the_code_says() -> None:
    assert [str(path.relative_to(docs.ROOT)) for path in docs.outdated()] == [], "run make docs"


def test_every_link_leads_somewhere() -> None:
    assert docs.broken_links() == []


def test_make_docs_checks_without_writing() -> None:
    ran = subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=docs.ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout


def test_every_page_can_be_reached_from_the_index() -> None:
    index = docs.ROOT / "docs" / "index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for _, target in docs._links(index)}
    assert {
        str(path) for path in docs.pages() if (docs.ROOT / "docs") in path.parents and path != index and path.resolve() not in linked
    } == set()


@pytest.mark.parametrize("registry", [PRODUCERS, AGENTS], ids=lambda registry: registry.kind)
def test_every_field_of_every_built_in_type_is_documented(registry: Registry) -> None:
    text = page("configuration.md")
    for name in registry.built_in:
        assert f"## {registry.kind.capitalize()} `{name}`" in text
        missing = [field for field in registry.resolve(name).config_model.model_fields if f"| `{field}` |" not in text]
        assert missing == [], name


def test_every_step_verb_error_exit_code_and_statistic_is_documented() -> None:
    assert [name for name in STEP_TYPES if f"| `{name}` |" not in page("configuration.md")] == []
    assert [name for name, _ in verbs(program()) if f"## `{name}`" not in page("command-line.md")] == []
    assert [code for code in ExitCode if f"| `{code.value}` |" not in page("command-line.md")] == []
    named = [name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)]
    assert [name for name in named if f"| `{name}` |" not in page("errors.md")] == []
    counted = [*ProducerStatistics.__dataclass_fields__, *Ledger.__dataclass_fields__]
    assert [name for name in counted if f"| `{name}` |" not in page("statistics.md")] == []
    assert [name for name in [*FUNCTIONS, *METHODS] if name not in page("expressions.md")] == []
    assert [name for name in standpipe.__all__ if not name.startswith("__") and f"## `{name}`" not in page("python.md")] == []


@pytest.mark.parametrize("name", ["configuration.md", "statistics.md", "errors.md", "command-line.md"])
def test_nothing_in_the_reference_lacks_its_meaning(name: str) -> None:
    rows = [line for line in page(name).split("\n") if line.startswith("| ")]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_a_broken_link_would_be_found() -> None:
    readme = docs.ROOT / "README.md"
    assert not docs._resolves(readme, "docs/nowhere.md")
    assert not docs._resolves(readme, "docs/index.md#no-such-heading")
    assert docs._resolves(readme, "#status")
