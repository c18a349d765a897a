from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel, SecretStr, model_validator

from standpipe.config import ConfigProblems, Validator, load_document_text, validate
from standpipe.core.errors import ConfigurationError
from tests.unit.config.models import PipelineConfig, ProducerConfig, Strict


def validator_for(text: str) -> Validator:
    return Validator(load_document_text(text, "f.yaml"))


def lines_of(model: type[BaseModel], text: str) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        validate(model, load_document_text(text, "f.yaml"))
    return str(caught.value).splitlines()


def test_a_good_part_becomes_its_model() -> None:
    validator = validator_for("producers:\n  - {type: x, name: n, max_retries: 7, queue: {type: spool, path: /p}}\n")
    configs = [validator.model(ProducerConfig, item, path) for path, item in validator.mappings("producers")]
    validator.raise_if_any()
    assert configs[0] is not None
    assert configs[0].max_retries == 7
    assert configs[0].queue.type == "spool"


def test_a_bad_part_is_none_and_the_others_are_validated_all_the_same() -> None:
    validator = validator_for("producers: [{type: x}, {type: y, name: n}, {type: z, name: 5}]\n")
    configs = [validator.model(ProducerConfig, item, path) for path, item in validator.mappings("producers")]
    assert [config is None for config in configs] == [True, False, True]
    with pytest.raises(ConfigurationError) as caught:
        validator.raise_if_any()
    assert len(str(caught.value).splitlines()) == 2


def test_an_absent_list_is_empty() -> None:
    validator = validator_for("agents:\nproducers: []\n")
    assert [list(validator.mappings(name)) for name in ("agents", "producers", "pipelines")] == [[], [], []]
    validator.raise_if_any()


def test_fields_are_checked_by_name_where_there_is_no_model() -> None:
    validator = validator_for("producrs: []\nagents: []\nxyzzy: 1\n")
    validator.check_fields((), ["producers", "agents"])
    assert [str(problem) for problem in validator.problems] == [
        "f.yaml:1:1: producrs: unknown field; did you mean 'producers'?",
        "f.yaml:3:1: xyzzy: unknown field; there are: producers, agents",
    ]


def test_a_report_stands_at_the_value_or_at_its_key() -> None:
    validator = validator_for("producers:\n  - name: a\n")
    validator.report(("producers", 0, "name"), "is used twice", "choose another name")
    validator.report(("producers", 0, "name"), "is odd", at_key=True)
    assert [str(problem) for problem in validator.problems] == [
        "f.yaml:2:11: producers[0].name: is used twice; choose another name",
        "f.yaml:2:5: producers[0].name: is odd",
    ]


def test_nothing_is_reported_about_what_could_not_be_read() -> None:
    problems: list[Any] = []
    validator = Validator(load_document_text("a: !x 1\n", "f.yaml", problems), problems)
    validator.report(("a", "b"), "is bad")
    assert len(validator.problems) == 1


def test_a_field_with_an_alias_is_known_by_its_alias() -> None:
    assert lines_of(PipelineConfig, "name: p\nfrm: [a]\n") == [
        "f.yaml:1:1: from: missing field; add 'from: ...'",
        "f.yaml:2:1: frm: unknown field; did you mean 'from'?",
    ]
    assert lines_of(PipelineConfig, "name: p\nfrom: [a, {}]\n") == ["f.yaml:2:11: from[1]: expected text, found a mapping"]


class Tree(Strict):
    label: str
    children: list[Tree] = Field(default=[])


def test_models_that_hold_themselves_are_followed() -> None:
    assert lines_of(Tree, "label: a\nchildren:\n  - label: b\n    children: [{lable: c, label: d}]\n") == [
        "f.yaml:4:17: children[0].children[0].lable: unknown field; did you mean 'label'?"
    ]


class Ambiguous(Strict):
    type: Literal["file"]
    file: dict[str, int]


class Plain(Strict):
    type: Literal["plain"]
    token: SecretStr


class Holder(Strict):
    one: Annotated[Ambiguous | Plain, Field(discriminator="type")]
    many: dict[str, tuple[int, str]] = Field(default={})
    either: Ambiguous | Plain | None = None


