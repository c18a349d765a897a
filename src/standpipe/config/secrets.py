"""References to secrets in a configuration, resolved after parsing, so that no secret can change its structure.

In any text value (not in keys, not in `include`):

- `${env:NAME}` is the environment variable `NAME`; `${env:NAME:-default}` is `default` if the variable is unset or empty;
- `${file:path}` is the content of a file without one trailing newline, at most 64 KiB of UTF-8; the path is taken relative to
  the folder of the configuration file in which the reference stands;
- `$${` is the text `${`.

The result is always text, also if a reference is the whole value. Fields for numbers, booleans, durations and sizes take text
that reads as such, so `port: ${env:PORT}` works; a reference can never become a list or a mapping.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from standpipe.config.document import Document
from standpipe.config.problems import ConfigProblems, Path, Problem, quoted
from standpipe.config.reading import FileFault, read_text
from standpipe.config.redaction import redact_data, redact_text
from standpipe.config.wording import did_you_mean

FILE_BYTES_MAX = 64 * 1024  # a chain of certificates has about 8 KiB; Kubernetes allows 1 MiB for a whole set of secrets

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SCHEMES = ("env", "file")


class _BadReference(Exception):
    """a reference cannot be resolved"""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = (message, remedy)


def resolve_secrets(document: Document, problems: list[Problem] | None = None, environment: Mapping[str, str] | None = None) -> Document:
    """A copy of `document` with every reference replaced by what it names; `secrets` remembers where.

    References that cannot be resolved are appended to `problems` (their paths become `broken`), or raised as ConfigProblems
    when no list is given. `environment` defaults to the environment of the process.
    """
    resolver = _Resolver(document, os.environ if environment is None else environment)
    resolved = resolver.run()
    if problems is not None:
        problems.extend(resolver.problems)
    elif resolver.problems:
        raise ConfigProblems(resolver.problems)
    return resolved


def redacted(document: Document) -> dict[str, Any]:
    """The data of `document` for people to see: secrets and the passwords in URLs as asterisks.

    Values of secret fields (`SecretStr`) are known, and hidden, once a `Validator` has validated the part they are in.
    """
    return cast(dict[str, Any], redact_data(document.data, document.secret_paths))


def redact_secrets(text: str, document: Document) -> str:
    """`text` without any secret of `document` and without passwords in URLs."""
    return redact_text(text, (secret for texts in document.secrets.values() for secret in texts))


class _Resolver:
    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._source = document
        self._environment = environment
        self._result = replace(document, broken=set(document.broken), secrets=dict(document.secrets))
        self.problems: list[Problem] = []

    def run(self) -> Document:
        self._result.data = self._resolved(self._source.data, ())
        return self._result

    def _resolved(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self._resolved(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item, (*path, index)) for index, item in enumerate(value)]
        return self._resolved_text(value, path) if isinstance(value, str) and "${" in value else value

    def _resolved_text(self, text: str, path: Path) -> str:
        parts: list[str] = []
        secrets: list[str] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            try:
                parts.append(self._replacement(match, path, secrets))
            except _BadReference as error:
                self._report(path, *error.problem)
        parts.append(text[end:])
        if secrets:
            self._result.secrets[path] = tuple(secret for secret in secrets if secret)
        return "".join(parts)

    def _report(self, path: Path, message: str, remedy: str) -> None:
        self.problems.append(Problem.at(self._source.value_position(path), path, message, remedy))
        self._result.broken.add(path)

    def _replacement(self, match: re.Match[str], path: Path, secrets: list[str]) -> str:
        if match[0] == "$${":
            return "${"
        inner, closed = match[1], match[2]
        if not closed:
            raise _BadReference("a reference is not closed, or another one is inside it", "write ${env:NAME}, or $${ for the text '${'")
        scheme, colon, name = inner.partition(":")
        if not colon or scheme not in _SCHEMES:
            raise _unknown_scheme(inner, scheme, bool(colon))
        if scheme == "file":
            secret = self._file(name, path)
            secrets.append(secret)
            return secret
        return self._variable(name, secrets)

    def _variable(self, name: str, secrets: list[str]) -> str:
        name, fallback, default = name.partition(":-")
        if not _NAME.fullmatch(name):
            raise _BadReference(f"{quoted(name)} is not the name of an environment variable", "write ${env:NAME} or ${env:NAME:-default}")
        value = self._environment.get(name)
        if value is None and not fallback:
            raise _BadReference(f"the environment variable {name} is not set", f"set it, or give a default: ${{env:{name}:-...}}")
        if not value:
            # The path counts as secret all the same: whoever sets the variable expects it to be hidden. The default itself is public.
            secrets.append("")
            return default
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise _BadReference(f"the environment variable {name} is not UTF-8", "set it to text in UTF-8")
        secrets.append(value)
        return value

    def _file(self, name: str, path: Path) -> str:
        if not name:
            raise _BadReference("${file:} names no file", "write ${file:path}")
        folder = os.path.dirname(self._source.value_position(path).file)
        try:
            text = read_text(os.path.join(folder, name), FILE_BYTES_MAX)
        except FileFault as fault:
            where = quoted(os.path.join(folder, name), whole=True)
            raise _BadReference(f"the file {where}: {fault.message}", fault.remedy or "check the file") from None
        return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def _unknown_scheme(inner: str, scheme: str, has_scheme: bool) -> _BadReference:
    if not has_scheme:
        written = inner.strip() if _NAME.fullmatch(inner.strip()) else "NAME"
        return _BadReference(f"{quoted('${' + inner + '}')} names no source", f"write ${{env:{written}}}, or $${{ for the text '${{'")
    hint = did_you_mean(scheme, _SCHEMES)
    remedy = f"{hint} there are: env, file" if hint else "there are: env, file"
    return _BadReference(f"unknown source {quoted(scheme)} in a reference", remedy)
