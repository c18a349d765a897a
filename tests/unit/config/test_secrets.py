from __future__ import annotations

from pathlib import Path

import pytest

from standpipe.config import (
    ConfigProblems,
    Validator,
    load_document,
    load_document_text,
    redact_secrets,
    redact_text,
    redact_url,
    redacted,
    resolve_secrets,
    validate,
)
from standpipe.config.document import Document
from tests.unit.config.models import ProducerConfig

EVIL = 'x"\ny: {injected: true}\n- #'


def resolved(text: str, **environment: str) -> Document:
    return resolve_secrets(load_document_text(text, "f.yaml"), None, environment)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${env:A}", "aa"),
        ("x${env:A}y${env:B}", "xaaybb"),
        ("$${env:A}", "${env:A}"),
        ("$$", "$$"),
        ("$5 {x}", "$5 {x}"),
        ("${env:NOPE:-5}", "5"),
        ("${env:NOPE:-}", ""),
        ("${env:EMPTY:-d}", "d"),
        ("${env:EMPTY}", ""),
        ("${env:A:-d}", "aa"),
        ("'${env:NOPE:-a: b, [c]}'", "a: b, [c]"),
    ],
)
def test_references_are_replaced(written: str, value: str) -> None:
    assert resolved(f"a: {written}\n", A="aa", B="bb", EMPTY="").data == {"a": value}


def test_a_secret_never_changes_the_structure() -> None:
    document = resolved("a: ${env:EVIL}\nb: 1\nlist: ['${env:EVIL}']\n", EVIL=EVIL)
    assert document.data == {"a": EVIL, "b": 1, "list": [EVIL]}


def test_what_a_secret_holds_is_not_resolved_again() -> None:
    assert resolved("a: ${env:A}\n", A="${env:B} $${", B="b").data == {"a": "${env:B} $${"}


def test_keys_are_left_alone() -> None:
    assert resolved("'${env:A}': 1\n", A="a").data == {"${env:A}": 1}


def test_a_reference_for_a_number_a_duration_and_a_boolean_is_read_as_such() -> None:
    text = "type: x\nname: n\nmax_retries: ${env:N}\nreconnect_wait: ${env:W}\nenabled: ${env:E}\nratio: ${env:R}\nsegment: ${env:S}\n"
    config = validate(ProducerConfig, resolved(text, N="8", W="500ms", E="no", R="0.5", S="1KiB"))
    assert (config.max_retries, config.reconnect_wait, config.enabled, config.ratio, config.segment) == (8, 0.5, False, 0.5, 1024)


