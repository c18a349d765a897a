"""No text, however odd or hostile, gets anything but a document or problems out of the reader, and that soon."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.config import ConfigProblems, Problem, load_document_text, redacted, resolve_secrets

MARKS = [*"[]{},'\"\\|>#~\t\r\n\x85\ufeff\x00é😀", "\n  ", "a", "b: ", "- ", "? ", ": ", "&x ", "*x", "<<: ", "!!int ", "!x "]
WORDS = ["%YAML 1.2\n", "---\n", "...\n", "0x1", "1e9", "true", "include: ", "${env:A}", "$${"]
FRAGMENTS = st.sampled_from([*MARKS, *WORDS])
TEXTS = st.text(st.characters()) | st.lists(FRAGMENTS, max_size=40).map("".join)

LAUGHS = "\n".join([f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10) if level else 'x'}]" for level in range(20)])
MERGES = "\n".join([f"a{level}: &a{level}\n  <<: [{', '.join([f'*a{level - 1}'] * 10) if level else ''}]" for level in range(20)])
CHAIN = "a0: &a0 {}\n" + "\n".join(f"a{level}: &a{level} {{<<: *a{level - 1}}}" for level in range(1, 500))
BOMBS = {
    "laughs": (LAUGHS, "the aliases expand to more than 100000 values"),
    "merges": (MERGES, "the aliases expand to more than 100000 values"),
    "chain": (CHAIN, "the aliases expand to more than 64 levels"),
    "brackets": ("[" * 500_000, "nested more than 64 levels"),
    "braces": ("{a: " * 200_000, "nested more than 64 levels"),
    "keys": ("? " * 300_000, "nested more than 64 levels"),
    "indentation": ("\n".join(" " * level + "a:" for level in range(1000)), "nested more than 64 levels"),
    "digits": ("a: " + "9" * 1_000_000, "too long"),
    "hexadecimal": ("a: 0x" + "f" * 1_000_000, "too long"),
}


@given(TEXTS)
def test_any_text_is_a_document_or_has_problems(text: str) -> None:
    started = time.process_time()
    problems: tuple[Problem, ...] = ()
    data: object = {}
    try:
        document = load_document_text(text, "f.yaml")
        data = redacted(resolve_secrets(document, [], {"A": "a"}))
    except ConfigProblems as error:
        problems = error.problems
        lines = str(error).splitlines()
    else:
        lines = []
    assert isinstance(data, dict)
    assert [problem.file for problem in problems] == ["f.yaml"] * len(lines)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(("text", "message"), BOMBS.values(), ids=list(BOMBS))
def test_a_bomb_is_refused_at_once(text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigProblems, match=message):
        load_document_text(text, "f.yaml")
    assert time.process_time() - started < 5
