"""Models from the parts of a document, with every problem of the whole file collected before any is raised."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from standpipe.config.document import Document, load_document
from standpipe.config.faults import Case, Fault, fault_of, wrong_kind
from standpipe.config.location import Place, locate
from standpipe.config.problems import ConfigProblems, Path, Problem
from standpipe.config.redaction import redact_text
from standpipe.config.secrets import resolve_secrets
from standpipe.config.shape import secret_leaves, shapes_of
from standpipe.config.wording import did_you_mean, found, there_are

Model = TypeVar("Model", bound=BaseModel)


class Validator:
    """Turns the parts of one document into models and collects what is wrong with them.

    `problems` may be given with what was found while the document was read. For one thread.

        validator = Validator.open("standpipe.yaml")
        for path, item in validator.mappings("producers"):
            config = validator.model(FileProducerConfig, item, path)
        validator.raise_if_any()
    """

    def __init__(self, document: Document, problems: list[Problem] | None = None) -> None:
        self.document = document
        self.problems: list[Problem] = problems if problems is not None else []

    @classmethod
    def open(cls, path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> Self:
        """A validator for the file at `path`: read, includes added, references resolved; their problems are its first.

        Raises ConfigProblems if nothing can be made of the file.
        """
        problems: list[Problem] = []
        document = load_document(path, problems)
        return cls(resolve_secrets(document, problems, environment), problems)

    def model(self, model_type: type[Model], data: Any, path: Path) -> Model | None:
        """The model made from `data`, which stands at `path`; None if it is invalid, with the reasons added to `problems`."""
        self._remember_secrets(model_type, data, path)
        try:
            return model_type.model_validate(data)
        except ValidationError as error:
            self._add(_Translation(self.document, model_type, data, path).problems(error))
            return None

    def mappings(self, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Path and value of each mapping in the list at the top under `name`; reports what is no list or no mapping. Empty if absent."""
        listed = self.document.data.get(name)
        if listed is None:
            return
        if not isinstance(listed, list):
            self.report((name,), f"expected a list, found {self._found((name,), listed)}", "begin each item with '- '")
            return
        for index, item in enumerate(listed):
            if isinstance(item, dict):
                yield (name, index), item
            else:
                self.report((name, index), f"expected a mapping, found {self._found((name, index), item)}", "write 'key: value' lines")

    def check_fields(self, path: Path, allowed: Iterable[str]) -> None:
        """Report every key of the mapping at `path` that is not among `allowed`."""
        names = list(allowed)
        for key in self.document.at(path):
            if key not in names:
                self.report((*path, key), "unknown field", did_you_mean(key, names) or there_are(names), at_key=True)

    def report(self, path: Path, message: str, remedy: str | None = None, *, at_key: bool = False) -> None:
        """Add a problem with the value at `path` (or with its key), unless that value could not even be read.

        The secrets of that value are taken out of `message` and `remedy`.
        """
        position = self.document.key_position(path) if at_key else self.document.value_position(path)
        hidden = _secrets_near(self.document, path)
        shown_remedy = redact_text(remedy, hidden) if remedy is not None else None
        if not self.document.is_broken(path):
            self._add([Problem.at(position, path, redact_text(message, hidden), shown_remedy)])

    def raise_if_any(self) -> None:
        """Raise ConfigProblems with everything collected so far, if there is anything."""
        if self.problems:
            raise ConfigProblems(self.problems)

    def _add(self, problems: Iterable[Problem]) -> None:
        self.problems.extend(problem for problem in problems if problem not in self.problems)

    def _found(self, path: Path, value: Any) -> str:
        return found(value, secret=self.document.is_secret(path))

    def _remember_secrets(self, model_type: type[BaseModel], data: Any, path: Path) -> None:
        for leaf, value in secret_leaves((model_type,), data, path):
            self.document.secrets.setdefault(leaf, tuple(_texts(value)))


