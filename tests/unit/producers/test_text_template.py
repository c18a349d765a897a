"""Topics and the like from fields of messages: each message goes where the template says, and none anywhere else."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from standpipe.core.errors import Reject
from standpipe.producers.text_template import KNOWN_MAX, TextChoice, TextRule, TextTemplate
from tests.unit.producers.batches import PREFIX, batch_of, given

AT = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
KAFKA = TextRule("topic", re.compile(r"[A-Za-z0-9._-]+"), "letters, digits, '.', '_' and '-'", 40)
SUBJECT = TextRule("subject", re.compile(r"[^\s*>]+"), "text without spaces, '*' and '>'", 100, forbidden=".*> ", reserved=("$", "_INBOX."))
URL = TextRule(
    "path", re.compile(r"/[!-~]*"), "a path", 1000, escape=lambda value: quote(value, safe=""), forbidden_values=frozenset((".", ".."))
)


@pytest.mark.parametrize(
    ("template", "message", "is_error", "text"),
    [
        ("orders", {}, False, "orders"),
        ("orders.{region}", {"region": "eu"}, False, "orders.eu"),
        ("orders.{customer.region}", {"customer": {"region": "eu"}}, False, "orders.eu"),
        ("{n}", {"n": 7}, False, "7"),
        ("{n}", {"n": 1.5}, False, "1.5"),
        ("{n}", {"n": True}, False, "true"),
        ("{is_error}-{time:%Y%m%d}", {}, True, "error-20270115"),
        ("{is_error}", {}, False, "normal"),
        ("{@key}", {"@key": "field"}, False, "k1"),
        ("{@id}", {}, False, "id-1"),
        ("{@key.x}", {"@key": {"x": "inner"}}, False, "inner"),
        ("{@timestamp}", {"@timestamp": "now"}, False, "now"),
    ],
)
def test_fields_choose_the_topic(template: str, message: dict[str, Any], is_error: bool, text: str) -> None:
    made = TextTemplate(template, KAFKA, "topic")
    assert made.render(message, id="id-1", key="k1", is_error=is_error, time=AT) == text


@pytest.mark.parametrize(
    ("rule", "template", "message", "says"),
    [
        (KAFKA, "orders.{region}", {}, "topic 'orders.{region}': the field 'region' is missing; add it to the message"),
        (KAFKA, "orders.{a.b}", {"a": "text"}, "the field 'a.b' is missing"),
        (KAFKA, "orders.{a}", {"a": None}, "the field 'a' is missing"),
        (KAFKA, "orders.{a}", {"a": {}}, "the field 'a' is a mapping; name a field that is text"),
        (KAFKA, "orders.{a}", {"a": [1]}, "the field 'a' is a list"),
        (KAFKA, "orders.{a}", {"a": ""}, "the field 'a' is empty"),
        (KAFKA, "orders.{a}", {"a": "x y"}, "'orders.x y' cannot be a topic: use letters, digits"),
        (KAFKA, "orders.{a}", {"a": "x" * 40}, "has 47 bytes, and 40 is the most"),
        (KAFKA, "{@key}", {}, "the message has no key; give it one"),
        (SUBJECT, "a.{a}.b", {"a": "x.y"}, "'.' must not come from a message into a subject"),
        (SUBJECT, "a.{a}", {"a": ">"}, "'>' must not come from a message"),
        (SUBJECT, "a.{a}", {"a": "x\r\nPUB admin 3"}, r"'\r' must not come from a message"),
        (SUBJECT, "{a}", {"a": "$SYS"}, "begins with what is reserved"),
        (URL, "/users/{a}", {"a": ".."}, "is '..', which would change the path"),
    ],
)
def test_a_message_that_does_not_fit_is_rejected_with_the_remedy(rule: TextRule, template: str, message: dict[str, Any], says: str) -> None:
    with pytest.raises(Reject, match=re.escape(says)):
        TextTemplate(template, rule, "topic").render(message, time=AT)


@pytest.mark.parametrize("character", [*map(chr, range(32)), "\x7f", "\x85", "\x9f"])
def test_control_characters_never_get_into_a_text_whatever_the_rule_allows(character: str) -> None:
    anything = TextRule("name", re.compile(r"[\s\S]+"), "anything", 100)
    with pytest.raises(Reject, match="must not come from a message"):
        TextTemplate("{a}", anything, "name").render({"a": f"x{character}y"})
    with pytest.raises(ValueError, match="cannot be a name"):
        TextTemplate(f"x{character}", anything, "name")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "'' cannot be a topic"),
        ("a b", "'a b' cannot be a topic: use letters"),
        ("x" * 41, "has 41 bytes"),
        ("a/{b}", "with a value for each field, 'a/x' cannot be a topic"),
        ("a.{", "a '{' stands alone"),
        ("a.{b c}", "is not the name of a field"),
        ("a.{b:%Y}", "only time takes a format"),
        ("a.{time:%c}", "is not a time format for a topic"),
    ],
)
def test_a_template_that_cannot_work_is_refused_when_the_configuration_is_read(template: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        TextTemplate(template, KAFKA, "topic")


def test_the_user_may_write_what_a_value_may_not_hold() -> None:
    assert TextTemplate("$JS.a.{b}", SUBJECT, "subject").render({"b": "c"}) == "$JS.a.c"


def test_values_are_escaped_where_the_rule_says_so() -> None:
    assert TextTemplate("/u/{a}?q={b}", URL, "url").render({"a": "../x", "b": "1&2=3 é"}) == "/u/..%2Fx?q=1%262%3D3%20%C3%A9"


def test_a_missing_field_can_have_a_stand_in() -> None:
    assert TextTemplate("orders.{a}", KAFKA, "topic", missing="other").render({}) == "orders.other"


def test_a_value_is_checked_again_when_it_has_been_forgotten() -> None:
    template = TextTemplate("{a}", KAFKA, "topic")
    for number in range(2 * KNOWN_MAX + 1):
        assert template.render({"a": f"t{number}"}) == f"t{number}"
    assert len(template._values) <= KNOWN_MAX
    assert len(template._texts) <= KNOWN_MAX


@hypothesis_given(st.dictionaries(st.sampled_from(["a", "b"]), st.text() | st.integers() | st.none() | st.booleans()))
def test_no_message_leaves_the_place_that_the_template_gives_it(message: dict[str, Any]) -> None:
    template = TextTemplate("shop.{a}.{b}.end", SUBJECT, "subject")
    try:
        text = template.render(message)
    except Reject:
        return
    tokens = text.split(".")
    assert tokens[0] == "shop"
    assert tokens[3] == "end"
    assert len(tokens) == 4
    assert all(tokens)
    assert not set(text) & set(" *>\r\n\x00")


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_constant_topic_needs_no_message_to_be_decoded() -> None:
    choice = TextChoice(TextTemplate("orders", KAFKA, "topic"), TextTemplate("failures", KAFKA, "error_topic"))
    assert choice.uses_message is False
    batch = batch_of(given({"a": 1}, {"a": 2}), given({"a": 3}, is_error=True))
    assert choice.of(batch, {}) == ["orders", "orders", "failures"]


def test_errors_go_to_their_own_topic_and_a_message_that_does_not_fit_harms_no_other() -> None:
    choice = TextChoice(TextTemplate("orders.{a}", KAFKA, "topic"), TextTemplate("failures.{@key}", KAFKA, "error_topic"))
    batch = batch_of(given({"a": 1}, {"b": 2}), given({"a": 3}, is_error=True, key="k"), given({"a": 4}, is_error=True), given({"a": 5}))
    faults: dict[int, Reject] = {}
    assert choice.of(batch, faults) == ["orders.1", "", "failures.k", "", "orders.5"]
    assert {position: str(fault).partition(" '")[0] for position, fault in faults.items()} == {1: "topic", 3: "error_topic"}


def test_ids_and_times_of_messages_can_be_part_of_a_text() -> None:
    choice = TextChoice(TextTemplate("{time:%H}.{@id}", KAFKA, "topic"))
    assert choice.of(batch_of(given({"a": 1}, {"a": 2}), time=AT), {}) == [f"08.{PREFIX}{number:012x}" for number in range(2)]
