"""What an examination finds in a producer's own settings and on this machine, whatever the destination is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from standpipe.core.finding import Finding, Severity
from standpipe.producers.config import BaseProducerConfig, SpoolConfig
from standpipe.producers.disk_findings import disk_findings

_WARNING, _INFO = Severity.WARNING, Severity.INFO


def local_findings(config: BaseProducerConfig, state_dir: Path) -> Iterator[Finding]:
    """The queue, the dead letters, the policies that put messages aside, and the disks they are on."""
    yield from _queue(config, state_dir)
    yield from _dead_letters(config, state_dir)
    yield from _policies(config)


def _queue(config: BaseProducerConfig, state_dir: Path) -> Iterator[Finding]:
    queue = config.queue
    folder = Path(queue.path) if queue.path is not None else state_dir / "spool" / config.name
    if isinstance(queue, SpoolConfig):
        yield from _spool(queue, folder)
    elif queue.on_full == "spill":
        yield Finding(
            _WARNING,
            "the queue is in memory, and on the disk only what does not fit",
            "a crash or kill -9 loses what is in memory; an orderly shutdown loses nothing",
            "queue: {type: spool}, if no message may be lost",
        )
        yield from disk_findings(folder, "spill", queue.spill_max_bytes)
    else:
        yield Finding(
            _WARNING,
            "the queue is in memory",
            f"a crash, kill -9, or a shutdown while the destination is down loses up to {queue.max_messages:,} messages",
            "queue: {type: spool}",
        )
    if queue.on_full.startswith("drop"):
        which = "the oldest" if queue.on_full == "drop_oldest" else "new"
        yield Finding(
            _WARNING, f"on_full is {queue.on_full}", f"{which} messages are dropped when the queue is full, and counted", "on_full: block"
        )


def _spool(queue: SpoolConfig, folder: Path) -> Iterator[Finding]:
    if queue.durability == "written":
        yield Finding(
            _WARNING,
            f"the spool's durability is written, sync_interval {queue.sync_interval:g} s",
            f"a power cut loses what was accepted in the last {queue.sync_interval:g} s; kill -9 loses nothing",
            "durability: synced, if a power cut may lose nothing",
        )
    else:
        yield Finding(_INFO, "the spool's durability is synced", "neither kill -9 nor a power cut loses a message", "")
    yield from disk_findings(folder, "spool", queue.max_bytes)


def _dead_letters(config: BaseProducerConfig, state_dir: Path) -> Iterator[Finding]:
    letters = config.dead_letters
    if letters.type == "memory":
        yield Finding(_WARNING, "dead letters are kept in memory", "the end of the process loses them", "dead_letters: {type: sqlite}")
    else:
        yield from disk_findings(state_dir / "dead" / config.name, "dead letters", None)


def _policies(config: BaseProducerConfig) -> Iterator[Finding]:
    if config.deadline is not None:
        yield Finding(_INFO, f"deadline is {config.deadline:g} s", "older messages are put aside as dead letters, not delivered", "")
    if config.max_resets is not None:
        text = f"a message that has failed on {config.max_resets + 1} connections is put aside, also when the destination is only down"
        yield Finding(_WARNING, f"max_resets is {config.max_resets}", text, "leave max_resets out, and messages wait for the destination")
