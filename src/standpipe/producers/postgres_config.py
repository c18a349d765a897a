"""The settings of the `postgres` producer."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, unquote

from pydantic import Field, field_validator, model_validator

from standpipe.core.units import Duration
from standpipe.producers.addresses import HostPort, HostsOf, Url, UrlOf
from standpipe.producers.database_columns import FieldColumn, check_identifier, columns_from
from standpipe.producers.network_config import ConnectedProducerConfig

Meaning = Literal["id", "time", "is_error", "key", "headers", "payload"]
"""What of a message, besides its fields, a column can hold."""

ColumnType = Literal["any", "text", "integer", "real", "numeric", "boolean", "timestamp", "date", "uuid", "jsonb"]

EVERYTHING: dict[Meaning, str] = {
    "id": "id",
    "time": "time",
    "is_error": "is_error",
    "key": "key",
    "headers": "headers",
    "payload": "payload",
}

ARRIVAL = "arrival"
"""The column that tables made by us have besides: rows counted in the order in which they arrive."""

URL_PARAMETERS = ("host", "sslmode", "target_session_attrs", "options", "channel_binding", "gssencmode", "passfile")
"""Parameters of libpq that may stand behind the `?` of the URL; the others are settings of ours, or would change what we promise."""

_RESERVED = "pg_"


class PostgresColumnConfig(FieldColumn):
    """A column that holds a field of the message."""

    type: ColumnType = Field(
        default="any",
        description="kind of the column, which is checked; `any`: whatever the column is, and `text` where it is made",
    )
    index: bool = Field(default=False, description="with `create`: make an index on the column: faster queries, slower writing")


class PostgresProducerConfig(ConnectedProducerConfig):
    """Which database and table, how messages become rows, and how safely."""

    type: str = Field(default="postgres", description="`postgres`")
    url: Annotated[Url, UrlOf(("postgresql", "postgres"), {"postgresql": 5432, "postgres": 5432})] = Field(
        description="the database: `postgresql://user:password@host:5432/database`. Without a password, that of `~/.pgpass` is used. "
        "Behind a `?` there may be " + ", ".join(f"`{name}`" for name in URL_PARAMETERS) + " as libpq knows them"
    )
    standbys: Annotated[tuple[HostPort, ...], HostsOf(5432)] | None = Field(
        default=None,
        description="other servers of the same cluster, which are asked in turn when the first cannot be reached or takes no writes",
    )
    table: str = Field(default="messages", description="table for messages, also `schema.table`; upper and lower case differ")
    error_table: str | None = Field(default=None, description="table for error messages; none: the same table")
    create: bool = Field(
        default=False, description="make the table, or the columns that it lacks; otherwise they must be there. Schemas are never made"
    )
    mode: Literal["insert", "copy"] = Field(
        default="insert",
        description="`insert`: rows that are there already are left out by their id; `copy`: faster; only when something is wrong with a "
        "batch (a row is there already, or refused) is it written as with `insert`",
    )
    metadata: dict[Meaning, str] = Field(
        default=EVERYTHING,
        description="columns for what belongs to a message: `id`, `time`, `is_error`, `key`, `headers` (JSON), `payload` (all of it as "
        "JSON); a list, or a mapping to the names of the columns. Without `id` a message that is sent again is written again",
    )
    columns: dict[str, PostgresColumnConfig] = Field(
        default_factory=dict,
        description="columns for fields of the message: a list of fields, a mapping from columns to paths such as `user: user.id`, or with "
        "`path`, `type` and `index` for each",
    )
    payload_type: Literal["jsonb", "json", "text"] = Field(
        default="jsonb",
        description="with `create`: type of the payload. `jsonb` is quick to query and can be indexed, but orders fields anew, and cannot "
        "hold the character U+0000; `json` and `text` keep every byte",
    )
    synchronous_commit: Literal["on", "remote_apply", "remote_write", "local", "off"] = Field(
        default="on",
        description="when the server confirms, whatever its own setting is. `on`: the row is on its disk (and on that of the synchronous "
        "standbys); `off` loses confirmed messages also when only the server's process dies",
    )
    pause: Duration = Field(
        default=60.0, gt=0, le=3600, description="how long nothing is sent when the database refuses what only a person can mend"
    )

    @field_validator("url")
    @classmethod
    def _has_usable_parameters(cls, value: Url) -> Url:
        for name, content in parse_qsl(value.query, keep_blank_values=True):
            if name not in URL_PARAMETERS:
                raise ValueError(
                    f"{name!r} cannot stand in url; there may be {', '.join(URL_PARAMETERS)}, the rest are settings of their own"
                )
            if name == "host" and not content.startswith("/"):
                raise ValueError("host behind the '?' of url is for the folder of a Unix socket; write other hosts into standbys")
        return value

    @field_validator("table", "error_table")
    @classmethod
    def _is_a_table_name(cls, value: str | None) -> str | None:
        if value is not None:
            schema, dot, table = value.rpartition(".")
            check_identifier(table, "table", _RESERVED)
            if dot:
                check_identifier(schema, "schema", "pg_temp")
        return value

    @field_validator("metadata", mode="before")
    @classmethod
    def _metadata_in_short(cls, value: object) -> object:
        if isinstance(value, list):
            return {name: name for name in value if isinstance(name, str)} if all(isinstance(name, str) for name in value) else value
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _columns_in_short(cls, value: object) -> object:
        return columns_from(value)

    @model_validator(mode="after")
    def _fit_together(self) -> PostgresProducerConfig:
        if self.error_table == self.table:
            raise ValueError("table and error_table are the same; leave error_table out: the column is_error tells the messages apart")
        if self.tls is not None and "sslmode" in self.parameters:
            raise ValueError("there is tls, and sslmode in url; leave one of them out")
        if self.tls is not None and self.tls.server_name is not None and self.standbys:
            raise ValueError("tls.server_name is for one server; leave it out, or standbys")
        if not self.metadata and not self.columns:
            raise ValueError("there is neither metadata nor columns, so nothing of a message would be written; name some")
        self._check_columns()
        return self

    def _check_columns(self) -> None:
        taken = {ARRIVAL} if self.create else set()
        for name in (*self.metadata.values(), *self.columns):
            check_identifier(name, "column", _RESERVED)
            if name in taken:
                remedy = f"write another one, such as {name}_: {self.columns[name].path}" if name in self.columns else "write another one"
                raise ValueError(f"{name!r} is the name of another column; {remedy}")
            taken.add(name)

    @property
    def parameters(self) -> dict[str, str]:
        """What stands behind the `?` of the URL."""
        return dict(parse_qsl(self.url.query, keep_blank_values=True))

    @property
    def database(self) -> str | None:
        """The database; None: it has the name of the user."""
        return unquote(self.url.path.strip("/")) or None

    @property
    def servers(self) -> tuple[HostPort, ...]:
        """All servers, in the order in which they are asked."""
        return (HostPort(self.url.host, self.url.port or 5432), *(self.standbys or ()))
