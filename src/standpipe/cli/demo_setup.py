"""The scene of the demo: a folder of its own with the configuration and the producer, and the logs to read."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from standpipe.cli.exit_codes import CommandFailed, ExitCode

FILES = Path(__file__).parent / "demo_files"
MACHINE_LOG = Path("/var/log/dpkg.log")
MACHINE_LOG_MAX = 20 * 2**20
"""Bytes of the machine's own log that the demo reads at most: a month of a busy machine; it shall end in time."""

LINES_PER_SECOND = 300
"""How fast the made-up access log grows."""

_REFERENCE = re.compile(r"\$\{env:(\w+):-([^}]*)\}")


@dataclass(frozen=True)
class Scene:
    """What the demo works with; `seconds` is how long the access log grows. The outage takes the two quarters in the middle."""

    folder: Path
    log: Path
    log_is_the_machines: bool
    log_lines: int
    seconds: int

    @property
    def configuration(self) -> Path:
        """The configuration that is run."""
        return self.folder / "standpipe.yaml"

    @property
    def log_file(self) -> Path:
        """What Standpipe logs meanwhile."""
        return self.folder / "standpipe.log"

    @property
    def archive(self) -> Path:
        """The database of the healthy destination."""
        return self.folder / "archive.db"

    @property
    def alerts(self) -> Path:
        """The file of the destination that goes down."""
        return self.folder / "alerts.jsonl"

    @property
    def outage(self) -> Path:
        """The file that makes that destination refuse everything, as long as it exists."""
        return self.folder / "alerts.down"

    @property
    def visits(self) -> Path:
        """The made-up access log."""
        return self.folder / "visits.log"

    @property
    def ledger_file(self) -> Path:
        """What `standpipe run --json` says at its end."""
        return self.folder / "ledger.json"

    @property
    def made_up_lines(self) -> int:
        """How many lines the access log is going to have."""
        return LINES_PER_SECOND * self.seconds


def set_the_scene(keep: Path | None, seconds: int) -> Scene:
    """Make the folder and fill it. Raises CommandFailed when it cannot be had."""
    if not (FILES / "standpipe.yaml").is_file():
        raise CommandFailed(
            "the files of the demo are not part of this installation; get the source of standpipe and call `make demo` in it",
            ExitCode.UNDELIVERED,
        )
    folder = _folder(keep)
    machines = _readable(MACHINE_LOG)
    log = MACHINE_LOG if machines else folder / "dpkg.log"
    if not machines:
        shutil.copyfile(FILES / "dpkg.log", log)
    shutil.copyfile(FILES / "flaky_destination.py", folder / "flaky_destination.py")
    scene = Scene(folder, log, machines, count_lines(log), seconds)
    scene.visits.touch()
    scene.configuration.write_text(_filled((FILES / "standpipe.yaml").read_text(encoding="utf-8"), scene), encoding="utf-8")
    return scene


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="standpipe-demo-"))
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise CommandFailed(f"--keep {keep}: there is something already; name a new folder", ExitCode.USAGE)
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _readable(log: Path) -> bool:
    try:
        with log.open("rb") as file:
            return 0 < os.fstat(file.fileno()).st_size <= MACHINE_LOG_MAX
    except OSError:
        return False


def _filled(text: str, scene: Scene) -> str:
    """The configuration with its references replaced, so that what is left behind can be run again as it is."""
    values = {"DEMO_DIR": str(scene.folder), "DEMO_LOG": str(scene.log)}
    return _REFERENCE.sub(lambda match: values.get(match[1], match[2]), text)


def count_lines(path: Path) -> int:
    """Lines of a file, also the last one if it has no end."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines if last == b"\n" else lines + 1
