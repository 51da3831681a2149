"""The way to MLflow: a client without global state, that fails within seconds and never prints a password."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from seqsweep.errors import Problem, SeqsweepError, Unavailable
from seqsweep.tracking.address import masked, no_answer, require_database, require_listener, sqlite_file

_REFUSALS = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS",
                       "PERMISSION_DENIED", "UNAUTHENTICATED", "BAD_REQUEST"})


def connect(uri: str, *, create: bool = True) -> MlflowClient:
    """A client of the tracking and registry store at `uri`. Raises Unavailable where nothing answers there.

    Raises NotFound where it is a file that is not there, unless it is to be created.
    """
    require_listener(uri)
    if not create:
        require_database(uri)
    # It prints the trace of a failed transaction, whose error is raised as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    with answering(uri), _one_at_a_time(uri):
        _create_whole(uri)
        _settle_at_end(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _one_at_a_time(uri: str) -> AbstractContextManager[object]:
    """A lock beside an SQLite file: two processes that create MLflow's tables at once leave them broken for good."""
    database = sqlite_file(uri)
    return FileLock(f"{database}.lock", timeout=120.0) if database else nullcontext()


def _create_whole(uri: str) -> None:
    """Make a new SQLite file under another name: a kill while MLflow creates its tables would leave it broken for good.

    The caller holds the lock.
    """
    database = sqlite_file(uri)
    if not database or Path(database).exists():
        return
    new = Path(f"{database}.new")
    for left in (f"{new}", f"{new}-journal", f"{database}-wal", f"{database}-shm"):  # the latter of a deleted file
        Path(left).unlink(missing_ok=True)
    new_uri = uri.replace(database, str(new), 1)
    MlflowClient(tracking_uri=new_uri, registry_uri=new_uri).search_experiments(max_results=1)
    new.rename(database)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        # A commit costs half, and a person who looks at the runs keeps nobody from writing them.
        connection.execute("PRAGMA journal_mode = WAL")


@functools.cache
def _settle_at_end(uri: str) -> None:
    atexit.register(settle, uri)


def settle(uri: str) -> None:
    """Bring the write-ahead log of an SQLite file into it, as each process does at its end: people copy the file alone.
    """
    if not (database := sqlite_file(uri)):
        return
    address = f"file:{database}?mode=rw"
    with (contextlib.suppress(sqlite3.Error),
          contextlib.closing(sqlite3.connect(address, uri=True, timeout=5.0)) as connection):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn every failure of MLflow inside into Unavailable."""
    try:
        yield
    except SeqsweepError:
        raise
    except Exception as error:
        # The stores let errors of SQLAlchemy, requests and the file system through as they are.
        raise _unavailable(uri, error) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow's notices about what it does off the user's screen."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _unavailable(uri: str, error: BaseException) -> Unavailable:
    message = next(iter(masked(str(error)).strip().splitlines()), type(error).__name__)
    if isinstance(error, MlflowException) and error.error_code in _REFUSALS:
        return Unavailable(Problem(masked(uri), f"MLflow answers: {message}"))
    if sqlite_file(uri) and ("already exists" in message or "not a database" in message):
        return Unavailable(Problem(masked(uri), f"its tables are half made or damaged: {message}",
                                   "Delete the file; `seqsweep project SWEEP` brings the runs of a sweep back."))
    return no_answer(uri, message)


def pages(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """All that one of MLflow's searches finds, page by page."""
    token = None
    while True:
        page = search(*arguments, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