def validate(model_type: type[Model], document: Document, path: Path = ()) -> Model:
    """The model made from what stands at `path` of `document`. Raises ConfigProblems with everything that is wrong with it."""
    validator = Validator(document)
    model = validator.model(model_type, document.at(path), path)
    if model is None:
        unread = Problem.at(document.value_position(path), path, "the value could not be read")
        raise ConfigProblems(validator.problems or [unread])
    return model


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def _value_at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _is_above(path: Path, others: Iterable[Path]) -> bool:
    """Whether something is wrong inside the value at `path`: then one member of the union does want this kind of value."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in others)


def _secrets_near(document: Document, path: Path) -> list[str]:
    """The secrets in the value at `path`, in what it is part of, and in what it holds."""
    near = (texts for known, texts in document.secrets.items() if known[: len(path)] == path or path[: len(known)] == known)
    return [text for texts in near for text in texts]


class _Translation:
    """The errors of one validation as problems of the document."""

    def __init__(self, document: Document, model_type: type[BaseModel], data: Any, path: Path) -> None:
        self._document = document
        self._shapes = shapes_of(model_type)
        self._data = data
        self._path = path
        self._expected: dict[Path, list[tuple[Case, Fault]]] = {}

    def problems(self, error: ValidationError) -> list[Problem]:
        translated = [problem for details in error.errors(include_url=False) for problem in self._problem(details)]
        places = {problem.path for problem in translated} | {self._path + path for path in self._expected}
        joined = [self._joined(path, faults) for path, faults in self._expected.items() if not _is_above(self._path + path, places)]
        return translated + joined

    def _problem(self, details: ErrorDetails) -> Iterator[Problem]:
        location, subject = details["loc"], details["input"]
        place = locate(location[:-1] if details["type"] == "missing" else location, self._data, self._shapes, subject)
        at_key = details["type"] == "extra_forbidden" or place.is_key
        path = self._path + place.path
        if self._document.is_broken(path[:-1] if at_key else path):
            return
        case = self._case(details, place)
        fault = fault_of(case)
        if place.is_alternative and fault.expected is not None:
            self._expected.setdefault(place.path, []).append((case, fault))
            return
        field = str(location[-1]) if details["type"] == "missing" else fault.field
        yield self._placed(place, fault, field, at_key=at_key)

    def _case(self, details: ErrorDetails, place: Place) -> Case:
        context = {"name": str(details["loc"][-1])} if details["loc"] else {}
        context |= details.get("ctx", {})
        shapes = place.shapes
        if details["type"] == "extra_forbidden":
            # What may be written there is known to the model around the field.
            holder = _value_at(self._data, place.path[:-1])
            shapes = locate(details["loc"][:-1], self._data, self._shapes, holder).shapes
        is_secret = self._document.is_secret(self._path + place.path)
        value = place.path[-1] if place.is_key and place.path else details["input"]
        return Case(details["type"], context, details["msg"], value, shapes, is_secret)

    def _placed(self, place: Place, fault: Fault, field: str | None, *, at_key: bool) -> Problem:
        path = self._path + place.path
        inner = path if field is None else (*path, field)
        is_missing = field is not None and not (isinstance(place.value, dict) and field in place.value)
        position = self._document.key_position(path) if at_key or is_missing else self._document.value_position(inner)
        hidden = _secrets_near(self._document, path)
        remedy = redact_text(fault.remedy, hidden) + fault.about if fault.remedy else None
        return Problem.at(position, inner, redact_text(fault.message, hidden), remedy)

    def _joined(self, path: Path, alternatives: list[tuple[Case, Fault]]) -> Problem:
        """One problem for all members of a union that want another kind of value."""
        case, fault = alternatives[0]
        if len(alternatives) > 1:
            fault = wrong_kind(case, " or ".join(dict.fromkeys(fault.expected or "" for _, fault in alternatives)))
        return self._placed(Place(path, case.value, case.shapes), fault, None, at_key=False)
