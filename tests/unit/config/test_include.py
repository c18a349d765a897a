from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from standpipe.config import ConfigProblems, Position, Problem, load_document

ALLOWED_TAGS = "only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are; remove the tag"
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def files(**texts: str) -> None:
        for name, text in texts.items():
            path = Path(name.replace("__", "/") + ".yaml")
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)

    return files


def problems_of(name: str) -> list[str]:
    with pytest.raises(ConfigProblems) as caught:
        load_document(name)
    return str(caught.value).splitlines()


def test_lists_are_joined_and_mappings_merged_and_positions_keep_their_file(write: Write) -> None:
    write(
        main="include: [conf/b.yaml, 'conf/[ac].yaml']\nproducers:\n  - name: main\nlogging: {level: info}\n",
        conf__a="producers:\n  - name: a\n",
        conf__b="producers: [{name: b1}, {name: b2}]\nlogging:\n  format: json\n",
        conf__c="agents:\n  - name: c\n",
    )
    document = load_document("main.yaml")
    assert document.data == {
        "producers": [{"name": "main"}, {"name": "b1"}, {"name": "b2"}, {"name": "a"}],
        "logging": {"level": "info", "format": "json"},
        "agents": [{"name": "c"}],
    }
    assert document.values[("producers", 2, "name")] == Position("conf/b.yaml", 1, 32)
    assert document.values[("producers", 3, "name")] == Position("conf/a.yaml", 2, 11)
    assert document.keys[("logging", "format")] == Position("conf/b.yaml", 3, 3)
    assert document.values[("agents",)] == Position("conf/c.yaml", 2, 3)


def test_an_included_file_includes_relative_to_itself(write: Write) -> None:
    write(main="include: conf/a.yaml\n", conf__a="include: deep/b.yaml\n", conf__deep__b="producers: [{name: b}]\n")
    document = load_document("main.yaml")
    assert document.data == {"producers": [{"name": "b"}]}
    assert document.values[("producers", 0)].file == "conf/deep/b.yaml"


def test_a_glob_leaves_out_the_file_it_stands_in(write: Write) -> None:
    write(main="include: '*.yaml'\nproducers: []\n", other="producers: [{name: x}]\n")
    assert load_document("main.yaml").data == {"producers": [{"name": "x"}]}


def test_an_empty_list_here_does_not_hide_the_list_there(write: Write) -> None:
    write(main="include: other.yaml\nproducers:\n", other="producers: [{name: x}]\nagents:\n")
    assert load_document("main.yaml").data == {"producers": [{"name": "x"}], "agents": None}


def test_a_circle_of_includes_is_shown(write: Write) -> None:
    write(main="include: a.yaml\n", a="include: b.yaml\n", b="include: a.yaml\n")
    assert problems_of("main.yaml") == [
        "b.yaml:1:10: include: the file includes itself: main.yaml -> a.yaml -> b.yaml -> a.yaml; remove one of these includes"
    ]


def test_a_file_that_includes_itself_is_shown(write: Write) -> None:
    write(main="include: main.yaml\n")
    assert problems_of("main.yaml") == [
        "main.yaml:1:10: include: the file includes itself: main.yaml -> main.yaml; remove one of these includes"
    ]


def test_a_file_included_twice_is_shown_and_not_doubled(write: Write) -> None:
    write(main="include: [a.yaml, b.yaml]\n", a="include: b.yaml\n", b="producers: [{name: b}]\n")
    problems: list[Problem] = []
    document = load_document("main.yaml", problems)
    assert document.data == {"producers": [{"name": "b"}]}
    assert [str(problem) for problem in problems] == [
        "main.yaml:1:19: include[1]: 'b.yaml' is included already at a.yaml:1:10; include it once"
    ]


def test_what_is_set_in_two_files_is_shown_with_both_places(write: Write) -> None:
    write(main="include: a.yaml\nlevel: 1\nlog: {x: 1}\nlist: []\n", a="level: 2\nlog:\n  x: 2\nlist: {}\n")
    assert problems_of("main.yaml") == [
        "a.yaml:1:1: level: 'level' is set twice; it is set at main.yaml:2:1 already; keep one of the two",
        "a.yaml:3:3: log.x: 'x' is set twice; it is set at main.yaml:3:7 already; keep one of the two",
        "a.yaml:4:1: list: 'list' is set twice; it is set at main.yaml:4:1 already; keep one of the two",
    ]


def test_bad_includes_are_explained(write: Write, tmp_path: Path) -> None:
    write(main="include: [no.yaml, 'x/*.yaml', 5, '${env:A}', '**/*.yaml', conf, '', !x y]\n", conf__a="x: 1\n")
    assert problems_of("main.yaml") == [
        f"main.yaml:1:11: include[0]: 'no.yaml': no such file; check the path; it is taken relative to {tmp_path}",
        f"main.yaml:1:20: include[1]: no file matches 'x/*.yaml'; the pattern is taken relative to {tmp_path}",
        "main.yaml:1:32: include[2]: expected the path of a file, found the number 5; write a path, or a list of paths",
        "main.yaml:1:35: include[3]: references are not resolved in an include; write the path itself",
        "main.yaml:1:47: include[4]: '**' is not supported; name the folders, such as 'conf.d/*.yaml'",
        "main.yaml:1:60: include[5]: 'conf': is a directory; name a file in it",
        "main.yaml:1:66: include[6]: expected the path of a file, found text ''; write a path, or a list of paths",
        f"main.yaml:1:70: include[7]: the tag '!x' is not allowed, {ALLOWED_TAGS}",
    ]


def test_the_problems_of_included_files_are_reported_with_the_others(write: Write) -> None:
    write(main="include: [a.yaml, b.yaml]\nx: 1\nx: 2\n", a="y: [\n", b="z: 1\nz: 2\n")
    assert [line.split(": ")[0] for line in problems_of("main.yaml")] == ["a.yaml:2:1", "b.yaml:2:1", "main.yaml:3:1"]


def test_broken_values_of_an_included_file_stay_broken_where_they_move(write: Write) -> None:
    write(main="include: a.yaml\nproducers: [{name: x}]\n", a="producers: [{name: !x y}]\n")
    document = load_document("main.yaml", [])
    assert document.broken == {("producers", 1, "name")}
