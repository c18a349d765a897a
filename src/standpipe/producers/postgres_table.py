"""The tables of the `postgres` producer: looked at and checked at each connect, made when that is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from standpipe.core.errors import ConfigurationError
from standpipe.producers.database_columns import field_steps
from standpipe.producers.postgres_config import ARRIVAL, Meaning, PostgresProducerConfig
from standpipe.producers.postgres_connection import Connection
from standpipe.producers.postgres_rows import Column

_LOCK = 0x73746470
"""Of tables that are being made: several producers may start at once. The number is arbitrary."""

_MADE: dict[str, str] = {
    "any": "text",
    "text": "text",
    "integer": "bigint",
    "real": "double precision",
    "numeric": "numeric",
    "boolean": "boolean",
    "timestamp": "timestamptz",
    "date": "date",
    "uuid": "uuid",
    "jsonb": "jsonb",
}
"""The types of columns that are made."""

_WHOLE = ("int2", "int4", "int8", "numeric")
_FITTING: dict[str, tuple[str, ...]] = {
    "integer": _WHOLE,
    "real": ("float4", "float8", "numeric"),
    "numeric": ("numeric",),
    "boolean": ("bool",),
    "timestamp": ("timestamptz", "timestamp"),
    "date": ("date",),
    "uuid": ("uuid",),
    "jsonb": ("jsonb", "json"),
}
"""The types that a column may have that is said to be of a kind; `text` goes by category."""

_METADATA_CATEGORIES: dict[Meaning, str] = {"id": "SU", "time": "DNS", "is_error": "BNS", "key": "SE", "headers": "S", "payload": "S"}
"""What columns for metadata may be, besides JSON for the last two: a letter for each category of types."""

_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
}


@dataclass(frozen=True, slots=True)
class Present:
    """A column that is there."""

    cast: str
    category: str
    kind: str
    not_null: bool
    has_default: bool
    computed: bool
    may_insert: bool
    may_select: bool


@dataclass(frozen=True, slots=True)
class Found:
    """A table that is there."""

    schema: str
    name: str
    relation: str
    """what it is, one letter as in `pg_class`"""
    logged: bool
    columns: Mapping[str, Present]
    unique: frozenset[str]
    """columns that have a unique index of their own, at once and without conditions"""


@dataclass(frozen=True, slots=True)
class Target:
    """A table to write to, and how."""

    name: str
    columns: tuple[Column, ...]
    insert: sql.Composed
    copy: sql.Composed
    deduplicates: bool
    """a row that is there already is left out"""


def prepare(database: Connection, config: PostgresProducerConfig, table: str) -> Target:
    """The table as a target; made before, or what it lacks, if that is wanted.

    Raises ConfigurationError, with the remedy, if messages cannot be written to it.
    """
    found = look(database, table)
    if config.create and (found is None or _lacks(found, config)):
        _make(database, config, table)
        found = look(database, table)
    return target_of(found, config, table, lambda: _suggestion(database, table))


def look(database: Connection, table: str) -> Found | None:
    """What the catalog says about a table; None if there is none."""
    name = identifier(table).as_string(None)
    row = database.execute(
        "SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence = 'p' "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)",
        [name],
    ).fetchone()
    if row is None:
        return None
    oid, schema, relation_name, relation, logged = row
    columns = database.execute(
        "SELECT a.attname, format_type(a.atttypid, -1), t.typcategory::text, coalesce(b.typname, t.typname), a.attnotnull OR t.typnotnull, "
        "a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a', "
        "has_column_privilege(a.attrelid, a.attnum, 'INSERT'), has_column_privilege(a.attrelid, a.attnum, 'SELECT') "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype "
        "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        [oid],
    ).fetchall()
    unique = database.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
        "WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indnkeyatts = 1",
        [oid],
    ).fetchall()
    return Found(
        schema, relation_name, relation, logged, {each[0]: Present(*each[1:]) for each in columns}, frozenset(each[0] for each in unique)
    )


def target_of(found: Found | None, config: PostgresProducerConfig, table: str, suggestion: object = None) -> Target:
    """The target that a table is. Raises ConfigurationError, with the remedy, if it cannot be one."""
    if found is None:
        hint = suggestion() if callable(suggestion) else ""
        raise ConfigurationError(f"there is no table {table!r}{hint}; create it, set create: true, or correct the name")
    fault = next(_faults(found, config), None)
    if fault is not None:
        raise ConfigurationError(f"messages cannot be written to the table {table!r}: {fault}")
    columns = tuple(_columns(found, config))
    id_column = config.metadata.get("id")
    known_by = id_column if id_column in found.unique else None
    place = sql.Identifier(found.schema, found.name)
    insert = _insert(place, columns, known_by)
    return Target(f"{found.schema}.{found.name}", columns, insert, _copy(place, columns), known_by is not None)


def identifier(table: str) -> sql.Identifier:
    """`schema.table`, quoted."""
    return sql.Identifier(*table.split("."))


# --- statements -------------------------------------------------------------------------------------------------------


def _insert(place: sql.Identifier, columns: tuple[Column, ...], known_by: str | None) -> sql.Composed:
    """All columns come as arrays of texts, row by row, and are cast; one statement whatever the number of rows."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    aliases = sql.SQL(", ").join(sql.Identifier(f"c{number}") for number in range(len(columns)))
    casts = sql.SQL(", ").join(
        sql.Identifier("r", f"c{number}") + sql.SQL("::") + _plain(column.cast) for number, column in enumerate(columns)
    )
    arrays = sql.SQL(", ").join(sql.SQL("string_to_array(%s::text, chr(10))" if column.is_payload else "%s::text[]") for column in columns)
    statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM unnest({}) AS r({})").format(place, names, casts, arrays, aliases)
    if known_by is None:
        return statement
    return statement + sql.SQL(" ON CONFLICT ({}) DO NOTHING").format(sql.Identifier(known_by))


