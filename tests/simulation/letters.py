"""Where dead letters go. The real store is used with a real file, which is put back, when a process dies, to what the disk had then."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from standpipe.core.dead_letter import DeadLetter, Reason
from standpipe.delivery.dead_letters import DeadLetters
from standpipe.spool.dead_letters import SqliteDeadLetters

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

SYNCS_AT_COMMIT = 2
"""`PRAGMA synchronous`: from FULL on, with a write-ahead log, a transaction is on the disk when it is over; below it is not."""

MEMORY = Path("/dev/shm")
"""The files are small, many and soon gone: where the machine has this, they are in memory."""


class Letters:
    """All dead letters of a run, whatever the process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fails_until = 0.0
        self.dies_at: int | None = None  # the process dies with the so many-th call from now
        self.cuts_power = False  # and takes the power with it
        self._store: Store | None = None
        self._known: dict[str, DeadLetter] = {}  # by id: those whose storing was confirmed
        self._in_doubt: dict[str, DeadLetter] = {}  # those that may be there
        self._folder: Path | None = None
        self._durable: dict[str, bytes] = {}  # the files, as a power cut would leave them

    def of(self, process: Process) -> DeadLetters:
        """The store that a process uses."""
        if self.world.plan.setup.letters == "memory":
            return Kept(self, process)
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="standpipe-simulation-", dir=MEMORY if MEMORY.is_dir() else None))
        self._store = Store(self, process, self._folder / "dead.sqlite")
        return self._store

    def heal(self) -> None:
        """From now on they can be stored."""
        self.fails_until, self.dies_at = 0.0, None

    def remove(self) -> None:
        """The run is over."""
        if self._folder is not None:
            shutil.rmtree(self._folder)

    # --- a call, step by step -----------------------------------------------------------------------------------------

    def begin(self, process: Process, letters: Sequence[DeadLetter]) -> None:
        """Somebody wants to store these: perhaps it cannot be done, or the process dies before it is."""
        process.alive()
        if self.world.clock.now < self.fails_until and self._luck(letters, 1) < 0.7:
            self._doomed(letters)
            raise OSError("the dead letters cannot be stored")
        if self.dies_at is not None:
            self.dies_at -= 1
            if self.dies_at <= 0 and self._luck(letters, 2) < 0.3:
                self.dies_at = None
                process.killed("before its dead letter is stored", power=self.cuts_power)

    def stored(self, process: Process, letters: Sequence[DeadLetter]) -> None:
        """They are stored; who asked for it may never hear of it."""
        self._in_doubt |= {letter.id: letter for letter in letters}
        if self.dies_at is not None and self.dies_at <= 0:
            self.dies_at = None
            process.killed("after its dead letter was stored", power=self.cuts_power)
        if self.world.clock.now < self.fails_until:
            self._doomed(letters)
            raise OSError("the dead letters are stored, and nobody is told")
        for letter in letters:
            self._in_doubt.pop(letter.id, None)  # it may be there twice: a crash can leave a message in two spools
            self._known[letter.id] = letter
            self._tell(letter)
        process.put_aside(len(letters))
        process.tell("put aside", [self.world.oracle.number_of(letter) for letter in letters], letters[0].reason.value)
        self.world.saw(letters[0].reason.value)

    def _doomed(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            if letter.reason is Reason.EXPIRED:
                self.world.oracle.messages[self.world.oracle.number_of(letter)].doomed = True

    def synced(self, level: int) -> None:
        """A transaction is over."""
        if level >= SYNCS_AT_COMMIT:
            self._durable = self._files()

    def _luck(self, letters: Sequence[DeadLetter], what: int) -> float:
        return self.world.destination.luck(self.world.oracle.number_of(letters[0]), len(self._known), what, 11)

    def _tell(self, letter: DeadLetter) -> None:
        setup = self.world.plan.setup
        self.world.oracle.letter(letter, deadline=setup.deadline, max_resets=setup.max_resets)

    # --- the end of a process -----------------------------------------------------------------------------------------

    def process_ended(self, *, power: bool, dead: bool) -> None:
        """What the next one finds is what was there at this moment, or what was on the disk."""
        store, self._store = self._store, None
        if store is None or self._folder is None:
            return
        left = self._durable if power else self._files()
        store.let_go()  # which would bring more to the disk
        if dead:
            for path in self._folder.iterdir():
                path.unlink()
            for name, data in left.items():
                (self._folder / name).write_bytes(data)
        self._durable = self._files()  # nothing of what is found can be lost any more: the next process syncs it with its own
        self.check()

    def check(self) -> None:
        """What is there is what was put there: nothing is missing, changed, twice or of unknown origin."""
        if self._folder is None:
            return
        with SqliteDeadLetters(self._folder / "dead.sqlite", clock=self.world.clock) as store:
            rows, statistics = list(store), store.statistics()
        for row in rows:
            if row.id in self._in_doubt and row.id not in self._known:
                self._known[row.id] = self._in_doubt.pop(row.id)
                self._tell(row)
                self.world.saw("letter of a dead process")
            letter = self._known.get(row.id)
            if letter is None or letter.payload != row.payload:
                self.world.fail(f"a dead letter is there that nobody has put aside: {row!r}")
        missing = set(self._known) - {row.id for row in rows}
        if missing:
            self.world.fail(f"dead letters are gone: {sorted(self.world.oracle.number_of(self._known[one]) for one in missing)}")
        if not len(rows) == statistics.letters == statistics.added == len(self._known):
            self.world.fail(f"{len(self._known)} dead letters were put aside, {len(rows)} are there, and the store says {statistics}")

    def _files(self) -> dict[str, bytes]:
        """The index of the log (`-shm`) is made anew by whoever opens the file first."""
        found = sorted(self._folder.iterdir()) if self._folder is not None else []
        return {path.name: path.read_bytes() for path in found if not path.name.endswith("-shm")}


class Kept:
    """In memory, in a store that outlives the process."""

    def __init__(self, letters: Letters, process: Process) -> None:
        self._letters = letters
        self._process = process
        self._kept: list[DeadLetter] = []

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Keep these, or fail."""
        self._letters.begin(self._process, letters)
        self._letters.stored(self._process, letters)
        self._kept += letters

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._kept)


class Store(SqliteDeadLetters):
    """The real one, in one life of the process."""

    def __init__(self, letters: Letters, process: Process, path: Path) -> None:
        super().__init__(path, clock=letters.world.clock)
        self._letters = letters
        self._process = process

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """As the real one, or fail, or die."""
        self._letters.begin(self._process, letters)
        super().add(letters)
        db = self._file._db
        self._letters.synced(0 if db is None else db.execute("PRAGMA synchronous").fetchone()[0])
        self._letters.stored(self._process, letters)

    def close(self) -> None:
        """A dead process closes nothing."""
        if not self._process.dead:
            super().close()

    def let_go(self) -> None:
        """What is left of the process disappears."""
        super().close()
