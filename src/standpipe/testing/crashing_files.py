"""A file system in memory that loses what was not synced: power cuts, full and failing disks, in microseconds.

It is as unkind as POSIX allows: of unsynced pages any subset survives a power cut, and one may be torn; of what was appended
any beginning; of new, removed and renamed names any whose folder was not synced; and after a failed sync the pages concerned
count as clean and are lost. Everything is chosen by a seeded generator, so that a failure can be repeated.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

PAGE_BYTES = 4096
SECTOR_BYTES = 512


class Stopped(BaseException):
    """The process ended here: everything after this step did not happen. Then `kill()` or `crash()`."""


@dataclass
class _Fault:
    action: str
    number: int
    times: int | None
    name: str | None


class _File:
    """One file: what processes see (`data`), what the kernel believes to be on the disk (`clean`), what is there (`disk`)."""

    def __init__(self, size: int = 0, *, grows: bool = False) -> None:
        self.grows = grows
        self.data = bytearray(size)
        self.clean: bytearray | None = None  # None: never synced, not even its size
        self.disk = bytearray()

    def synced(self) -> None:
        for start in self.dirty():
            stop = start + PAGE_BYTES
            self._put(start, self.data[start:stop])
        del self.disk[len(self.data) :]
        self.clean = bytearray(self.data)

    def failed(self, chance: random.Random, *, evicts: bool) -> None:
        """The pages are marked clean although they are not on the disk; some are read again from there, as they were."""
        lost = list(self.dirty())
        self.clean = bytearray(self.data)
        for start in lost:
            if evicts and chance.random() < 0.5:
                stop = min(start + PAGE_BYTES, len(self.data))
                self.data[start:stop] = self.disk[start:stop].ljust(stop - start, b"\0")

    def dirty(self) -> Iterator[int]:
        clean = self.clean if self.clean is not None else b""
        for start in range(0, max(len(self.data), len(clean)), PAGE_BYTES):
            if self.clean is None or self.data[start : start + PAGE_BYTES] != clean[start : start + PAGE_BYTES]:
                yield start

    def write_back(self, start: int) -> None:
        """The kernel has written a page by itself."""
        page = self.data[start : start + PAGE_BYTES]
        self._put(start, page)
        if self.clean is not None:
            self.clean.extend(b"\0" * (start + len(page) - len(self.clean)))
            self.clean[start : start + len(page)] = page

    def after_power_cut(self, chance: random.Random) -> bytes:
        """What is on the disk: of the pages that were not synced any, and one of those perhaps torn."""
        if self.grows:
            return self._beginning(chance)
        size = max(len(self.data), len(self.disk) if chance.randrange(2) else 0)  # it may not have been cut off
        if self.clean is None and not chance.randrange(4):
            return b""  # not even its size
        found = bytearray(self.disk[:size].ljust(size, b"\0"))
        for start in self.dirty():
            stop = min(start + PAGE_BYTES, size)
            fate = chance.randrange(5)
            if fate == 4:
                stop = min(stop, start + SECTOR_BYTES * chance.randrange(PAGE_BYTES // SECTOR_BYTES))
            if fate >= 2:
                found[start:stop] = self.data[start:stop].ljust(stop - start, b"\0")
        return bytes(found)

    def _beginning(self, chance: random.Random) -> bytes:
        """Of a file that only grows: a beginning of it, the end of which may be zeros."""
        sure = len(self.disk)
        size = chance.randint(sure, max(sure, len(self.data)))
        there = chance.randint(sure, size)
        return bytes(self.data[:there]).ljust(size, b"\0")

    def _put(self, start: int, page: bytes | bytearray) -> None:
        self.disk.extend(b"\0" * (start + len(page) - len(self.disk)))
        self.disk[start : start + len(page)] = page


class _Mapped:
    def __init__(self, files: CrashingFileSystem, file: _File, name: str) -> None:
        self._files = files
        self._file = file
        self._name = name
        self.buffer = memoryview(file.data)

    def write(self, offset: int, data: bytes) -> None:
        with self._files._step("write", self._name) as partly:
            if partly:
                data = data[: self._files.chance.randrange(len(data) + 1)]
            self.buffer[offset : offset + len(data)] = data

    def sync(self) -> None:
        self._files._sync(self._name, self._file)

    def close(self, size: int | None = None) -> None:
        with suppress(BufferError):
            self.buffer.release()
        if size is not None and size < len(self._file.data):
            with self._files._step("truncate", self._name):
                self._file.data = self._file.data[:size]


class _Appended:
    def __init__(self, files: CrashingFileSystem, file: _File, name: str) -> None:
        self._files = files
        self._file = file
        self._name = name

    def append(self, data: bytes) -> None:
        self._files._append(self._name, self._file, data)

    def sync(self) -> None:
        self._files._sync(self._name, self._file)

    def close(self) -> None:
        """Nothing to release."""


class CrashingFileSystem:
    """The `FileSystem` of one process, in memory. Not thread-safe.

    `capacity`: bytes on the disk (None: no limit), may be changed at any time. `fail(...)` lets calls fail; `stop_after(n)` ends
    the process in the middle of its n-th step from now. `kill()` and `crash()` return the file system that the next process finds.
    `evicts`: whether pages whose sync failed may also disappear from memory.
    """

    def __init__(self, seed: int = 0, *, capacity: int | None = None, evicts: bool = True) -> None:
        self.chance = random.Random(seed)
        self.capacity = capacity
        self.evicts = evicts
        self.steps: list[tuple[str, str]] = []
        """Every step so far, with the name of the file: `create`, `write`, `append`, `sync`, `rename`, `remove`, and so on."""
        self.owner: int | None = None
        """The process id of another process that owns the folder, if one does."""
        self.locked = False
        self._names: dict[str, _File] = {}
        self._durable: dict[str, _File] = {}  # the names as they are on the disk
        self._pending: list[dict[str, _File | None]] = []  # changes of names since the folder was synced, each atomic
        self._faults: list[_Fault] = []
        self._stop_at: int | None = None

    # --- for the test -------------------------------------------------------------------------------------------------

    def fail(self, action: str, number: int = errno.EIO, *, times: int | None = 1, name: str | None = None) -> None:
        """Let the next `times` calls (None: all) of `action` fail with errno `number`; only for file `name`, if it is given."""
        self._faults.append(_Fault(action, number, times, name))

    def heal(self) -> None:
        """No more failures."""
        self._faults.clear()

    def stop_after(self, steps: int) -> None:
        """Raise Stopped in the middle of step `steps` from now (1: the next one)."""
        self._stop_at = len(self.steps) + steps

    def write_back(self) -> None:
        """The kernel writes some pages to the disk by itself."""
        for file in self._names.values():
            for start in list(file.dirty()):
                if file.clean is not None and not file.grows and self.chance.random() < 0.5:
                    file.write_back(start)

    def kill(self) -> CrashingFileSystem:
        """The process dies, the operating system lives: everything written is there."""
        fresh = self._next()
        fresh._names, fresh._durable, fresh._pending = self._names, self._durable, self._pending
        return fresh

    def crash(self) -> CrashingFileSystem:
        """The power fails: what was not synced may be gone."""
        fresh = self._next()
        for name, file in self._names_after_power_cut().items():
            fresh._place(name, file.after_power_cut(self.chance), grows=file.grows)
        return fresh

    def contents(self) -> dict[str, bytes]:
        """Every file, as processes see it."""
        return {name: bytes(file.data) for name, file in self._names.items()}

    def put(self, name: str, data: bytes) -> None:
        """Put a file there, on the disk, as somebody else would; it replaces what has that name."""
        self._place(name, data, grows=False)

    def flip(self, name: str, bit: int) -> None:
        """Turn over one bit of a file, everywhere."""
        file = self._names[name]
        for data in (file.data, file.disk, file.clean):
            if data is not None and bit // 8 < len(data):
                data[bit // 8] ^= 1 << bit % 8

    # --- FileSystem ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """The folder is there."""
        with self._step("prepare"):
            pass

    def lock(self, name: str) -> int | None:
        """Nobody else is there, unless `owner` says so."""
        with self._step("lock", name):
            if self.owner is None:
                self.locked = True
            return self.owner

    def unlock(self) -> None:
        """Nobody owns it any more."""
        self.locked = False

    def names(self) -> list[str]:
        """All files."""
        with self._step("names"):
            return sorted(self._names)

    def create(self, name: str, size: int) -> _Mapped:
        """All of it is there, or nothing."""
        with self._step("create", name):
            if name in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            self._need(size)
            file = _File(size)
            self._change({name: file})
            return _Mapped(self, file, name)

    def size(self, name: str) -> int:
        """Bytes in a file."""
        return len(self._find(name).data)

    def head(self, name: str, size: int) -> bytes:
        """Its first bytes."""
        with self._step("head", name):
            return bytes(self._find(name).data[:size])

    def read(self, name: str) -> bytes:
        """All of it."""
        with self._step("read", name):
            return bytes(self._find(name).data)

    def sync(self, name: str) -> None:
        """Bring it to the disk."""
        self._sync(name, self._find(name))

    def appending(self, name: str) -> _Appended:
        """For appending."""
        with self._step("open", name):
            return _Appended(self, self._growing(name), name)

    def replace(self, name: str, data: bytes) -> None:
        """By a temporary file, in the steps of the real one."""
        temporary = name + ".tmp"
        with self._step("open", temporary):
            file = self._growing(temporary)
            file.data = bytearray()
        try:
            self._append(temporary, file, data)
            self._sync(temporary, file)
            self.rename(temporary, name)
        except OSError:
            self.remove(temporary)
            raise
        self.sync_folder()

    def rename(self, name: str, new: str) -> None:
        """Atomic, and durable with the folder."""
        with self._step("rename", name):
            self._change({name: None, new: self._find(name)})

    def remove(self, name: str) -> None:
        """Durable with the folder."""
        with self._step("remove", name):
            if name in self._names:
                self._change({name: None})

    def sync_folder(self) -> None:
        """The names are on the disk."""
        with self._step("sync_folder"):
            self._durable = dict(self._names)
            self._pending = []

    def free(self) -> int:
        """Bytes left of `capacity`."""
        used = sum(len(file.data) for file in self._names.values())
        return 2**62 if self.capacity is None else max(0, self.capacity - used)

    # --- within -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, action: str, name: str = "") -> Iterator[bool]:
        """One call: it fails if that is planned. True: the process ends in the middle of it; what the caller does is half done."""
        self.steps.append((action, name))
        ends = self._stop_at is not None and len(self.steps) >= self._stop_at
        if ends and action not in ("write", "append") and self.chance.random() < 0.5:
            raise Stopped
        for fault in self._faults:
            if fault.action == action and fault.name in (None, name) and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                raise OSError(fault.number, os.strerror(fault.number), name)
        yield ends
        if ends:
            raise Stopped

    def _next(self) -> CrashingFileSystem:
        return CrashingFileSystem(self.chance.randrange(2**32), capacity=self.capacity, evicts=self.evicts)

    def _place(self, name: str, data: bytes, *, grows: bool) -> None:
        file = _File(grows=grows)
        file.data, file.disk, file.clean = bytearray(data), bytearray(data), bytearray(data)
        self._names[name] = self._durable[name] = file

    def _find(self, name: str) -> _File:
        if name not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._names[name]

    def _growing(self, name: str) -> _File:
        file = self._names.get(name)
        if file is None:
            file = _File(grows=True)
            self._change({name: file})
        return file

    def _append(self, name: str, file: _File, data: bytes) -> None:
        with self._step("append", name) as partly:
            room = min(len(data), self.free())
            if partly:
                room = self.chance.randint(0, room)
            file.data += data[:room]
            if room < len(data) and not partly:
                self._need(len(data) - room)

    def _sync(self, name: str, file: _File) -> None:
        try:
            with self._step("sync", name):
                file.synced()
        except OSError:
            file.failed(self.chance, evicts=self.evicts)
            raise

    def _need(self, size: int) -> None:
        if size > self.free():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _change(self, names: dict[str, _File | None]) -> None:
        self._pending.append(names)
        _apply(self._names, names)

    def _names_after_power_cut(self) -> dict[str, _File]:
        """Any of the changes, but of those that concern one name only a beginning."""
        names = dict(self._durable)
        undone: set[str] = set()
        for change in self._pending:
            if undone.intersection(change) or self.chance.random() < 0.4:
                undone.update(change)
            else:
                _apply(names, change)
        return names


def _apply(names: dict[str, _File], change: dict[str, _File | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file
