"""One controller a sweep: a lease row on the database's clock, with a fencing token.

The token rises with every change of holder, and each write checks it in its own transaction: a controller that was
frozen, lost its lease and wakes up again can write nothing (Kleppmann, 2016, "How to do distributed locking").
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from sqlalchemy import ColumnElement, Connection, Row, Select, select, update

from seqsweep.errors import Conflict, NotFound, Outage, SeqsweepError
from seqsweep.store.database import Database, now
from seqsweep.store.sweeps import SweepRecord
from seqsweep.store.tables import leases, sweeps

TTL = 30.0
"""Seconds a lease lasts after its last renewal."""
BORN_TOLERANCE = 2.0
"""Seconds two readings of one process's start may differ: it is counted from a boot time that clocks correct."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a sweep. Times are Unix seconds on the store's clock."""

    host: str
    pid: int
    since: float
    expires: float

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid} on {self.host} since {since}"


class Lease:
    """The right to write to one sweep, until released or taken over; a context that releases it.

    Every write renews it. A lease that ran out and that nobody took may still be used and renewed: a laptop that slept
    goes on. Once another controller took it, every write raises Conflict.
    """

    def __init__(self, database: Database, sweep: SweepRecord, token: int, ttl: float) -> None:
        self._database = database
        self.sweep = sweep
        """The sweep as it was when the lease was taken."""
        self.token = token
        self.ttl = ttl

    def renew(self) -> None:
        """Hold it for another `ttl` seconds; Conflict if it was taken."""
        with self._database.write() as connection:
            self.check(connection)

    def is_held(self) -> bool:
        """Whether no other controller took it; renews nothing."""
        with self._database.read() as connection:
            return connection.execute(select(leases.c.token).where(*self._mine())).one_or_none() is not None

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it from a thread of its own while the caller is busy with what writes nothing for long."""
        end = threading.Event()
        thread = threading.Thread(target=self._keep, args=(end,), name="seqsweep-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def _keep(self, end: threading.Event) -> None:
        while not end.wait(self.ttl / 3):
            try:
                self.renew()
            except Conflict:
                return  # the next write tells it
            except SeqsweepError:
                continue

    def release(self) -> None:
        """Let the next controller in; nothing happens if the lease was already taken or released."""
        with self._database.write() as connection:
            connection.execute(update(leases).where(*self._mine()).values(token=leases.c.token + 1, expires=0.0))

    def check(self, connection: Connection) -> None:
        """Renew the lease inside a write's transaction, which locks its row to the end; Conflict if it was taken."""
        held = connection.execute(update(leases).where(*self._mine()).values(expires=now() + self.ttl))
        if held.rowcount != 1:
            raise Conflict(f"sweep {self.sweep.name}: this controller no longer holds it, nothing was written; "
                           f"{_who_now(connection, self.sweep)}")

    def _mine(self) -> tuple[ColumnElement[bool], ...]:
        return leases.c.sweep_id == self.sweep.id, leases.c.token == self.token, _is(self.sweep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        with contextlib.suppress(Outage):  # then it runs out by itself, or with this process
            self.release()


def take(connection: Connection, sweep: SweepRecord, ttl: float) -> int:
    """Take a sweep's lease inside a write transaction and return its token; Conflict naming the holder."""
    row = connection.execute(_row_of(sweep.id).with_for_update()).one_or_none()
    if row is None:  # while its row was waited for
        raise NotFound(f"sweep {sweep.name} has no lease: it was deleted just now, or its record is damaged")
    current = _live(row)
    if current is not None:
        raise Conflict(f"sweep {sweep.name} is being run by {current}; stop it there, or with "
                       f"`seqsweep stop {sweep.name}`")
    token = int(row.token) + 1
    me = psutil.Process()
    connection.execute(update(leases).where(leases.c.sweep_id == sweep.id).values(
        token=token, host=socket.gethostname(), place=_place(), pid=me.pid, born=me.create_time(),
        since=now(), expires=now() + ttl))
    return token


def holder(connection: Connection, sweep_id: int) -> Holder | None:
    """Who holds a sweep: None if nobody does, or the process is known to be dead."""
    return _live(connection.execute(_row_of(sweep_id)).one())


def _is(sweep: SweepRecord) -> ColumnElement[bool]:
    """Whether a lease is still of this very sweep: SQLite gives the number of a deleted one to the next."""
    return leases.c.sweep_id.in_(select(sweeps.c.id).where(sweeps.c.uid == sweep.uid))


def _row_of(sweep_id: int) -> Select[Any]:
    return select(leases, now().label("clock")).where(leases.c.sweep_id == sweep_id)


def _live(row: Row[Any]) -> Holder | None:
    if row.expires <= row.clock or (row.place == _place() and not _is_alive(row.pid, row.born)):
        return None
    return Holder(host=row.host, pid=row.pid, since=row.since, expires=row.expires)


def _is_alive(pid: int, born: float) -> bool:
    """Whether this very process runs, not a later one that was given its number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - born) < BORN_TOLERANCE
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def _place() -> str:
    """Where a process number means this process: the host, and on Linux its container."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink() if namespace.is_symlink() else ''}".strip()


def _who_now(connection: Connection, sweep: SweepRecord) -> str:
    if connection.execute(select(sweeps.c.id).where(sweeps.c.uid == sweep.uid)).one_or_none() is None:
        return "it was deleted"
    other = holder(connection, sweep.id)
    return "nobody holds it now" if other is None else f"process {other.pid} on {other.host} does"