def _copy(place: sql.Identifier, columns: tuple[Column, ...]) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    return sql.SQL("COPY {} ({}) FROM STDIN").format(place, names)


def _plain(text: str) -> sql.SQL:
    """SQL that the server's catalog has given, quoted where it must be, or a word of ours."""
    return sql.SQL(text.replace("%", "%%"))


# --- checking ---------------------------------------------------------------------------------------------------------


def _columns(found: Found, config: PostgresProducerConfig) -> Iterator[Column]:
    for meaning, name in config.metadata.items():
        yield _column(name, found.columns[name], meaning)
    for name, column in config.columns.items():
        yield _column(name, found.columns[name], None, column.path)


def _column(name: str, present: Present, meaning: Meaning | None, path: str = "") -> Column:
    steps = field_steps(path) if path else ()
    return Column(name, present.cast, present.category, present.kind, present.not_null, meaning, path, steps)


def _faults(found: Found, config: PostgresProducerConfig) -> Iterator[str]:
    """What keeps messages from being written, each with its remedy."""
    if found.relation not in ("r", "p"):
        yield f"it is a {_KINDS.get(found.relation, 'thing of another kind')}; name a table"
        return
    wanted = [*config.metadata.values(), *config.columns]
    for name in wanted:
        if name not in found.columns:
            where = "columns" if name in config.columns else "metadata"
            yield f"it has no column {name!r}; add it, set create: true, or change {where}"
            return
    for name, present in found.columns.items():
        if present.not_null and not present.has_default and not present.computed and name not in wanted:
            yield f"its column {name!r} must have a value and has no default; give it one, or name a field for it in columns"
    for name in wanted:
        yield from _faults_of_column(name, found.columns[name], found)
    for meaning, name in config.metadata.items():
        yield from _misfit(meaning, name, found.columns[name])
    for name, column in config.columns.items():
        present = found.columns[name]
        fits = present.category in "SE" if column.type == "text" else present.kind in _FITTING.get(column.type, (present.kind,))
        if not fits:
            yield f"its column {name!r} is {present.cast}, and columns says {column.type}; change one of them"
    yield from _faults_of_id(found, config)


