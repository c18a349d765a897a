"""Where the checkpoints of files say that reading goes on, compared with the files that are there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from standpipe.agents.checkpoint import CheckpointFile
from standpipe.agents.positions import HEAD_BYTES, Entry, Siblings
from standpipe.app.audit_findings import Findings
from standpipe.app.configuration import Plan
from standpipe.core.errors import ConfigurationError
from standpipe.spool.owner import lock_holder

FOLDER = "checkpoints"

FileState = Literal["there", "renamed", "replaced", "gone", "unreadable"]


@dataclass(frozen=True)
class CheckpointRow:
    """One file that an agent reads: `offset` bytes of it are settled. `size` is None when it is gone."""

    pipeline: str
    agent: str
    path: str
    state: FileState
    offset: int
    size: int | None
    owner: int | None
    """the process that reads it now; None: nobody"""

    @property
    def lag(self) -> int | None:
        """Bytes that are not settled yet."""
        return None if self.size is None else max(0, self.size - self.offset)


def audit_checkpoints(state_dir: Path, plan: Plan | None, findings: Findings) -> list[CheckpointRow]:
    """Every checkpoint in the state folder; what is wrong is added to `findings`."""
    known = None if plan is None else {(pipeline.name, agent) for pipeline in plan.pipelines for agent in pipeline.agents}
    rows: list[CheckpointRow] = []
    for path in sorted((state_dir / FOLDER).glob("*/*")):
        rows += _look_at(path, known, findings)
    return rows


def _look_at(path: Path, known: set[tuple[str, str]] | None, findings: Findings) -> Iterator[CheckpointRow]:
    pipeline, name = path.parent.name, path.name
    where = f"{FOLDER}/{pipeline}/{name}"
    agent, _, rest = name.partition(".json")
    if ".json.corrupt" in name:
        findings.add("set_aside", where, "a damaged checkpoint that was set aside; look at it, then remove the file")
    elif rest == ".tmp" and lock_holder(path.with_name(f"{agent}.lock")) is None:
        findings.add("leftover", where, "a temporary file left over by a crash; remove it")
    elif name.endswith(".json"):
        agent = name.removesuffix(".json")
        if known is not None and (pipeline, agent) not in known:
            findings.note("unknown", where, "no agent of this name is configured in a pipeline of this name; nobody continues here")
        yield from _rows(path, pipeline, agent, where, findings)


def _rows(path: Path, pipeline: str, agent: str, where: str, findings: Findings) -> Iterator[CheckpointRow]:
    owner = lock_holder(path.with_name(f"{agent}.lock"))
    try:
        entries = _entries(CheckpointFile(path.parent, agent))
    except ValueError as error:
        findings.add("damaged", where, f"the checkpoint is damaged ({error}); the files are read again from the beginning")
        return
    except (ConfigurationError, OSError) as error:
        findings.add("unreadable", where, str(error))
        return
    siblings = Siblings()
    for entry in entries:
        state, size = _found(entry, siblings)
        row = CheckpointRow(pipeline, agent, entry.path, state, entry.offset, size, owner)
        if size is not None and size < entry.offset:
            text = f"the checkpoint is at byte {row.offset:,} and the file has {size:,}: it was truncated; it is read from the beginning"
            findings.add("beyond_end", where, f"{row.path}: {text}")
        elif state in ("replaced", "gone") and row.offset == 0:
            findings.note("unread", where, f"{row.path}: it is gone, and nothing of it was settled")
        yield row


def _entries(checkpoint: CheckpointFile) -> list[Entry]:
    """What the `tail` agent wrote and noted since; other agents have no files. Raises ValueError."""
    state: dict[str, Any] = checkpoint.peek() or {}
    files = state.get("files", [])
    if not isinstance(files, list):
        raise ValueError("it lacks a list")
    found = [Entry.from_json(entry) for entry in [*files, *checkpoint.notes]]
    return list({entry.identity: entry for entry in found}.values())


def _found(entry: Entry, siblings: Siblings) -> tuple[FileState, int | None]:
    """What became of the file, and its size."""
    path, state = entry.path, "there"
    try:
        if os.stat(path).st_ino != entry.identity[1]:
            raise FileNotFoundError
    except OSError:
        moved = siblings.find(path, entry.identity)
        if moved is None:
            return "gone", None
        path, state = moved, "renamed"
    try:
        with open(path, "rb") as file:
            size, head = os.fstat(file.fileno()).st_size, file.read(HEAD_BYTES)
    except OSError:
        return "unreadable", None
    if size >= entry.offset and not entry.recognises(head, size):
        return "replaced", None
    return ("renamed" if state == "renamed" else "there"), size
