"""Expressions over a record, in the syntax of Python: `status >= 500 and not path.startswith("/health")`.

An expression is compiled once. A name is a field of the record, `a.b` and `a["b"]` reach into nested mappings, and a field
that is not there is None. Comparing by order with None, or between kinds that have no order, is False; arithmetic with None,
and a function of None, is None. Three names are not fields: `record` (all of it), `is_error` (its error flag) and `source`
(where it came from). What else there is: `expression_functions.FUNCTIONS` and `METHODS`.

>>> is_server_error = compile_expression("500 <= status < 600")
>>> is_server_error({"status": 503}), is_server_error({"status": "?"}), is_server_error({})
(True, False, False)
>>> compile_expression("lenght(path) > 10")
Traceback (most recent call last):
standpipe.pipelines.expression_rules.ExpressionError: expression 'lenght(path) > 10', column 1: unknown function 'lenght'; ...
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

from standpipe.pipelines.expression_rules import CarefulTranslator, ExpressionError, Translator, is_boolean, load
from standpipe.pipelines.records import NO_SOURCE

__all__ = ["LENGTH_MAX", "NODES_MAX", "Expression", "ExpressionError", "compile_expression"]

LENGTH_MAX = 4096
"""Bytes of source text; a condition longer than a page belongs into several steps."""

NODES_MAX = 800
"""Pieces of the syntax tree: what a text of that length has when it is not made to be expensive."""

Batch = Callable[[Sequence[dict[str, Any]], Any, Mapping[str, str]], list[Any]]

_FOREIGN_SYNTAX = (
    (re.compile(r"&&"), "write 'and' instead of '&&'"),
    (re.compile(r"\|\|"), "write 'or' instead of '||'"),
    (re.compile(r"=~"), "write matches(field, \"pattern\") instead of '=~'"),
    (re.compile(r"==="), "write '==' instead of '==='"),
    (re.compile(r"!(?!=)"), "write 'not' instead of '!'"),
    (re.compile(r"<>"), "write '!=' instead of '<>'"),
    (re.compile(r"\?"), "write 'x if condition else y' instead of 'condition ? x : y'"),
    (re.compile(r"(?<![=!<>:])=(?!=)"), "write '==' to compare"),
    (re.compile(r"\$"), "write a field's name without '$'"),
    (
        re.compile(r"\b(?:import|class|from|def|pass|global|return|with|as|raise|del|try)\b"),
        'a word of Python is a field as record["from"]',
    ),
)


class Expression:
    """A compiled expression; made by `compile_expression`.

    Never raises for what a record holds: what goes wrong beyond the null-safe rules (dividing by zero, a text that is no
    number) gives None, False for a filter, and is counted in `errors`. `text` is the source, `fields` the names of the
    fields that it reads. Evaluating changes nothing but `errors`, which is exact when one thread at a time evaluates.
    """

    __slots__ = ("_careful", "_careful_map", "_careful_mask", "_map", "_mask", "_plain", "_uses_is_error", "errors", "fields", "text")

    def __init__(self, text: str, tree: ast.expr) -> None:
        plain, careful = Translator(text), CarefulTranslator(text)
        translated = plain.translate(tree)
        boolean = is_boolean(translated)
        self.text = text
        self.fields = frozenset(plain.fields)
        self.errors = 0
        self._uses_is_error = plain.uses_is_error
        self._plain, self._map, self._mask = _compile(translated, plain, boolean)
        self._careful, self._careful_map, self._careful_mask = _compile(careful.translate(tree), careful, False)

    def __repr__(self) -> str:
        return f"<Expression {self.text!r}>"

    def __call__(self, record: dict[str, Any], is_error: bool = False, source: Mapping[str, str] = NO_SOURCE) -> Any:
        """The value for one record; None when it cannot be had."""
        try:
            return self._plain(record, is_error, source)
        except Exception:
            return self._evaluate_carefully(record, is_error, source)

    def map(
        self,
        records: Sequence[dict[str, Any]],
        errors: Sequence[bool] | None = None,
        source: Mapping[str, str] = NO_SOURCE,
    ) -> list[Any]:
        """The value for each record. `errors` are the records' error flags, None when none is an error."""
        return self._batch(self._map, self._careful_map, records, errors, source)

    def filter_mask(
        self,
        records: Sequence[dict[str, Any]],
        errors: Sequence[bool] | None = None,
        source: Mapping[str, str] = NO_SOURCE,
    ) -> list[bool]:
        """Whether the expression holds (is not False, None, zero or empty), for each record."""
        return self._batch(self._mask, self._careful_mask, records, errors, source, convert=bool)

    def _batch(
        self,
        plain: Batch,
        careful: Batch,
        records: Sequence[dict[str, Any]],
        errors: Sequence[bool] | None,
        source: Mapping[str, str],
        convert: Callable[[Any], Any] | None = None,
    ) -> list[Any]:
        flags: Any = repeat(False, len(records)) if errors is None else errors
        try:
            return plain(records, flags, source)
        except Exception:
            # Some record is not as the plain code expects. Asking every one of them costs less than catching each that raises.
            flags = [False] * len(records) if errors is None else errors
        try:
            return careful(records, flags, source)
        except Exception:
            values = [self._evaluate_carefully(record, flag, source) for record, flag in zip(records, flags, strict=True)]
        return values if convert is None else list(map(convert, values))

    def _evaluate_carefully(self, record: dict[str, Any], is_error: bool, source: Mapping[str, str]) -> Any:
        try:
            return self._careful(record, is_error, source)
        except Exception:
            self.errors += 1
            return None


