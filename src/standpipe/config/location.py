"""From the location in a Pydantic error to the path in the document.

Pydantic puts more into a location than the document has: the tag of a discriminated union, the name of a union's member, `[key]`.
A tag may also be the name of a field (`type: file` with a field `file`), so names alone do not tell; the value that the error
carries does, for it is the very object that stands at the right path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from standpipe.config.problems import Path
from standpipe.config.shape import Shapes, narrowed, step

KEY_MARK = "[key]"
_CANDIDATES_MAX = 64  # every step can be read in two ways; real locations have one or two doubtful ones


@dataclass(frozen=True)
class Place:
    """A path below the validated value, what stands there, what is expected there, and whether the key itself is meant."""

    path: Path
    value: Any
    shapes: Shapes
    is_key: bool = False
    is_alternative: bool = False

    def stepped(self, key: str | int) -> Place | None:
        """The place one step further down, None if the value has no such part."""
        if not self._has(key):
            return None
        inner = self.value[key]
        return Place((*self.path, key), inner, step(self.shapes, key), self.is_key, self.is_alternative)

    def _has(self, key: str | int) -> bool:
        if isinstance(self.value, dict):
            return key in self.value
        return isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value)

    def skipped(self, tag: str | int) -> Place:
        """The same place, after a step that the document does not have."""
        if tag == KEY_MARK:
            return Place(self.path, self.value, self.shapes, True, self.is_alternative)
        return Place(self.path, self.value, narrowed(self.shapes, tag), self.is_key, True)


def locate(location: tuple[str | int, ...], data: Any, shapes: Shapes, subject: Any) -> Place:
    """The place of an error about `subject`; the reading that steps into the document as often as possible, if several fit."""
    places = list(_readings(Place((), data, shapes), location))
    exact = [place for place in places if place.value is subject]
    return max(exact or places, key=lambda place: len(place.path))


def _readings(start: Place, location: tuple[str | int, ...]) -> Iterator[Place]:
    places = [start]
    for key in location:
        stepped = [place for place in (place.stepped(key) for place in places) if place is not None]
        places = (stepped + [place.skipped(key) for place in places])[:_CANDIDATES_MAX]
    yield from places
