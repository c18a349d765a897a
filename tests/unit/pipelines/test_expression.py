from __future__ import annotations

import doctest
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standpipe.core.errors import ConfigurationError
from standpipe.pipelines import expression as expression_module
from standpipe.pipelines.expression import LENGTH_MAX, Expression, ExpressionError, compile_expression
from standpipe.pipelines.expression_functions import FUNCTIONS, METHODS, TEXT_MAX

RECORD: dict[str, Any] = {
    "status": 503,
    "path": "/api/Items",
    "size": "120",
    "ratio": 0.25,
    "user": {"name": "ann", "tags": ["a", "b"], "a.b": 1},
    "empty": None,
    "flag": True,
    "a.b": "dotted",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("status >= 500", True),
        ("200 <= status < 300", False),
        ("500 <= status < 600 <= 700", True),
        ("status == 503 and not flag", False),
        ("status in (500, 503)", True),
        ("status in {500, 503}", True),
        ("status not in [1, 2]", True),
        ("empty is None and flag is True and status is not None", True),
        ("user.name", "ann"),
        ('user["tags"][0]', "a"),
        ("user.tags[-1]", "b"),
        ("user.name[1:]", "nn"),
        ("user.name[::-1]", "nna"),
        ("status + 1", 504),
        ("-status", -503),
        ("-5", -5),
        ("status % 100 * 2 - 1", 5),
        ("status // 100", 5),
        ("ratio / 2", 0.125),
        ('path + "?"', "/api/Items?"),
        ('"bad" if status >= 500 else "good"', "bad"),
        ("path.lower()", "/api/items"),
        ("lower(path)", "/api/items"),
        ("upper(user.name)", "ANN"),
        ('path.startswith("/api")', True),
        ('startswith(path, ("/x", "/api"))', True),
        ('endswith(path, "Items")', True),
        ('contains(path, "api")', True),
        ('"api" in path', True),
        ('"status" in record', True),
        (r'matches(path, "^/api/\w+$")', True),
        ('matches(path, "items")', False),
        ("int(size) + 1", 121),
        ('int("ff", 16)', 255),
        ("float(size)", 120.0),
        ("str(status)", "503"),
        ("str(user.tags)", '["a","b"]'),
        ("bool(empty)", False),
        ("len(user.tags)", 2),
        ("abs(-3)", 3),
        ("min(3, 2)", 2),
        ("max(user.tags)", "b"),
        ("round(ratio, 1)", 0.2),
        ("round(2.6)", 3),
        ('replace(path, "/", ".")', ".api.Items"),
        ('path.replace("/", ".", )', ".api.Items"),
        ('"-".join(path.split("/"))', "-api-Items"),
        ('split(path, "/")[1]', "api"),
        ('strip("  x ")', "x"),
        ('f"{status} {user.name}{empty}!"', "503 ann!"),
        ('has("status")', True),
        ('has("empty")', True),
        ('has("user.name")', True),
        ('has("gone")', False),
        ('get("gone", 7)', 7),
        ('get("user.name")', "ann"),
        ('get("a.b")', "dotted"),
        ('user.get("a.b")', 1),
        ("is_error", True),
        ("source.path", "/var/log/x"),
        ('{"s": status, "l": [1, path]}', {"s": 503, "l": [1, "/api/Items"]}),
        ("now() > 1600000000", True),
        ("record.status", 503),
        ("status >= 500\n  and flag", True),
        ("  status  ", 503),
        (r'matches(path, "\w")', True),
    ],
)
def test_value_of_an_expression(text: str, value: Any) -> None:
    expression = compile_expression(text)
    source = {"path": "/var/log/x"}
    assert expression(RECORD, True, source) == value
    assert type(expression(RECORD, True, source)) is type(value)
    assert expression.map([RECORD, RECORD], [True, True], source) == [value, value]
    assert expression.filter_mask([RECORD], [True], source) == [bool(value)]
    assert expression.errors == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("gone", None),
        ("gone.deeper.still", None),
        ("status.code", None),
        ("user.tags[9]", None),
        ("user.tags.name", None),
        ("gone[1:2]", None),
        ("gone > 1", False),
        ("gone < 1", False),
        ("gone == 1", False),
        ("gone != 1", True),
        ("not gone", True),
        ("path >= 500", False),
        ("1 < empty < 3", False),
        ("1 < 2 < gone", False),
        ("gone in (1, 2)", False),
        ("1 in gone", False),
        ("1 not in gone", True),
        ("1 in path", False),
        ("user in {1, 2}", False),
        ("gone + 1", None),
        ("1 - empty", None),
        ("-gone", None),
        ("gone.lower()", None),
        ("lower(gone)", None),
        ('gone.startswith("x")', None),
        ('matches(gone, "x")', None),
        ("int(empty)", None),
        ("str(empty)", None),
        ("len(gone)", None),
        ("min(gone, 1)", None),
        ("round(gone)", None),
        ("gone.get(1)", None),
        ('f"<{gone}>"', "<>"),
        ("source.gone", None),
        ("gone or path", "/api/Items"),
    ],
)
def test_missing_and_foreign_values_are_not_errors(text: str, value: Any) -> None:
    expression = compile_expression(text)
    assert expression(RECORD) == value
    assert expression.map([RECORD, {}])[0] == value
    assert expression.filter_mask([{**RECORD}]) == [bool(value)]
    assert expression.errors == 0


