"""Small models of the kinds that producers, agents and pipelines declare, for the tests of this folder."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from standpipe.core.units import Duration, Size


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MemoryQueue(Strict):
    type: Literal["memory"] = "memory"
    max_messages: int = Field(100, ge=1, le=1000)
    on_full: Literal["block", "raise", "drop_newest"] = "block"
    memory: dict[str, int] | None = None  # named as the tag of the union


class SpoolQueue(Strict):
    type: Literal["spool"]
    path: str = Field(description="the folder of the spool")
    segment_size: Size = 16 * 2**20


class Compression(Enum):
    NONE = "none"
    GZIP = "gzip"


class ProducerConfig(Strict):
    type: str
    name: str = Field(min_length=1, max_length=20, description="a name of its own")
    max_retries: int = Field(5, ge=1, description="attempts before the connection is reset")
    reconnect_wait: Annotated[Duration, Field(gt=0)] = 60.0
    queue: Annotated[MemoryQueue | SpoolQueue, Field(discriminator="type")] = MemoryQueue()
    compression: Compression = Compression.NONE
    url: str | None = Field(None, pattern="^https?://")
    password: SecretStr | None = None
    tokens: list[SecretStr] = []
    headers: dict[str, str] = {}
    ports: list[int] = Field(default=[1], min_length=1, max_length=2)
    window: Literal["all"] | int = "all"
    enabled: bool = True
    ratio: float = Field(1.0, lt=2)
    segment: Size = 64

    @field_validator("name")
    @classmethod
    def _name_has_no_space(cls, name: str) -> str:
        if " " in name:
            raise ValueError(f"{name!r} contains a space; use letters, digits and '-'")
        return name

    @field_validator("password")
    @classmethod
    def _password_is_long(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None and len(password.get_secret_value()) < 4:
            raise ValueError(f"{password.get_secret_value()!r} is too short for a password")
        return password

    @model_validator(mode="after")
    def _gzip_needs_a_url(self) -> ProducerConfig:
        if self.compression is Compression.GZIP and self.url is None:
            raise ValueError("'compression: gzip' needs a 'url'")
        return self


class PipelineConfig(Strict):
    name: str
    sources: list[str] = Field(alias="from")
    steps: list[dict[str, object]] = []


class TailConfig(Strict):
    type: str
    name: str
    paths: list[str] = Field(description="files and globs")
    interval: Duration = 1.0


class RootConfig(Strict):
    state_dir: str | None = Field(None, description="where positions are kept")
    shutdown_timeout: Duration = 10.0
