"""Small text files, read whole and within a limit, with faults in the user's words."""

from __future__ import annotations

import os

_FAULTS: tuple[tuple[type[OSError], str, str], ...] = (
    (FileNotFoundError, "no such file", "check the path; it is taken relative to {folder}"),
    (IsADirectoryError, "is a directory", "name a file in it"),
    (PermissionError, "permission denied", "let the user that runs standpipe read it"),
)


class FileFault(Exception):
    """a file cannot be read: `message` says why, `remedy` what to do"""

    def __init__(self, message: str, remedy: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def read_text(path: str, bytes_max: int) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises FileFault, never OSError or UnicodeError."""
    try:
        with open(path, "rb") as file:
            raw = file.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        raise _fault(path, error) from None
    if len(raw) > bytes_max:
        raise FileFault(f"larger than {bytes_max // 1024} KiB", "check that it is the right file")
    return _decoded(raw)


def _fault(path: str, error: OSError | ValueError) -> FileFault:
    for kind, message, remedy in _FAULTS:
        if isinstance(error, kind):
            return FileFault(message, remedy.format(folder=os.getcwd()) if not os.path.isabs(path) else remedy.split(";")[0])
    return FileFault(f"cannot be read ({getattr(error, 'strerror', None) or error})", None)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise FileFault(f"not UTF-8: byte 0x{raw[error.start]:02x} in line {line}", "save the file as UTF-8") from None
