"""`type:` finds built-in producers, installed ones and classes by their path; what it does not find it explains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from standpipe.core.errors import ConfigurationError
from standpipe.producers.base import BaseProducer
from standpipe.producers.null import NullProducer
from standpipe.producers.registry import PRODUCERS


@pytest.mark.parametrize("name", ["file", "sqlite", "console", "null"])
def test_every_built_in_type_is_found_with_its_configuration(name: str) -> None:
    found = PRODUCERS.resolve(name)
    assert issubclass(found, BaseProducer)
    assert found.config_model.model_fields["type"].description
    assert found.__doc__


def test_a_class_is_found_by_its_path() -> None:
    assert PRODUCERS.resolve("standpipe.producers.null:NullProducer") is NullProducer


def test_an_unknown_type_lists_what_exists_and_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PRODUCERS.resolve("sqllite")
    assert str(caught.value).startswith("unknown producer type 'sqllite'; did you mean 'sqlite'? there are: file, sqlite, console, null")
    assert str(caught.value).endswith("or name a class as package.module:Class")


@pytest.mark.parametrize(
    ("type_name", "problem"),
    [
        ("no.such.module:Class", "producer type 'no.such.module:Class': cannot import 'no.such.module' (No module named 'no')"),
        ("standpipe.producers.null:NulProducer", "module 'standpipe.producers.null' has no 'NulProducer'; did you mean 'NullProducer'?"),
        ("standpipe.producers.config:Section", "is not a subclass of standpipe.producers.base.BaseProducer"),
        ("standpipe.core.units:parse_size", "is not a subclass of standpipe.producers.base.BaseProducer"),
    ],
)
def test_a_class_that_cannot_be_used_is_explained(type_name: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PRODUCERS.resolve(type_name)
    assert problem in str(caught.value)


def test_a_missing_client_names_the_extra_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_client.py").write_text("import a_client_that_is_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = replace(PRODUCERS, built_in={"thing": "needs_client:Thing"}, extras={"thing": "thing"})
    with pytest.raises(ConfigurationError) as caught:
        registry.resolve("thing")
    assert str(caught.value) == (
        "producer type 'thing' needs a package that is not installed (No module named 'a_client_that_is_not_installed'); "
        "install standpipe[thing]"
    )


def test_an_installed_producer_is_found_by_the_name_of_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "somebody-0.1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 0.1\n")
    (information / "entry_points.txt").write_text("[standpipe.producers]\nmine = standpipe.producers.null:NullProducer\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert PRODUCERS.types()["mine"] == "standpipe.producers.null:NullProducer"
    assert PRODUCERS.resolve("mine") is NullProducer
