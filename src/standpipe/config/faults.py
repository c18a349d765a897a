"""Pydantic's errors in the words of this project: one table from error type to what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from standpipe.config.shape import Shapes, choices_of, fields_of, is_model, shapes_of
from standpipe.config.wording import did_you_mean, found, shown, there_are


@dataclass(frozen=True)
class Fault:
    """What is wrong with a value, and the remedy.

    `expected` is set if the value is of the wrong kind; such faults of one value (from the members of a union) are joined.
    `field` names a field of the value that the fault is about. `about` is what the model says of it, shown behind the remedy as it
    is: its examples hold passwords, which are nobody's.
    """

    message: str
    remedy: str | None = None
    expected: str | None = None
    field: str | None = None
    about: str = ""


@dataclass(frozen=True)
class Case:
    """One error of Pydantic: its type, its context and message, the value it is about and the types expected there."""

    type: str
    context: dict[str, Any]
    message: str
    value: Any
    shapes: Shapes
    is_secret: bool

    @property
    def found(self) -> str:
        """What the value is, for a message."""
        return found(self.value, secret=self.is_secret)


_SENTENCE_END = re.compile(r"[.;] ")


def fault_of(case: Case) -> Fault:
    """The fault that `case` stands for."""
    expected = _EXPECTED.get(case.type)
    if expected is not None:
        return wrong_kind(case, expected)
    return _FAULTS.get(case.type, _other)(case)


def wrong_kind(case: Case, expected: str) -> Fault:
    """The fault of a value that is of another kind than `expected`."""
    remedy: str | None = None
    if case.value is None:
        remedy = "give a value, or remove the line"
    elif expected == "text" and isinstance(case.value, (bool, int, float)):
        remedy = "put it in quotes" if case.is_secret else f'write it in quotes: "{shown(case.value)}"'
    elif expected == "a mapping":
        remedy = _as_mapping(case)
    return Fault(f"expected {expected}, found {case.found}", remedy, expected)


def _as_mapping(case: Case) -> str | None:
    """What was meant by `queue: spool` and by `tls: true`."""
    models = [fields_of(shape) for shape in case.shapes if is_model(shape)]
    if isinstance(case.value, str) and not case.is_secret:
        return f"write {{type: {case.value}}}" if case.value in _types(case.shapes) else None
    if case.value is True and any(not any(info.is_required() for info in fields.values()) for fields in models):
        return "write {} to leave everything at its default"
    return None


def _types(shapes: Shapes) -> tuple[str, ...]:
    """What `type` may be in the models among `shapes`."""
    infos = [fields_of(shape)["type"] for shape in shapes if is_model(shape) and "type" in fields_of(shape)]
    return tuple(dict.fromkeys(choice for info in infos for choice in choices_of(shapes_of(info.annotation))))


_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("string_type", "string_sub_type", "bytes_type", "path_type"), "text"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type", "sequence_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "mapping_type", "dataclass_type", "typed_dict_type"), "a mapping"),
    "none_required": "nothing",
}


def _missing(case: Case) -> Fault:
    name = case.context["name"]
    infos = [fields_of(shape)[name] for shape in case.shapes if is_model(shape) and name in fields_of(shape)]
    about = f" ({_SENTENCE_END.split(infos[0].description, maxsplit=1)[0]})" if infos and infos[0].description else ""
    return Fault("missing field", f"add '{name}: ...'", about=about)


def _unknown_field(case: Case) -> Fault:
    names = [name for shape in case.shapes if is_model(shape) for name in fields_of(shape)]
    name = case.context["name"]
    return Fault("unknown field", did_you_mean(name, names) or there_are(dict.fromkeys(names)))


def _not_a_choice(case: Case) -> Fault:
    choices = choices_of(case.shapes) or _listed(case.context.get("expected", ""))
    if not isinstance(case.value, str):
        return wrong_kind(case, f"one of {', '.join(choices)}" if len(choices) > 1 else _either(choices))
    return Fault(f"unknown value {shown(case.value, secret=case.is_secret)}", _choice_remedy(case, choices), _either(choices))


def _either(choices: tuple[str, ...]) -> str:
    quoted_choices = [f"'{choice}'" for choice in choices]
    return " or ".join([", ".join(quoted_choices[:-1]), quoted_choices[-1]] if len(quoted_choices) > 1 else quoted_choices)


def _choice_remedy(case: Case, choices: tuple[str, ...]) -> str:
    # A near miss would tell about a secret.
    hint = did_you_mean(case.value, choices) if isinstance(case.value, str) and not case.is_secret else None
    return f"{hint} {there_are(choices)}" if hint else there_are(choices)


def _listed(expected: str) -> tuple[str, ...]:
    return tuple(re.findall(r"'([^']*)'", expected))


def _unknown_tag(case: Case) -> Fault:
    field = case.context["discriminator"].strip("'")
    choices = _listed(case.context["expected_tags"])
    written = case.value.get(field) if isinstance(case.value, dict) else None
    inner = Case(case.type, case.context, case.message, written, (), case.is_secret)
    return Fault(f"unknown value {shown(written, secret=case.is_secret)}", _choice_remedy(inner, choices), field=field)


def _unknown_type(case: Case) -> Fault:
    """No `type` chooses a member of the union: in the words of one that Pydantic chooses by itself."""
    if not isinstance(case.value, dict):
        return wrong_kind(case, "a mapping")
    context = {"discriminator": "type", "expected_tags": ", ".join(f"'{choice}'" for choice in _types(case.shapes))}
    return (_unknown_tag if "type" in case.value else _missing_tag)(replace(case, context=context))


def _missing_tag(case: Case) -> Fault:
    field = case.context["discriminator"].strip("'")
    models = [shape for shape in case.shapes if is_model(shape)]
    infos = [fields_of(model)[field] for model in models if field in fields_of(model)]
    choices = [choice for info in infos for choice in choices_of(shapes_of(info.annotation))]
    return Fault("missing field", f"add '{field}: ...', {there_are(choices)}" if choices else f"add '{field}: ...'", field=field)


def _bound(words: str, key: str) -> Callable[[Case], Fault]:
    return lambda case: Fault(f"must be {words} {_plain(case.context[key])}, found {shown(case.value, secret=case.is_secret)}")


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _length(words: str, key: str, unit: str) -> Callable[[Case], Fault]:
    def fault(case: Case) -> Fault:
        bound = case.context[key]
        size = "" if case.is_secret else f", found {len(case.value)}"
        return Fault(f"must have {words} {bound} {unit}{'' if bound == 1 else 's'}{size}")

    return fault


def _pattern(case: Case) -> Fault:
    return Fault(f"{shown(case.value, secret=case.is_secret)} does not match the pattern {case.context['pattern']}")


def _own_words(case: Case) -> Fault:
    error = case.context.get("error")
    return Fault(str(error) if error is not None and str(error) else _other(case).message)


def _other(case: Case) -> Fault:
    said = case.message.removesuffix(".")
    what = said[:1].lower() + said[1:]
    return Fault(what.replace("input should", "should", 1) + f", found {case.found}")


_FAULTS: dict[str, Callable[[Case], Fault]] = {
    "missing": _missing,
    "extra_forbidden": _unknown_field,
    "literal_error": _not_a_choice,
    "enum": _not_a_choice,
    "union_tag_invalid": _unknown_tag,
    "union_tag_not_found": _missing_tag,
    **dict.fromkeys(("unknown_queue", "unknown_auth"), _unknown_type),
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "multiple_of": _bound("a multiple of", "multiple_of"),
    "string_too_short": _length("at least", "min_length", "character"),
    "string_too_long": _length("at most", "max_length", "character"),
    "too_short": _length("at least", "min_length", "item"),
    "too_long": _length("at most", "max_length", "item"),
    "string_pattern_mismatch": _pattern,
    "value_error": _own_words,
    "assertion_error": _own_words,
}
