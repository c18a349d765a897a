"""Disks that tests may break: loop-mounted ext4 and small tmpfs. What a machine cannot do is said when the test is skipped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, with NOLOGFLUSH: nothing reaches the disk any more, as if the power had gone."""
NO_LOG_FLUSH = 2

PACKAGES = {"strace": "strace", "mkfs.ext4": "e2fsprogs", "mount": "mount", "prlimit": "util-linux"}
"""Where Debian has the tools."""


def unavailable(reason: str) -> None:
    """Skip the test, visibly; where everything has to be there, that is in CI, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need_root() -> None:
    """For mounting and for attaching to processes."""
    if os.name != "posix" or os.uname().sysname != "Linux":
        unavailable("needs Linux")
    if os.geteuid() != 0:
        unavailable("needs root")


def need_tool(name: str) -> None:
    """A command; root on Debian gets it installed."""
    if shutil.which(name) is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGES[name]]
        subprocess.run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, check=False)
    if shutil.which(name) is None:
        unavailable(f"needs the command {name} (Debian: apt-get install {PACKAGES[name]})")


def command(*words: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"


class LoopDisk:
    """An ext4 file system in a file, whose power can be cut."""

    def __init__(self, folder: Path, size: str = "64M") -> None:
        self.image = folder / "disk.img"
        self.path = folder / "disk"
        self.path.mkdir()
        self._mounted = False
        command("truncate", "-s", size, str(self.image))
        command("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))
        self.mount()

    def mount(self) -> None:
        """Switch it on; the file system replays its journal."""
        command("mount", "-o", "loop", str(self.image), str(self.path))
        self._mounted = True

    def cut_power(self) -> None:
        """From now on nothing written reaches the disk; what was not there is gone when it is mounted again."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Switch it off."""
        if self._mounted:
            command("umount", str(self.path))
            self._mounted = False

    def reboot(self) -> None:
        """Off and on."""
        self.unmount()
        self.mount()

    def remount(self, options: str) -> None:
        """With other options, as the kernel does it when it finds an error."""
        command("mount", "-o", f"remount,{options}", str(self.path))


@contextlib.contextmanager
def loop_disk(folder: Path, size: str = "64M") -> Iterator[LoopDisk]:
    """A `LoopDisk`, unmounted at the end whatever happens; skips where that cannot be had."""
    need_root()
    need_tool("mkfs.ext4")
    need_tool("mount")
    if not os.path.exists("/dev/loop-control"):
        unavailable("needs loop devices")
    disk = LoopDisk(folder, size)
    try:
        yield disk
    finally:
        disk.unmount()


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs with `options`, such as `size=1M` or `nr_inodes=5`."""
    need_root()
    need_tool("mount")
    path = folder / "small"
    path.mkdir()
    command("mount", "-t", "tmpfs", "-o", options, "standpipe-test", str(path))
    try:
        yield path
    finally:
        command("umount", str(path))
