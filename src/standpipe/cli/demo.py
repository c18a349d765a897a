"""`standpipe demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode

if TYPE_CHECKING:
    from standpipe.cli.demo_setup import Scene

SECONDS_MIN, SECONDS_MAX = 6, 45
"""Shorter, nobody sees the outage; longer, nobody waits for the end."""


def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Folder for what it makes; default: a new one in /tmp.", show_default=False)
    ] = None,
    seconds: Annotated[str, typer.Option("--seconds", metavar="N", help="About how long it takes.")] = "15",
) -> int:
    """Watch messages survive an outage, and add up.

    Log lines reach two destinations, one of which goes down for a while. Needs no server, no port and no configuration, and ends by itself.
    """
    if not seconds.isdecimal() or not SECONDS_MIN <= int(seconds) <= SECONDS_MAX:
        raise CommandFailed(f"--seconds {seconds}: the demo takes {SECONDS_MIN} to {SECONDS_MAX} whole seconds", ExitCode.USAGE)
    from standpipe.cli.demo_setup import set_the_scene

    return _play(set_the_scene(keep, int(seconds)))


def _play(scene: Scene) -> int:
    from rich.console import Console

    from standpipe.app.application import Application
    from standpipe.app.configuration import read_plan
    from standpipe.cli.demo_count import count_independently
    from standpipe.cli.demo_story import Story
    from standpipe.cli.log_options import LogFormat, LogLevel
    from standpipe.cli.log_output import logging_to
    from standpipe.cli.runner import Runner
    from standpipe.cli.stop_signals import StopSignals

    plan = read_plan(scene.configuration)
    with scene.log_file.open("a", encoding="utf-8") as log, logging_to(log, LogFormat.HUMAN, LogLevel.INFO), StopSignals() as signals:
        story = Story(Console(highlight=False, soft_wrap=True), scene, signals)
        story.begin()
        application = Application(plan)
        with story:
            ledger = Runner(application, signals, None, story.watch).run()
    # Stopped in the middle of its source, a run has read an unknown part of it: there is nothing to compare with.
    count = None if signals.received else count_independently(scene, ledger)
    story.end(ledger, count)
    return ExitCode.DELIVERED if ledger.all_delivered and (count is None or count.agrees) else ExitCode.UNDELIVERED
