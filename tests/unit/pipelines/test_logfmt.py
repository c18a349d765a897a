from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.pipelines.logfmt import parse_logfmt


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a=1 b=two", {"a": "1", "b": "two"}),
        ('level=warn msg="disk \\"sda\\" is full" retry', {"level": "warn", "msg": 'disk "sda" is full', "retry": True}),
        ('a="" b=  c=x', {"a": "", "b": "", "c": "x"}),
        ('a="two\\nlines\\t\\\\"', {"a": "two\nlines\t\\"}),
        ("  a=1\t b=2 ", {"a": "1", "b": "2"}),
        ("token=abc== q=a=b", {"token": "abc==", "q": "a=b"}),
        ("a=1 a=2", {"a": "2"}),
        ("größe=ä", {"größe": "ä"}),
    ],
)
def test_pairs_are_parsed(text: str, fields: dict[str, object]) -> None:
    assert parse_logfmt(text) == fields


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("just some prose", "has no key=value"),
        ("", "has no key=value"),
        ('a=1 b="open', "is not key=value from column 5"),
        ('a=x"y', "is not key=value from column 1"),
        ('a="x"y', "is not key=value from column 1"),
        ("a=1 =2", "is not key=value from column 5"),
    ],
)
def test_what_is_not_logfmt_says_where(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_logfmt(text)


@given(st.dictionaries(st.text("abcxyz_", min_size=1), st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1))
def test_what_is_written_quoted_is_read_back(fields: dict[str, str]) -> None:
    quoted = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in fields.items()}
    assert parse_logfmt(" ".join(f'{key}="{value}"' for key, value in quoted.items())) == fields


@given(st.text(alphabet='ab= "\\\n', max_size=40))
def test_any_text_parses_or_raises_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_logfmt(text)
