"""`standpipe conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import AsJson, near

if TYPE_CHECKING:
    from standpipe.app.configuration import Plan
    from standpipe.producers.base import BaseProducer, BaseProducerConfig
    from standpipe.testing.conformance import ConformanceReport, PromiseResult
    from standpipe.testing.subject import Subject


def conformance(
    producer: Annotated[
        str, typer.Argument(metavar="PRODUCER", help="The class, as package.module:Class (also a Subject), or a type such as file.")
    ],
    config: Annotated[
        Path,
        typer.Option("--config", "-c", metavar="FILE", help="Configuration with such a producer, for a destination that is for tests."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Which producer of the configuration, if there are several such.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Decides what is left to chance.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, 200 reconnects instead of 2,000.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="PROMISE", help="Check only this promise; may be repeated.")] = None,
    json: AsJson = False,
) -> int:
    """Check that a producer keeps its promises when mistreated.

    Messages without meaning are sent to the destination of the configuration: name one that is for tests. Connections are
    cut, refused and frozen by a proxy on this machine, the destination itself is not touched. Exits with 0 if no promise is
    broken, with 1 if one is; a broken one is shown with its history and the seed.
    """
    from standpipe.testing.conformance import check_producer, chosen

    subject = _subject(producer, config, name)
    try:
        chosen(only)
    except ValueError as error:
        raise CommandFailed(f"--only: {error}", ExitCode.USAGE) from None
    report = check_producer(subject, seed=seed, quick=quick, only=only, on_result=None if json else _tell)
    _show(report, json)
    return ExitCode.DELIVERED if report.holds else ExitCode.UNDELIVERED


def _subject(target: str, config: Path, name: str | None) -> Subject[Any]:
    """What is to be checked. Raises CommandFailed when the configuration has no such producer, or several."""
    from standpipe.app.configuration import read_plan
    from standpipe.testing.subject import Subject
    from standpipe.testing.subjects import subject_for

    plan = read_plan(config)
    found = _target(target)
    kind, settings = _entry(plan, config, found, target, name)
    if issubclass(found, Subject):
        made: Subject[Any] = found(kind, settings)
        return made
    return subject_for(kind, settings)


def _target(target: str) -> type[Any]:
    """The class that is named: a producer or a subject. After the configuration was read: it may lie beside it."""
    import importlib

    from standpipe.producers.registry import PRODUCERS
    from standpipe.testing.subject import Subject

    module, colon, name = target.partition(":")
    if colon:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None  # the registry says it better
        if isinstance(found, type) and issubclass(found, Subject):
            return found
    kind: type[Any] = PRODUCERS.resolve(target)
    return kind


def _entry(plan: Plan, config: Path, found: type[Any], target: str, name: str | None) -> tuple[type[BaseProducer], BaseProducerConfig]:
    from standpipe.testing.subject import Subject

    if name is not None and name not in plan.producers:
        raise CommandFailed(f"{config}: there is no producer named {name!r}; {near(name, list(plan.producers))}", ExitCode.USAGE)
    any_kind = issubclass(found, Subject)
    fitting = {each: entry for each, entry in plan.producers.items() if name in (None, each) and (any_kind or issubclass(entry[0], found))}
    if not fitting:
        types = ", ".join(dict.fromkeys(settings.type for _, settings in plan.producers.values()))
        raise CommandFailed(f"{config}: no producer is a {target}; there are: {types}; add one with type: {target}", ExitCode.USAGE)
    if len(fitting) > 1:
        raise CommandFailed(f"{config}: {len(fitting)} producers fit ({', '.join(fitting)}); choose one with --name", ExitCode.USAGE)
    return next(iter(fitting.values()))


def _tell(result: PromiseResult) -> None:
    from standpipe.cli.output import printable, show
    from standpipe.testing.conformance import line_of

    show(printable(line_of(result)))


def _show(report: ConformanceReport, json: bool) -> None:
    from standpipe.cli.output import printable, show, show_json

    if json:
        show_json(report.as_dict())
        return
    lines = [line for result in report.broken for line in ("", *report.history_of(result))]
    show(printable("\n".join([*lines, "", f"{report.producer}: {report.summary()}"])))
