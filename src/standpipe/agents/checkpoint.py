"""The file in which an agent's position survives: one per agent, owned by one process, replaced as a whole.

Order of a write: temporary file, fsync, rename, fsync of the folder. A power cut leaves the old file or the new one. What
cannot be trusted (a broken checksum, no content) is set aside, never used and never thrown away; what a newer version of
Standpipe wrote is left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from standpipe.agents.checkpoint_notes import CheckpointNotes
from standpipe.core.errors import ConfigurationError

logger = logging.getLogger("standpipe.agents")

VERSION = 1
_FORMAT = "standpipe-checkpoint"
_MAX_SET_ASIDE = 10  # damaged files kept for a look; the last one is overwritten beyond that


class CheckpointFile:
    """The checkpoint of the agent `name` in `folder`: `<name>.json`, with `<name>.lock` and `<name>.notes` beside it.

    Used by one thread. The lock is an advisory `flock`, released by the operating system when the process ends, however it ends.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self.path = folder / f"{name}.json"
        self._lock: int | None = None
        self._notes = CheckpointNotes(folder / f"{name}.notes")
        self.damaged = False
        """True when a checkpoint was there and could not be trusted"""
        self.notes: list[dict[str, Any]] = []
        """After `open`: what was noted since the checkpoint was written, oldest first"""

    def open(self) -> dict[str, Any] | None:
        """Take the lock and return what was written last; None when there is nothing, or nothing that can be trusted.

        Raises ConfigurationError: another process holds the lock, the folder cannot be used, or a newer version wrote the file.
        """
        self._take_lock()
        try:
            return self._load()
        except BaseException:
            self.close()
            raise

    def peek(self) -> dict[str, Any] | None:
        """As `open`, for onlookers: takes no lock and changes nothing. Raises ValueError saying why it cannot be trusted."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        return self._trusted(content)

    def write(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint by `state` (plain JSON values). When it returns, `state` survives a power cut. Raises OSError."""
        checksum = _checksum(state)
        content = json.dumps({"format": _FORMAT, "version": VERSION, "checksum": checksum, "state": state}).encode()
        temporary = self._folder / f"{self._name}.json.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, self.path)
        self._sync_folder()
        self._notes.begin(checksum)

    def note(self, note: dict[str, Any]) -> None:
        """Write down what has changed since the last `write` (plain JSON values), cheaply: it survives the process, perhaps not
        a power cut."""
        self._notes.add(note)

    def set_aside(self, reason: str) -> None:
        """Rename the checkpoint to `*.corrupt`, because of `reason`; from now on it counts as damaged. Raises ConfigurationError."""
        self.damaged = True
        target = self._free_name()
        try:
            os.replace(self.path, target)
        except OSError as error:
            raise ConfigurationError(
                f"agent {self._name!r}: the checkpoint {self.path} is damaged ({reason}) and cannot be set aside ({error.strerror}); "
                "move it away"
            ) from error
        self._sync_folder()
        logger.error(
            "agent %r: the checkpoint %s is damaged (%s); it was set aside as %s, and everything is read again from the beginning: "
            "some messages will be delivered twice, none is lost",
            self._name,
            self.path,
            reason,
            target.name,
        )

    def close(self) -> None:
        """Release the lock. May be called twice."""
        self._notes.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        path = self._folder / f"{self._name}.lock"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"agent {self._name!r}: cannot use the state folder {self._folder} ({error.strerror}); "
                "make it writable for this user or choose another one"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise ConfigurationError(
                f"agent {self._name!r}: its checkpoint {self.path} is in use by process {holder}; "
                "stop that process, or give this agent another name or state folder"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def _load(self) -> dict[str, Any] | None:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                f"agent {self._name!r}: cannot read its checkpoint {self.path} ({error.strerror}); make it readable or move it away"
            ) from error
        try:
            return self._trusted(content)
        except ValueError as error:
            self.set_aside(str(error))
            return None

    def _trusted(self, content: bytes) -> dict[str, Any]:
        """The state in `content`. Raises ValueError saying why it cannot be trusted, ConfigurationError if it is newer than we are."""
        if not content.strip(b"\0"):
            raise ValueError("it has no content")
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise ValueError("it is not JSON") from None
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise ValueError("it is no checkpoint")
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise ConfigurationError(
                f"agent {self._name!r}: the checkpoint {self.path} has version {version}, this Standpipe knows up to {VERSION}; "
                "install the newer Standpipe again, or move the file away to start over"
            )
        state = document.get("state")
        if version != VERSION or not isinstance(state, dict) or document.get("checksum") != _checksum(state):
            raise ValueError("its checksum is wrong")
        self.notes = self._notes.load(document["checksum"])
        return state

    def _free_name(self) -> Path:
        names = [self.path.with_name(f"{self._name}.json.corrupt{suffix}") for suffix in ["", *(f".{n}" for n in range(1, _MAX_SET_ASIDE))]]
        return next((name for name in names if not name.exists()), names[-1])

    def _sync_folder(self) -> None:
        # Some file systems refuse to sync a folder; they have nothing to lose there either.
        with contextlib.suppress(OSError):
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _checksum(state: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(state, sort_keys=True).encode(), digest_size=16).hexdigest()
