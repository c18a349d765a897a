"""The steps of a pipeline, compiled from their configuration. (`parse` has a file of its own.)"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from standpipe.pipelines.expression import Expression, compile_expression
from standpipe.pipelines.fields import MISSING, find, put, take
from standpipe.pipelines.parse import PARSE_ERROR_FIELD, ParseConfig, ParseStep
from standpipe.pipelines.records import Records
from standpipe.pipelines.step import Step, StepStatistics
from standpipe.pipelines.step_config import STEP_TYPES, StepConfig

__all__ = ["STEP_TYPES", "ParseConfig", "Step", "StepConfig", "StepStatistics", "compile_steps"]


class FilterStep:
    """Lets through the records for which an expression holds."""

    type = "filter"

    def __init__(self, condition: str) -> None:
        self._condition = compile_expression(condition)
        self._in = self._out = 0

    def apply(self, records: Records) -> Records:
        """Those of `records` for which the condition holds; the very same chunk when it holds for all."""
        mask = self._condition.filter_mask(records.as_records(), records.errors, records.source)
        kept = sum(mask)
        self._in += len(mask)
        self._out += kept
        return records if kept == len(mask) else records.select(mask)

    def statistics(self) -> StepStatistics:
        """The counts now; a record whose condition has no result is filtered, and an error as well."""
        return StepStatistics(
            type=self.type, records_in=self._in, records_out=self._out, filtered=self._in - self._out, errors=self._condition.errors
        )


class SetStep:
    """Sets fields, one after the other, so that a later one sees an earlier one."""

    type = "set"

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = {name: compile_expression(value) if isinstance(value, str) else value for name, value in values.items()}
        self._in = self._errors = 0

    def apply(self, records: Records) -> Records:
        """`records` with the fields set; a field that cannot be (`a.b` where `a` is a number) is counted, and left out."""
        rows = records.as_records()
        self._in += len(rows)
        for name, value in self._values.items():
            if name == "is_error":
                records.errors = self._flags(records, rows, value)
            else:
                self._errors += _put_all(rows, name, self._each(records, rows, value))
        return records

    def statistics(self) -> StepStatistics:
        """The counts now; `errors` are values, each set to None or left out."""
        expressions = [value for value in self._values.values() if isinstance(value, Expression)]
        errors = self._errors + sum(expression.errors for expression in expressions)
        return StepStatistics(type=self.type, records_in=self._in, records_out=self._in, errors=errors)

    @staticmethod
    def _flags(records: Records, rows: list[dict[str, Any]], value: Any) -> list[bool]:
        if isinstance(value, Expression):
            return value.filter_mask(rows, records.errors, records.source)
        return [value] * len(rows)

    @staticmethod
    def _each(records: Records, rows: list[dict[str, Any]], value: Any) -> Iterable[Any]:
        if isinstance(value, Expression):
            return value.map(rows, records.errors, records.source)
        if isinstance(value, (dict, list)):
            return [copy.deepcopy(value) for _ in rows]
        return [value] * len(rows)


def _put_all(rows: list[dict[str, Any]], name: str, values: Iterable[Any]) -> int:
    """Sets field `name` of each row; returns how many could not be set."""
    if "." not in name:
        for row, value in zip(rows, values, strict=True):
            row[name] = value
        return 0
    failed = 0
    for row, value in zip(rows, values, strict=True):
        try:
            put(row, name, value)
        except TypeError:
            failed += 1
    return failed


class RenameStep:
    """Renames fields."""

    type = "rename"

    def __init__(self, names: dict[str, str]) -> None:
        self._names = dict(names)
        self._in = self._errors = 0

    def apply(self, records: Records) -> Records:
        """`records` with the fields renamed; one that cannot be (to `a.b` where `a` is a number) keeps its name, and is counted."""
        rows = records.as_records()
        self._in += len(rows)
        for old, new in self._names.items():
            self._errors += sum(not _rename(row, old, new) for row in rows)
        return records

    def statistics(self) -> StepStatistics:
        """The counts now; `errors` are fields that kept their name."""
        return StepStatistics(type=self.type, records_in=self._in, records_out=self._in, errors=self._errors)


def _rename(row: dict[str, Any], old: str, new: str) -> bool:
    value = take(row, old)
    if value is MISSING:
        return True
    try:
        put(row, new, value)
    except TypeError:
        put(row, old, value)
        return False
    return True


class DropFieldsStep:
    """Removes fields."""

    type = "drop_fields"

    def __init__(self, names: list[str]) -> None:
        self._plain = [name for name in names if "." not in name]
        self._nested = [name for name in names if "." in name]
        self._in = 0

    def apply(self, records: Records) -> Records:
        """`records` without the fields."""
        rows = records.as_records()
        self._in += len(rows)
        for name in self._plain:
            for row in rows:
                row.pop(name, None)
        for name in self._nested:
            for row in rows:
                take(row, name)
        return records

    def statistics(self) -> StepStatistics:
        """The counts now."""
        return StepStatistics(type=self.type, records_in=self._in, records_out=self._in)


class KeepFieldsStep:
    """Removes all fields but some. A record that could not be parsed is kept whole: its text is all that there is of it."""

    type = "keep_fields"

    def __init__(self, names: list[str]) -> None:
        self._names = list(names)
        self._nested = any("." in name for name in names)
        self._in = 0

    def apply(self, records: Records) -> Records:
        """`records` with those fields that are there."""
        rows = records.as_records()
        self._in += len(rows)
        keep = self._keep_nested if self._nested else self._keep
        if records.errors is None:
            records.records = [keep(row) for row in rows]
        else:
            flagged = zip(rows, records.errors, strict=True)
            records.records = [row if is_error and PARSE_ERROR_FIELD in row else keep(row) for row, is_error in flagged]
        return records

    def statistics(self) -> StepStatistics:
        """The counts now."""
        return StepStatistics(type=self.type, records_in=self._in, records_out=self._in)

    def _keep(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in self._names if name in row}

    def _keep_nested(self, row: dict[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name in self._names:
            value = find(row, name)
            if name in row:  # also a field whose own name is `a.b`
                kept[name] = value
            elif value is not MISSING:
                put(kept, name, value)
        return kept


_STEPS: dict[str, Callable[[Any], Step]] = {
    "parse": ParseStep,
    "set": SetStep,
    "rename": RenameStep,
    "drop_fields": DropFieldsStep,
    "keep_fields": KeepFieldsStep,
    "filter": FilterStep,
}


def compile_steps(configs: Iterable[StepConfig]) -> list[Step]:
    """The steps of one pipeline, in order, each with counts of its own. A step is used by one thread at a time."""
    return [_STEPS[config.type](getattr(config, config.type)) for config in configs]
