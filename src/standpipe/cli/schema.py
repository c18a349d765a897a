"""`standpipe schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to FILE instead of printing it.")] = None,
) -> None:
    """Print the JSON Schema of the configuration, for editors.

    It covers every producer and agent that is installed here. Save it beside your configuration and begin that with
    `# yaml-language-server: $schema=standpipe.schema.json` to get completion and checks while you type.
    """
    from standpipe.app.configuration import configuration_schema
    from standpipe.cli.output import say, show_json

    found = configuration_schema()
    if output is None:
        show_json(found)
        return
    import orjson

    output.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    say(f"wrote {output}")
