"""Configuration of the `tail` agent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from standpipe.agents.lines import LineAgentConfig
from standpipe.core.units import Duration


class TailConfig(LineAgentConfig):
    """Configuration of the `tail` agent: which files, from where on, and how patiently."""

    type: str = Field("tail", description="`tail`")
    paths: list[str] = Field(
        description="files to read: one path or a list of paths and globs (`*`, `?`, `[...]`, `**` for any depth); `~` is the home folder"
    )
    exclude: list[str] = Field(
        default_factory=list,
        description="globs of files not to read, compared with the whole path and with the file name; one or a list",
    )
    start_at: Literal["beginning", "end"] = Field(
        "beginning",
        description=(
            "where to start in files that are there when a path is configured for the first time; `end` skips what is in them. "
            "Files that appear later, also while the agent is stopped, are always read from the beginning"
        ),
    )
    follow: bool = Field(
        True,
        description="true waits for more lines and new files; false reads every file to its end once, then the agent is finished",
    )
    poll_interval: Duration = Field(
        0.25,
        ge=0.01,
        le=3600,
        description="time between two looks for new lines and files; with very many files the looks space themselves out further",
    )
    partial_line_timeout: Duration | None = Field(
        None,
        description=(
            "hand over a last line that has no end after its file was unchanged for this long, with the field `partial: true` (what is "
            "written to it later becomes a line with `continued: true`); by default such a line is kept until its end is written, "
            "because programs with buffered output stop anywhere in a line; always handed over when a file was rotated away or with "
            "`follow: false`"
        ),
    )
    rotate_wait: Duration = Field(
        30.0,
        le=86400,
        description="how long a renamed or deleted file is watched for late lines after its last change",
    )
    max_open_files: int = Field(
        256,
        ge=1,
        le=65536,
        description="files kept open at a time; with more files than this they take turns (a process may usually open 1024)",
    )
    checkpoint_interval: Duration = Field(
        1.0,
        le=3600,
        description=(
            "the position is synced to the disk at most this often, and when the agent is closed; what was settled since then may be "
            "read again after a power cut (a crash of the process repeats a batch)"
        ),
    )

    @field_validator("paths", "exclude", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("paths", "exclude")
    @classmethod
    def _paths_are_usable(cls, value: list[str]) -> list[str]:
        for path in value:
            if not path.strip():
                raise ValueError("a path is empty; write a file such as /var/log/app.log or a glob such as /var/log/*.log")
            if "\0" in path:
                raise ValueError(f"{path!r} holds a NUL character, which no path can; remove it")
        return list(dict.fromkeys(value))

    @field_validator("paths")
    @classmethod
    def _some_path_is_given(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("no path is given; name at least one file or glob")
        return value

    @model_validator(mode="after")
    def _something_is_read(self) -> TailConfig:
        if self.start_at == "end" and not self.follow:
            raise ValueError("start_at: end together with follow: false would read nothing; leave one of them out")
        return self
