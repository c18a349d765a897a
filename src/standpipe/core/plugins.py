"""Finding a class by the `type:` a user wrote: a built-in name, an installed entry point, or `package.module:Class`.

Nothing is imported before it is asked for, so that a configuration pays only for what it uses.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from standpipe.core.errors import ConfigurationError


@dataclass(frozen=True)
class Registry:
    """One kind of component (producers, agents) and where its types are found.

    `kind` is the singular noun for error messages, `base` the class every type must extend, `group` the entry-point group,
    `built_in` maps a type to `module:Class`, `extras` maps a type to the extra that installs what it needs.
    """

    kind: str
    base: type
    group: str
    built_in: Mapping[str, str]
    extras: Mapping[str, str] = field(default_factory=dict)

    def types(self) -> dict[str, str]:
        """Every type that can be named, with the `module:Class` behind it; built-in ones first."""
        found = dict(self.built_in)
        for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
            found.setdefault(point.name, point.value)
        return found

    def resolve(self, type_name: str) -> type[Any]:
        """The class for `type_name`. Raises ConfigurationError that says what exists, what is missing or what is wrong."""
        if ":" in type_name:
            return self._load(type_name, type_name)
        types = self.types()
        if type_name not in types:
            near = difflib.get_close_matches(type_name, types, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigurationError(
                f"unknown {self.kind} type {type_name!r}; {hint}there are: {', '.join(types)}; or name a class as package.module:Class"
            )
        return self._load(type_name, types[type_name])

    def _load(self, type_name: str, target: str) -> type[Any]:
        module_name, _, class_name = target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            extra = self.extras.get(type_name)
            if extra is not None:
                raise ConfigurationError(
                    f"{self.kind} type {type_name!r} needs a package that is not installed ({error}); install standpipe[{extra}]"
                ) from error
            raise ConfigurationError(f"{self.kind} type {type_name!r}: cannot import {module_name!r} ({error})") from error
        found = getattr(module, class_name, None)
        if found is None:
            near = difflib.get_close_matches(class_name, dir(module), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(f"{self.kind} type {type_name!r}: module {module_name!r} has no {class_name!r}{hint}")
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ConfigurationError(
                f"{self.kind} type {type_name!r}: {target} is not a subclass of {self.base.__module__}.{self.base.__qualname__}"
            )
        return found