@pytest.mark.parametrize(
    "text",
    [
        "status / 0",
        "status % 0",
        "int(path)",
        'path * 3 == "x"',
        '"%1000000000d" % status',
        "path - 1",
        "status + path",
        "lower(status)",
        "status.lower()",
        "path.get(1)",
        "len(status)",
        'float("nan")',
        'float("inf")',
        "int(1e300)",
        "18446744073709551615 + 1",
        "9223372036854775807 * 9223372036854775807",
        "1e308 * 10",
        "round(ratio, 1000000000)",
        'path.split("")',
        '",".join(status)',
        "max(user.tags, 1)",
    ],
)
def test_what_cannot_be_computed_is_none_and_counted(text: str) -> None:
    expression = compile_expression(text)
    assert expression(RECORD) in (None, False)
    assert expression.errors == 1
    assert expression.filter_mask([RECORD, RECORD]) == [False, False]
    assert expression.errors == 3


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ('__import__("os").system("id")', 1, "'system'"),
        ('__import__("os")', 1, "unknown function '__import__'"),
        ("().__class__", 1, "'__class__' is not allowed"),
        ("path.__class__.__mro__", 1, "'__mro__' is not allowed"),
        ("__builtins__", 1, "'__builtins__' is not allowed"),
        ('"a" * 10**9', 7, "'**' is not allowed; multiply instead"),
        ("9**9**9", 1, "'**' is not allowed"),
        ("1 << 99", 1, "'<<' is not allowed"),
        ("[x for x in path]", 1, "a comprehension is not allowed"),
        ("{x for x in path}", 1, "a comprehension is not allowed"),
        ("{x: 1 for x in path}", 1, "a comprehension is not allowed"),
        ("max(x for x in path)", 4, "a comprehension is not allowed"),
        ('"{0.__class__}".format(path)', 1, "unknown method 'format'"),
        ('path.format_map({"a": 1})', 1, "unknown method 'format_map'"),
        ("path.encode()", 1, "unknown method 'encode'"),
        ('path.zfill(1000000000) == "x"', 1, "unknown method 'zfill'"),
        ("lambda: 1", 1, "'lambda' is not allowed"),
        ("(x := 1)", 2, "':=' is not allowed"),
        ("await path", 1, "'await' is not allowed"),
        ("(yield path)", 2, "'yield' is not allowed"),
        ('f"{path!r}"', 1, "a format is not allowed"),
        ('f"{path!r:>{10**9}}"', 1, "a format is not allowed"),
        ('f"{path:>1000000000}"', 1, "a format is not allowed"),
        ("eval(path)", 1, "unknown function 'eval'"),
        ("exec(path)", 1, "unknown function 'exec'"),
        ("getattr(path, 'x')", 1, "unknown function 'getattr'"),
        ("len(path)(1)", 1, "only functions can be called"),
        ("(lower)(path)(1)", 1, "only functions can be called"),
        ("max(*path)", 5, "'*' before a value is not allowed"),
        ("max(path, key=len)", 11, "key= is not allowed"),
        ("{**user}", 4, "a mapping needs texts as its keys"),
        ("{status: 1}", 2, "a mapping needs texts as its keys"),
        ("{1, 2}", 1, "a set is only allowed after 'in'"),
        ("path[1:2, 3]", 6, "Slice is not allowed"),
        ("status is 5", 11, "'is' is only allowed before None"),
        ("~status", 1, "only '-' and 'not' are allowed"),
        ("(status > 1) & flag", 1, "'&' is not allowed; write 'and'"),
        ("status | flag", 1, "'|' is not allowed; write 'or'"),
        ("status @ flag", 1, "'@' is not allowed"),
        ('b"x"', 1, "is not allowed; values are texts, numbers"),
        ("1j", 1, "is not allowed; values are texts, numbers"),
        ("...", 1, "is not allowed; values are texts, numbers"),
        ("1e999", 1, "the number is too large"),
        ("99999999999999999999", 1, "Integer exceeds 64-bit range"),
        ("-9223372036854775809", 1, "Integer exceeds 64-bit range"),
        (r'"\ud800"', 1, "the value cannot be sent as JSON: str is not valid UTF-8"),
        ("matches(path, user)", 15, "matches needs its pattern written out"),
        (r'matches(path, "(a+)+$")', 15, "repeats a repetition"),
        ('matches(path, "[")', 15, "unterminated character set"),
        ("lenght(path)", 1, "unknown function 'lenght'; did you mean 'len'? there are: abs, bool,"),
        ("path.lowr()", 1, "unknown method 'lowr'; did you mean 'lower'?"),
        ("len()", 1, "takes 1 argument, not 0; len(value)"),
        ("round(1, 2, 3)", 1, "takes 1 to 2 arguments, not 3"),
        ("path.strip(1, 2)", 1, "takes 0 to 1 arguments, not 2"),
        ("status = 5", 8, "write '==' to compare"),
        ("status > 5 && flag", 13, "write 'and' instead of '&&'"),
        ("status > 5 || flag", 13, "write 'or' instead of '||'"),
        ("!flag", 1, "write 'not' instead of '!'"),
        ("flag ? 1 : 2", 6, "write 'x if condition else y'"),
        ("$status > 5", 1, "without '$'"),
        ('path =~ "x"', 6, "write matches(field"),
        ("from == 1", 1, 'record["from"]'),
        ("path == null", 9, "unknown value 'null'; write None"),
        ("flag == true", 9, "unknown value 'true'; write True"),
        ("a b", 3, "is not an expression: invalid syntax"),
        ("(", 1, "'(' was never closed"),
        ("'abc", 1, "unterminated string"),
        ("", 1, "is empty"),
        (" \n ", 1, "is empty"),
        ("a\0b", 1, "null bytes"),
        ("\ud800", 1, "surrogates not allowed"),
        ("ä + ö + (1 @ 2)", 10, "'@' is not allowed"),
        ("x" * (LENGTH_MAX + 1), 1, f"at most {LENGTH_MAX} are allowed"),
        ("-" * 4000 + "x", 1, "nested too deeply"),
        ("(" * 1000, 201, "too many nested parentheses"),
        ("a" + ".a" * 1300, 1, "at most 800 are allowed"),
        ("not " * 60 + "a", 161, "nested more than 40 levels deep"),
        ("+".join(["x"] * 100), 1, "nested more than 40 levels deep"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_place_and_the_remedy(text: str, column: int, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text)
    assert problem in str(caught.value)
    assert caught.value.column == column
    assert caught.value.problem in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ValueError)


