"""Every kind of bad input with the exact line that the user reads."""

from __future__ import annotations

import pytest

from standpipe.config import ConfigProblems, Validator, load_document_text, resolve_secrets
from standpipe.config.problems import Problem
from tests.unit.config.models import ProducerConfig

TAGS = "only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are; remove the tag"

IN_QUOTES = "; mend the value, or put it in quotes if it is text"
PRINTABLE = "; remove it, or write it as an escape in double quotes"

TEXTS = [
    ("", "f.yaml: the file holds no configuration; 'standpipe init' writes one to start from"),
    ("# nothing\n", "f.yaml: the file holds no configuration; 'standpipe init' writes one to start from"),
    ("- a\n", "f.yaml:1:1: expected a mapping at the top, found a list; begin with 'producers:'"),
    ("hello\n", "f.yaml:1:1: expected a mapping at the top, found text 'hello'; begin with 'producers:'"),
    ("null\n", "f.yaml:1:1: expected a mapping at the top, found nothing; begin with 'producers:'"),
    ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second YAML document begins here; keep one document in a file"),
    ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: duplicate key 'a'; it stands at line 1, column 1 already; keep one of the two"),
    (
        "p:\n  - q: {x: 1,\n        x: 2}\n",
        "f.yaml:3:9: p[0].q.x: duplicate key 'x'; it stands at line 2, column 9 already; keep one of the two",
    ),
    ("1: a\n", "f.yaml:1:1: the key '1' is not text; write it in quotes: \"1\""),
    ("p: {true: a}\n", "f.yaml:1:5: p: the key 'true' is not text; write it in quotes: \"true\""),
    ("p: {[1]: a}\n", "f.yaml:1:5: p: a key must be text; write a name before the colon"),
    ("p: {~: a}\n", "f.yaml:1:5: p: the key '~' is not text; write it in quotes: \"~\""),
    ("p: !!python/object/apply:os.system [ls]\n", f"f.yaml:1:4: p: the tag '!!python/object/apply:os.system' is not allowed, {TAGS}"),
    ("p: !secret x\n", f"f.yaml:1:4: p: the tag '!secret' is not allowed, {TAGS}"),
    ("p: !!set {a, b}\n", f"f.yaml:1:4: p: the tag '!!set' is not allowed, {TAGS}"),
    ("p: !!binary aGk=\n", f"f.yaml:1:4: p: the tag '!!binary' is not allowed, {TAGS}"),
    ("p: !!int x\n", f"f.yaml:1:4: p: 'x' is not a value of the type !!int{IN_QUOTES}"),
    ("p: 1e999\n", f"f.yaml:1:4: p: the number 1e999 is too large{IN_QUOTES}"),
    (
        f"p: {'9' * 5000}\n",
        f"f.yaml:1:4: p: a number of 5000 characters is too long, at most 100 are allowed{IN_QUOTES}",
    ),
    (
        'p: "\\ud800"\n',
        f"f.yaml:1:4: p: half of a surrogate pair is not a character{IN_QUOTES}",
    ),
    ("p: *x\n", "f.yaml:1:4: p: the alias *x names nothing; write the value here, or mark it with &x further up"),
    (
        "p: &x [*x]\n",
        "f.yaml:1:8: p[0]: the alias *x stands inside the value it names; write the value here, or mark it with &x further up",
    ),
    ("p: {<<: 5}\n", 'f.yaml:1:9: p."<<": only mappings can be merged with <<; name one with *alias, or several in a list'),
    ("p: " + "[" * 3000, "f.yaml:1:67: nested more than 64 levels deep; make the configuration flatter"),
    ("? " * 3000, "f.yaml:1:129: nested more than 64 levels deep; make the configuration flatter"),
    ("p: [" + "a," * 120_000 + "a]\n", "f.yaml:1:199999: more than 100000 values; split the configuration over several processes"),
    ("p:\n\t- a\n", "f.yaml:2:1: not valid YAML: a tab cannot start a value; indent with spaces"),
    (
        "p: a: b\n",
        "f.yaml:1:5: not valid YAML: a second ': ' does not fit here; put a value that contains ': ' in quotes, or mend the indentation",
    ),
    ("p: @x\n", "f.yaml:1:4: not valid YAML: a value cannot start with this character; put the value in quotes"),
    ("p: 'x\n\n", "f.yaml:1:4: not valid YAML: the quotes are not closed; close the quotes"),
    ("p: 'it's'\n", "f.yaml:1:8: not valid YAML: a value does not fit here; mend the indentation, or the quotes of this line"),
    (
        'p: "\\q"\n',
        "f.yaml:1:6: not valid YAML: found unknown escape character 'q'; write the text in single quotes, or double the backslash",
    ),
    (
        "p: [1, 2\n",
        "f.yaml:2:1: not valid YAML: a bracket is not closed, or a comma is missing; close the bracket, and put commas between the items",
    ),
    ("p: {q: ${env:X}}\n", "f.yaml:1:9: not valid YAML: a '{' does not fit here; put ${...} in quotes inside [...] and {...}"),
    ("p: }\n", "f.yaml:1:4: not valid YAML: a value is missing; write a value, or put it in quotes"),
    (
        "p: b\n- c\n",
        "f.yaml:2:1: not valid YAML: a list item does not fit here; put the list under its key, each '-' in the same column",
    ),
    ("- a\np: b\n", "f.yaml:2:1: not valid YAML: a key does not fit here; mend the indentation"),
    (
        "a: 1\np: x\x01\n",
        f"f.yaml:2:5: not valid YAML: special characters are not allowed, found U+0001{PRINTABLE}",
    ),
    ('p: "\\UFFFFFFFF"\n', "f.yaml:1:7: not valid YAML: a number in an escape or directive is out of range"),
    ("%YAML 2.0\n---\np: 1\n", "f.yaml:1:1: not valid YAML: found incompatible YAML document (version 1.* is required)"),
    ("p: &", "f.yaml:1:5: not valid YAML: expected alphabetic or numeric character, but found the end of the file"),
]


