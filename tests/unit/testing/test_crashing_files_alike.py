"""When nothing crashes, the crashing file system and the real one cannot be told apart: the same steps on both, compared after each.

One difference is known and left: the real one notes the owner's process id in a file, the other only remembers that it is locked.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from standpipe.spool.files import AppendFile, FileSystem, MappedFile, RealFileSystem
from standpipe.testing.crashing_files import CrashingFileSystem

SEGMENTS = st.sampled_from(["0.seg", "1.seg"])
LOGS = st.sampled_from(["log", "positions", "positions.tmp"])
NAMES = st.one_of(SEGMENTS, LOGS)
SIZES = st.sampled_from([1, 511, 4096, 4097, 50_000])
"""Also larger than what is copied into the map instead of being written."""
TEXTS = st.builds(
    lambda pattern, size: (pattern * size)[:size], st.binary(min_size=1, max_size=3), st.sampled_from([0, 1, 100, 5000, 20_000])
)


class Told:
    """What a call has told: a value, or the kind of error."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: tuple[type[OSError], int | None] | None = None
        self.value: object = None
        try:
            self.value = call()
        except OSError as error:
            self.error = (type(error), error.errno)


class BothFileSystems(RuleBasedStateMachine):
    """The real one and the crashing one, and what is open on both."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="standpipe-"))
        self.both: tuple[FileSystem, FileSystem] = (RealFileSystem(self.folder / "spool"), CrashingFileSystem())
        self.mapped: list[tuple[MappedFile, ...]] = []
        self.appending: list[tuple[AppendFile, ...]] = []
        self.sizes: list[int] = []

    def teardown(self) -> None:
        for mapped in self.mapped:
            for each in mapped:
                each.close()
        for appending in self.appending:
            for file in appending:
                file.close()
        for files in self.both:
            files.unlock()
        shutil.rmtree(self.folder)

    def same(self, call: Callable[[FileSystem], object]) -> tuple[object, ...] | None:
        """Do it with both; the values, or None when both refused alike."""
        real, crashing = (Told(lambda files=files: call(files)) for files in self.both)  # type: ignore[misc]
        assert real.error == crashing.error
        return None if real.error is not None else (real.value, crashing.value)

    @initialize()
    def begin(self) -> None:
        self.same(lambda files: files.prepare())

    # --- mapped files -------------------------------------------------------------------------------------------------

    @rule(name=SEGMENTS, size=SIZES)
    def create(self, name: str, size: int) -> None:
        made = self.same(lambda files: files.create(name, size))
        if made is not None:
            self.mapped.append(made)  # type: ignore[arg-type]
            self.sizes.append(size)

    @precondition(lambda self: self.mapped)
    @rule(data=st.data(), text=TEXTS, through_buffer=st.booleans())
    def write(self, data: st.DataObject, text: bytes, through_buffer: bool) -> None:
        at = data.draw(st.integers(0, len(self.mapped) - 1))
        offset = data.draw(st.integers(0, self.sizes[at] - 1))
        text = text[: self.sizes[at] - offset]
        for file in self.mapped[at]:
            if through_buffer:
                file.buffer[offset : offset + len(text)] = text
            else:
                file.write(offset, text)
        real, crashing = self.mapped[at]
        assert bytes(real.buffer) == bytes(crashing.buffer)

    @precondition(lambda self: self.mapped)
    @rule(data=st.data())
    def sync_mapped(self, data: st.DataObject) -> None:
        for file in data.draw(st.sampled_from(self.mapped)):
            file.sync()

    @precondition(lambda self: self.mapped)
    @rule(data=st.data(), cut=st.booleans(), twice=st.booleans())
    def close_mapped(self, data: st.DataObject, cut: bool, twice: bool) -> None:
        at = data.draw(st.integers(0, len(self.mapped) - 1))
        size = data.draw(st.integers(0, self.sizes[at])) if cut else None
        for file in self.mapped[at]:
            file.close(size)
            if twice:
                file.close()
        del self.mapped[at], self.sizes[at]

    # --- files that grow ----------------------------------------------------------------------------------------------

    @rule(name=LOGS)
    def open_for_appending(self, name: str) -> None:
        opened = self.same(lambda files: files.appending(name))
        assert opened is not None
        self.appending.append(opened)  # type: ignore[arg-type]

    @precondition(lambda self: self.appending)
    @rule(data=st.data(), text=TEXTS, sync=st.booleans())
    def append(self, data: st.DataObject, text: bytes, sync: bool) -> None:
        for file in data.draw(st.sampled_from(self.appending)):
            file.append(text)
            if sync:
                file.sync()

    @precondition(lambda self: self.appending)
    @rule(data=st.data())
    def close_appending(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.appending) - 1))
        for file in self.appending.pop(at):
            file.close()
            file.close()

    @rule(name=st.sampled_from(["log", "positions", "0.seg"]), text=TEXTS)
    def replace(self, name: str, text: bytes) -> None:
        assert self.same(lambda files: files.replace(name, text)) is not None

    # --- names --------------------------------------------------------------------------------------------------------

    @rule(names=st.one_of(st.tuples(SEGMENTS, SEGMENTS), st.tuples(LOGS, LOGS)))
    def rename(self, names: tuple[str, str]) -> None:
        self.same(lambda files: files.rename(*names))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        assert self.same(lambda files: files.remove(name)) is not None

    @rule(name=NAMES)
    def sync_by_name(self, name: str) -> None:
        self.same(lambda files: files.sync(name))

    @rule()
    def sync_folder(self) -> None:
        self.same(lambda files: files.sync_folder())

    @rule()
    def lock_and_unlock(self) -> None:
        assert self.same(lambda files: files.lock("lock")) == (None, None)
        self.same(lambda files: files.unlock())

    # --- what must be alike -------------------------------------------------------------------------------------------

    @rule(name=NAMES, size=st.sampled_from([0, 1, 128, 100_000]))
    def look_at_the_head(self, name: str, size: int) -> None:
        found = self.same(lambda files: files.head(name, size))
        assert found is None or found[0] == found[1]

    @rule(name=NAMES)
    def ask_for_the_size(self, name: str) -> None:
        found = self.same(lambda files: files.size(name))
        assert found is None or found[0] == found[1]

    @invariant()
    def every_file_is_the_same(self) -> None:
        real, crashing = self.both
        if not self.folder.joinpath("spool").exists():
            return
        names = crashing.names()
        assert [name for name in real.names() if name != "lock"] == names
        for name in names:
            assert real.read(name) == crashing.read(name), name


BothFileSystems.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBothFileSystems = BothFileSystems.TestCase
