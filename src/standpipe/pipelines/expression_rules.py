"""The part of Python's expressions that may be written in a configuration, and how each piece of it is compiled.

Nothing the user writes is executed as written. The syntax tree is translated piece by piece into a new one: what has no
translation here is refused, a name becomes a look-up in the record, an attribute becomes a look-up in a mapping, and only the
functions and methods of `expression_functions` are ever called.

There are two translations with the same meaning. The plain one is what a programmer would write (`r["status"] >= 500`); it
raises when a field is missing or of another type. The careful one asks before each such step and never raises for those.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from standpipe.core.errors import ConfigurationError
from standpipe.pipelines import expression_functions as functions
from standpipe.pipelines.expression_functions import BOUNDED_METHODS, FUNCTIONS, METHODS
from standpipe.pipelines.patterns import PatternError, compile_pattern

DEPTH_MAX = 40
"""Levels of nesting; far below where Python's own compiler gives up."""

SPECIAL_NAMES = {"record": "r", "is_error": "e", "source": "s"}
"""Names that are not fields, and the parameter of the compiled code that each becomes."""

_SHOWN = 120

_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "modulo",
}
_REFUSED_OPERATORS: dict[type[ast.operator], str] = {
    ast.BitAnd: "'&' is not allowed; write 'and'",
    ast.BitOr: "'|' is not allowed; write 'or'",
    ast.BitXor: "'^' is not allowed; write '!=' between two conditions",
    ast.Pow: "'**' is not allowed; multiply instead",
    ast.LShift: "'<<' is not allowed; write '<' to compare, '*' to multiply",
    ast.RShift: "'>>' is not allowed; write '>' to compare, '//' to divide",
    ast.MatMult: "'@' is not allowed; there is no matrix arithmetic",
}
_REFUSED: dict[type[ast.AST], str] = {
    ast.ListComp: "a comprehension is not allowed; an expression looks at one record without loops",
    ast.SetComp: "a comprehension is not allowed; an expression looks at one record without loops",
    ast.DictComp: "a comprehension is not allowed; an expression looks at one record without loops",
    ast.GeneratorExp: "a comprehension is not allowed; an expression looks at one record without loops",
    ast.Lambda: "'lambda' is not allowed; write the value itself",
    ast.NamedExpr: "':=' is not allowed; write '==' to compare, or a set step to keep a value",
    ast.Await: "'await' is not allowed; write the value itself",
    ast.Yield: "'yield' is not allowed; write the value itself",
    ast.YieldFrom: "'yield' is not allowed; write the value itself",
    ast.Starred: "'*' before a value is not allowed; write each value",
    ast.Set: "a set is only allowed after 'in'; write a list: [1, 2]",
    ast.FormattedValue: 'a format is not allowed; write f"{field}"',
}
_NOT_FIELDS = {"true": "True", "false": "False", "null": "None", "nil": "None", "none": "None", "undefined": "None"}
_PREDICATES = {"contains", "endswith", "has", "matches", "startswith", "bool"}


class ExpressionError(ConfigurationError, ValueError):
    """the expression cannot be used

    `problem` says why and what to write instead, `column` where in `expression` (from 1).
    """

    def __init__(self, expression: str, column: int, problem: str) -> None:
        shown = expression if len(expression) <= _SHOWN else f"{expression[: _SHOWN - 3]}..."
        super().__init__(f"expression {shown!r}, column {column}: {problem}")
        self.expression = expression
        self.column = column
        self.problem = problem

    def caret(self) -> str:
        """Two lines: the expression, and a caret below the place."""
        line = self.expression.replace("\n", " ").replace("\t", " ")
        return f"{line}\n{' ' * (self.column - 1)}^"


