"""`type: postgres`: messages as rows of a PostgreSQL table, each once.

A batch is one transaction. How messages become rows is said in `postgres_rows.py`, what a table must be like in
`postgres_table.py`, and what an error means in `postgres_errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from standpipe.core.errors import Disconnected, Misconfigured, NotSent, Reject, SendError, StandpipeError
from standpipe.core.finding import Finding
from standpipe.core.outcome import Outcome
from standpipe.delivery.batch import Batch
from standpipe.delivery.schedule import count_of
from standpipe.producers.base import BaseProducer, BaseProducerConfig
from standpipe.producers.error_table import ErrorTable
from standpipe.producers.postgres_config import PostgresProducerConfig
from standpipe.producers.postgres_connection import Connection, connect
from standpipe.producers.postgres_errors import ERRORS, is_fault_of_a_row, translated
from standpipe.producers.postgres_examine import findings
from standpipe.producers.postgres_rows import Rows, rows_of
from standpipe.producers.postgres_table import Target, prepare

COPY_AT_ONCE = 250
"""Messages that are sent as soon as they are rows: the server works on them while the next ones become rows. Smaller pieces
would cost more calls than they save time."""

Detail = dict[str, Any]
Details = list[Detail | None]
Faults = dict[int, Reject]


class Write(NamedTuple):
    """Messages for one table; `positions` are theirs in the whole batch."""

    target: Target
    batch: Batch
    positions: Sequence[int]

    def rows(self, faults: Faults) -> Rows:
        """The messages as rows, without those that cannot be, whose `faults` are noted."""
        return rows_of(self.batch, self.target.columns, self.positions, faults)

    def parts(self, size: int) -> Iterator[Write]:
        """The same in pieces of about `size` messages; what came together stays together."""
        slices, done = self.batch.slices, 0
        step = max(1, len(slices) * size // self.batch.count)
        for start in range(0, len(slices), step):
            part = slices[start : start + step]
            count = count_of(part)
            yield Write(self.target, Batch(part, count), self.positions[done : done + count])
            done += count


def _writes(targets: tuple[Target, Target], batch: Batch) -> list[Write]:
    """What has to be written to which table."""
    normal, error = targets
    if normal is error:
        return [Write(normal, batch, range(batch.count))]
    flags = batch.is_errors()
    return [
        Write(targets[flag], part, [position for position, is_error in enumerate(flags) if is_error is flag])
        for flag, part in batch.split_by_error()
    ]


class PostgresProducer(BaseProducer):
    """Writes messages into tables of a PostgreSQL database, one transaction per batch, each message once.

    `receipt.detail` is `{"table": "public.orders", "rows": 1}`; `rows` is 0 for a message that was there already, and is left
    out when only some of a batch were.
    """

    config_model: ClassVar[type[BaseProducerConfig]] = PostgresProducerConfig
    errors: ClassVar[ErrorTable] = ERRORS
    atomic_batches: ClassVar[bool] = True

    config: PostgresProducerConfig

    _database: Connection | None = None
    _targets: tuple[Target, Target] | None = None

    @property
    def destination(self) -> str:
        """The database and its tables."""
        config = self.config
        return f"{config.url}, table {config.table}" + (f", errors: {config.error_table}" if config.error_table else "")

    def examine(self) -> list[Finding]:
        """The server's settings, the table and our rights to it, and what of it loses messages."""
        try:
            return list(findings(self.config))
        except (psycopg.Error, OSError) as error:
            raise translated(error) from None

    # --- connection ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._close()
        try:
            self._database = connect(self.config)
            self._prepare(self._database)
        except (psycopg.Error, OSError, StandpipeError) as error:
            self._close()
            raise self._fault(error) from None

    def _prepare(self, database: Connection) -> tuple[Target, Target]:
        """Look at the tables: at each connect, and when a statement says that they have changed."""
        config = self.config
        normal = prepare(database, config, config.table)
        error = normal if config.error_table is None else prepare(database, config, config.error_table)
        self._targets = (normal, error)
        return self._targets

    def _close(self) -> None:
        database, self._database, self._targets = self._database, None, None
        if database is not None:
            database.release()

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send_batch(self, batch: Batch) -> list[Outcome | SendError]:
        database = self._database
        if database is None:
            raise NotSent("the connection is closed")
        if database.pgconn.transaction_status != TransactionStatus.IDLE:
            # Something has interrupted a batch: what is written now would belong to it, and never be committed.
            raise Disconnected("a transaction was left open", arrived=False)
        database.allow(self.config.send_timeout)
        faults: Faults = {}
        details: Details = [None] * batch.count
        try:
            writes = _writes(self._targets or self._prepare(database), batch)
            self._write(database, writes, details, faults)
        except (psycopg.Error, OSError, StandpipeError) as error:
            raise self._fault(error) from None
        batch.details = details
        if not faults:
            return list(batch.delivered())
        return [faults.get(position, Outcome.DELIVERED) for position in range(batch.count)]

    def _write(self, database: Connection, writes: list[Write], details: Details, faults: Faults) -> None:
        try:
            if len(writes) == 1:  # a single statement is a transaction
                self._write_one(database, writes[0], details, faults)
            else:
                self._write_together(database, writes, details, faults)
        except psycopg.Error as error:
            if not is_fault_of_a_row(error):
                raise
            self._write_apart(database, writes, details, faults)

    def _write_together(self, database: Connection, writes: list[Write], details: Details, faults: Faults) -> None:
        database.execute("BEGIN")
        try:
            for write in writes:
                self._write_one(database, write, details, faults)
            _commit(database)
        except BaseException:
            self._roll_back(database)
            raise

    def _write_one(self, database: Connection, write: Write, details: Details, faults: Faults) -> None:
        if self.config.mode == "copy":
            self._copy(database, write, details, faults)
        else:
            self._insert(database, write.target, write.rows(faults), details)

    def _copy(self, database: Connection, write: Write, details: Details, faults: Faults) -> None:
        count = 0
        with database.cursor() as cursor:
            with cursor.copy(write.target.copy) as copy:
                for part in write.parts(COPY_AT_ONCE):
                    rows = part.rows(faults)
                    if rows.positions:
                        count += len(rows.positions)
                        copy.write(rows.copy_data())
            _note(write.target, write.positions, cursor.rowcount, count, details)

    def _insert(self, database: Connection, target: Target, rows: Rows, details: Details) -> None:
        if rows.positions:
            written = database.execute(target.insert, rows.parameters()).rowcount
            _note(target, rows.positions, written, len(rows.positions), details)

    # --- when a row is at fault ---------------------------------------------------------------------------------------

    def _write_apart(self, database: Connection, writes: list[Write], details: Details, faults: Faults) -> None:
        """Write all but the rows at fault, in one transaction: what is refused is undone to a savepoint, and tried in halves
        until the row at fault is alone."""
        database.execute("BEGIN")
        try:
            database.execute("SET CONSTRAINTS ALL IMMEDIATE")  # else some would be checked at the end, when nobody knows the row
            for write in writes:
                self._insert_apart(database, write.target, write.rows(faults), details, faults)
            _commit(database)
        except BaseException:
            self._roll_back(database)
            raise

    def _insert_apart(self, database: Connection, target: Target, rows: Rows, details: Details, faults: Faults) -> None:
        parts = [rows] if rows.positions else []
        database.execute("SAVEPOINT part")
        while parts:
            part = parts.pop()
            database.allow(self.config.send_timeout)  # each step is progress, and may take as long as a batch
            try:
                self._insert(database, target, part, details)
            except psycopg.Error as error:
                if not is_fault_of_a_row(error):
                    raise
                database.execute("ROLLBACK TO SAVEPOINT part")
                count = len(part.positions)
                if count == 1:
                    faults[part.positions[0]] = _rejected(error)
                else:
                    parts += [part.part(count // 2, count), part.part(0, count // 2)]
            else:
                database.execute("RELEASE SAVEPOINT part; SAVEPOINT part")
        database.execute("RELEASE SAVEPOINT part")

    def _roll_back(self, database: Connection) -> None:
        """Undo, if the connection is still good for it; else the server does it."""
        try:
            if not database.closed:
                database.execute("ROLLBACK")
        except psycopg.Error:
            database.release()

    # --- errors -------------------------------------------------------------------------------------------------------

    def _fault(self, error: BaseException) -> StandpipeError:
        fault = translated(error)
        if isinstance(fault, Misconfigured):
            self._targets = None  # look again, when somebody may have mended it
            return Misconfigured(self.config.pause, str(fault))
        return fault


def _commit(database: Connection) -> None:
    """Commit; the server answers a transaction that has failed before without an error, by rolling it back."""
    said = database.execute("COMMIT").statusmessage
    if said != "COMMIT":
        raise Disconnected(f"the server answered COMMIT with {said}", arrived=False)


def _rejected(error: psycopg.Error) -> Reject:
    fault = translated(error)
    return fault if isinstance(fault, Reject) else Reject(str(fault), response=fault.response)


def _note(target: Target, positions: Sequence[int], written: int, count: int, details: Details) -> None:
    """What the receipts say; the same object for all, because nobody changes it."""
    detail: Detail = {"table": target.name}
    if written in (0, count):
        detail["rows"] = 1 if written else 0
    if len(positions) == len(details):
        details[:] = [detail] * len(details)
        return
    for position in positions:
        details[position] = detail
