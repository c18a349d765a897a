"""What can be configured of a pipeline."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from standpipe.core.units import Size
from standpipe.pipelines.expression import compile_expression
from standpipe.pipelines.step_config import StepConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])]
"""One name or a list of names."""


class RouteConfig(BaseModel):
    """Where messages go: every route takes the messages its condition holds for; a message may take several routes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: str = Field(description="name of the producer")
    when: str | None = Field(default=None, description="expression: the messages for which it holds take this route; none: all")
    otherwise: bool = Field(default=False, description="true: the messages that no route before this one has taken")
    is_error: bool | str | None = Field(
        default=None, description="whether the messages are error messages: true, false or an expression; none: as the steps left them"
    )
    key: str | None = Field(default=None, description="expression for the key: messages of one key arrive in order; none: no key")

    @field_validator("when", "key", "is_error")
    @classmethod
    def _is_an_expression(cls, value: object) -> object:
        if isinstance(value, str):
            compile_expression(value)
        return value

    @model_validator(mode="after")
    def _one_condition(self) -> RouteConfig:
        if self.otherwise and self.when is not None:
            raise ValueError("a route has either `when` or `otherwise`, not both")
        return self


class PipelineConfig(BaseModel):
    """Agents -> steps -> routes. Each pipeline reads its agents by itself, with a checkpoint of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(description="unique name: letters, digits and `._-`")
    agents: Names = Field(alias="from", min_length=1, description="name of the agent, or a list of names")
    steps: list[StepConfig] = Field(default=[], description="what is done to the messages, in order")
    routes: list[RouteConfig] = Field(min_length=1, description="where the messages go")
    held_max: Size = Field(
        default=16 * 2**20,
        ge=1,
        description="bytes that may wait for producers with a full queue, per agent, while the other routes go on; then reading stops",
    )

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, value: str) -> str:
        if _NAME.fullmatch(value) is None:
            raise ValueError(
                f"{value!r} cannot be a name; use up to 100 letters, digits, '.', '_' or '-', beginning with a letter or digit"
            )
        return value