def test_the_caret_stands_below_the_place() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression("status >= 500 and\nlenght(path) > 3")
    assert caught.value.caret() == "status >= 500 and lenght(path) > 3\n                  ^"


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ('m.replace("", m)', {"m": "x" * 100_000}),
        ('m.replace("a", "aaaaaaaaaaaaaaaaaaaaaaaaa")' + '.replace("a", "aaaaaaaaaaaaaaaaaaaaaaaaa")' * 20, {"m": "a" * 100}),
        ("m.join(m)", {"m": "x" * 100_000}),
        ("+".join(["m"] * 30), {"m": "x" * 100_000}),
        ('f"' + "{m}" * 30 + '"', {"m": "x" * 100_000}),
        ("str([" * 15 + "m" + "])" * 15, {"m": '"' * 100_000}),
        ("m * 1000000000", {"m": "x"}),
        ("m * 1000000000", {"m": [1]}),
        ("*".join(["n"] * 39), {"n": 2**63}),
    ],
)
def test_no_expression_makes_a_result_without_bound(text: str, record: dict[str, Any]) -> None:
    expression = compile_expression(text)
    start = time.process_time()
    assert expression(record) is None
    assert expression.errors == 1
    assert time.process_time() - start < 2


def test_a_text_up_to_the_bound_is_made() -> None:
    assert len(compile_expression("m + m")({"m": "x" * (TEXT_MAX // 2)})) == TEXT_MAX


def test_a_record_never_comes_to_contain_itself() -> None:
    row: dict[str, Any] = {"a": 1}
    value = compile_expression('{"all": [record], "from": source}')(row, False, {"agent": "tail"})
    row["copy"] = value
    assert value == {"all": [{"a": 1}], "from": {"agent": "tail"}}
    assert type(value["from"]) is dict


def test_a_batch_with_one_odd_record_gives_the_others_their_values() -> None:
    expression = compile_expression("100 / size > 10")
    rows: list[dict[str, Any]] = [{"size": 1}, {"size": 0}, {}, {"size": "x"}, {"size": 50}]
    assert expression.filter_mask(rows) == [True, False, False, False, False]
    assert expression.errors == 2
    assert expression.map(rows) == [True, None, False, None, False]


def test_a_mask_holds_booleans_only() -> None:
    assert compile_expression("size").filter_mask([{"size": 3}, {"size": ""}, {}]) == [True, False, False]
    assert all(type(place) is bool for place in compile_expression("a and b or 3").filter_mask([{"a": 1, "b": 2}, {}]))


def test_error_flags_reach_each_record_of_a_batch() -> None:
    expression = compile_expression("is_error or status > 1")
    assert expression.filter_mask([{"status": 0}, {"status": 0}, {}], [True, False, True]) == [True, False, True]
    assert expression.filter_mask([{"status": 2}]) == [True]


def test_the_fields_that_are_read_are_known() -> None:
    expression = compile_expression('status > 1 and user.name == get("x.y") and has("z") and record["q"] and is_error and source.path')
    assert expression.fields == {"status", "user", "x.y", "z"}


@pytest.mark.parametrize("name", ["len", "now", "f_len", "zip", "r", "e", "s", "rows", "flags", "t_1", "one"])
def test_a_field_may_be_named_like_something_inside_the_compiled_code(name: str) -> None:
    assert compile_expression(f"1 < {name} < 9")({name: 5}) is True
    assert compile_expression(f"1 < {name} < 9").map([{name: 5}, {}]) == [True, False]


def test_every_function_and_method_is_usable() -> None:
    for name, function in FUNCTIONS.items():
        assert function.summary.startswith(f"{name}(")
    for name in set(METHODS) - {"get"}:
        assert hasattr(str, name)
    assert list(FUNCTIONS) == sorted(FUNCTIONS)
    assert list(METHODS) == sorted(METHODS)


def test_the_examples_in_the_documentation_are_true() -> None:
    failed, tried = doctest.testmod(expression_module, optionflags=doctest.ELLIPSIS)
    assert tried > 1
    assert failed == 0


def compiled_or_refused(text: str) -> Expression | None:
    try:
        return compile_expression(text)
    except ExpressionError as error:
        place = error.column
    assert 1 <= place <= max(1, len(text))
    return None


# --- properties -------------------------------------------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, -2.0]) | st.sampled_from(["", "a", "ab", "12", "A b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
_RECORDS = st.dictionaries(st.sampled_from("abcd"), _VALUES, max_size=4)
_LEAVES = st.sampled_from(["a", "b", "c.a", "d", "0", "1", "2.5", '"a"', '"12"', "None", "True", "[]", '["a", 1]', "is_error", "record"])


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.sampled_from(["<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/", "//", "%", "and", "or", "in", "not in"])
    unary = st.sampled_from(["-({})", "not ({})", "len({})", "str({})", "int({})", "lower({})", "({}).upper()", "({})[0]", '({})["a"]'])
    unary = unary | st.sampled_from(["bool({})", "({}).split()", "({})[0:1]", 'f"<{{{}}}>"', 'matches({}, "a")', "({}) is None"])
    two = st.sampled_from(["min({}, {})", "contains({}, {})", "startswith({}, {})", "({}).get({})", "({}).strip({})", "round({}, {})"])
    return (
        st.builds(lambda left, operator, right: f"({left}) {operator} ({right})", inner, binary, inner)
        | st.builds(lambda form, value: form.format(value.replace('"', "'")), unary, inner)
        | st.builds(lambda form, left, right: form.format(left, right), two, inner, inner)
        | st.builds(lambda a, b, c: f"({a}) if ({b}) else ({c})", inner, inner, inner)
        | st.builds(lambda a, b, c: f"({a}) < ({b}) <= ({c})", inner, inner, inner)
    )


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


@given(st.recursive(_LEAVES, _grow, max_leaves=6), st.lists(_RECORDS, max_size=3), st.booleans())
@settings(max_examples=400)
def test_the_careful_code_agrees_with_the_plain_code_wherever_that_has_a_value(text: str, rows: list[dict[str, Any]], flag: bool) -> None:
    expression = compiled_or_refused(text)
    if expression is None:
        return
    singles = [expression(row, flag) for row in rows]
    for row, single in zip(rows, singles, strict=True):
        try:
            plain = expression._plain(row, flag, {})
        except Exception:
            continue
        assert _same(plain, single)
        assert _same(plain, expression._careful(row, flag, {}))
    flags = [flag] * len(rows)
    assert expression.map(rows, flags) == singles
    assert expression.filter_mask(rows, flags) == [bool(value) for value in singles]


_WORDS = "a b 1 2.5 'x' and or not in is None if else for lambda f'{a}' len lower __class__ import await"
_MARKS = "( ) [ ] { } . , : + - * ** / % < > == != = := \\ \" ' # @ ~"
_TOKENS = st.sampled_from([*f"{_WORDS} {_MARKS}".split(), "\n"])


@given(st.text(max_size=60) | st.lists(_TOKENS, max_size=12).map(" ".join) | st.lists(_TOKENS, max_size=12).map("".join))
@settings(max_examples=600)
def test_any_text_compiles_or_is_refused_and_never_raises_for_a_record(text: str) -> None:
    expression = compiled_or_refused(text)
    if expression is None:
        return
    for row in ({}, {"a": 1, "b": "x"}, {"a": {"b": [1]}, "b": None}):
        expression(row)
        expression.map([row])
        expression.filter_mask([row])
