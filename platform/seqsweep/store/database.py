"""The database behind the store: its URL, its clock, its transactions, and what to do when it fails."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# MLflow imports it while another thread writes: SQLAlchemy then looks into a module that is half there.
import sqlalchemy.orm  # noqa: F401
from sqlalchemy import Connection, Double, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from seqsweep.errors import Outage, Problem, Unavailable

LOCK_SECONDS = 30
"""How long a statement waits for another process's lock."""

_PASSING_SQLITE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
                             sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL})
"""SQLite's result codes of what may pass. A full disk also shows as an I/O error, or as a log that cannot be opened."""
_PASSING_POSTGRESQL = ("08", "53", "57P", "58", "40001", "40P01", "55P03", "25006", "25P03", "57014")
"""Beginnings of the SQLSTATEs of what may pass: no connection, no resources, shutting down or starting, a disk's error,
a lock not given in time, a standby that is not yet the server."""

KINDS = {"sqlite": "sqlite+pysqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""Short names of the two databases, with the driver each stands for."""

_DAMAGED = "The file is damaged: restore a copy, or save what can be read with `sqlite3 FILE .recover`."

ADVICE = {
    "file is not a database": "It is some other file: name another in SEQSWEEP_STORE, or move it away.",
    "malformed": _DAMAGED, "no such table": _DAMAGED, "no such column": _DAMAGED, "could not decode": _DAMAGED,
    "unable to open database file": "Its folder must exist and be writable: create it, or name another file.",
    "readonly database": "File and folder must be writable: change their rights, or name others in SEQSWEEP_STORE.",
    "locked": f"Another process has held it for more than {LOCK_SECONDS} s: let it finish, or end it if it is stopped.",
    "lock timeout": f"Another session has held it for more than {LOCK_SECONDS} s: let it finish, or end it.",
    "disk is full": "Free some space, then run the same command again: it goes on where it was.",
    "disk i/o error": "Check the disk; a network folder does not do for SQLite: use PostgreSQL there.",
    "password": "Check user and password in SEQSWEEP_STORE.",
    "pg_hba.conf": "Ask the server's administrator to let this host, user and database in.",
    "permission denied": "The user in SEQSWEEP_STORE needs the right to create and write tables.",
    "does not exist": "Create the database (`createdb NAME`), or correct its name in SEQSWEEP_STORE.",
}
"""What to do about a failure, by a part of the database's own words."""

_REFUSALS = ("password", "pg_hba.conf", "permission denied", "does not exist")
"""Words of a server that answers and says no: a failed connection has no SQLSTATE to tell by."""


class now(FunctionElement[float]):  # noqa: N801  written like any other SQL function
    """The database's clock in Unix seconds: read anew by each statement, the same for every host."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


class Database:
    """One SQLite file or one PostgreSQL database; safe to share between threads.

    Its password shows in no error and no repr.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        hidden = {key: "***" if key == "password" else value for key, value in self._url.query.items()}
        self._shown = self._url.set(query=hidden).render_as_string(hide_password=True)
        try:
            self._engine = _engine(self._url)
        except (ImportError, NoSuchModuleError):
            raise Unavailable(Problem(str(self), "the driver of this database is not installed",
                                      "Install it: pip install 'seqsweep[postgres]'")) from None

    @property
    def is_there(self) -> bool:
        """Whether the SQLite file exists; a server always counts as there."""
        return self.file is None or self.file.exists()

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None

    def at(self, file: Path) -> Database:
        """The like of it at another SQLite file; its errors name this one."""
        other = Database(self._url.set(database=str(file)).render_as_string(hide_password=False))
        other._shown = self._shown
        return other

    def check(self) -> None:
        """Look through a SQLite file's structure and indexes; Unavailable, with what to do, if it is damaged."""
        if self.is_sqlite:
            with self.read() as connection:
                found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise Unavailable(Problem(str(self), f"the store is damaged: {found}", ADVICE["malformed"]))

    def __repr__(self) -> str:
        return self._shown

    __str__ = __repr__

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        return self._engine

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a SQLite file."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read in one transaction, from one moment's view of the data; Unavailable if the database fails."""
        try:
            with self._told(), self._engine.connect() as connection:
                if not self.is_sqlite:
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                with connection.begin():
                    yield connection
        except (TypeError, ValueError) as error:  # a value that nobody can have written
            raise Unavailable(Problem(str(self), f"the store is damaged: {error}", ADVICE["malformed"])) from None

    @contextmanager
    def write(self, patience: float | None = None) -> Iterator[Connection]:
        """Write in one transaction, all or nothing; Unavailable if the database fails.

        SQLite has one writer at a time from the first statement on, PostgreSQL locks the rows that are changed; a lock
        is waited for `patience` seconds, else LOCK_SECONDS.
        """
        wait = LOCK_SECONDS if patience is None else patience
        with self._told(), self._engine.connect() as connection:
            connection = connection.execution_options(seqsweep_write=wait)
            with connection.begin():
                if patience is not None and not self.is_sqlite:
                    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * patience)}")
                yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn a failure of the database into one for the user, an Outage if it may pass.

        A broken constraint stays what it is.
        """
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeout) as error:
            raise (Outage if _passes(error) else Unavailable)(self._problem(error)) from None

    def _problem(self, error: Exception) -> Problem:
        said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        for secret in (self._url.password, self._url.query.get("password")):
            if secret:
                said = said.replace(str(secret), "***")
        advice = next((text for part, text in ADVICE.items() if part in said.lower()),
                      "Check that it is there and can be reached: it is named by SEQSWEEP_STORE.")
        return Problem(str(self), f"the store cannot be used: {said}", advice)


def _passes(error: DBAPIError | PoolTimeout) -> bool:
    """Whether the same statement may succeed later: told by the database's own codes."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _PASSING_SQLITE  # the rest is its extension
    if (state := getattr(error.orig, "sqlstate", None)) is not None:
        return str(state).startswith(_PASSING_POSTGRESQL)
    return isinstance(error, OperationalError) and not any(word in str(error.orig) for word in _REFUSALS)


