"""Finding the spools that a command line means, and looking into them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from standpipe.app.spools import SpoolPlace, WaitingMessage, find_spools, messages_in
from standpipe.cli.dead_stores import find_place
from standpipe.cli.exit_codes import CommandFailed, ExitCode
from standpipe.cli.options import near
from standpipe.core.errors import ConfigurationError
from standpipe.producers.state_dir import SPOOLS
from standpipe.spool.errors import SpoolTooNew
from standpipe.spool.inspect import inspect_spool
from standpipe.spool.inspection import Inspection


@dataclass(frozen=True)
class KnownSpools:
    """All spools of a state folder and a configuration; `producers` are those that are configured, with and without one."""

    state_dir: Path
    places: list[SpoolPlace]
    producers: Sequence[str] = ()

    def of(self, producer: str) -> list[SpoolPlace]:
        """Those of one producer, in the order in which they are delivered. Raises CommandFailed if it has none."""
        found = [place for place in self.places if place.producer == producer]
        if found:
            return found
        if producer in self.producers:
            raise CommandFailed(
                f"{producer}: its queue is in memory, there is no spool; `queue: {{type: spool}}` gives it one", ExitCode.USAGE
            )
        names = list(dict.fromkeys(place.producer for place in self.places))
        hint = near(producer, names) if names else f"there is no spool in {self.state_dir / SPOOLS}"
        raise CommandFailed(f"there is no spool of a producer {producer!r}; {hint}", ExitCode.USAGE)


@dataclass(frozen=True)
class Looked:
    """A spool and what is in it, or why that cannot be said. A spool that does not exist yet is an empty one."""

    place: SpoolPlace
    found: Inspection
    error: str | None = None
    too_new: bool = False

    @property
    def sound(self) -> bool:
        """Whether it was read and nothing is wrong with it."""
        return self.error is None and self.found.sound


def known_spools(config: Path | None, state_dir: Path | None) -> KnownSpools:
    """What there is. Raises ConfigurationError, and CommandFailed for a folder that is named and does not exist."""
    place = find_place(config, state_dir)
    if state_dir is not None and not state_dir.is_dir():
        raise CommandFailed(f"--state-dir {state_dir}: there is no such folder", ExitCode.USAGE)
    producers = list(place.plan.producers) if place.plan is not None else []
    return KnownSpools(place.state_dir, find_spools(place.plan, place.state_dir), producers)


def inspected(place: SpoolPlace) -> Looked:
    """Read all of it; what goes wrong is part of the result."""
    try:
        return Looked(place, inspect_spool(place.folder) if place.exists else Inspection(place.folder))
    except SpoolTooNew as error:
        return Looked(place, Inspection(place.folder), str(error), too_new=True)
    except OSError as error:
        return Looked(place, Inspection(place.folder), _in_words(place, error))


def messages(places: Sequence[SpoolPlace]) -> Iterator[WaitingMessage]:
    """What waits in these, one after the other. Raises SpoolTooNew, CommandFailed."""
    for place in places:
        try:
            yield from messages_in(place) if place.exists else ()
        except SpoolTooNew as error:
            raise ConfigurationError(f"{place.label}: {error}") from None
        except OSError as error:
            raise CommandFailed(f"{place.label}: {_in_words(place, error)}", ExitCode.UNDELIVERED) from None


def _in_words(place: SpoolPlace, error: OSError) -> str:
    where = error.filename if isinstance(error.filename, str) else place.folder
    return f"{where}: {(error.strerror or str(error)).lower()}; it belongs to the user who runs the producer"