@pytest.mark.parametrize(("text", "line"), TEXTS, ids=lambda value: repr(value[:30]))
def test_bad_text_is_explained(text: str, line: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_document_text(text, "f.yaml")
    assert str(caught.value) == line


PASSWORD = "hunter2hunter2"
ENVIRONMENT = {"PASSWORD": PASSWORD, "SHORT": "abc", "EMPTY": "", "PORT": "8080", "BROKEN": "\udcff"}

FIELDS = [
    ("max_retires: 5", "3:5: producers[0].max_retires: unknown field; did you mean 'max_retries'?"),
    ("Max-Retries: 5", "3:5: producers[0].Max-Retries: unknown field; did you mean 'max_retries'?"),
    (
        "queue: {xyzzy: 1, type: memory}",
        "3:13: producers[0].queue.xyzzy: unknown field; there are: type, max_messages, on_full, memory",
    ),
    ("max_retries: 0", "3:18: producers[0].max_retries: must be at least 1, found 0"),
    ("max_retries: many", "3:18: producers[0].max_retries: expected a whole number, found text 'many'"),
    ("max_retries: 1.5", "3:18: producers[0].max_retries: expected a whole number, found the number 1.5"),
    ("max_retries: [1]", "3:18: producers[0].max_retries: expected a whole number, found a list"),
    ("max_retries:", "3:17: producers[0].max_retries: expected a whole number, found nothing; give a value, or remove the line"),
    ("ratio: x", "3:12: producers[0].ratio: expected a number, found text 'x'"),
    ("ratio: 2", "3:12: producers[0].ratio: must be less than 2, found 2"),
    ("enabled: maybe", "3:14: producers[0].enabled: expected true or false, found text 'maybe'"),
    ("compression: gzipp", "3:18: producers[0].compression: unknown value 'gzipp'; did you mean 'gzip'? there are: none, gzip"),
    ("compression: gzip", "2:5: producers[0]: 'compression: gzip' needs a 'url'"),
    (
        "queue: {type: memory, on_full: blok}",
        "3:36: producers[0].queue.on_full: unknown value 'blok'; did you mean 'block'? there are: block, raise, drop_newest",
    ),
    (
        "queue: {type: memory, on_full: 5}",
        "3:36: producers[0].queue.on_full: expected one of block, raise, drop_newest, found the number 5",
    ),
    ("queue: {type: memory, max_messages: 1001}", "3:41: producers[0].queue.max_messages: must be at most 1000, found 1001"),
    ("queue: {type: memory, memory: {x: y}}", "3:39: producers[0].queue.memory.x: expected a whole number, found text 'y'"),
    ("queue: {type: spol}", "3:19: producers[0].queue.type: unknown value 'spol'; did you mean 'spool'? there are: memory, spool"),
    ("queue: {path: x}", "3:5: producers[0].queue.type: missing field; add 'type: ...', there are: memory, spool"),
    ("queue: {type: spool}", "3:5: producers[0].queue.path: missing field; add 'path: ...' (the folder of the spool)"),
    ("queue: memory", "3:12: producers[0].queue: expected a mapping, found text 'memory'; write {type: memory}"),
    ("headers: [a]", "3:14: producers[0].headers: expected a mapping, found a list"),
    ("headers: {a b: 1}", '3:20: producers[0].headers."a b": expected text, found the number 1; write it in quotes: "1"'),
    ("headers: {a: true}", '3:18: producers[0].headers.a: expected text, found true; write it in quotes: "true"'),
    ("ports: 80", "3:12: producers[0].ports: expected a list, found the number 80"),
    ("ports: []", "3:12: producers[0].ports: must have at least 1 item, found 0"),
    ("ports: [1, 2, 3]", "3:12: producers[0].ports: must have at most 2 items, found 3"),
    ("ports: [1, x]", "3:16: producers[0].ports[1]: expected a whole number, found text 'x'"),
    ("window: some", "3:13: producers[0].window: expected 'all' or a whole number, found text 'some'"),
    ("window: [all]", "3:13: producers[0].window: expected 'all' or a whole number, found a list"),
    (
        "reconnect_wait: soon",
        "3:21: producers[0].reconnect_wait: 'soon' is not a duration; write seconds as a number, or with a unit: 500ms, 5s, 2m, 1h, 1d",
    ),
    ("reconnect_wait: 0s", "3:21: producers[0].reconnect_wait: must be greater than 0, found '0s'"),
    (
        "segment: 5XB",
        "3:14: producers[0].segment: '5XB' is not a size; write bytes as a whole number, or with a unit: 64KiB, 10MB, 1GiB",
    ),
    ("url: ftp://u:pw@h/", "3:10: producers[0].url: 'ftp://u:**********@h/' does not match the pattern ^https?://"),
    ("password: 12345", "3:15: producers[0].password: expected text, found **********; put it in quotes"),
    ("password: abc", "3:15: producers[0].password: '**********' is too short for a password"),
    ("password: ${env:SHORT}", "3:15: producers[0].password: '**********' is too short for a password"),
    ("tokens: [a, 5]", "3:17: producers[0].tokens[1]: expected text, found **********; put it in quotes"),
    ("max_retries: ${env:PASSWORD}", "3:18: producers[0].max_retries: expected a whole number, found **********"),
    ("compression: ${env:PASSWORD}", "3:18: producers[0].compression: unknown value **********; there are: none, gzip"),
    ("url: x${env:PASSWORD}", "3:10: producers[0].url: ********** does not match the pattern ^https?://"),
    (
        "segment: ${env:PASSWORD}",
        "3:14: producers[0].segment: '**********' is not a size; write bytes as a whole number, or with a unit: 64KiB, 10MB, 1GiB",
    ),
    (
        "url: ${env:NOPE}",
        "3:10: producers[0].url: the environment variable NOPE is not set; set it, or give a default: ${env:NOPE:-...}",
    ),
    ("url: ${env:BROKEN}", "3:10: producers[0].url: the environment variable BROKEN is not UTF-8; set it to text in UTF-8"),
    (
        "url: ${env:A B}",
        "3:10: producers[0].url: 'A B' is not the name of an environment variable; write ${env:NAME} or ${env:NAME:-default}",
    ),
    ("url: ${envv:X}", "3:10: producers[0].url: unknown source 'envv' in a reference; did you mean 'env'? there are: env, file"),
    ("url: ${vault:X}", "3:10: producers[0].url: unknown source 'vault' in a reference; there are: env, file"),
    ("url: ${HOME}", "3:10: producers[0].url: '${HOME}' names no source; write ${env:HOME}, or $${ for the text '${'"),
    (
        "url: ${env:X",
        "3:10: producers[0].url: a reference is not closed, or another one is inside it; write ${env:NAME}, or $${ for the text '${'",
    ),
    ("url: ${file:}", "3:10: producers[0].url: ${file:} names no file; write ${file:path}"),
    ('url: "${file:/a\\0b}"', "3:10: producers[0].url: the file '/a\\x00b': cannot be read (embedded null byte); check the file"),
    ("max_retries: !foo 5", f"3:18: producers[0].max_retries: the tag '!foo' is not allowed, {TAGS}"),
]


def problems_of(text: str) -> list[Problem]:
    problems: list[Problem] = []
    document = resolve_secrets(load_document_text(text, "f.yaml", problems), problems, ENVIRONMENT)
    validator = Validator(document, problems)
    for path, item in validator.mappings("producers"):
        validator.model(ProducerConfig, item, path)
    return problems


@pytest.mark.parametrize(("line", "expected"), FIELDS, ids=lambda value: value[:40])
def test_bad_field_is_explained(line: str, expected: str) -> None:
    problems = problems_of(f"producers:\n  - {{type: x, name: y}}\n    {line}".replace("{type: x, name: y}", "type: x") + "\n    name: y\n")
    assert [str(problem) for problem in problems] == [f"f.yaml:{expected}"]


def test_bad_names_and_items_are_explained() -> None:
    names = "  - type: a\n  - {type: b, name: a b}\n  - {type: c, name: ''}\n  - 5\n  -\n  - {type: d, name: abcdefghijklmnopqrstuvw}\n"
    text = f"producers:\n{names}"
    assert [str(problem) for problem in sorted(problems_of(text), key=lambda problem: problem.position)] == [
        "f.yaml:2:5: producers[0].name: missing field; add 'name: ...' (a name of its own)",
        "f.yaml:3:21: producers[1].name: 'a b' contains a space; use letters, digits and '-'",
        "f.yaml:4:21: producers[2].name: must have at least 1 character, found 0",
        "f.yaml:5:5: producers[3]: expected a mapping, found the number 5; write 'key: value' lines",
        "f.yaml:6:4: producers[4]: expected a mapping, found nothing; write 'key: value' lines",
        "f.yaml:7:21: producers[5].name: must have at most 20 characters, found 23",
    ]


def test_a_mapping_where_a_list_belongs_is_explained() -> None:
    assert [str(problem) for problem in problems_of("producers: {type: x}\n")] == [
        "f.yaml:1:12: producers: expected a list, found a mapping; begin each item with '- '"
    ]


def test_everything_that_is_wrong_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = "producers:\n  - type: x\n    name: y\n    name: z\n    max_retries: 0\n    url: ${env:NOPE}\n    foo: !bar 1\n  - name: q\n"
    with pytest.raises(ConfigProblems) as caught:
        raise ConfigProblems(problems_of(text))
    assert [problem.line for problem in caught.value.problems] == [4, 5, 6, 7, 7, 8]
    assert len(str(caught.value).splitlines()) == 6


def test_a_file_that_is_all_problems_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigProblems) as caught:
        load_document_text("a: 1\n" * 10_000, "f.yaml")
    assert len(caught.value.problems) == 501
    assert str(caught.value.problems[-1]) == "f.yaml:501:1: 500 problems so far, the rest was not read; mend these first"
