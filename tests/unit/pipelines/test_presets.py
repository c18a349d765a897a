from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from standpipe.pipelines.parse import ParseConfig, ParseStep
from standpipe.pipelines.presets import PRESETS
from standpipe.pipelines.records import Records

ACCESS = ["remote", "host", "user", "time", "method", "path", "code", "size"]
COMMON = '10.0.0.1 - - [10/Oct/2026:13:55:36 +0000] "GET /a?b=c HTTP/1.1" 200 512'


def parsed(preset: str, line: str) -> dict[str, Any]:
    records = ParseStep(ParseConfig(preset=preset)).apply(Records(lines=[line]))
    assert records.errors is None, records.as_records()
    return {name: value for name, value in records.as_records()[0].items() if value is not None}


def test_nginx_access_log_has_its_ten_fields() -> None:
    assert parsed("nginx_combined", COMMON + ' "http://ref/" "Mozilla/5.0 (X11)"') == {
        "remote": "10.0.0.1",
        "host": "-",
        "user": "-",
        "time": "10/Oct/2026:13:55:36 +0000",
        "method": "GET",
        "path": "/a?b=c",
        "code": "200",
        "size": "512",
        "referer": "http://ref/",
        "agent": "Mozilla/5.0 (X11)",
    }


@pytest.mark.parametrize("preset", ["nginx_combined", "apache_combined", "apache_common"])
@pytest.mark.parametrize(
    ("request_line", "fields"),
    [
        ("GET / HTTP/1.1", {"method": "GET", "path": "/"}),
        ("GET /a b c HTTP/1.0", {"method": "GET", "path": "/a b c"}),
        ("GET /no-protocol", {"method": "GET", "path": "/no-protocol"}),
        ("", {"method": ""}),
        ("-", {"method": "-"}),
        (r"\x16\x03\x01\x02", {"method": r"\x16\x03\x01\x02"}),
        ("PRI * HTTP/2.0", {"method": "PRI", "path": "*"}),
    ],
)
def test_strange_requests_are_parsed_without_losing_a_character(preset: str, request_line: str, fields: dict[str, str]) -> None:
    line = COMMON.replace("GET /a?b=c HTTP/1.1", request_line) + ("" if preset == "apache_common" else ' "-" "-"')
    found = parsed(preset, line)
    assert {name: found[name] for name in ("method", "path") if name in found} == fields


def test_apache_quotes_are_understood() -> None:
    line = COMMON.replace("/a?b=c", r"/say\"hi\"") + r' "-" "the \"agent\" \\"'
    found = parsed("apache_combined", line)
    assert found["path"] == r"/say\"hi\""
    assert found["agent"] == r"the \"agent\" \\"


def test_a_user_name_may_hold_blanks() -> None:
    assert parsed("apache_common", COMMON.replace("- -", "- Ann of Green Gables"))["user"] == "Ann of Green Gables"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            "<34>Oct 11 22:14:15 mymachine su[231]: 'su root' failed",
            {
                "priority": "34",
                "time": "Oct 11 22:14:15",
                "host": "mymachine",
                "program": "su",
                "pid": "231",
                "message": "'su root' failed",
            },
        ),
        (
            "2026-11-23T12:59:00.123456+00:00 box kernel: [ 12.5] eth0: up",
            {"time": "2026-11-23T12:59:00.123456+00:00", "host": "box", "program": "kernel", "message": "[ 12.5] eth0: up"},
        ),
        ("Nov  3 01:02:03 box cron:", {"time": "Nov  3 01:02:03", "host": "box", "program": "cron", "message": ""}),
    ],
)
def test_syslog_files_are_parsed(line: str, fields: dict[str, str]) -> None:
    assert parsed("syslog", line) == fields


def test_syslog_of_rfc_5424_is_parsed() -> None:
    line = '<165>1 2026-10-11T22:14:15.003Z host app 77 ID47 [x@1 a="1\\]" b="q\\"q"][y@2] An event'
    assert parsed("syslog_rfc5424", line) == {
        "priority": "165",
        "time": "2026-10-11T22:14:15.003Z",
        "host": "host",
        "program": "app",
        "pid": "77",
        "id": "ID47",
        "data": '[x@1 a="1\\]" b="q\\"q"][y@2]',
        "message": "An event",
    }
    assert "message" not in parsed("syslog_rfc5424", "<1>1 - - - - - -")


@pytest.mark.parametrize(
    ("rest", "fields"),
    [
        ("startup archives unpack", {"action": "startup", "detail": "archives unpack"}),
        (
            "upgrade libc:amd64 1.0-1 1.1~b",
            {"action": "upgrade", "package": "libc:amd64", "version": "1.0-1", "new_version": "1.1~b"},
        ),
        ("install vim:amd64 <none> 9", {"action": "install", "package": "vim:amd64", "version": "<none>", "new_version": "9"}),
        ("status half-configured vim 9", {"action": "status", "state": "half-configured", "package": "vim", "version": "9"}),
        ("conffile /etc/vim/rc keep", {"action": "conffile", "detail": "/etc/vim/rc keep"}),
    ],
)
def test_dpkg_log_is_parsed(rest: str, fields: dict[str, str]) -> None:
    assert parsed("dpkg", f"2026-06-24 14:36:25 {rest}") == {"date": "2026-06-24", "time": "14:36:25", **fields}


def test_the_machines_own_dpkg_log_parses_completely() -> None:
    path = Path("/var/log/dpkg.log")
    if not path.is_file():
        pytest.skip("no /var/log/dpkg.log on this machine")
    step = ParseStep(ParseConfig(preset="dpkg"))
    step.apply(Records(lines=path.read_text(errors="replace").splitlines()))
    assert step.statistics().errors == 0


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("line", ["", " ", "garbage", '"' * 10_000, "a " * 50_000, "[" * 100_000, COMMON + ' "' + "x" * 100_000])
def test_a_line_of_another_kind_is_given_up_quickly(preset: str, line: str) -> None:
    records = ParseStep(ParseConfig(preset=preset)).apply(Records(lines=[line]))
    assert records.errors == [True]
