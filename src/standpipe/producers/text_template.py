"""Topics, subjects, routing keys and other names with fields in them: `orders.{customer.region}`.

The syntax is that of `template_fields.py`, the same as in the paths of files. No message decides where it goes beyond the
place that the user left open for it: each destination says with a `TextRule` what the whole text may be and what a value
must not hold, and what does not fit is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from standpipe.core.errors import Reject
from standpipe.delivery.batch import Batch
from standpipe.producers.template_fields import MESSAGE_ID, MESSAGE_KEY, ErrorField, MessageField, Part, TimeField, Times, parse_template

KNOWN_MAX = 4096
"""Texts that are remembered as checked: more different topics than most brokers like to have, and 1 MiB at most."""
KNOWN_LENGTH_MAX = 256
"""Characters of a text that is worth remembering; longer ones hardly come twice."""
SHOWN_MAX = 60
"""Characters of a value that are shown in a reason."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SAMPLE_VALUE = "x"
_META = (MESSAGE_ID, MESSAGE_KEY)


@dataclass(frozen=True, slots=True)
class TextRule:
    """What a destination can take as the text of a template. Control characters, CR and LF among them, are never allowed."""

    what: str
    """what the text is, for errors: `topic`"""
    allowed: re.Pattern[str]
    """what the whole text must match"""
    says: str
    """`allowed` in words: `letters, digits, '.', '_' and '-'`"""
    longest: int
    """most bytes of the whole text in UTF-8"""
    forbidden: str = ""
    """characters that no value of a field may hold, because they would take the message elsewhere: separators, wildcards"""
    forbidden_values: frozenset[str] = frozenset()
    """values that no field may have: `.` and `..` in a URL"""
    reserved: tuple[str, ...] = ()
    """how a text must not begin if it begins with a field: `$SYS`, `amq.`"""
    escape: Callable[[str], str] | None = None
    """writes a value so that it can stand in the text (percent-encoding); it is checked before"""
    may_be_empty: bool = False
    """whether a value may be no text at all"""