def test_the_tag_of_a_union_is_no_step_of_the_path_even_if_a_field_has_its_name() -> None:
    assert lines_of(Holder, "one: {type: file, file: {a: x}, fil: 1}\n") == [
        "f.yaml:1:29: one.file.a: expected a whole number, found text 'x'",
        "f.yaml:1:33: one.fil: unknown field; did you mean 'file'?",
    ]


def test_the_secret_of_one_member_of_a_union_is_hidden() -> None:
    assert lines_of(Holder, "one: {type: plain, token: 12345}\n") == [
        "f.yaml:1:27: one.token: expected text, found **********; put it in quotes"
    ]


def test_a_field_is_shown_if_it_is_secret_only_in_another_member_of_the_union() -> None:
    class Open(Strict):
        type: Literal["open"]
        token: int

    class Either(Strict):
        one: Annotated[Open | Plain, Field(discriminator="type")]

    assert lines_of(Either, "one: {type: open, token: x}\n") == ["f.yaml:1:26: one.token: expected a whole number, found text 'x'"]


def test_values_in_mappings_and_tuples_are_found() -> None:
    assert lines_of(Holder, "one: {type: plain, token: x}\nmany: {a: [1, 2], b: [x, y]}\n") == [
        'f.yaml:2:15: many.a[1]: expected text, found the number 2; write it in quotes: "2"',
        "f.yaml:2:23: many.b[0]: expected a whole number, found text 'x'",
    ]


def test_a_union_of_models_that_wants_a_mapping_says_so_once() -> None:
    assert lines_of(Holder, "one: {type: plain, token: x}\neither: 5\n") == ["f.yaml:2:9: either: expected a mapping, found the number 5"]


class Checked(BaseModel):
    password: str
    user: str

    @model_validator(mode="after")
    def _differ(self) -> Checked:
        if self.password == self.user:
            raise ValueError(f"password {self.password!r} is the user name")
        return self


def test_a_whole_document_can_be_a_model_and_its_own_errors_stand_at_the_top() -> None:
    assert lines_of(Checked, "password: abcd\nuser: abcd\n") == ["f.yaml:1:1: password 'abcd' is the user name"]


def test_a_document_that_could_not_be_read_is_never_a_model() -> None:
    document = load_document_text("numbers: !x 5\n", "f.yaml", [])

    class Numbers(BaseModel):
        numbers: list[int]

    with pytest.raises(ConfigProblems, match="the value could not be read"):
        validate(Numbers, document)


def test_other_errors_of_pydantic_keep_their_words_in_our_form() -> None:
    class Odd(BaseModel):
        when: Annotated[int, Field(multiple_of=5)]
        what: Annotated[set[int], Field(max_length=1)]
        day: datetime.date

    assert lines_of(Odd, "when: 3\nwhat: [1, 2]\nday: someday\n") == [
        "f.yaml:1:7: when: must be a multiple of 5, found 3",
        "f.yaml:2:7: what: must have at most 1 item, found 2",
        "f.yaml:3:6: day: should be a valid date or datetime, input is too short, found text 'someday'",
    ]


def test_a_key_of_the_wrong_form_is_shown_at_the_key() -> None:
    class Keys(RootModel[dict[Annotated[str, Field(pattern="^[a-z]+$")], int]]):
        pass

    class Outer(BaseModel):
        keys: Keys

    assert lines_of(Outer, "keys:\n  A1: 5\n") == ["f.yaml:2:3: keys.A1: 'A1' does not match the pattern ^[a-z]+$"]


def test_the_example_in_a_description_is_shown_as_it_is_and_what_a_user_wrote_is_not() -> None:
    class Reached(Strict):
        url: str = Field(description="`nats://user:password@host`")
        port: int = 1

    assert lines_of(Reached, "port: nats://jane:pw@host\n") == [
        "f.yaml:1:1: url: missing field; add 'url: ...' (`nats://user:password@host`)",
        "f.yaml:1:7: port: expected a whole number, found text 'nats://jane:**********@host'",
    ]
