"""`standpipe send`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import DEFAULT_FILE, near, seconds
from standpipe.cli.output import say, show, show_json

if TYPE_CHECKING:
    from standpipe.delivery.receipt import Receipt
    from standpipe.producers.base import BaseProducer


class Output(StrEnum):
    """How the receipt is printed."""

    HUMAN = "human"
    JSON = "json"


def send(
    producer: Annotated[str, typer.Argument(metavar="PRODUCER", help="Name of the producer in the configuration.")],
    json: Annotated[str, typer.Option("--json", metavar="OBJECT", help="The message; - reads it from standard input.", show_default=False)],
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration.")] = DEFAULT_FILE,
    error: Annotated[bool, typer.Option("--error", help="Send it as an error message.")] = False,
    key: Annotated[str | None, typer.Option("--key", help="Messages of one key arrive in order.")] = None,
    header: Annotated[list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A header; may be repeated.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Your own message id; the same id again is the same message.")] = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to try.")] = "30s",
    output: Annotated[Output, typer.Option("--output", help="How the receipt is printed.")] = Output.HUMAN,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
) -> int:
    """Send one message through a producer and print its receipt.

    Only that producer is started.
    """
    limit = seconds(timeout, "--timeout") or 0.0
    message = _message(json)
    headers = _headers(header or [])
    chosen = _producer(config, producer)
    from standpipe.cli.log_options import LogFormat, LogLevel
    from standpipe.cli.log_output import logging_to

    with logging_to(sys.stderr, LogFormat.HUMAN, LogLevel.INFO if verbose else LogLevel.ERROR):
        receipt = _deliver(chosen, limit, error, message, key=key, headers=headers, message_id=id)
    _tell(chosen, receipt, limit, output)
    return ExitCode.DELIVERED if receipt.delivered else ExitCode.UNDELIVERED


def _message(text: str) -> dict[str, Any]:
    import orjson

    raw = _standard_input() if text == "-" else text.encode("utf-8", "surrogateescape")
    where = "standard input" if text == "-" else "--json"
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise CommandFailed(f'{where} is not JSON: {error}; give an object such as \'{{"hello": "world"}}\'', ExitCode.USAGE) from None
    if not isinstance(message, dict):
        found = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(message), "a number")
        raise CommandFailed(f'{where} is {found}; a message is an object such as \'{{"hello": "world"}}\'', ExitCode.USAGE)
    return message


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise CommandFailed("standard input is closed; give the message with --json", ExitCode.USAGE)
    return sys.stdin.buffer.read()


def _headers(given: list[str]) -> Mapping[str, str] | None:
    headers: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise CommandFailed(f"--header {text!r} has no name and value; write --header name=value", ExitCode.USAGE)
        if name in headers:
            raise CommandFailed(f"--header {name!r} is given twice; give each header once", ExitCode.USAGE)
        headers[name] = value
    return headers or None


def _producer(config: Path, name: str) -> BaseProducer:
    from standpipe.app.configuration import read_plan
    from standpipe.producers.config import QueueConfig

    plan = read_plan(config)
    if name not in plan.producers:
        raise CommandFailed(f"{config}: there is no producer named {name!r}; {near(name, list(plan.producers))}", ExitCode.USAGE)
    kind, settings = plan.producers[name]
    # In memory whatever is configured: a spool may belong to a running daemon, and its backlog is none of this command's.
    chosen = kind(settings.model_copy(update={"queue": QueueConfig()}))
    chosen.keep_state_in(plan.state_dir())
    return chosen


def _deliver(producer: BaseProducer, limit: float, is_error: bool, message: dict[str, Any], **details: Any) -> Receipt:
    """Wait for the outcome, then shut the producer down within its usual time; an interruption gives up."""
    try:
        receipt = _handed_over(producer, is_error, message, details)
        receipt.wait(limit)
    except BaseException:
        producer.shutdown(0)
        raise
    producer.shutdown(None if receipt.done() else 0)
    return receipt


def _handed_over(producer: BaseProducer, is_error: bool, message: dict[str, Any], details: dict[str, Any]) -> Receipt:
    from standpipe.core.errors import EncodingError, MessageTooLarge

    try:
        return producer.produce(is_error, message, **details)
    except (EncodingError, MessageTooLarge) as error:
        raise CommandFailed(f"{producer.name}: {error}", ExitCode.USAGE) from None


def _tell(producer: BaseProducer, receipt: Receipt, limit: float, output: Output) -> None:
    found = _receipt(producer, receipt)
    if output is Output.JSON:
        show_json(found)
    elif receipt.delivered:
        attempts = found["attempts"]
        tries = "at the first attempt" if attempts == 1 else f"after {attempts} attempts"
        show(f"delivered {tries} to {found['destination']}; id {found['id']}")
    else:
        show(f"{found['state'].replace('_', '-')}; id {found['id']}")
        say(f"standpipe: {producer.name}: {_why(found, limit)}")


def _receipt(producer: BaseProducer, receipt: Receipt) -> dict[str, Any]:
    statistics = producer.statistics()
    return {
        "state": receipt.state.value,
        "id": receipt.message_id,
        "producer": producer.name,
        "destination": producer.destination,
        "attempts": statistics.attempts,
        "error": None if receipt.delivered else statistics.last_error,
        "detail": receipt.detail,
    }


def _why(found: dict[str, Any], limit: float) -> str:
    if found["state"] != "undelivered":
        return f"the message was put aside: {found['error']}"
    why = f"the last error was {found['error']}" if found["error"] else "there was no answer"
    return f"not delivered within {limit:g} s; {why}; nothing is kept: send it again with --id {found['id']}"
