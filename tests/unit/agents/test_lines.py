"""Bytes to lines: wherever the chunks end, whatever the bytes are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from standpipe.agents.lines import LineAssembler, LineRules
from standpipe.agents.stdin import StdinConfig


def assemble(
    chunks: list[bytes], *, end: bool = True, rules: LineRules | None = None, **start: bool
) -> tuple[list[str], dict[int, dict[str, Any]]]:
    """All lines of a stream that comes in these chunks, with their extra fields by index; checks that every byte is accounted for."""
    assembler = LineAssembler(rules or LineRules(), **start)
    lines: list[str] = []
    extras: dict[int, dict[str, Any]] = {}
    parts = [assembler.feed(chunk) for chunk in chunks]
    if end:
        parts.append(assembler.finish())
        assert assembler.pending == 0
    for part in parts:
        if part is not None:
            extras.update({index + len(lines): fields for index, fields in (part.extras or {}).items()})
            lines += part.lines
    if not start.get("continued"):
        assert sum(part.size for part in parts if part) + assembler.pending == sum(map(len, chunks))
    return lines, extras


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({position % (len(data) + 1) for position in at} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


texts = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(texts, min_size=1), st.lists(st.integers(0)), st.sampled_from(["\n", "\r\n"]))
def test_chunks_that_end_anywhere_give_exactly_the_lines(lines: list[str], at: list[int], ending: str) -> None:
    lines[0] = lines[0].removeprefix("\ufeff")
    data = "".join(line + ending for line in lines).encode()
    assert assemble(cut(data, at)) == (lines, {})


@given(st.binary(max_size=200), st.lists(st.integers(0)))
def test_the_places_where_chunks_end_never_matter(data: bytes, at: list[int]) -> None:
    rules, same = LineRules(max_line_bytes=7), LineRules(max_line_bytes=7)
    assert assemble(cut(data, at), rules=rules) == assemble([data], rules=same)
    assert rules.counts == same.counts


@given(st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), min_size=1), st.integers(1, 20))
def test_no_line_is_longer_than_the_limit_and_each_longer_one_is_marked(raws: list[bytes], limit: int) -> None:
    lines, extras = assemble([b"".join(raw + b"\n" for raw in raws)], rules=LineRules("latin-1", limit))
    stripped = [raw.removesuffix(b"\r") for raw in raws]
    assert [line.encode("latin-1") for line in lines] == [raw[:limit] for raw in stripped]
    assert extras == {index: {"truncated": True} for index, raw in enumerate(stripped) if len(raw) > limit}


@pytest.mark.parametrize("text", ["a\x00b", "a\u2028b\u2029c", "a\x85b", "a\x0bb\x0cc\x1cd\x1de", "a\rb", "a\r\rb"])
def test_only_a_newline_ends_a_line(text: str) -> None:
    assert assemble([text.encode() + b"\n"]) == ([text], {})


def test_one_carriage_return_belongs_to_the_end_of_the_line() -> None:
    assert assemble([b"a\r\nb\r\r\n\r\n\n"])[0] == ["a", "b\r", "", ""]


def test_invalid_bytes_are_replaced_and_counted_only_where_they_are() -> None:
    rules = LineRules()
    lines, _ = assemble([b"good\nbad \xff\xfe!\n" + "genuine \ufffd\n".encode() + "mixed \ufffd".encode() + b"\xc3\n"], rules=rules)
    assert lines == ["good", "bad \ufffd\ufffd!", "genuine \ufffd", "mixed \ufffd\ufffd"]
    assert (rules.counts.invalid_lines, rules.counts.replaced_characters) == (2, 3)


def test_a_character_is_not_cut_in_half_by_the_limit() -> None:
    rules = LineRules(max_line_bytes=4)
    lines, extras = assemble(["abcäöü\n".encode()], rules=rules)
    assert (lines, extras) == (["abc"], {0: {"truncated": True}})
    assert rules.counts.invalid_lines == 0


def test_of_a_very_long_line_only_its_beginning_is_held() -> None:
    rules = LineRules(max_line_bytes=10)
    assembler = LineAssembler(rules)
    for _ in range(1000):
        assert assembler.feed(b"x" * 1000) is None
        assert len(assembler._held) <= 12
    part = assembler.feed(b"tail\nnext\n")
    assert part is not None
    assert (part.lines, part.extras, part.size) == (["x" * 10, "next"], {0: {"truncated": True}}, 1_000_010)
    assert (rules.counts.truncated_lines, rules.counts.truncated_bytes) == (1, 1_000_004 - 10)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_not_cut(ending: bytes) -> None:
    assert assemble([b"x" * 5, b"", ending], rules=LineRules(max_line_bytes=5)) == (["xxxxx"], {})


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert assemble([b"\xef\xbb", b"\xbfa\n\xef\xbb\xbfb\n"])[0] == ["a", "\ufeffb"]
    assert assemble([b"\xef\xbb\xbfa\n"], at_start=False)[0] == ["\ufeffa"]


def test_a_line_handed_over_unfinished_and_its_rest_are_marked() -> None:
    assembler = LineAssembler(LineRules())
    assembler.feed(b"half")
    first = assembler.finish(mark=True)
    second = assembler.feed(b" rest\nwhole\n")
    assert first is not None
    assert second is not None
    assert (first.lines, first.extras) == (["half"], {0: {"partial": True}})
    assert (second.lines, second.extras) == ([" rest", "whole"], {0: {"continued": True}})


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_the_end_of_a_line_that_was_handed_over_is_no_line(ending: bytes) -> None:
    assert assemble([ending + b"next\n"], continued=True, at_start=False) == (["next"], {})
    assert assemble([ending], continued=True, at_start=False) == ([], {})


def test_marks_stay_with_their_lines_when_the_first_one_is_none() -> None:
    lines, extras = assemble([b"\nshort\nlonglong\n"], rules=LineRules(max_line_bytes=5), continued=True, at_start=False)
    assert (lines, extras) == (["short", "longl"], {1: {"truncated": True}})


@pytest.mark.parametrize(
    ("given_name", "name"),
    [("UTF8", "utf-8"), ("latin1", "iso8859-1"), ("utf-8-sig", "utf-8"), ("cp1252", "cp1252"), ("gb18030", "gb18030")],
)
def test_encodings_that_extend_ascii_are_accepted(given_name: str, name: str) -> None:
    assert StdinConfig(name="a", encoding=given_name).encoding == name


@pytest.mark.parametrize("name", ["utf-16", "utf-32-le", "utf-7", "cp037", "hz"])
def test_encodings_in_which_no_line_ends_can_be_found_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="does not extend ASCII, so lines cannot be found in it; convert the input to utf-8"):
        StdinConfig(name="a", encoding=name)


@pytest.mark.parametrize("name", ["utf8000", "rot13", "base64"])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"unknown encoding '{name}'; use utf-8"):
        StdinConfig(name="a", encoding=name)
