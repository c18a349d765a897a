"""What the exit status of `standpipe` means: the one place that says it, for programs, for people and for `--help`."""

from __future__ import annotations

from enum import IntEnum

from standpipe.core.errors import StandpipeError


class ExitCode(IntEnum):
    """The exit status of every verb."""

    DELIVERED = 0
    UNDELIVERED = 1
    USAGE = 2
    CONFIGURATION = 78  # EX_CONFIG of sysexits.h, which systemd knows by name as well
    INTERRUPTED = 130  # 128 + SIGINT, as shells report it


MEANINGS = {
    ExitCode.DELIVERED: "everything was delivered; or the verb did what it was asked to",
    ExitCode.UNDELIVERED: "something was not delivered or failed; or a check found damage",
    ExitCode.USAGE: "the command line cannot be understood, or there is nothing to do",
    ExitCode.CONFIGURATION: "the configuration has problems, or a spool is in use or too new; nothing was started",
    ExitCode.INTERRUPTED: "interrupted (`run` drains instead, and says 0 or 1)",
}
"""Each exit status in words."""

EPILOG = "\b\nExit status:\n" + "\n".join(f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())
"""The end of `standpipe --help`; the first line keeps the formatter from wrapping the others."""


class CommandFailed(StandpipeError):
    """the command failed

    Raised by verbs to end with one line for people on standard error and with `exit_code`.
    """

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code
