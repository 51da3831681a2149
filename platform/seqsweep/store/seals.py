"""Seals: a checksum in each row. SQLite's pages have none, and a bit that flips inside a value breaks no structure.

A row's seal is the BLAKE2b hash, 16 bytes in hexadecimal, of the JSON array of its columns' values in their order,
without the seal itself and the columns below. The seal of a trial covers that of its curve: the array of its reports
by epoch, each an array of epoch, time and metrics as stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, select, update

from seqsweep.errors import Problem, Unavailable
from seqsweep.store.tables import stages, sweeps, trials

_UNSEALED = {"seal", "updated"}
"""Columns that a seal does not cover."""
_COUNTED = {sweeps.name: {"revision"}}
"""Columns that each write of a trial changes, and no result depends on."""


def seal(values: Iterable[object]) -> str:
    """Hash of plain values; damage may have made bytes of one."""
    return hashlib.blake2b(json.dumps(list(values), default=repr).encode(), digest_size=16).hexdigest()


def seal_of(table: Table, row: Row[Any]) -> str:
    """The seal that a row should have; its columns begin with those of the table."""
    return seal(_SEALED[table.name](row))


def renew(connection: Connection, table: Table, *where: ColumnElement[bool]) -> None:
    """Seal rows that were written in this transaction."""
    for row in connection.execute(select(table).where(*where)).all():
        this = [column == row._mapping[column] for column in table.primary_key]
        connection.execute(update(table).where(*this).values(seal=seal_of(table, row)))


def require_whole(table: Table, row: Row[Any], what: str) -> None:
    """Raise Unavailable if a row is not what was written."""
    if row.seal != seal_of(table, row):
        raise damaged(what)


def damaged(what: str) -> Unavailable:
    """The error that tells of a record that is not what was written."""
    return Unavailable(Problem(what, "its record in the store is not what was written: a disk or a copy changed it",
                               "`seqsweep doctor SWEEP` tells what is damaged; restore a copy of the store, or let "
                               "`seqsweep doctor SWEEP --repair` mend what it can"))


def _sealed(table: Table) -> Callable[[Row[Any]], tuple[Any, ...]]:
    left_out = _UNSEALED | _COUNTED.get(table.name, set())
    return itemgetter(*(place for place, column in enumerate(table.columns) if column.name not in left_out))


_SEALED = {table.name: _sealed(table) for table in (sweeps, trials, stages)}