def _parse(text: str) -> URL:
    """Read a store URL; a SQLite path is made absolute, so that a change of folder never means another file."""
    right = "Write sqlite:///seqsweep.db or postgresql://user:password@host/database (@ : / as %40 %3A %2F)."
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise Unavailable(Problem("SEQSWEEP_STORE", "not a store URL", right)) from None
    kind = KINDS.get(url.drivername, url.drivername)
    if kind not in KINDS.values():
        raise Unavailable(Problem("SEQSWEEP_STORE", f"a store is SQLite or PostgreSQL, not {url.drivername}", right))
    if kind == KINDS["sqlite"]:
        if not url.database or url.database == ":memory:":
            raise Unavailable(Problem("SEQSWEEP_STORE", "a store in memory would be lost with the process", right))
        if url.host or url.username or url.password:
            raise Unavailable(Problem("SEQSWEEP_STORE", "a SQLite store is a file, and has no host or user", right))
        url = url.set(database=str(Path(url.database).expanduser().absolute()))
    return url.set(drivername=kind)


def _engine(url: URL) -> Engine:
    if url.drivername == KINDS["sqlite"]:
        engine = create_engine(url, poolclass=QueuePool, connect_args={"timeout": LOCK_SECONDS})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # A host that vanished is noticed within half a minute, not after the two hours of TCP's own. A database made under
    # the locale C has no encoding (SQL_ASCII): psycopg would hand over bytes.
    options = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
               "tcp_user_timeout": 30_000, "client_encoding": "utf8"}
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True,
                           connect_args={key: value for key, value in options.items() if key not in url.query})
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite does not wait its busy time when two processes do so at once."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: Connection) -> None:
    wait = connection.get_execution_options().get("seqsweep_write")
    patience = LOCK_SECONDS if wait is None else wait
    if connection.info.get("patience") != patience:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * patience)}")
        connection.info["patience"] = patience
    connection.exec_driver_sql("BEGIN" if wait is None else "BEGIN IMMEDIATE")


def _set_up_postgresql(connection: Any, record: object) -> None:
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    # A client that froze inside a transaction must not keep its locks for ever.
    connection.execute(f"SET idle_in_transaction_session_timeout = '{2 * LOCK_SECONDS}s'")
    connection.autocommit = False