def _faults_of_column(name: str, present: Present, found: Found) -> Iterator[str]:
    if present.computed:
        yield f"its column {name!r} is computed by the database; take it out of columns or metadata"
    elif not present.may_insert:
        yield f'the user may not insert into its column {name!r}; GRANT INSERT ON "{found.schema}"."{found.name}" TO that user'


def _misfit(meaning: Meaning, name: str, present: Present) -> Iterator[str]:
    is_json = present.kind in ("json", "jsonb") and meaning in ("headers", "payload")
    if not is_json and (present.category not in _METADATA_CATEGORIES[meaning] or present.kind in ("json", "jsonb")):
        yield f"its column {name!r} is {present.cast}, which cannot hold the {meaning} of a message; change its type, or metadata"


def _faults_of_id(found: Found, config: PostgresProducerConfig) -> Iterator[str]:
    name = config.metadata.get("id")
    if name is None:
        return
    where = f'"{found.schema}"."{found.name}"'
    if config.mode == "insert" and name not in found.unique:
        yield (
            f"there is no unique index on its column {name!r} alone, by which what is sent again is recognised; "
            f'CREATE UNIQUE INDEX ON {where} ("{name}"), or take id out of metadata: then such messages come twice'
        )
    elif not found.columns[name].may_select:
        yield (
            f"the user may not read its column {name!r}, by which what is sent again is recognised; "
            f'GRANT SELECT ("{name}") ON {where} TO that user'
        )


def _suggestion(database: Connection, table: str) -> str:
    """Tables of the same name but for upper and lower case, or in other schemas."""
    rows = database.execute(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE lower(c.relname) = lower(%s) AND c.relkind IN ('r', 'p') ORDER BY 1 LIMIT 3",
        [table.rpartition(".")[2]],
    ).fetchall()
    return f", but {', '.join(repr(row[0]) for row in rows)}" if rows else ""


# --- making -----------------------------------------------------------------------------------------------------------


def _lacks(found: Found, config: PostgresProducerConfig) -> bool:
    return found.relation in ("r", "p") and not found.columns.keys() >= {*config.metadata.values(), *config.columns}


def _make(database: Connection, config: PostgresProducerConfig, table: str) -> None:
    """Make the table, or the columns that it lacks; alone, however many producers do it at the same time."""
    place = identifier(table)
    definitions = dict(_definitions(config))
    database.execute("BEGIN")
    try:
        database.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, table])
        found = look(database, table)
        if found is None:
            every = [_plain(f'"{ARRIVAL}" bigint GENERATED ALWAYS AS IDENTITY'), *definitions.values()]
            database.execute(sql.SQL("CREATE TABLE {} ({})").format(place, sql.SQL(", ").join(every)))
        else:
            for name in definitions.keys() - found.columns.keys():
                database.execute(sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(place, definitions[name]))
        for name, column in config.columns.items():
            if column.index and (found is None or name not in found.columns):
                database.execute(sql.SQL("CREATE INDEX ON {} ({})").format(place, sql.Identifier(name)))
        database.execute("COMMIT")
    except BaseException:
        if not database.closed:
            database.execute("ROLLBACK")
        raise


def _definitions(config: PostgresProducerConfig) -> Iterator[tuple[str, sql.Composed]]:
    types: dict[Meaning, str] = {
        "id": "text PRIMARY KEY",
        "time": "timestamptz",
        "is_error": "boolean",
        "key": "text",
        "headers": "jsonb",
        "payload": config.payload_type,
    }
    for meaning, name in config.metadata.items():
        yield name, sql.Identifier(name) + sql.SQL(" ") + _plain(types[meaning])
    for name, column in config.columns.items():
        yield name, sql.Identifier(name) + sql.SQL(" ") + _plain(_MADE[column.type])
