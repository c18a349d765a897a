"""Mending messages before they are sent again."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from standpipe.cli.dead_text import decoded, pretty
from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.output import say
from standpipe.core.dead_letter import Reason
from standpipe.core.errors import EncodingError
from standpipe.core.payload import encode
from standpipe.spool.dead_letter_table import StoredLetter


class CannotBeSent(Exception):
    """The message cannot be sent as it is; it stays among the dead letters."""


@dataclass(frozen=True)
class Change:
    """A field, by its path, and its new value."""

    path: tuple[str, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Change:
        """`field=value` or `field.inner=value`; the value is JSON, and text where it is none."""
        name, equals, value = text.partition("=")
        path = tuple(name.split("."))
        if not equals or not all(path):
            raise CommandFailed(
                f"--set {text!r} has no field and value; write --set field=value or --set field.inner=value", ExitCode.USAGE
            )
        try:
            return cls(path, orjson.loads(value))
        except orjson.JSONDecodeError:
            return cls(path, value)

    def apply(self, content: dict[str, Any]) -> None:
        """Change `content`; objects on the way are made where there are none. Raises CannotBeSent where there is something else."""
        holder: Any = content
        for depth, step in enumerate(self.path):
            last = depth == len(self.path) - 1
            if isinstance(holder, list) and step.isdecimal() and int(step) < len(holder):
                place: Any = int(step)
            elif isinstance(holder, dict):
                place = step
                if not last:
                    holder.setdefault(step, {})
            else:
                raise CannotBeSent(f"--set {'.'.join(self.path)}: {'.'.join(self.path[:depth])} has no field {step!r} and cannot have one")
            if last:
                holder[place] = self.value
            else:
                holder = holder[place]


@dataclass(frozen=True)
class Mender:
    """What is done to each message before it is sent."""

    changes: Sequence[Change] = ()
    editor: Sequence[str] | None = None
    force: bool = False
    """whether damaged messages may go as they are"""

    def __call__(self, letter: StoredLetter) -> bytes:
        """The payload to send: the original bytes, if nothing is changed. Raises CannotBeSent."""
        payload = letter.payload
        if self.changes:
            content = decoded(payload)
            if content is None:
                raise CannotBeSent("--set: the payload is no JSON object; mend it with --edit")
            for change in self.changes:
                change.apply(content)
            payload = _encoded(content)
        if self.editor is not None:
            payload = _edited(letter, payload, self.editor)
        content = decoded(payload)
        if content is None:
            raise CannotBeSent("the payload is no JSON object; mend it with --edit")
        if letter.reason is Reason.CORRUPT and payload == letter.payload and not self.force:
            raise CannotBeSent("its checksum was wrong: look at it, then mend it with --set or --edit, or send it as it is with --force")
        return payload if b"\n" not in payload else _encoded(content)


def find_editor() -> list[str]:
    """The command of the user's editor."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise CommandFailed(f"--edit: there is no editor {command!r}; name yours in the environment variable EDITOR", ExitCode.USAGE)
    return words


def _edited(letter: StoredLetter, payload: bytes, editor: Sequence[str]) -> bytes:
    before = pretty(payload)
    descriptor, name = tempfile.mkstemp(prefix=f"standpipe-{letter.producer}-", suffix=".json")
    file = Path(name)
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(before + "\n")
    say(f"editing {letter.id} ({letter.reason.value}{f': {letter.error}' if letter.error else ''})")
    status = subprocess.call([*editor, name])
    after = file.read_bytes()
    if status != 0 or not after.strip():
        file.unlink()
        raise CannotBeSent(f"not sent: the editor ended with status {status}" if status else "not sent: the edited text is empty")
    if after.decode("utf-8", "replace").strip() == before.strip():
        file.unlink()
        return payload
    content = decoded(after)
    if content is None:
        raise CannotBeSent(f"the edited text is no JSON object; it is kept in {name}")
    file.unlink()
    return _encoded(content)


def _encoded(content: dict[str, Any]) -> bytes:
    try:
        return encode(content)
    except EncodingError as error:
        raise CannotBeSent(str(error)) from None
