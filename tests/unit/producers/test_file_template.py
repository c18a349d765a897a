"""Paths from fields of messages: each message lands in its file, and none outside of the folder that the user named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standpipe.producers.confined_folder import UnusablePath
from standpipe.producers.output_file import OutputFile
from standpipe.producers.path_template import NAME_BYTES_MAX, RESERVED_BYTES, VALUE_LENGTH_MAX, PathTemplate, escape
from tests.unit.producers.reading import producer, records

AT = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC


@pytest.mark.parametrize(
    ("template", "message", "is_error", "path"),
    [
        ("logs/{service}.jsonl", {"service": "pay"}, False, "pay.jsonl"),
        ("logs/{service}/{time:%Y-%m-%d}.jsonl", {"service": "pay"}, False, "pay/2027-01-15.jsonl"),
        ("logs/app-{user.id}.jsonl", {"user": {"id": 7}}, False, "app-7.jsonl"),
        ("logs/{user.id}", {"user": "text"}, False, "_"),
        ("logs/{a}", {"a": None}, False, "_"),
        ("logs/{a}", {"a": [1]}, False, "_"),
        ("logs/{a}", {"a": True}, False, "true"),
        ("logs/{a}", {"a": -1.5}, False, "%2D1.5"),
        ("logs/{is_error}/{time:%H}.jsonl", {}, True, "error/08.jsonl"),
        ("logs/{is_error}.jsonl", {}, False, "normal.jsonl"),
        ("logs/{time:%Y/%m/%d}/a.jsonl", {}, False, "2027/01/15/a.jsonl"),
        ("logs/{time}.jsonl", {}, False, "2027-01-15.jsonl"),
        ("logs/{{x}}-{a}", {"a": "b"}, False, "{x}-b"),
    ],
)
def test_fields_choose_the_file(template: str, message: dict[str, Any], is_error: bool, path: str) -> None:
    made = PathTemplate(template)
    assert made.render(message, is_error, AT) == path
    assert made.base == "logs"


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("logs/{@key}", "k%2F1"),
        ("logs/{@id}", "id-1"),
        ("logs/{@key}-{a}", "k%2F1-b"),
        ("logs/{@key.x}", "_"),
        ("logs/{@timestamp}", "now"),
    ],
)
def test_id_and_key_of_a_message_can_be_in_the_path(template: str, path: str) -> None:
    message = {"a": "b", "@timestamp": "now", "@key": "a field", "@id": "a field"}
    assert PathTemplate(template).render(message, False, AT, id="id-1", key="k/1") == path
    assert PathTemplate("logs/{@key}").render(message, False, AT) == "_"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("/etc/passwd", "%2Fetc%2Fpasswd"),
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("a\x00b", "a%00b"),
        ("", "%empty"),
        ("%empty", "%25empty"),
        (".hidden", "%2Ehidden"),
        ("-rf", "%2Drf"),
        ("a\nb\x1b[2J", "a%0Ab%1B%5B2J"),
        ("nul", "%6Eul"),
        ("CON.txt", "%43ON.txt"),
        ("trailing.", "trailing%2E"),
        ("two words", "two%20words"),
        ("zwölf", "zw%C3%B6lf"),
        ("\ud800", "%ED%A0%80"),
        ("~", "%7E"),
        ("a:b", "a%3Ab"),
        ("%2F", "%252F"),
        ("fine-name_1.2", "fine-name_1.2"),
    ],
)
def test_a_value_becomes_a_name_that_can_do_no_harm(value: str, name: str) -> None:
    assert escape(value) == name


@given(st.text(max_size=150), st.text(max_size=150))
def test_different_values_get_different_safe_names(one: str, two: str) -> None:
    names = {escape(one), escape(two)}
    assert len(names) == len({one, two})
    for name in names:
        assert 0 < len(name) <= VALUE_LENGTH_MAX
        assert name[0] not in ".-"
        assert not set(name) & set("/\\\x00 \n:")


def test_long_values_with_the_same_beginning_stay_apart() -> None:
    assert escape("x" * 200) != escape("x" * 201)
    assert len(escape("x" * 5000)) == VALUE_LENGTH_MAX


def test_names_stay_short_enough_for_rotation_whatever_the_values() -> None:
    template = PathTemplate("logs/{a}-{b}-{c}.jsonl")
    name = template.render({"a": "ä" * 500, "b": "b" * 500, "c": "/" * 500}, False, AT)
    assert len(name) <= NAME_BYTES_MAX - RESERVED_BYTES


@pytest.mark.parametrize("value", ["a.20270115T120000Z-0000", "a.20270115T120000Z-0000.gz", "a.20270115T120000Z-0000.gz.tmp", "a.torn"])
def test_a_message_cannot_take_the_name_of_a_rotated_file(value: str) -> None:
    assert PathTemplate("logs/{a}").render({"a": value}, False, AT) == value + "%"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{service}.jsonl", "must begin with a folder of its own"),
        ("/{service}.jsonl", "must begin with a folder of its own"),
        ("logs/{service", "a '{' stands alone"),
        ("logs/service}", "a '}' stands alone"),
        ("logs/{}.jsonl", "is not the name of a field"),
        ("logs/{a..b}", "is not the name of a field"),
        ("logs/{service:%Y}", "only time takes a format"),
        ("logs/{time:%Y %c}", "is not a time format for paths"),
        ("logs/{time:}", "is not a time format for paths"),
        ("logs/{a}/../x", "'..' cannot be a name after the first field"),
        ("logs/{a}//x", "'' cannot be a name after the first field"),
        ("logs/{time:../%Y}", "'..' cannot be a name after the first field"),
        ("logs/{a}{b}{c}{d}{e}", "puts too much into one name"),
    ],
)
def test_a_bad_template_is_refused_with_the_remedy(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        PathTemplate(template)
    assert problem in str(caught.value)


# --- on the disk ------------------------------------------------------------------------------------------------------


def test_each_message_lands_in_its_own_file_in_order(tmp_path: Path) -> None:
    with producer(tmp_path / "logs" / "{service}" / "{is_error}.jsonl", fields=[], max_open_files=3) as out:
        out.produce_many(False, [{"service": f"s{number % 10}", "n": number} for number in range(100)])
        out.produce_many(True, [{"service": f"s{number % 10}", "n": number} for number in range(100, 200)])
        out.flush(10)
        assert out._files is not None
        assert len(out._files) <= 3
    for service in range(10):
        folder = tmp_path / "logs" / f"s{service}"
        assert [record["n"] for record in records(folder / "normal.jsonl")] == list(range(service, 100, 10))
        assert [record["n"] for record in records(folder / "error.jsonl")] == list(range(100 + service, 200, 10))


def test_only_the_messages_of_a_link_planted_inside_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "evil").symlink_to(outside)
    (logs / "file").mkdir()
    (logs / "file" / "app.jsonl").symlink_to(outside / "victim.jsonl")
    (logs / "pipe").mkdir()
    os.mkfifo(logs / "pipe" / "app.jsonl")
    (logs / "nofolder").write_text("")
    with producer(logs / "{service}" / "app.jsonl", fields=[]) as out:
        out.produce_many(False, [{"service": service} for service in ("good", "evil", "file", "pipe", "nofolder", "good")])
        assert out.flush(10) == 0
    assert list(outside.iterdir()) == []
    assert records(logs / "good" / "app.jsonl") == [{"service": "good"}, {"service": "good"}]
    reasons = {letter.payload: letter.error or "" for letter in out.dead_letters}
    assert len(reasons) == 4
    assert "is a symbolic link or not a folder; nothing is written through it: remove it" in reasons[b'{"service":"evil"}']
    assert "is a symbolic link; only regular files are written to" in reasons[b'{"service":"file"}']
    assert "is a pipe; only regular files are written to" in reasons[b'{"service":"pipe"}']


def test_a_link_planted_at_the_last_moment_is_not_followed_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.jsonl").symlink_to(tmp_path / "victim.jsonl")
    file = OutputFile("app.jsonl", str(tmp_path), 0o640, None, False, lambda: AT)
    monkeypatch.setattr(file, "_check_regular", lambda found: None)  # as if the link came after the look
    with pytest.raises(UnusablePath, match="cannot be opened as a file"):
        file.open()
    assert not (tmp_path / "victim.jsonl").exists()


_ATTACKS = ["..", "../x", "/etc/x", "a/../../x", "....//", "\x00", "", ".", "x" * 10_000, "con", "\n", "a/b", "${HOME}", "~root", "*"]


def test_no_value_makes_a_file_outside_of_the_folder(tmp_path: Path) -> None:
    with producer(tmp_path / "base" / "logs" / "{a}" / "{b}.jsonl") as out:
        out.produce_many(False, [{"a": one, "b": two} for one in _ATTACKS for two in _ATTACKS])
        assert out.flush(20) == 0
    assert out.statistics().delivered == len(_ATTACKS) ** 2
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    assert [path.name for path in (tmp_path / "base").iterdir()] == ["logs"]
    files = [path for path in (tmp_path / "base" / "logs").rglob("*") if path.is_file()]
    assert len(files) == len(_ATTACKS) ** 2
    assert all(len(records(path)) == 1 for path in files)


def test_files_of_a_template_are_rotated_each_for_itself(tmp_path: Path) -> None:
    with producer(tmp_path / "logs" / "{s}.jsonl", fields=[], rotate={"max_bytes": 100, "keep": 1}) as out:
        for number in range(100):
            out.produce_many(False, [{"s": "a", "n": number}, {"s": "b", "n": number}])
            out.flush(10)
    names = sorted(path.name[:7] for path in (tmp_path / "logs").iterdir())
    assert names == ["a.jsonl", "a.jsonl", "b.jsonl", "b.jsonl"]


def test_messages_go_to_the_file_of_their_key(tmp_path: Path) -> None:
    with producer(tmp_path / "{@key}.jsonl", fields=[]) as out:
        for number, key in enumerate(["a", "b", None, "a"]):
            out.produce(False, {"n": number}, key=key)
    found = {path.name: [record["n"] for record in records(path)] for path in tmp_path.iterdir()}
    assert found == {"a.jsonl": [0, 3], "b.jsonl": [1], "_.jsonl": [2]}
