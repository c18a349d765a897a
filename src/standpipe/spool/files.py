"""The file system as the spool sees it: a seam, so that tests can put a crashing one in its place.

Two kinds of file are used. A *mapped* file has its full size from the beginning (a full disk is found when it is made, not
when it is written) and is written as memory: what is in it survives the process, and after `sync` the machine. A *plain* file
is appended to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol


class MappedFile(Protocol):
    """A file of a fixed size, written as memory."""

    buffer: memoryview

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`."""
        ...

    def sync(self) -> None:
        """Bring everything written so far to the disk. Raises OSError; the file must not be believed afterwards."""
        ...

    def close(self, size: int | None = None) -> None:
        """Release it; `size` cuts it off there."""
        ...


class AppendFile(Protocol):
    """A file that grows at its end."""

    def append(self, data: bytes) -> None:
        """Write `data` completely or raise OSError."""
        ...

    def sync(self) -> None:
        """Bring it to the disk."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class FileSystem(Protocol):
    """What a spool does with its folder. All names are names within it. Everything may raise OSError."""

    def prepare(self) -> None:
        """Make the folder, private to its owner, if it is not there."""
        ...

    def lock(self, name: str) -> int | None:
        """Become the owner; else the process id of the owner (0 if unknown). None: we are."""
        ...

    def unlock(self) -> None:
        """Give up the ownership."""
        ...

    def names(self) -> list[str]:
        """The names of the regular files in the folder."""
        ...

    def create(self, name: str, size: int) -> MappedFile:
        """A new file of `size` zeros, all of it allocated."""
        ...

    def size(self, name: str) -> int:
        """Bytes in an existing file."""
        ...

    def head(self, name: str, size: int) -> bytes:
        """The first `size` bytes of an existing file, or as many as it has."""
        ...

    def read(self, name: str) -> bytes:
        """All of an existing file. What the disk cannot read any more is zeros: that is found to be damaged, and the rest is not."""
        ...

    def sync(self, name: str) -> None:
        """Bring an existing file to the disk."""
        ...

    def appending(self, name: str) -> AppendFile:
        """A file to append to; made if it is not there."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Put `data` in the place of the file, atomically and durably: write, sync, rename, sync the folder."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, atomically."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is no error."""
        ...

    def sync_folder(self) -> None:
        """Make new and removed names durable."""
        ...

    def free(self) -> int:
        """Bytes free on the disk."""
        ...


WRITE_BYTES = 16 * 1024
"""From this size on a write is quicker than copying into mapped memory, which takes a page fault for every 4 KiB (measured:
250,000 bytes in 200 us against 550; 288 bytes in 2 us against 0.3). Both go to the same page cache."""


PAGE_BYTES = 4096
"""What is given up around a bad sector: the page that the operating system could not read."""


class _Mapped:
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE)
        self.buffer = memoryview(self._map)

    def write(self, offset: int, data: bytes) -> None:
        size = len(data)
        if size < WRITE_BYTES:
            self.buffer[offset : offset + size] = data
        elif (done := os.pwrite(self._descriptor, data, offset)) < size:
            self.buffer[offset + done : offset + size] = data[done:]

    def sync(self) -> None:
        _sync(self._descriptor)

    def close(self, size: int | None = None) -> None:
        if self._descriptor < 0:
            return
        with contextlib.suppress(BufferError):  # a reader still looks at it; the map goes with the last view
            self.buffer.release()
            self._map.close()
        try:
            if size is not None:
                os.ftruncate(self._descriptor, size)
        finally:
            os.close(self._descriptor)
            self._descriptor = -1


class _Append:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def sync(self) -> None:
        _sync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _sync(descriptor: int) -> None:
    """On macOS `fsync` leaves the data in the drive's cache; F_FULLFSYNC is its word for what others call fdatasync."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


class RealFileSystem:
    """A folder on the machine's disk: 0700, its files 0600; never follows a symbolic link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = -1

    def prepare(self) -> None:
        """Make the folder and those above it, each durably: a synced message in a folder that a power cut takes is lost."""
        missing = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._sync_folder(folder.parent)
        if not self.folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(self.folder))

    def lock(self, name: str) -> int | None:
        """An advisory lock (`flock`): it goes with the process, however that ends."""
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            return int(holder) if holder.isdigit() else 0
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor
        with contextlib.suppress(OSError):  # no room on the disk: what is in the spool has to be delivered all the same, to make some
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        return None

    def unlock(self) -> None:
        """Also right in a forked child: there it only closes the inherited descriptor, the parent keeps the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def names(self) -> list[str]:
        """Regular files only: links and folders are nobody's business."""
        with os.scandir(self.folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def create(self, name: str, size: int) -> MappedFile:
        """A new file; one that could not be made in full is removed again."""
        path = self.folder / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _allocate(descriptor, size)
            made = _Mapped(descriptor, size)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return made

    def size(self, name: str) -> int:
        """By its name: never of what a link points to."""
        return os.stat(self.folder / name, follow_symlinks=False).st_size

    def head(self, name: str, size: int) -> bytes:
        """By one read."""
        with self._opened(name) as descriptor:
            return os.pread(descriptor, size, 0)

    def read(self, name: str) -> bytes:
        """Read, not mapped: a bad sector is an error here, and would kill the process there (SIGBUS)."""
        with self._opened(name) as descriptor:
            size = os.fstat(descriptor).st_size
            try:
                whole = os.pread(descriptor, size, 0)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
            else:
                if len(whole) == size:
                    return whole  # as always: nothing was copied
                del whole
            data = bytearray(size)
            view, done = memoryview(data), 0
            while done < size:
                try:
                    got = os.preadv(descriptor, [view[done:]], done)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    got = self._read_page(descriptor, view, done)
                if not got:
                    break
                done += got
            return bytes(view[:done])

    @staticmethod
    def _read_page(descriptor: int, view: memoryview, offset: int) -> int:
        """One page where there is a bad sector; it is left as zeros if it is the one."""
        stop = min(len(view), (offset // PAGE_BYTES + 1) * PAGE_BYTES)
        try:
            return os.preadv(descriptor, [view[offset:stop]], offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return stop - offset

    def sync(self, name: str) -> None:
        """Whoever wrote it."""
        with self._opened(name) as descriptor:
            _sync(descriptor)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        descriptor = os.open(self.folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def appending(self, name: str) -> AppendFile:
        """For appending."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return _Append(os.open(self.folder / name, flags, 0o600))

    def replace(self, name: str, data: bytes) -> None:
        """By a temporary file; `*.tmp` left over by a crash are removed at the next start."""
        temporary = self.folder / (name + ".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        file = _Append(descriptor)
        try:
            file.append(data)
            file.sync()
            os.rename(temporary, self.folder / name)
        except BaseException:
            with contextlib.suppress(OSError):  # on a full disk what is left of it would take the room of messages
                temporary.unlink()
            raise
        finally:
            file.close()
        self.sync_folder()

    def rename(self, name: str, new: str) -> None:
        """Within the folder."""
        os.rename(self.folder / name, self.folder / new)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder / name)

    def sync_folder(self) -> None:
        """Sync the folder."""
        self._sync_folder(self.folder)

    def free(self) -> int:
        """Bytes free for us."""
        state = os.statvfs(self.folder)
        return state.f_bavail * state.f_frsize

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _allocate(descriptor: int, size: int) -> None:
    """All blocks now: writing to a mapped page for which there is no room on the disk would kill the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = b"\0" * 2**20
    for offset in range(0, size, len(block)):
        os.pwrite(descriptor, block[: size - offset], offset)
