"""`standpipe dead`: looking at messages that were put aside, mending them, sending them again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import AsJson, require_verb, seconds
from standpipe.cli.output import number_of, say, show, show_json

if TYPE_CHECKING:
    from standpipe.cli.dead_stores import Part, Wanted

LIST_LIMIT = 50
"""Letters that `list` shows: about a screen."""

dead_app = typer.Typer(help="Look at messages put aside; mend them, send them again.", rich_markup_mode=None)


class ReasonName(StrEnum):
    """Why a message was put aside, on the command line."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    CORRUPT = "corrupt"
    UNDELIVERABLE = "undeliverable"


Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Message ids, or how they begin.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The configuration; default: standpipe.yaml, if there is one.", show_default=False),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", help="Folder with the dead letters; default: the configuration's.", show_default=False),
]
Producers = Annotated[list[str] | None, typer.Option("--producer", metavar="NAME", help="Only of this producer; may be repeated.")]
Reasons = Annotated[list[ReasonName] | None, typer.Option("--reason", help="Only for this reason; may be repeated.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only put aside since then: 2026-03-01T14:00, or 2h ago.", show_default=False)
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only put aside before then.", show_default=False)]
Text = Annotated[
    str | None, typer.Option("--text", metavar="TEXT", help="Only with this in message, error, key or id.", show_default=False)
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many, the oldest first.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@dead_app.callback(invoke_without_command=True)
def _before_the_verb(context: typer.Context) -> None:
    require_verb(context)


@dead_app.command("list")
def list_letters(
    config: Config = None,
    state_dir: StateDir = None,
    producer: Producers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=0, help="At most so many, the newest first; 0: all.")] = LIST_LIMIT,
    json: AsJson = False,
) -> None:
    """List dead letters, those put aside last first."""
    from standpipe.cli.dead_stores import newest_first
    from standpipe.cli.dead_text import entry, list_lines

    parts = _parts(config, state_dir, _wanted(None, producer, reason, since, until, text))
    letters = newest_first(parts, limit or None)
    total = sum(part.count() for part in parts)
    dropped = sum(part.store.dropped for part in parts)
    if json:
        show_json({"letters": [entry(letter, with_payload=False) for letter in letters], "total": total, "dropped": dropped})
        return
    if letters:
        show("\n".join(list_lines(letters)))
    shown = f"{len(letters):,} of " if len(letters) < total else ""
    say(f"{shown}{number_of(total, 'dead letter')}{'; --limit 0 shows all' if shown else ''}")
    if dropped:
        say(f"note: {number_of(dropped, 'dead letter')} dropped since the beginning, as the bounds under `dead_letters` say")


@dead_app.command("show")
def show_letter(
    id: Annotated[str, typer.Argument(metavar="ID", help="The message id, or how it begins.")],
    config: Config = None,
    state_dir: StateDir = None,
    producer: Producers = None,
    json: AsJson = False,
) -> None:
    """Show all about a dead letter: message, reason, error, history."""
    from standpipe.cli.dead_stores import oldest_first
    from standpipe.cli.dead_text import entry, show_lines

    for _, letter in oldest_first(_parts(config, state_dir, _wanted([id], producer)), None):
        if json:
            show_json(entry(letter))
        else:
            show("\n".join(show_lines(letter)) + "\n")


