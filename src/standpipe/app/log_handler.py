"""`StandpipeHandler`: a program's own log through a producer, with `logging` or `logging.config.dictConfig`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from standpipe.app.configuration import read_plan
from standpipe.core.errors import ConfigurationError
from standpipe.producers.base import BaseProducer
from standpipe.producers.registry import PRODUCERS
from standpipe.telemetry.handler import RecordHandler


class StandpipeHandler(RecordHandler):
    """A logging handler that ships records: never waits, never raises, never feeds on itself.

    `producer` is a producer; or the settings of one (`{"type": "http", "name": "logs", ...}`), which is made here; or, with
    `config`, the name of one in that configuration file. What is made here is shut down by `close`, which `logging.shutdown`
    calls at the end of the program.

    A record becomes a message with `time` (UTC), `level`, `logger`, `message`, `exception` and `stack` if there are, and
    `extra` with the fields that came with the call. ERROR and above are error messages. Records of `standpipe.*` and those
    logged while one is handed over are counted in `left_out`, those that a full or closed queue did not take in `refused`.

    Raises ConfigurationError for settings that cannot be used. Thread-safe; nothing is connected before the first record, so
    that it may be made before a process forks.
    """

    def __init__(
        self,
        producer: BaseProducer | Mapping[str, Any] | str,
        *,
        config: str | os.PathLike[str] | None = None,
        level: int | str = logging.NOTSET,
    ) -> None:
        self._made: BaseProducer | None = None
        if not isinstance(producer, BaseProducer):
            producer = self._made = _from_file(producer, config) if isinstance(producer, str) else _from_settings(producer)
        super().__init__(producer, level)

    def close(self) -> None:
        """Deliver what is pending, within `shutdown_timeout`, if the producer was made here; one that was given is left alone."""
        super().close()
        if self._made is not None:
            self._made.shutdown()


def _from_settings(settings: Mapping[str, Any]) -> BaseProducer:
    kind = PRODUCERS.resolve(str(settings.get("type", "")))
    try:
        made: BaseProducer = kind(kind.config_model.model_validate(dict(settings)))
    except ValueError as error:
        raise ConfigurationError(f"the settings of the log's producer cannot be used: {error}") from error
    return made


def _from_file(name: str, config: str | os.PathLike[str] | None) -> BaseProducer:
    """The producer alone: the file's pipelines are not for a logging handler to run."""
    if config is None:
        raise ConfigurationError(f"producer {name!r}: name the configuration file as well, as `config`")
    plan = read_plan(config)
    if name not in plan.producers:
        raise ConfigurationError(f"{os.fspath(config)}: there is no producer named {name!r}; there are: {', '.join(plan.producers)}")
    kind, settings = plan.producers[name]
    made = kind(settings)
    made.keep_state_in(plan.state_dir())
    return made
