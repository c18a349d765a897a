"""The id of a request is the same in every attempt, and fits into a header."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from standpipe.producers.http_identity import quoted, request_id

ids = st.lists(
    st.text(min_size=1, max_size=40).filter(lambda text: text.encode("utf-8", "replace").decode() == text), min_size=1, max_size=5
)


def test_one_message_lends_its_id() -> None:
    assert request_id(["01HX-a 7"]) == "01HX-a 7"


def test_other_messages_or_another_order_or_another_cut_give_another_id() -> None:
    made = {request_id(batch) for batch in (["a", "b"], ["b", "a"], ["ab", ""], ["a", "b", ""], ["", "ab"], ["a,1:b"])}
    assert len(made) == 6


def test_a_string_of_structured_fields_has_quotes_and_escapes() -> None:
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'


@given(ids)
def test_every_id_is_printable_ascii_and_stays_the_same(batch: list[str]) -> None:
    made = request_id(batch)
    assert made.isascii()
    assert made.isprintable()
    assert made == request_id(list(batch))
