"""Spools and the messages in them, for people and for programs."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

from standpipe.app.spools import WaitingMessage
from standpipe.cli.output import number_of, printable, table
from standpipe.cli.spool_places import Looked
from standpipe.spool.inspection import Inspection, Problem


def list_lines(found: Sequence[Looked]) -> list[str]:
    """A table of spools."""
    header = ("producer", "used by", "oldest", "messages", "bytes", "segments", "on disk")
    return table(header, map(_row, found), text_columns=3)


def _row(looked: Looked) -> tuple[object, ...]:
    found = looked.found
    if looked.error is not None:
        return (looked.place.label, "?", "?", "?", "?", "?", "?")
    oldest = "-" if found.oldest is None else moment(found.oldest)
    return (looked.place.label, _owner(found), oldest, found.waiting, found.waiting_bytes, found.segments, found.disk_bytes)


def _owner(found: Inspection) -> str:
    if found.owner is None:
        return "nobody"
    return f"process {found.owner}" if found.owner else "a process"


def trouble(looked: Looked) -> str | None:
    """What a person who lists spools should know about one; None: nothing."""
    label = looked.place.label
    if looked.error is not None:
        return f"{label}: {looked.error}"
    if not looked.found.sound:
        return f"{label}: it is damaged; `standpipe spool verify {looked.place.producer}` says where"
    if looked.place.configured is False and looked.found.waiting:
        return f"{label}: no producer of this name with a spool is configured, so that nobody delivers what waits in {looked.place.folder}"
    return None


def list_entry(looked: Looked) -> dict[str, Any]:
    """A spool as JSON; times are seconds since 1970."""
    found = looked.found
    return {
        "producer": looked.place.producer,
        "part": looked.place.part,
        "folder": str(looked.place.folder),
        "configured": looked.place.configured,
        "owner": found.owner,
        "messages": found.waiting,
        "bytes": found.waiting_bytes,
        "in_flight": found.in_flight,
        "oldest": found.oldest,
        "segments": found.segments,
        "disk_bytes": found.disk_bytes,
        "sound": looked.sound,
        "error": looked.error,
    }


def verify_entry(looked: Looked) -> dict[str, Any]:
    """Everything that was found out about a spool, as JSON."""
    found = looked.found
    counts = {
        "records": found.records,
        "numbers": found.numbers,
        "settled": found.settled,
        "missing": found.missing,
        "damaged_bytes": found.damaged_bytes,
        "set_aside_bytes": found.set_aside_bytes,
    }
    return list_entry(looked) | counts | {"problems": [_problem_entry(problem) for problem in found.problems]}


def _problem_entry(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "serious": problem.serious,
        "file": problem.file,
        "offset": problem.offset,
        "size": problem.size,
        "text": problem.text,
    }


def verify_lines(looked: Looked) -> Iterator[str]:
    """The verdict about a spool, and every problem."""
    label, found = looked.place.label, looked.found
    if looked.error is not None:
        yield f"{label}: {looked.error}"
        return
    if not looked.place.exists:
        yield f"{label}: sound: nothing was stored yet"
        return
    yield f"{label}: {'sound' if found.sound else 'damaged'}: {_counts(found)}"
    for problem in found.problems:
        yield printable(f"  {'' if problem.serious else 'note: '}{problem}")
    if not found.sound:
        yield f"  `standpipe spool repair {looked.place.producer}` sets damaged bytes aside and keeps everything readable"


def _counts(found: Inspection) -> str:
    parts = [number_of(found.segments, "segment"), number_of(found.records, "record"), f"{number_of(found.waiting, 'message')} waiting"]
    if found.missing:
        parts.append(f"{found.missing:,} missing")
    if found.damaged_bytes:
        parts.append(f"{number_of(found.damaged_bytes, 'byte')} damaged")
    if found.owner is not None:
        parts.append(f"used by {_owner(found)} meanwhile")
    return ", ".join(parts)


def message_entry(message: WaitingMessage) -> dict[str, Any]:
    """A message as JSON; a payload that is no JSON is given in base64."""
    try:
        orjson.loads(message.payload)
        payload: dict[str, Any] = {"message": orjson.Fragment(message.payload)}
    except orjson.JSONDecodeError:
        payload = {"message_base64": base64.b64encode(message.payload).decode()}
    return {
        "id": message.id,
        "number": message.number,
        "accepted_at": message.accepted_at,
        "key": message.key,
        "is_error": message.is_error,
        "headers": message.headers,
        **payload,
    }


def message_lines(message: WaitingMessage) -> Iterator[str]:
    """A message for people: what is known of it, and its payload."""
    facts = [f"id {message.id}", f"accepted {moment(message.accepted_at)}"]
    if message.key is not None:
        facts.append(f"key {message.key}")
    if message.is_error:
        facts.append("error message")
    facts += [f"{name}: {value}" for name, value in (message.headers or {}).items()]
    yield printable(", ".join(facts).replace("\n", "\\n"))
    yield f"  {printable(message.payload.decode('utf-8', 'backslashreplace'))}"


def moment(seconds: float) -> str:
    """A time for people, in their time zone."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # somebody's clock was far off
        return f"{seconds:.0f} s"
