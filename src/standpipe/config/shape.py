"""What a model expects at a path: its fields, and which of them are secret. Walks annotations, never data of a user's model."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from standpipe.config.problems import Path

Shapes = tuple[Any, ...]
"""The types a value may have; several for a union."""


def shapes_of(annotation: Any) -> Shapes:
    """The members of `annotation`, without `Annotated`, `Optional` and aliases."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return shapes_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return tuple(shape for member in get_args(annotation) for shape in shapes_of(member))
    if annotation is type(None):
        return ()
    if isinstance(annotation, TypeAliasType):
        return shapes_of(annotation.__value__)
    return (annotation,)


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields under the names a user writes: the alias where there is one."""
    return {_written_name(name, info): info for name, info in model.model_fields.items()}


def _written_name(name: str, info: FieldInfo) -> str:
    alias = info.validation_alias or info.alias
    return alias if isinstance(alias, str) else name


def step(shapes: Shapes, key: str | int) -> Shapes:
    """What stands under `key` of a value that has one of `shapes`; empty when none of them has such a part."""
    return tuple(inner for shape in shapes for inner in _step_one(shape, key))


def _step_one(shape: Any, key: str | int) -> Shapes:
    if is_model(shape):
        info = fields_of(shape).get(key) or shape.model_fields.get(key) if isinstance(key, str) else None
        return shapes_of(info.annotation) if info is not None else ()
    origin, arguments = get_origin(shape), get_args(shape)
    if not isinstance(origin, type) or not arguments:
        return ()
    if issubclass(origin, Mapping):
        return shapes_of(arguments[-1]) if isinstance(key, str) else ()
    if issubclass(origin, (Sequence, Set)) and isinstance(key, int):
        return _item_shapes(origin, arguments, key)
    return ()


def _item_shapes(origin: type, arguments: tuple[Any, ...], index: int) -> Shapes:
    if origin is tuple and arguments[-1] is not Ellipsis:
        return shapes_of(arguments[index]) if index < len(arguments) else ()
    return shapes_of(arguments[0])


def narrowed(shapes: Shapes, tag: str | int) -> Shapes:
    """The members of a union that `tag` (a step of a Pydantic location that is no step of the document) selects; all if none is."""
    chosen = tuple(shape for shape in shapes if getattr(shape, "__name__", None) == tag or (is_model(shape) and _has_literal(shape, tag)))
    return chosen or shapes


def _has_literal(model: type[BaseModel], tag: str | int) -> bool:
    return any(tag in choices_of(shapes_of(info.annotation)) for info in model.model_fields.values())


def matching(shapes: Shapes, data: Any) -> Shapes:
    """The members of a union whose literal fields agree with the mapping `data`; all if none does."""
    if not isinstance(data, dict):
        return shapes
    chosen = tuple(shape for shape in shapes if not is_model(shape) or _agrees(shape, data))
    return chosen or shapes


def _agrees(model: type[BaseModel], data: Mapping[str, Any]) -> bool:
    for name, info in fields_of(model).items():
        choices = choices_of(shapes_of(info.annotation))
        if choices and isinstance(data.get(name), str) and data[name] not in choices:
            return False
    return True


def choices_of(shapes: Shapes) -> tuple[str, ...]:
    """The texts that may be written where only certain ones are allowed: literals and string enumerations."""
    return tuple(str(value) for shape in shapes for value in _choices(shape))


def _choices(shape: Any) -> Iterable[Any]:
    if get_origin(shape) is Literal:
        return tuple(value.value if isinstance(value, Enum) else value for value in get_args(shape))
    if isinstance(shape, type) and issubclass(shape, Enum):
        return tuple(member.value for member in shape)
    return ()


def is_model(shape: Any) -> bool:
    """Whether `shape` is a Pydantic model."""
    return isinstance(shape, type) and get_origin(shape) is None and issubclass(shape, BaseModel)


def is_secret(shape: Any) -> bool:
    """Whether a value of this type must not be shown."""
    plain = get_origin(shape) or shape
    return isinstance(plain, type) and issubclass(plain, (SecretStr, SecretBytes, Secret))


def secret_leaves(shapes: Shapes, data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Path and value of everything in `data` that a model of `shapes` reads into a secret field."""
    if any(is_secret(shape) for shape in shapes):
        if data is not None:
            yield path, data
        return
    shapes = matching(shapes, data)
    if isinstance(data, dict):
        for key, value in data.items():
            yield from secret_leaves(step(shapes, key), value, (*path, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from secret_leaves(step(shapes, index), item, (*path, index))
