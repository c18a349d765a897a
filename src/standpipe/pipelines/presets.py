"""Patterns for log formats that many programs write, by name.

Possessive quantifiers (`++`, `*+`) throughout: what a group took is never tried again in another way, so that a line that
does not match is given up at once. Each pattern describes the whole line.
"""

from __future__ import annotations

from dataclasses import dataclass

# A user's name and a path may hold blanks when the client sent them: only the protocol at the end is left out.
_REQUEST = r"(?P<method>{text})(?: (?P<path>{text}(?: (?!HTTP/){text})*+)(?: HTTP/[^\"]*+)?+)?+"
_NGINX_REQUEST = _REQUEST.format(text=r"[^ \"]*+")
_APACHE_REQUEST = _REQUEST.format(text=r"(?:[^ \"\\]++|\\.)*+")
_APACHE_QUOTED = r"(?:[^\"\\]++|\\.)*+"
_CLIENT = r"(?P<remote>[^ ]++) (?P<host>[^ ]++) (?P<user>[^ ]++(?: (?!\[)[^ ]++)*+) \[(?P<time>[^\]]++)\]"


@dataclass(frozen=True)
class Preset:
    """A pattern with named groups, and what it is for in one line."""

    pattern: str
    summary: str


PRESETS: dict[str, Preset] = {
    "nginx_combined": Preset(
        rf'{_CLIENT} "{_NGINX_REQUEST}" (?P<code>[0-9]++) (?P<size>[^ ]++) "(?P<referer>[^"]*+)" "(?P<agent>[^"]*+)"$',
        "nginx's access log: remote, host, user, time, method, path, code, size, referer, agent",
    ),
    "apache_combined": Preset(
        rf'{_CLIENT} "{_APACHE_REQUEST}" (?P<code>[0-9]++) (?P<size>[^ ]++)'
        rf' "(?P<referer>{_APACHE_QUOTED})" "(?P<agent>{_APACHE_QUOTED})"$',
        "Apache's combined access log: the same ten fields, with Apache's quoting",
    ),
    "apache_common": Preset(
        rf'{_CLIENT} "{_APACHE_REQUEST}" (?P<code>[0-9]++) (?P<size>[^ ]++)$',
        "Apache's common access log: remote, host, user, time, method, path, code, size",
    ),
    "syslog": Preset(
        r"(?:<(?P<priority>[0-9]{1,3})>)?+(?P<time>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[^ ]++) "
        r"(?P<host>[^ ]++) (?P<program>[^ :\[]++)(?:\[(?P<pid>[^\]]*+)\])?+:?+ ?+(?P<message>.*+)$",
        "syslog as files hold it, RFC 3164 or with ISO times: priority, time, host, program, pid, message",
    ),
    "syslog_rfc5424": Preset(
        r"<(?P<priority>[0-9]{1,3})>[0-9]{1,2} (?P<time>[^ ]++) (?P<host>[^ ]++) (?P<program>[^ ]++) (?P<pid>[^ ]++) "
        r'(?P<id>[^ ]++) (?P<data>-|(?:\[(?:[^\]"]++|"(?:[^"\\]++|\\.)*+")*+\])++)(?: (?P<message>.*+))?+$',
        "syslog as the network carries it, RFC 5424: priority, time, host, program, pid, id, data, message",
    ),
    "dpkg": Preset(
        r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}) (?P<time>[0-9:]{8}) (?P<action>[a-z-]++)"
        r"(?: (?:(?<=startup )|(?<=conffile ))(?P<detail>.++))?+(?: (?<=status )(?P<state>[^ ]++))?+"
        r"(?: (?P<package>[^ ]++))?+(?: (?P<version>[^ ]++))?+(?: (?P<new_version>[^ ]++))?+$",
        "Debian's package log: date, time, action, detail, state, package, version, new_version",
    ),
}
"""The presets by name."""
