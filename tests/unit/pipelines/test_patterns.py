from __future__ import annotations

import contextlib
import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.core.errors import ConfigurationError
from standpipe.pipelines.patterns import PATTERN_LENGTH_MAX, PatternError, compile_pattern
from standpipe.pipelines.presets import PRESETS


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+",
        r"(a+)+$",
        r"(a*)*b",
        r"(a*){20,}",
        r"(.*,)*",
        r"(.|\s)*",
        r"(\w+\s?)+",
        r"(?:a+|b)+",
        r"(?:\s*\w+)*$",
        r"(?:(?:a{1,99}))*",
        r"(x+x+)+y",
        r"(?:a?b*)*",
        r"((a+))+",
        r"x(?:y(?P<z>[a-z]+)*)",
        r"(?=(a+)+)b",
        r"([^,]*.)*",
        r"(\D+[a-z])*",
        r"(?:^a+)*",
    ],
)
def test_a_pattern_that_can_hang_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="repeats a repetition"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:[a-z]+\.)+com",
        r"(\w+\s)+",
        r"(a|b|cd)*",
        r"^(?P<x>[^ ]*+ )+",
        r"(a++)+",
        r"(\w|\d)+x",
        r"(?:(?>a+))+",
        r"(\d+,)*\d+",
        r"([^,]+,)*x",
        r"(?:ab+)+",
        r'"(?:[^"\\]|\\.)*"',
        r"(?:\[[^\]]*\])+",
        r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}",
        r"(a+)?",
        r"(\S+\W\s)*",
        *[preset.pattern for preset in PRESETS.values()],
    ],
)
def test_a_pattern_whose_rounds_are_separated_is_taken(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "problem", "column"),
    [
        ("a(b", "missing ), unterminated subpattern", 2),
        ("*a", "nothing to repeat", 1),
        ("(?P<a>x)(?P<a>y)", "redefinition of group name", 13),
        ("a{99999999999}", "the repetition number is too large", None),
        ("x" * (PATTERN_LENGTH_MAX + 1), "at most 8192 are allowed", None),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_place(pattern: str, problem: str, column: int | None) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert problem in str(caught.value)
    assert caught.value.column == column
    assert isinstance(caught.value, ConfigurationError)
    assert len(str(caught.value)) < 400


def test_a_pattern_that_python_warns_about_is_taken_silently() -> None:
    assert compile_pattern("[[a]").match("[")


def test_without_pythons_own_parser_patterns_still_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", gone)
    assert compile_pattern("(a+)+").match("a")


@given(st.text(alphabet=r"ab.*+?|()[]^$\{}1,<>=!:Pdws-", max_size=20))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    with contextlib.suppress(PatternError):
        compile_pattern(text)