def near(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'? ` for the nearest known word, or nothing."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]!r}? " if found else ""


class Translator:
    """Makes the plain translation of one expression, and refuses what is not allowed.

    Afterwards `fields` are the names of the record's fields that it reads by name, and `names` are the objects that the
    translation refers to. `uses_is_error` tells whether it looks at the record's error flag.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: set[str] = set()
        self.names: dict[str, Any] = {}
        self.uses_is_error = False
        self._depth = 0

    def translate(self, node: ast.expr) -> ast.expr:
        """The translation of `node`. Raises ExpressionError."""
        handler: Callable[[Any], ast.expr] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        if handler is None or type(node) in _REFUSED:
            self.refuse(node, _REFUSED.get(type(node), f"{type(node).__name__} is not allowed"))
        if self._depth >= DEPTH_MAX:
            self.refuse(node, f"is nested more than {DEPTH_MAX} levels deep; split it over several steps")
        self._depth += 1
        translated = handler(node)
        self._depth -= 1
        return translated

    def refuse(self, node: ast.AST, problem: str) -> NoReturn:
        """Raises ExpressionError at the place of `node`."""
        # Python counts bytes, people count characters.
        before = self.text.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore")
        raise ExpressionError(self.text, min(len(before) + 1, max(1, len(self.text))), problem)

    # --- what differs in the careful translation ----------------------------------------------------------------------

    def field(self, name: str) -> ast.expr:
        """The record's field `name`."""
        return ast.Subscript(load("r"), ast.Constant(name), ast.Load())

    def item(self, base: ast.expr, key: ast.expr) -> ast.expr:
        """An item, or a slice, of a value."""
        return ast.Subscript(base, key, ast.Load())

    def compare(self, left: ast.expr, pairs: list[tuple[ast.cmpop, ast.expr]]) -> ast.expr:
        """A comparison, of more than two values when chained."""
        return ast.Compare(left, [operator for operator, _ in pairs], [right for _, right in pairs])

    def call(self, name: str, function: Callable[..., Any], arguments: list[ast.expr], *, takes_none: bool = False) -> ast.expr:
        """A call of one of our functions. `takes_none` says that None is an argument like any other."""
        del takes_none
        self.names[f"f_{name}"] = function
        return ast.Call(load(f"f_{name}"), arguments, [])

    def method(self, value: ast.expr, name: str, arguments: list[ast.expr]) -> ast.expr:
        """A call of a method that is on the list."""
        return ast.Call(ast.Attribute(value, name, ast.Load()), arguments, [])

    # --- values -------------------------------------------------------------------------------------------------------

    def _constant(self, node: ast.Constant) -> ast.expr:
        if not (node.value is None or isinstance(node.value, (str, bool, int, float))):
            self.refuse(node, f"{node.value!r} is not allowed; values are texts, numbers, True, False and None")
        try:
            functions.check_sendable(node.value)
        except ValueError as error:
            self.refuse(node, str(error))
        return ast.Constant(node.value)

    def _name(self, node: ast.Name) -> ast.expr:
        if node.id in SPECIAL_NAMES:
            return self._special(node.id)
        self._check_name(node, node.id)
        if node.id in _NOT_FIELDS:
            self.refuse(node, f'unknown value {node.id!r}; write {_NOT_FIELDS[node.id]}, or record["{node.id}"] for a field of that name')
        self.fields.add(node.id)
        return self.field(node.id)

    def _special(self, name: str) -> ast.expr:
        if name == "is_error":
            self.uses_is_error = True
            return load("e")
        # A copy: a record must never come to contain itself.
        return self.call("dict", dict, [load(SPECIAL_NAMES[name])])

    def _check_name(self, node: ast.AST, name: str) -> None:
        if name.startswith("__"):
            self.refuse(node, f'{name!r} is not allowed; for a field whose name begins with two underscores write get("{name}")')

    def _attribute(self, node: ast.Attribute) -> ast.expr:
        self._check_name(node, node.attr)
        return self.item(self._base(node.value), ast.Constant(node.attr))

    def _subscript(self, node: ast.Subscript) -> ast.expr:
        base = self._base(node.value)
        if isinstance(node.slice, ast.Slice):
            return self.item(base, self._bounds(node.slice))
        return self.item(base, self.translate(node.slice))

    def _bounds(self, node: ast.Slice) -> ast.expr:
        bounds = [None if bound is None else self.translate(bound) for bound in (node.lower, node.upper, node.step)]
        return ast.Slice(*bounds)

    def _base(self, node: ast.expr) -> ast.expr:
        """A value that is only looked into, so that `record` and `source` need no copy."""
        if isinstance(node, ast.Name) and node.id in {"record", "source"}:
            return load(SPECIAL_NAMES[node.id])
        return self.translate(node)

    def _list(self, node: ast.List) -> ast.expr:
        return ast.List([self.translate(element) for element in node.elts], ast.Load())

    def _tuple(self, node: ast.Tuple) -> ast.expr:
        return ast.Tuple([self.translate(element) for element in node.elts], ast.Load())

    def _dict(self, node: ast.Dict) -> ast.expr:
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                self.refuse(key or value, "a mapping needs texts as its keys; write {'name': value}")
        return ast.Dict(list(node.keys), [self.translate(value) for value in node.values])

    def _joinedstr(self, node: ast.JoinedStr) -> ast.expr:
        return self.call("join_text", functions.join_text, [self._part(part) for part in node.values], takes_none=True)

    def _part(self, part: ast.expr) -> ast.expr:
        if isinstance(part, ast.FormattedValue):
            if part.conversion != -1 or part.format_spec is not None:
                self.refuse(part, _REFUSED[ast.FormattedValue])
            part = part.value
        return self.translate(part)

    # --- operators ----------------------------------------------------------------------------------------------------

    def _boolop(self, node: ast.BoolOp) -> ast.expr:
        return ast.BoolOp(node.op, [self.translate(value) for value in node.values])

    def _unaryop(self, node: ast.UnaryOp) -> ast.expr:
        value = self.translate(node.operand)
        if isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, value)
        if not isinstance(node.op, ast.USub):
            self.refuse(node, "only '-' and 'not' are allowed before a value")
        if isinstance(value, ast.Constant) and isinstance(value.value, (int, float)):
            return self._constant(ast.copy_location(ast.Constant(-value.value), node))
        return self.call("negate", functions.negate, [value])

    def _binop(self, node: ast.BinOp) -> ast.expr:
        name = _OPERATORS.get(type(node.op))
        if name is None:
            self.refuse(node, _REFUSED_OPERATORS[type(node.op)])
        return self.call(name, getattr(functions, name), [self.translate(node.left), self.translate(node.right)])

    def _ifexp(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(self.translate(node.test), self.translate(node.body), self.translate(node.orelse))

    def _compare(self, node: ast.Compare) -> ast.expr:
        left = self.translate(node.left)
        return self.compare(left, [(op, self._operand(op, right)) for op, right in zip(node.ops, node.comparators, strict=True)])

    def _operand(self, operator: ast.cmpop, right: ast.expr) -> ast.expr:
        if isinstance(operator, (ast.In, ast.NotIn)):
            if isinstance(right, ast.Set):
                return ast.Set([self.translate(element) for element in right.elts])
            return self._base(right)
        if isinstance(operator, (ast.Is, ast.IsNot)) and not (isinstance(right, ast.Constant) and right.value in (None, True, False)):
            self.refuse(right, "'is' is only allowed before None, True and False; write '=='")
        return self.translate(right)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> ast.expr:
        for keyword in node.keywords:
            self.refuse(keyword, f"{keyword.arg or '**'}= is not allowed; arguments are given by position")
        if isinstance(node.func, ast.Name):
            return self._function_call(node, node.func.id)
        if not isinstance(node.func, ast.Attribute):
            self.refuse(node, f"only functions can be called: {', '.join(FUNCTIONS)}")
        return self._method_call(node, node.func)

    def _function_call(self, node: ast.Call, name: str) -> ast.expr:
        function = FUNCTIONS.get(name)
        if function is None:
            self.refuse(node, f"unknown function {name!r}; {near(name, FUNCTIONS)}there are: {', '.join(FUNCTIONS)}")
        self._check_count(node, function.arguments, function.summary)
        if name in {"has", "get"}:
            return self._lookup(name, node.args)
        if name == "matches":
            return self._matches(node)
        return self.call(name, function.call, [self.translate(argument) for argument in node.args], takes_none=function.takes_none)

    def _check_count(self, node: ast.Call, allowed: tuple[int, int], usage: str) -> None:
        least, most = allowed
        if not least <= len(node.args) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            self.refuse(node, f"takes {count} argument{'' if count == '1' else 's'}, not {len(node.args)}; {usage}")

    def _lookup(self, name: str, arguments: list[ast.expr]) -> ast.expr:
        key, *default = [self.translate(argument) for argument in arguments]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            self.fields.add(key.value)
            if "." not in key.value:
                if name == "has":
                    return ast.Compare(key, [ast.In()], [load("r")])
                return ast.Call(ast.Attribute(load("r"), "get", ast.Load()), [key, *default], [])
        return self.call(name, FUNCTIONS[name].call, [load("r"), key, *default], takes_none=True)

    def _matches(self, node: ast.Call) -> ast.expr:
        text, pattern = node.args
        if not (isinstance(pattern, ast.Constant) and isinstance(pattern.value, str)):
            self.refuse(pattern, 'matches needs its pattern written out: matches(field, "pattern")')
        try:
            search = compile_pattern(pattern.value).search
        except PatternError as error:
            self.refuse(pattern, str(error))
        name = f"p_{len([known for known in self.names if known.startswith('p_')])}"
        self.names[name] = search
        return self.call("matches", functions.matches, [load(name), self.translate(text)])

    def _method_call(self, node: ast.Call, function: ast.Attribute) -> ast.expr:
        name = function.attr
        self._check_name(function, name)
        if name not in METHODS:
            self.refuse(node, f"unknown method {name!r}; {near(name, METHODS)}there are: {', '.join(METHODS)}")
        self._check_count(node, METHODS[name], f"see Python's str.{name}")
        value = self._base(function.value)
        arguments = [self.translate(argument) for argument in node.args]
        if name in BOUNDED_METHODS:
            return self.call(name, BOUNDED_METHODS[name], [value, *arguments])
        return self.method(value, name, arguments)


class CarefulTranslator(Translator):
    """Makes the careful translation: nothing raises because a field is missing, None or of another type."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._kept = 0

    def field(self, name: str) -> ast.expr:
        return ast.Call(ast.Attribute(load("r"), "get", ast.Load()), [ast.Constant(name)], [])

    def item(self, base: ast.expr, key: ast.expr) -> ast.expr:
        if isinstance(key, ast.Slice):
            bounds = [bound or ast.Constant(None) for bound in (key.lower, key.upper, key.step)]
            key = self._direct("slice", slice, bounds)
        return self._direct("item", functions.item, [base, key])

    def compare(self, left: ast.expr, pairs: list[tuple[ast.cmpop, ast.expr]]) -> ast.expr:
        """`a < b < c` becomes `less(a, (t := b)) and less(t, c)`: each value is computed once, and only when needed."""
        terms: list[ast.expr] = []
        for position, (operator, right) in enumerate(pairs):
            following = right
            if position < len(pairs) - 1:
                self._kept += 1
                kept = f"t_{self._kept}"
                right = ast.NamedExpr(ast.Name(kept, ast.Store()), right)
                following = load(kept)
            terms.append(self._compare_two(left, operator, right))
            left = following
        return terms[0] if len(terms) == 1 else ast.BoolOp(ast.And(), terms)

    def _compare_two(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
        match operator:
            case ast.Lt():
                return self._direct("less", functions.less, [left, right])
            case ast.LtE():
                return self._direct("less_or_equal", functions.less_or_equal, [left, right])
            case ast.Gt():
                return self._direct("more", functions.more, [left, right])
            case ast.GtE():
                return self._direct("more_or_equal", functions.more_or_equal, [left, right])
            case ast.In():
                return self._direct("is_in", functions.is_in, [left, right])
            case ast.NotIn():
                return ast.UnaryOp(ast.Not(), self._direct("is_in", functions.is_in, [left, right]))
            case _:
                return ast.Compare(left, [operator], [right])

    def call(self, name: str, function: Callable[..., Any], arguments: list[ast.expr], *, takes_none: bool = False) -> ast.expr:
        return self._direct(name, function if takes_none else functions.null_safe(function), arguments)

    def method(self, value: ast.expr, name: str, arguments: list[ast.expr]) -> ast.expr:
        return self._direct("method", functions.method, [ast.Constant(name), value, *arguments])

    def _direct(self, name: str, function: Callable[..., Any], arguments: list[ast.expr]) -> ast.expr:
        return super().call(name, function, arguments)


def is_boolean(node: ast.expr) -> bool:
    """Whether a translated plain expression can only give True or False."""
    match node:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.BoolOp(values=values):
            return all(map(is_boolean, values))
        case ast.Call(func=ast.Name(id=name)):
            return name.removeprefix("f_") in _PREDICATES
        case ast.Call(func=ast.Attribute(attr=name)):
            return name.startswith(("is", "startswith", "endswith"))
        case _:
            return False


def load(name: str) -> ast.Name:
    """A reference to `name` in compiled code."""
    return ast.Name(name, ast.Load())
