"""`standpipe spool`: what waits on the disk, whether it is sound, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from standpipe.cli.exit_codes import ExitCode
from standpipe.cli.options import AsJson, require_verb, seconds
from standpipe.cli.output import number_of, say, show, show_json

SHOW_LIMIT = 20
"""Messages that `show` shows: about a screen."""

spool_app = typer.Typer(help="Look at what waits on the disk; check it, mend it.", rich_markup_mode=None)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The configuration; default: standpipe.yaml, if there is one.", show_default=False),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", help="The state folder; default: the configuration's.", show_default=False),
]
Producer = Annotated[str, typer.Argument(metavar="PRODUCER", help="Name of the producer.")]


@spool_app.callback(invoke_without_command=True)
def _before_the_verb(context: typer.Context) -> None:
    require_verb(context)


@spool_app.command("list")
def list_spools(config: Config = None, state_dir: StateDir = None, json: AsJson = False) -> int:
    """List the spools: what waits, since when, and who uses them.

    Nothing is disturbed or changed.
    """
    from standpipe.cli.spool_places import inspected, known_spools
    from standpipe.cli.spool_text import list_entry, list_lines, trouble

    known = known_spools(config, state_dir)
    found = [inspected(place) for place in known.places]
    if json:
        show_json({"state_dir": str(known.state_dir), "spools": [list_entry(each) for each in found]})
    elif found:
        show("\n".join(list_lines(found)))
    else:
        say(f"there is no spool in {known.state_dir} and none is configured")
    for each in found:
        if not json and (text := trouble(each)) is not None:
            say(f"standpipe: {text}")
    return ExitCode.DELIVERED if all(each.error is None for each in found) else ExitCode.UNDELIVERED


@spool_app.command("show")
def show_messages(
    producer: Producer,
    config: Config = None,
    state_dir: StateDir = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="At most so many, the oldest first; 0: all.")] = SHOW_LIMIT,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, for programs.")] = False,
) -> None:
    """Show messages that wait, oldest first, without disturbing them.

    It makes no difference whether `standpipe run` is running.
    """
    from itertools import islice

    from standpipe.cli.spool_places import known_spools, messages
    from standpipe.cli.spool_text import message_entry, message_lines

    found = messages(known_spools(config, state_dir).of(producer))
    shown = 0
    for message in islice(found, limit or None):
        shown += 1
        if json:
            show_json(message_entry(message), indent=False)
        else:
            show("\n".join(message_lines(message)) + "\n")
    if next(found, None) is not None:
        say(f"{number_of(shown, 'message')} shown, more are waiting; --limit 0 shows all")
    elif not shown:
        say(f"{producer}: no message waits")


@spool_app.command("verify")
def verify(
    producer: Annotated[str | None, typer.Argument(metavar="[PRODUCER]", help="Only its spool.", show_default=False)] = None,
    config: Config = None,
    state_dir: StateDir = None,
    json: AsJson = False,
) -> int:
    """Check every byte of the spools; nothing is changed.

    Exit status 0: sound; 1: something is damaged or missing; 78: written by a newer version of Standpipe.
    """
    from standpipe.cli.spool_places import inspected, known_spools
    from standpipe.cli.spool_text import verify_entry, verify_lines

    known = known_spools(config, state_dir)
    found = [inspected(place) for place in (known.places if producer is None else known.of(producer))]
    if json:
        show_json({"spools": [verify_entry(each) for each in found], "sound": all(each.sound for each in found)})
    else:
        for each in found:
            show("\n".join(verify_lines(each)))
        if not found:
            say(f"there is no spool in {known.state_dir} and none is configured")
    if any(each.too_new for each in found):
        return ExitCode.CONFIGURATION
    return ExitCode.DELIVERED if all(each.sound for each in found) else ExitCode.UNDELIVERED


@spool_app.command("repair")
def repair(producer: Producer, config: Config = None, state_dir: StateDir = None, json: AsJson = False) -> int:
    """Mend a damaged spool: what is readable stays.

    Damaged bytes are set aside in *.corrupt files. Nothing is deleted, and it can be interrupted and done again at any time.
    The producer must not be running.
    """
    from standpipe.cli.spool_places import known_spools
    from standpipe.cli.spool_repair import repair_all

    return repair_all(known_spools(config, state_dir).of(producer), json=json)


@spool_app.command("drain")
def drain(
    producer: Producer,
    config: Config = None,
    state_dir: StateDir = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="How long to try; default: until it is empty.", show_default=False)
    ] = None,
    json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> int:
    """Deliver what waits in a spool, and nothing else.

    Only that producer is started. Ctrl-C stops; what is not delivered stays. Exit status 0: nothing waits any more.
    """
    from standpipe.cli.dead_stores import find_place
    from standpipe.cli.spool_drain import drain_producer

    place = find_place(config, state_dir, with_plan=True)
    return drain_producer(place, producer, seconds(timeout, "--timeout"), json=json, verbose=verbose)
