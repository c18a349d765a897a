"""`standpipe demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode

if TYPE_CHECKING:
    from standpipe.cli.demo_setup import Scene

SECONDS_MIN, SECONDS_MAX = 8, 45
"""Shorter, nobody sees the outage and the kill in it; longer, nobody waits for the end."""


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Folder for what it makes; default: a new one in /tmp.", show_default=False)
    ] = None,
    seconds: Annotated[str, typer.Option("--seconds", metavar="N", help="About how long it takes.")] = "20",
) -> int:
    """Watch messages survive an outage and a `kill -9`, and add up.

    Log lines reach two destinations, one of which goes down for a while; meanwhile Standpipe itself is killed and
    started again. Needs no server, no port and no configuration, and ends by itself.
    """
    if not seconds.isdecimal() or not SECONDS_MIN <= int(seconds) <= SECONDS_MAX:
        raise CommandFailed(f"--seconds {seconds}: the demo takes {SECONDS_MIN} to {SECONDS_MAX} whole seconds", ExitCode.USAGE)
    from standpipe.cli.demo_setup import set_the_scene

    return _play(set_the_scene(keep, int(seconds)))


def _play(scene: Scene) -> int:
    from rich.console import Console

    from standpipe.cli.demo_count import count_independently
    from standpipe.cli.demo_plot import Plot
    from standpipe.cli.demo_story import Story
    from standpipe.cli.stop_signals import StopSignals

    with StopSignals() as signals:
        story = Story(Console(highlight=False, soft_wrap=True), scene)
        story.begin()
        with story:
            ledger = Plot(scene, story, signals).play()
    # Stopped in the middle, it has read an unknown part of the logs: there is nothing to compare with.
    count = None if signals.received else count_independently(scene)
    story.end(ledger, count)
    delivered = ledger is not None and ledger.adds_up and ledger.all_delivered
    return ExitCode.DELIVERED if delivered and (count is None or count.nothing_is_missing) else ExitCode.UNDELIVERED