@dead_app.command("replay")
def replay(
    ids: Ids = None,
    config: Config = None,
    state_dir: StateDir = None,
    producer: Producers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Limit = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field (a.b: within); the value is JSON or text.")
    ] = None,
    edit: Annotated[bool, typer.Option("--edit", help="Edit each message in $EDITOR.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Send damaged messages (reason corrupt) as they are.")] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="At most so many messages a second.", show_default=False)
    ] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="Give up when nothing is settled for so long.")] = "30s",
    dry_run: DryRun = False,
    json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> int:
    """Send dead letters again, under the same message ids.

    Each one is sent once; one that fails again stays, its replay count raised. A letter goes only when it was delivered. It
    makes no difference whether `standpipe run` is running. Exit status 0: all were delivered.
    """
    from standpipe.cli.dead_edit import Change, Mender, find_editor
    from standpipe.cli.dead_replaying import Replaying
    from standpipe.cli.dead_stores import find_place

    if rate is not None and not 0 < rate < float("inf"):
        raise CommandFailed(f"--rate {rate:g}: write a number of messages a second, more than 0", ExitCode.USAGE)
    patience = seconds(timeout, "--timeout") or 0.0
    mender = Mender([Change.parse(text) for text in set_ or ()], find_editor() if edit and not dry_run else None, force or edit)
    wanted = _wanted(ids, producer, reason, since, until, text)
    replaying = Replaying(find_place(config, state_dir, with_plan=True), wanted, mender, limit)
    if dry_run:
        return replaying.rehearse(json=json)
    return replaying.run(rate, patience, json=json, verbose=verbose)


@dead_app.command("export")
def export(
    ids: Ids = None,
    config: Config = None,
    state_dir: StateDir = None,
    producer: Producers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Limit = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file; default: standard output.", show_default=False)
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Write dead letters as JSON Lines, with their messages.

    They stay where they are.
    """
    from standpipe.cli.dead_export import export_letters

    parts = _parts(config, state_dir, _wanted(ids, producer, reason, since, until, text))
    if dry_run:
        say(f"would export {_total(parts, limit)}")
    else:
        say(f"exported {number_of(export_letters(parts, limit, output), 'dead letter')}")


@dead_app.command("purge")
def purge(
    ids: Ids = None,
    config: Config = None,
    state_dir: StateDir = None,
    producer: Producers = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    text: Text = None,
    limit: Limit = None,
    all_: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    json: AsJson = False,
) -> int:
    """Delete dead letters for good."""
    wanted = _wanted(ids, producer, reason, since, until, text)
    if wanted.is_everything and limit is None and not all_:
        raise CommandFailed("nothing says which dead letters; name ids or filters such as --producer, or --all", ExitCode.USAGE)
    parts = [part for part in _parts(config, state_dir, wanted) if part.count()]
    if dry_run or not parts:
        purged = 0
        say(f"would purge {_total(parts, limit)}" if dry_run else "there is no such dead letter")
    else:
        if not yes:
            _ask(f"delete {_total(parts, limit)} for good?")
        purged = _purge(parts, limit)
        say(f"purged {number_of(purged, 'dead letter')}")
    if json:
        show_json({"purged": purged, "would_purge": _number(parts, limit)} if dry_run else {"purged": purged})
    return ExitCode.DELIVERED


def _ask(question: str) -> None:
    import sys

    if not sys.stdin.isatty():
        raise CommandFailed(f"{question} nobody can be asked here; say --yes", ExitCode.USAGE)
    if not typer.confirm(question, err=True):
        raise CommandFailed("nothing was deleted", ExitCode.UNDELIVERED)


def _purge(parts: list[Part], limit: int | None) -> int:
    purged = 0
    for part in parts:
        purged += part.store.purge(part.filter, None if limit is None else limit - purged)
    return purged


def _wanted(
    ids: list[str] | None,
    producers: list[str] | None,
    reasons: list[ReasonName] | None = None,
    since: str | None = None,
    until: str | None = None,
    text: str | None = None,
) -> Wanted:
    from standpipe.cli.dead_stores import Wanted

    return Wanted(tuple(ids or ()), tuple(producers or ()), tuple(reasons or ()), since, until, text)


def _parts(config: Path | None, state_dir: Path | None, wanted: Wanted) -> list[Part]:
    from standpipe.cli.dead_stores import find_place

    return find_place(config, state_dir).parts(wanted)


def _number(parts: list[Part], limit: int | None) -> int:
    number = sum(part.count() for part in parts)
    return number if limit is None else min(number, limit)


def _total(parts: list[Part], limit: int | None) -> str:
    whose = ", ".join(f"{part.producer}: {part.count():,}" for part in parts if part.count())
    return number_of(_number(parts, limit), "dead letter") + (f" ({whose})" if whose and limit is None else "")