def compile_expression(text: str) -> Expression:
    """The compiled expression. Raises ExpressionError that names the place, what is not allowed there, and the remedy."""
    text = text.strip()
    tree = _parse(text)
    nodes = sum(1 for _ in ast.walk(tree))
    if nodes > NODES_MAX:
        raise ExpressionError(text, 1, f"has {nodes} pieces; at most {NODES_MAX} are allowed, split it over several steps")
    return Expression(text, tree)


def _parse(text: str) -> ast.expr:
    if not text:
        raise ExpressionError(text, 1, "is empty; write a condition or a value, such as status >= 500")
    size = len(text.encode(errors="replace"))
    if size > LENGTH_MAX:
        raise ExpressionError(text, 1, f"is {size} bytes long; at most {LENGTH_MAX} are allowed, split it over several steps")
    # One line, each character in its place, so that Python's columns are the user's.
    line = re.sub(r"[\n\r\t\f]", " ", text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape in "\d", which is what people mean in a pattern
            return ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(text, _column(error, text), _syntax_problem(text, error)) from None
    except ValueError as error:
        raise ExpressionError(text, 1, f"cannot be read: {error}") from None
    except (RecursionError, MemoryError):
        raise ExpressionError(text, 1, "is nested too deeply; split it over several steps") from None


def _column(error: SyntaxError, text: str) -> int:
    return min(max(error.offset or 1, 1), len(text))


def _syntax_problem(text: str, error: SyntaxError) -> str:
    # Without texts in quotes, in which anything may stand.
    bare = re.sub(r"""(["']).*?\1""", "''", text, flags=re.DOTALL)
    remedy = next((remedy for pattern, remedy in _FOREIGN_SYNTAX if pattern.search(bare)), None)
    if remedy is None:
        return f"is not an expression: {error.msg}"
    return f"is not an expression; {remedy}"


def _compile(value: ast.expr, translator: Translator, boolean: bool) -> tuple[Callable[..., Any], Batch, Batch]:
    """Three functions: the value of one record, of a batch, and its truth for a batch."""
    truth = value if boolean else ast.IfExp(value, ast.Constant(True), ast.Constant(False))
    functions = [
        _function("one", ["r", "e", "s"], value),
        _function("each", ["rows", "flags", "s"], _loop(value, translator.uses_is_error)),
        _function("mask", ["rows", "flags", "s"], _loop(truth, translator.uses_is_error)),
    ]
    module = ast.fix_missing_locations(ast.Module(functions, []))
    # Nothing but what the translation refers to can be reached, not even Python's own functions.
    names: dict[str, Any] = {"__builtins__": {}, "zip": zip, **translator.names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as comparing with a literal of another type: the answer is False
        exec(compile(module, "<expression>", "exec"), names)
    return names["one"], names["each"], names["mask"]


def _loop(value: ast.expr, with_flags: bool) -> ast.expr:
    if not with_flags:
        return ast.ListComp(value, [ast.comprehension(ast.Name("r", ast.Store()), load("rows"), [], 0)])
    target = ast.Tuple([ast.Name("r", ast.Store()), ast.Name("e", ast.Store())], ast.Store())
    pairs = ast.Call(load("zip"), [load("rows"), load("flags")], [])
    return ast.ListComp(value, [ast.comprehension(target, pairs, [], 0)])


def _function(name: str, parameters: list[str], value: ast.expr) -> ast.stmt:
    signature = ast.arguments([], [ast.arg(parameter) for parameter in parameters], None, [], [], None, [])
    function: ast.stmt = ast.FunctionDef(name, signature, [ast.Return(value)], [], None, None)
    if sys.version_info >= (3, 12):
        function.type_params = []
    return function