@pytest.mark.parametrize(("content", "value"), [("s3cret\n", "s3cret"), ("s3cret\n\n", "s3cret\n"), ("a\r\n", "a"), ("", ""), ("é", "é")])
def test_a_file_gives_its_content_without_one_newline(tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    (tmp_path / "f.yaml").write_text("a: ${file:secret}\n")
    assert resolve_secrets(load_document(tmp_path / "f.yaml"), environment={}).data == {"a": value}


def test_a_file_is_relative_to_the_file_in_which_the_reference_stands(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "secret").write_text("inner")
    (tmp_path / "secret").write_text("outer")
    (tmp_path / "conf" / "a.yaml").write_text("producers: [{password: '${file:secret}'}]\n")
    (tmp_path / "f.yaml").write_text("include: conf/a.yaml\nproducers: [{password: '${file:secret}'}]\n")
    document = resolve_secrets(load_document(tmp_path / "f.yaml"), environment={})
    assert document.data == {"producers": [{"password": "outer"}, {"password": "inner"}]}


def test_files_that_cannot_be_read_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("large").write_bytes(b"x" * (64 * 1024 + 1))
    Path("binary").write_bytes(b"\n\xff")
    with pytest.raises(ConfigProblems) as caught:
        resolved(f"a: ${{file:no}}\nb: ${{file:large}}\nc: ${{file:binary}}\nd: ${{file:{tmp_path}}}\n")
    assert str(caught.value).splitlines() == [
        f"f.yaml:1:4: a: the file 'no': no such file; check the path; it is taken relative to {tmp_path}",
        "f.yaml:2:4: b: the file 'large': larger than 64 KiB; check that it is the right file",
        "f.yaml:3:4: c: the file 'binary': not UTF-8: byte 0xff in line 2; save the file as UTF-8",
        f"f.yaml:4:4: d: the file '{tmp_path}': is a directory; name a file in it",
    ]


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDPIPE_TEST_VALUE", "v")
    assert resolve_secrets(load_document_text("a: ${env:STANDPIPE_TEST_VALUE}\n")).data == {"a": "v"}


def test_resolving_leaves_the_document_it_was_given_as_it_is() -> None:
    document = load_document_text("a: ${env:A}\nb: ${env:NOPE}\n")
    resolve_secrets(document, [], {"A": "a"})
    assert document.data == {"a": "${env:A}", "b": "${env:NOPE}"}
    assert not document.secrets
    assert not document.broken


def test_the_paths_of_secrets_are_remembered_and_redacted() -> None:
    document = resolved("a: ${env:A}\nb: [x, 'http://u:${env:A}@h']\nc: http://me:pw@h/\nd: ${env:N:-1}\n", A="s3cret")
    assert document.secret_paths == {("a",), ("b", 1), ("d",)}
    assert redacted(document) == {"a": "**********", "b": ["x", "**********"], "c": "http://me:**********@h/", "d": "**********"}


def test_values_of_secret_fields_are_redacted_once_their_model_is_known() -> None:
    text = "producers:\n  - {type: x, name: n, password: hunter2, tokens: [t0ken-one], url: 'http://h'}\n"
    validator = Validator(load_document_text(text))
    for path, item in validator.mappings("producers"):
        assert validator.model(ProducerConfig, item, path) is not None
    shown = redacted(validator.document)["producers"][0]
    assert shown == {"type": "x", "name": "n", "password": "**********", "tokens": ["**********"], "url": "http://h"}
    assert redact_secrets("sent hunter2 and t0ken-one", validator.document) == "sent ********** and **********"


def test_no_secret_appears_in_any_message() -> None:
    secret = "S3CRET-value\nwith 'quotes' and \\"
    text = (
        "type: x\nname: '${env:S}'\nmax_retries: ${env:S}\nreconnect_wait: ${env:S}\nqueue: {type: '${env:S}'}\ncompression: ${env:S}\n"
        "url: ${env:S}\npassword: [1]\nheaders: ${env:S}\nwindow: ${env:S}\nports: ['${env:S}']\nsegment: ${env:S}\nenabled: ${env:S}\n"
    )
    with pytest.raises(ConfigProblems) as caught:
        validate(ProducerConfig, resolved(text, S=secret))
    assert len(caught.value.problems) == 12
    assert "S3CRET" not in str(caught.value)
    assert "quotes" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://user:pass@host/v", "amqp://user:**********@host/v"),
        ("nats://token@host", "nats://**********@host"),
        ("redis://:pw@host", "redis://**********@host"),
        ("http://u:p@ss@host/x@y", "http://u:**********@host/x@y"),
        ("amqp://u:pa/ss@host/v", "amqp://u:**********@host/v"),
        ("http://host:80/path@x", "http://host:80/path@x"),
        ("https://h/?a=1&token=abc&b=2", "https://h/?a=1&token=**********&b=2"),
        ("https://h/?API_KEY=abc", "https://h/?API_KEY=**********"),
        ("see http://a:b@c and http://d:e@f", "see http://a:**********@c and http://d:**********@f"),
        ("mail me@example.org", "mail me@example.org"),
        ("", ""),
    ],
)
def test_passwords_in_urls_are_redacted(text: str, shown: str) -> None:
    assert redact_url(text) == shown


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("a secret here", ["secret"], "a ********** here"),
        ("secretive secret", ["secret", "secretive"], "********** **********"),
        ("code 5 of 65535", ["5"], "code ********** of 65535"),
        (r"'a\nb\'c'", ["a\nb'c"], "'**********'"),
        (r'"p\"w\u00e9"', ['p"wé'], '"**********"'),
        ("q=p%2Fw%20x", ["p/w x"], "q=**********"),
        ("line: MIIEvgIBADAN", ["-----BEGIN-----\nMIIEvgIBADAN\n"], "line: **********"),
        ("nothing", ["", "\n"], "nothing"),
    ],
)
def test_secrets_in_texts_are_redacted_in_every_form(text: str, secrets: list[str], shown: str) -> None:
    assert redact_text(text, secrets) == shown
