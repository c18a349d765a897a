"""Looking after rotated files: compressing them, deleting what is beyond `keep`, mending what a crash left behind.

Compressing is safe at every moment: `X` -> `X.gz.tmp` (written and synced) -> renamed to `X.gz` -> `X` deleted. A crash leaves
`X` in place until its records are on the disk in `X.gz`; the next look does the rest again from `X`.
"""

from __future__ import annotations

import errno
import fcntl
import gzip
import logging
import os
import stat
from collections.abc import Callable

from standpipe.producers.rotation import RotateConfig, is_rotated, too_many

CHUNK = 2**18
"""Bytes compressed between two looks at whether to stop: some milliseconds of work."""
COMPRESSION_LEVEL = 6
"""The level of the gzip program: three quarters of the best ratio's gain at a fifth of its time."""

_log = logging.getLogger("standpipe.producers.file")


class Interrupted(Exception):
    """the producer is closing; the file stays uncompressed until the next look"""


def tidy(folder: int, name: str, config: RotateConfig, stopping: Callable[[], bool]) -> None:
    """Compress and thin out the rotated files of `name` in the folder with that descriptor.

    Safe to repeat and to run in several processes. Raises Interrupted when `stopping` says so, OSError when it cannot go on;
    in both cases no record is lost.
    """
    if config.keep is not None:
        for doomed in too_many(name, os.listdir(folder), config.keep):
            _delete(folder, doomed)
            _log.info("deleted the rotated file %s: %d are kept", doomed, config.keep)
    if config.gzip:
        for other in sorted(os.listdir(folder)):
            if other.endswith(".gz.tmp") and is_rotated(name, other.removesuffix(".tmp")):
                _forget_leftover(folder, other)
            elif is_rotated(name, other) and not other.endswith(".gz"):
                _compress_unless_busy(folder, other, stopping)


def _delete(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:  # somebody else was faster
        pass


def _forget_leftover(folder: int, name: str) -> None:
    """A half-written `X.gz.tmp` without its `X` is worth nothing: with it, it is written anew anyway."""
    try:
        os.stat(name.removesuffix(".gz.tmp"), dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        _delete(folder, name)


def _compress_unless_busy(folder: int, name: str, stopping: Callable[[], bool]) -> None:
    """The lock on `X` keeps out other processes that look after the same files, and waits for nobody."""
    try:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # gone meanwhile; or a link, which is none of ours
            return
        raise
    try:
        fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISREG(os.fstat(source).st_mode) and os.fstat(source).st_nlink:
            _compress(folder, name, source, stopping)
    except BlockingIOError:
        return
    finally:
        os.close(source)


def _compress(folder: int, name: str, source: int, stopping: Callable[[], bool]) -> None:
    temporary = f"{name}.gz.tmp"
    try:
        _write_compressed(folder, name, temporary, source, stopping)
        os.rename(temporary, f"{name}.gz", src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        _delete(folder, temporary)
        raise
    os.fsync(folder)
    _delete(folder, name)


def _write_compressed(folder: int, name: str, temporary: str, source: int, stopping: Callable[[], bool]) -> None:
    _delete(folder, temporary)
    facts = os.fstat(source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(temporary, flags, stat.S_IMODE(facts.st_mode), dir_fd=folder)
    with open(target, "wb") as raw:
        with gzip.GzipFile(name, "wb", COMPRESSION_LEVEL, raw, mtime=facts.st_mtime) as packed:
            while chunk := os.read(source, CHUNK):
                if stopping():
                    raise Interrupted
                packed.write(chunk)
        raw.flush()
        os.fchmod(target, stat.S_IMODE(facts.st_mode))
        os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        os.fsync(target)