class TextTemplate:
    """A text that the user wrote, with or without fields. Raises ValueError, with the remedy, if it cannot be one.

    `setting` is the name of the setting it comes from, for errors. `missing` stands for a field that the message does not
    have as text, number or true/false; None: such a message is rejected. Not thread-safe.
    """

    def __init__(self, text: str, rule: TextRule, setting: str, missing: str | None = None) -> None:
        self.text = text
        self.rule = rule
        self.setting = setting
        self._missing = missing
        self._times = Times()
        self._values: dict[str, str] = {}
        self._texts: set[str] = set()
        self._parts = parse_template(text, f"a {rule.what}")
        is_plain = all(isinstance(part, str) for part in self._parts)
        self.constant = "".join(str(part) for part in self._parts) if is_plain else None
        """The text if it is the same for every message, else None."""
        fields = [part.names for part in self._parts if isinstance(part, MessageField)]
        self.uses_message = any(names not in _META for names in fields)
        """Whether the message has to be decoded."""
        others = sum(not isinstance(part, (str, MessageField)) for part in self._parts)
        self.uses_message_only = not others and not any(names in _META for names in fields)
        """Whether nothing but the message itself decides."""
        self._check_written()

    def render(self, content: Mapping[str, Any], *, id: str = "", key: str | None = None, is_error: bool = False, time: float = 0.0) -> str:
        """The text for one message. `time`: seconds since 1970. Raises Reject if the message has none that can be used."""
        if self.constant is not None:
            return self.constant
        pieces = []
        for part in self._parts:
            if isinstance(part, str):
                pieces.append(part)
            elif isinstance(part, MessageField):
                pieces.append(self._value(part, content, id, key))
            else:
                pieces.append(self._times.text(part, time) if isinstance(part, TimeField) else "error" if is_error else "normal")
        text = "".join(pieces)
        if text not in self._texts:
            self._check(text)
        return text

    # --- values -------------------------------------------------------------------------------------------------------

    def _value(self, field: MessageField, content: Mapping[str, Any], id: str, key: str | None) -> str:
        found: Any = content
        if field.names == MESSAGE_KEY:
            found = key
        elif field.names == MESSAGE_ID:
            found = id
        else:
            for name in field.names:
                found = found.get(name) if isinstance(found, Mapping) else None
        value = found if isinstance(found, str) else _written(found)
        if value is None:
            value = self._missing
            if value is None:
                raise self._unsuitable(field, found)
        known = self._values.get(value)
        return known if known is not None else self._checked(field, value)

    def _checked(self, field: MessageField, value: str) -> str:
        rule = self.rule
        if not value and not rule.may_be_empty:
            raise self._reject(field, "is empty", "fill the field before the message is produced")
        if value in rule.forbidden_values:
            raise self._reject(field, f"is {value!r}, which would change the {rule.what}", "replace it before the message is produced")
        for character in value:
            if character in rule.forbidden or _CONTROL.match(character):
                why = f"is {_shown(value)}: {character!r} must not come from a message into a {rule.what}"
                raise self._reject(field, why, "replace the character before the message is produced")
        text = value if rule.escape is None else rule.escape(value)
        if len(value) <= KNOWN_LENGTH_MAX:
            if len(self._values) >= KNOWN_MAX:
                self._values.clear()
            self._values[value] = text
        return text

    def _unsuitable(self, field: MessageField, found: Any) -> Reject:
        name = ".".join(field.names)
        if name == "@key":
            return self._reject(field, "is missing: the message has no key", f"give it one, or take {{@key}} out of {self.setting}")
        if found is None:
            return self._reject(field, "is missing", f"add it to the message, or take it out of {self.setting}")
        kind = "a mapping" if isinstance(found, Mapping) else "a list"
        return self._reject(field, f"is {kind}", "name a field that is text, a number or true/false")

    def _reject(self, field: MessageField, why: str, remedy: str) -> Reject:
        return Reject(f"{self.setting} {self.text!r}: the field {'.'.join(field.names)!r} {why}; {remedy}")

    # --- the whole text -----------------------------------------------------------------------------------------------

    def _check(self, text: str) -> None:
        fault = self._fault(text)
        if fault is not None:
            raise Reject(f"{self.setting} {self.text!r}: {fault}; change the message, or the template")
        if len(text) <= KNOWN_LENGTH_MAX:
            if len(self._texts) >= KNOWN_MAX:
                self._texts.clear()
            self._texts.add(text)

    def _fault(self, text: str) -> str | None:
        rule = self.rule
        if len(text) > rule.longest or len(text.encode()) > rule.longest:
            return f"the {rule.what} {_shown(text)} has {len(text.encode())} bytes, and {rule.longest} is the most there can be"
        if _CONTROL.search(text) is not None or rule.allowed.fullmatch(text) is None:
            return f"{_shown(text)} cannot be a {rule.what}: use {rule.says}"
        if self._parts and not isinstance(self._parts[0], str) and text.startswith(rule.reserved):
            return f"{_shown(text)} begins with what is reserved"
        return None

    def _check_written(self) -> None:
        """What the user wrote must be usable if the values are."""
        sample = "".join(_sample(part) for part in self._parts)
        fault = self._fault(sample)
        if fault is not None:
            raise ValueError(fault if self.constant is not None else f"{self.text!r}: with a value for each field, {fault}")


class TextChoice:
    """The text of each message of a batch: from one template for normal messages and, if there is one, another for errors.

    Not thread-safe.
    """

    def __init__(self, normal: TextTemplate, error: TextTemplate | None = None) -> None:
        self._templates = (normal, normal if error is None else error)
        self.uses_message = any(template.uses_message for template in self._templates)
        """Whether messages have to be decoded."""
        self._uses_message_only = error is None and normal.uses_message_only

    def of(self, batch: Batch, faults: dict[int, Reject]) -> list[str]:
        """One text for each message, in order. Where a message has none that can be used the text is empty, and the reason
        is put into `faults` under the message's position."""
        normal, error = self._templates
        if normal.constant is not None and error.constant is not None:
            if normal.constant == error.constant:
                return [normal.constant] * batch.count
            return [error.constant if flag else normal.constant for flag in batch.is_errors()]
        return self._each(batch, faults)

    def _each(self, batch: Batch, faults: dict[int, Reject]) -> list[str]:
        contents: Iterable[dict[str, Any]] = batch.contents() if self.uses_message else repeat({}, batch.count)
        if self._uses_message_only:
            columns: Iterable[tuple[str, str | None, bool, float]] = repeat(("", None, False, 0.0), batch.count)
        else:
            columns = zip(batch.ids(), batch.keys(), batch.is_errors(), batch.times(), strict=True)
        texts = []
        for content, (id, key, flag, time) in zip(contents, columns, strict=True):
            try:
                texts.append(self._templates[flag].render(content, id=id, key=key, is_error=flag, time=time))
            except Reject as fault:
                faults[len(texts)] = fault
                texts.append("")
        return texts


def _written(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, (int, float)) else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "...")


def _sample(part: Part) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, TimeField):
        return Times().text(part, 1_800_000_000.0)
    return "normal" if isinstance(part, ErrorField) else _SAMPLE_VALUE
