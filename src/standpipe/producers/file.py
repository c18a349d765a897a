"""`type: file`: JSON Lines in files, one or many, with rotation.

A batch is written with one `write` to each file it concerns: all of it or nothing. How a file is written safely is in
`output_file.py`, the names of files in `path_template.py`, rotation in `rotation.py` and `rotated_files.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from standpipe.core.clock import Clock, SystemClock
from standpipe.core.errors import ConfigurationError, NotSent
from standpipe.core.finding import Finding, Severity
from standpipe.core.outcome import Outcome
from standpipe.core.units import Duration
from standpipe.delivery.batch import Batch
from standpipe.delivery.dead_letters import DeadLetters
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.confined_folder import UnusablePath, open_folder
from standpipe.producers.disk_findings import disk_findings
from standpipe.producers.open_files import FileSettings, OpenFiles, Place
from standpipe.producers.path_template import PathTemplate, escape
from standpipe.producers.record_fields import FieldsSetting, Metadata, RecordFields, field_names
from standpipe.producers.rotation import RotateConfig

Results = list[Outcome | BaseException]


class FileProducerConfig(BaseProducerConfig):
    """Where and how records are written."""

    type: str = Field(default="file", description="`file`")
    path: str = Field(
        description="file to write to; fields in it choose one of many: `logs/{service}/{time:%Y-%m-%d}.jsonl`. A field is one of the "
        "message (`{user.id}`), its key (`{@key}`) or id (`{@id}`), `{time}` (when it was accepted, UTC) or `{is_error}` (`error` or "
        "`normal`); `~` is the home folder"
    )
    error_path: str | None = Field(default=None, description="file for error messages, with fields as in `path`; none: the same as `path`")
    missing: str = Field(
        default="_", description="what stands in a path for a field that the message does not have as text, number or true/false"
    )
    fields: FieldsSetting = Field(
        default=None,
        description="what each record says about its message: `is_error`, `id`, `key`, `time`, `headers`; a list, or a mapping to the "
        "names they get in the record. They replace fields of the same name in the message. none: `is_error`, or nothing when there is "
        "an `error_path`",
    )
    rotate: RotateConfig | None = Field(default=None, description="when files are put aside and new ones begun; none: never")
    sync: Literal["none", "batch", "interval"] = Field(
        default="none",
        description="when records are brought to the disk, to survive a power cut: `batch` before they count as delivered, `interval` "
        "soon after, `none` when the system does it",
    )
    sync_interval: Duration = Field(
        default=1.0, ge=0.01, le=3600, description="with `sync: interval`: the longest time that records stay unsynced"
    )
    mode: str = Field(default="0640", description="permissions of new files, octal, in quotes; the umask takes away from them")
    max_open_files: int = Field(default=64, ge=2, le=4096, description="files kept open at a time; others are opened again when needed")

    @field_validator("path", "error_path")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None:
            PathTemplate(value)
        return value

    @field_validator("missing")
    @classmethod
    def _is_a_safe_name(cls, value: str) -> str:
        if escape(value) != value:
            raise ValueError(f"{value!r} cannot stand in a path; use letters, digits, '_' and '-'")
        return value

    @field_validator("mode", mode="before")
    @classmethod
    def _is_octal(cls, value: object) -> object:
        if not isinstance(value, str) or re.fullmatch(r"(?:0o?)?[0-7]{3}", value) is None:
            raise ValueError(f'{value!r} is not a file mode; write three octal digits in quotes, such as "0640"')
        if not int(value[-3:], 8) & 0o200 or not int(value[-3:], 8) & 0o400:
            raise ValueError(f'{value!r} would keep the owner from reading and writing the file; write for example "0640"')
        return value

    @model_validator(mode="after")
    def _two_paths_differ(self) -> FileProducerConfig:
        if self.error_path is not None and os.path.abspath(self.error_path) == os.path.abspath(self.path):
            raise ValueError("path and error_path are the same; leave error_path out: then each record says `is_error`")
        return self

    @property
    def field_names(self) -> dict[Metadata, str]:
        """What each record says about its message, under which name."""
        return field_names(self.fields, {"is_error": "is_error"} if self.error_path is None else {})


class FileProducer(BaseProducer):
    """Appends messages to files as JSON Lines.

    Several producers, also in several processes, may write to the same file. Order holds within each file.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = FileProducerConfig
    # A batch for one file is written from its beginning on and stops at the first failure.
    atomic_batches: ClassVar[bool] = True

    config: FileProducerConfig

    def __init__(
        self,
        config: FileProducerConfig,
        *,
        dead_letters: DeadLetters | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """As every producer; `clock` also decides when a file is rotated."""
        if not isinstance(config, FileProducerConfig):
            raise TypeError(f"FileProducer needs a FileProducerConfig, not {type(config).__name__}")
        self._time = clock if clock is not None else SystemClock()
        self._fields = RecordFields(config.field_names)
        normal = PathTemplate(config.path, config.missing)
        error = normal if config.error_path is None else PathTemplate(config.error_path, config.missing)
        self._templates = (normal, error)
        # Of the folder where the producer was made: the program may change its working folder later.
        self._plain = tuple(Place(os.path.abspath(os.path.expanduser(each.render({}, False, 0.0)))) for each in self._templates)
        self._bases = tuple(os.path.abspath(each.base) for each in self._templates)
        self._files: OpenFiles | None = None
        super().__init__(config, dead_letters=dead_letters, clock=clock, jitter=jitter)

    @property
    def destination(self) -> str:
        """The path, and the one for errors if there is one."""
        config = self.config
        return f"file:{config.path}" if config.error_path is None else f"file:{config.path}, errors: {config.error_path}"

    def examine(self) -> list[Finding]:
        """The folders of the files, and what a power cut takes."""
        found = [finding for base in dict.fromkeys(self._bases) for finding in disk_findings(Path(base), "files", None)]
        sync = self.config.sync
        if sync == "batch":
            found.append(Finding(Severity.INFO, "sync is batch", "what counts as delivered survives a power cut", ""))
        else:
            lost = f"the last {self.config.sync_interval:g} s" if sync == "interval" else "what the system had not written yet"
            text = f"a power cut loses {lost}, although it counts as delivered"
            found.append(Finding(Severity.WARNING, f"sync is {sync}", text, "sync: batch"))
        return found

    def _connect(self) -> None:
        self._close()
        config = self.config
        self._files = OpenFiles(
            FileSettings(
                name=config.name,
                mode=int(config.mode[-3:], 8),
                rotate=config.rotate,
                sync=config.sync,
                sync_interval=config.sync_interval,
                max_open_files=config.max_open_files,
                now=self._time.time,
            )
        )
        try:
            for template, place, base in zip(self._templates, self._plain, self._bases, strict=True):
                if template.is_plain:
                    self._files.open(place)
                else:
                    _check_writable(base)
        except BaseException as error:
            self._close()
            if isinstance(error, UnusablePath):
                raise ConfigurationError(str(error)) from error
            raise

    def _send_batch(self, batch: Batch) -> Results:
        if self._files is None:
            raise NotSent("the files are not open")
        results: Results = list(batch.delivered())
        for place, part, positions in self._parts(batch):
            written, error = self._files.write(place, self._fields.jsonl(part))
            if error is not None:
                for position in positions[written:]:
                    results[position] = error
        return results

    def _close(self) -> None:
        if self._files is not None:
            files, self._files = self._files, None
            files.close()

    # --- which file ---------------------------------------------------------------------------------------------------

    def _parts(self, batch: Batch) -> list[tuple[Place, Batch, range | list[int]]]:
        """The batch by file: the messages for each, and their positions in the batch."""
        normal, error = self._templates
        if normal.is_plain and error.is_plain:
            flags = [False] if normal is error else batch.is_errors()
            if (not flags[0]) not in flags:
                return [(self._plain[flags[0]], batch, range(batch.count))]
        positions: dict[Place, list[int]] = {}
        for position, place in enumerate(self._places(batch)):
            positions.setdefault(place, []).append(position)
        if len(positions) == 1:
            return [(place, batch, found) for place, found in positions.items()]
        singles = list(batch.singles())
        return [(place, Batch([singles[at] for at in found], len(found)), found) for place, found in positions.items()]

    def _places(self, batch: Batch) -> list[Place]:
        """The file of each message."""
        flags, times = batch.is_errors(), batch.times()
        looks_inside = any(template.uses_message for template in self._templates)
        contents = batch.contents() if looks_inside else [{}] * batch.count
        details: Iterable[tuple[str, str | None]] = repeat(("", None), batch.count)
        if any(template.uses_details for template in self._templates):
            details = zip(batch.ids(), batch.keys(), strict=True)
        known: dict[tuple[bool, str], Place] = {}
        places = []
        for flag, time, content, (id, key) in zip(flags, times, contents, details, strict=True):
            template = self._templates[flag]
            if template.is_plain:
                places.append(self._plain[flag])
                continue
            path = template.render(content, flag, time, id=id, key=key)
            place = known.get((flag, path))
            if place is None:
                place = known[flag, path] = Place(path, self._bases[flag])
            places.append(place)
        return places


def _check_writable(base: str) -> None:
    os.close(open_folder(base))
    if not os.access(base, os.W_OK | os.X_OK):
        raise PermissionError(f"the folder {base!r} cannot be written to; change its permissions, or name another folder")
