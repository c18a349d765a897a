"""Opening a folder below a base without ever leaving the base: no symbolic link on the way is followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from standpipe.core.errors import SendError

FOLDER_MODE = 0o750
"""Permissions of folders that are made (less what the umask takes away): logs are for their owner and group."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CANNOT_PASS = (errno.ELOOP, errno.ENOTDIR, errno.ENAMETOOLONG)


class UnusablePath(SendError):
    """the path cannot be written to, and trying again will not help"""


def open_folder(base: str, names: Sequence[str] = ()) -> int:
    """A descriptor of the folder `names` below `base`; folders that are missing are made. The caller closes it.

    Raises UnusablePath if something on the way below `base` is a link or no folder, OSError for everything else.
    """
    descriptor = _open_base(base or ".")
    for number, name in enumerate(names, 1):
        try:
            below = _open_below(descriptor, name)
        except OSError as error:
            if error.errno in _CANNOT_PASS:
                path = os.path.join(base, *names[:number])
                raise UnusablePath(f"{path!r} is a symbolic link or not a folder; nothing is written through it: remove it") from error
            raise
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _open_base(base: str) -> int:
    try:
        return os.open(base, _FOLDER)
    except FileNotFoundError:
        os.makedirs(base, FOLDER_MODE, exist_ok=True)
        return os.open(base, _FOLDER)


def _open_below(parent: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        try:
            os.mkdir(name, FOLDER_MODE, dir_fd=parent)
        except FileExistsError:
            pass
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
