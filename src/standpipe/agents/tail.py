"""The `tail` agent: lines of files that grow, are rotated, truncated, deleted and created, each line once and none lost.

What it cannot know: content that was written and truncated or deleted again between two looks, or while the agent was stopped,
is gone; where it is known how much that was, it is counted (`lost_bytes`) and logged. A file rotated *twice* while the agent is
stopped is found again only if a glob such as `app.log*` matches the rotated names too.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from standpipe.agents.base import AgentBatch, AgentStatistics, BaseAgent, BaseAgentConfig
from standpipe.agents.checkpoint import CheckpointFile
from standpipe.agents.complaints import Complaints
from standpipe.agents.discovery import Discovery, Found
from standpipe.agents.file_set import FileSet
from standpipe.agents.lines import LineCounts, LineRules, Lines
from standpipe.agents.positions import Entry
from standpipe.agents.tail_config import TailConfig
from standpipe.agents.tailed_file import TailedFile
from standpipe.core.errors import ConfigurationError

# With tens of thousands of files one look, or one checkpoint, takes a while; each then gets a twentieth of a core, not all of it.
LOOK_SHARE = 20
# A read that was given less time than this still uses it while there is something to read but no line complete yet.
BUSY_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class TailStatistics(AgentStatistics):
    """What a `tail` agent has done since it was opened."""

    files: int = 0
    """files being followed, as of the last look"""
    open_files: int = 0
    """of which open"""
    rotations: int = 0
    """times a path came to lead to another file, or to none"""
    truncations: int = 0
    """times a file was truncated and started over"""
    lost_bytes: int = 0
    """bytes known to have been truncated or deleted before they were read"""
    skipped_files: int = 0
    """compressed files passed over"""
    checkpoint_writes: int = 0
    """times the checkpoint was written"""


class TailPosition:
    """How far a file is read with a batch; what `acknowledge` moves to."""

    __slots__ = ("file", "offset")

    def __init__(self, file: TailedFile, offset: int) -> None:
        self.file = file
        self.offset = offset


class TailAgent(BaseAgent):
    """Reads lines from files; see `TailConfig` for what can be set and the module for what it promises.

    With a `state` folder the position survives in `<name>.json` there, recognised by device, inode and the first bytes of
    the file, and moves only by `acknowledge`. Without one every start begins at `start_at`.
    """

    config: TailConfig
    config_model = TailConfig

    def __init__(self, config: BaseAgentConfig, *, state: Path | None = None, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(config, state=state, clock=clock)
        self._counts = LineCounts()
        self._complaints = Complaints(self.config.name, self._note_error)
        self._discovery = Discovery(self.config.paths, self.config.exclude, self._complaints)
        rules = LineRules(self.config.encoding, self.config.max_line_bytes, self._counts)
        self._files = FileSet(self.config, rules, self._discovery, self._complaints)
        self._checkpoint = CheckpointFile(state, self.config.name) if state is not None else None
        self._checkpoint_writes = 0
        self._dirty = False
        self._next_scan = 0.0
        self._next_save = 0.0
        self._is_open = False
        self._is_closed = False

    @property
    def finished(self) -> bool:
        """True with `follow: false` once every file was read to its end."""
        return self._is_open and not self.config.follow and not self._files.has_turns

    def open(self) -> None:
        """Load the checkpoint and look for the files.

        Raises ConfigurationError: a path is a directory; the checkpoint is in use, unreadable or of a newer version; with
        `follow: false` also when a file is missing or unreadable, because it will not be waited for.
        """
        if self._is_open:
            return
        if self._is_closed:
            raise ConfigurationError(f"agent {self.name!r} was closed; make a new one to read again")
        self._check_directories()
        try:
            if self._checkpoint is not None:
                self._load(self._checkpoint)
            found = self._scan(self._clock())
            if not self.config.follow:
                self._check_complete(found)
        except BaseException:
            self._release()
            raise
        self._is_open = True
        # Before any line is handed over: a crash must not make `start_at: end` skip lines that were read before it.
        self._save()

    def read(self, timeout: float) -> AgentBatch | None:
        """The next batch: lines of one file, in order; files take turns. See `BaseAgent.read`."""
        if not self._is_open:
            return None
        now = self._clock()
        started, deadline = now, now + timeout
        while True:
            if now >= self._next_scan:
                self._look(now)
            batch = self._take_turns(now)
            if batch is not None:
                return self._counted(batch)
            self._save_if_due(now)
            now = self._clock()
            if self._pause(now, started, deadline):
                return None
            now = self._clock()

    def acknowledge(self, batch: AgentBatch) -> None:
        """Move the position of the batch's file behind it: noted at once, synced to the disk every `checkpoint_interval`."""
        position = batch.position
        if not isinstance(position, TailPosition):
            raise ValueError(f"agent {self.name!r} did not make this batch; acknowledge it at the agent it came from")
        super().acknowledge(batch)
        position.file.acknowledged = position.offset
        self._dirty = True
        self._save_if_due(self._clock())
        # A file that was truncated since has a new position of its own, which this one must not overwrite.
        if self._dirty and self._checkpoint is not None and self._files.knows(position.file):
            self._checkpoint.note(position.file.entry().as_json())

    def close(self) -> None:
        """Write the last checkpoint, close the files and release the lock; may be called twice."""
        if self._is_open and (self._dirty or self._files.changed):
            self._save()
        self._is_open = False
        self._is_closed = True
        self._release()

    def statistics(self) -> TailStatistics:
        """A snapshot. Any thread."""
        counts, files = self._counts, self._files
        return TailStatistics(
            **self._basic_statistics(),
            invalid_lines=counts.invalid_lines,
            replaced_characters=counts.replaced_characters,
            truncated_lines=counts.truncated_lines,
            truncated_bytes=counts.truncated_bytes,
            lag_bytes=files.lag,
            lag_bytes_max=files.lag_max,
            files=files.tracked,
            open_files=files.opened,
            rotations=files.rotations,
            truncations=files.truncations,
            lost_bytes=files.lost_bytes,
            skipped_files=self._discovery.skipped,
            checkpoint_writes=self._checkpoint_writes,
        )

    # --- reading ------------------------------------------------------------------------------------------------------

    def _scan(self, now: float) -> Found:
        found = self._files.scan(now)
        spent = self._clock() - now
        self._next_scan = now + spent + max(self.config.poll_interval, LOOK_SHARE * spent)
        return found

    def _look(self, now: float) -> None:
        if self.config.follow:
            self._scan(now)
        else:
            self._files.measure()
            self._next_scan = now + self.config.poll_interval

    def _take_turns(self, now: float) -> AgentBatch | None:
        """One round over the files that may have something, up to the first that has."""
        for _ in range(self._files.turns):
            turn = self._files.turn(now)
            if turn is not None:
                return self._batch(*turn)
        return None

    def _batch(self, file: TailedFile, lines: Lines) -> AgentBatch:
        return AgentBatch(
            lines=lines.lines, source=file.source, extras=lines.extras, position=TailPosition(file, file.delivered), size=lines.size
        )

    def _pause(self, now: float, started: float, deadline: float) -> bool:
        """Wait for the next look; True when `read` should return instead: interrupted, finished, or out of time."""
        if self.finished:
            self._files.measure()
            return True
        if self._files.has_turns:  # in the middle of a very long line
            return now >= max(deadline, started + BUSY_SECONDS) or self._wait(0.0)
        return now >= deadline or self._wait(min(deadline, self._next_scan) - now)

    def _check_directories(self) -> None:
        for pattern, path in self._discovery.patterns.items():
            if os.path.isdir(path):
                raise ConfigurationError(
                    f"agent {self.name!r}: {pattern} is a directory; to read the files in it write {pattern.rstrip('/')}/*"
                )

    def _check_complete(self, found: Found) -> None:
        for path in self._discovery.missing(found):
            raise ConfigurationError(f"agent {self.name!r}: there is no file to read at {path}; with follow: false it is not waited for")
        for item in found.files.values():
            if not os.access(item.path, os.R_OK):
                raise ConfigurationError(f"agent {self.name!r}: cannot read {item.path}; make it readable for this user, or exclude it")
        if not found.files:
            patterns = ", ".join(path for path in self._discovery.patterns.values() if glob.has_magic(path))
            self._complaints.about(patterns, "matches no file; there is nothing to read")

    # --- the checkpoint -----------------------------------------------------------------------------------------------

    def _load(self, checkpoint: CheckpointFile) -> None:
        state = checkpoint.open()
        if state is not None:
            try:
                entries, patterns = _entries(state, checkpoint.notes)
            except ValueError as error:
                checkpoint.set_aside(str(error))
            else:
                self._files.resume(entries, patterns)
        if checkpoint.damaged:
            self._note_error(f"the checkpoint {checkpoint.path} was damaged and set aside")
            self._files.lose_nothing()

    def _save_if_due(self, now: float) -> None:
        if self._is_open and (self._dirty or self._files.changed) and now >= self._next_save:
            self._save()

    def _save(self) -> None:
        if self._checkpoint is None:
            self._dirty = self._files.changed = False
            return
        started = self._clock()
        state: dict[str, Any] = {
            "paths": list(self._discovery.patterns),
            "files": [entry.as_json() for entry in self._files.entries()],
        }
        if self._write(self._checkpoint, state):
            self._dirty = self._files.changed = False
        ended = self._clock()
        self._next_save = ended + max(self.config.checkpoint_interval, LOOK_SHARE * (ended - started))

    def _write(self, checkpoint: CheckpointFile, state: dict[str, Any]) -> bool:
        try:
            checkpoint.write(state)
        except OSError as error:
            self._complaints.about(str(checkpoint.path), f"cannot be written ({error.strerror}); reading on, trying again")
            return False
        self._complaints.settled(str(checkpoint.path))
        self._checkpoint_writes += 1
        return True

    def _release(self) -> None:
        self._files.close()
        if self._checkpoint is not None:
            self._checkpoint.close()


def _entries(state: dict[str, Any], notes: list[dict[str, Any]]) -> tuple[list[Entry], list[str]]:
    """What `_save` wrote, and `acknowledge` noted since. Raises ValueError when this is something else."""
    files, paths = state.get("files"), state.get("paths")
    if not isinstance(files, list) or not isinstance(paths, list):
        raise ValueError("it lacks a list")
    entries = [Entry.from_json(entry) for entry in [*files, *notes]]
    return list({entry.identity: entry for entry in entries}.values()), [str(path) for path in paths]
