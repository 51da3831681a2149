"""One moment's view of a sweep's rows, by SQL of the doctor's own."""

from __future__ import annotations

import difflib
import hashlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoResultFound

from seqsweep.errors import NotFound, Problem, Unavailable

LAYOUT = 2
"""The layout of the tables that these statements are written for."""

Record = dict[str, Any]

_CLOCK = {"sqlite": "(julianday('now') - 2440587.5) * 86400.0",
          "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"}

_SEALED = {
    "sweep": "id uid name document spec spec_hash data_hash state message created active_seconds facts",
    "trial": "id sweep_id number params seed grid_cell state reason value best_epoch message started ended attempts "
             "worker extra revision curve",
    "stage": "sweep_id stage key value created",
}
"""The columns that a row's seal covers, in their order."""

_ORPHANS = {
    "seqsweep_trials": "sweep_id NOT IN (SELECT id FROM seqsweep_sweeps)",
    "seqsweep_leases": "sweep_id NOT IN (SELECT id FROM seqsweep_sweeps)",
    "seqsweep_stages": "sweep_id NOT IN (SELECT id FROM seqsweep_sweeps)",
    "seqsweep_reports": "trial_id NOT IN (SELECT id FROM seqsweep_trials)",
    "seqsweep_checkpoints": "trial_id NOT IN (SELECT id FROM seqsweep_trials)",
}
"""Table -> what a row without its owner fulfils."""


@dataclass
class Stored:
    """The rows of one sweep as they are, columns by name, and what concerns the whole store."""

    sweep: Record
    spec: Record
    """The validated sweep; empty where the text is no JSON."""
    lease: Record | None
    trials: list[Record]
    """By number."""
    curves: dict[int, list[Record]]
    """Trial id -> reports by epoch; what should be JSON is decoded, or None where it is none."""
    checkpoints: list[Record]
    """Without the blob, with its own `is_whole`."""
    stages: dict[str, Record]
    test_uses: list[Record]
    """Of the sweep's data."""
    orphans: dict[str, int]
    """Table -> rows without their owner, of any sweep."""
    clock: float
    """Unix seconds of the database when it was read."""
    unreadable: list[str] = field(default_factory=list)
    """Columns that hold no JSON, as `trial 7, params`."""
    broken: list[str] = field(default_factory=list)
    """Rows beside trials that their seals do not fit."""
    broken_trials: set[int] = field(default_factory=set)
    """Numbers of the trials whose row or curve its seal does not fit."""

    @property
    def is_live(self) -> bool:
        """Whether a controller may be at work: its lease has not run out, and on this machine its process lives."""
        lease = self.lease
        return lease is not None and lease["expires"] > self.clock and not _is_dead(lease)

    @property
    def has_ended(self) -> bool:
        """Whether the sweep says that nothing is left to do."""
        return bool(self.sweep["state"] == "finished") and not self.is_live


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A connection in one read transaction. Raises NotFound where there is no file, Unavailable as the database fails.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise Unavailable(Problem("SEQSWEEP_STORE", "not a store URL")) from None
    backend = parts.get_backend_name()
    shown = parts.render_as_string(hide_password=True)
    if backend == "sqlite":
        if not Path(parts.database or "").is_file():
            raise NotFound(Problem(shown, "there is no store here"))
        parts = parts.set(drivername="sqlite+pysqlite")
    else:
        parts = parts.set(drivername="postgresql+psycopg")
    options = {"timeout": 30} if backend == "sqlite" else {"connect_timeout": 10, "client_encoding": "utf8"}
    engine = create_engine(parts, isolation_level="AUTOCOMMIT", hide_parameters=True, connect_args=options)
    try:
        with engine.connect() as connection:
            # pysqlite begins no transaction for a SELECT, and two SELECTs would see two moments.
            connection.exec_driver_sql("BEGIN" if backend == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ")
            yield connection
            connection.exec_driver_sql("ROLLBACK")
    except (DBAPIError, NoResultFound, KeyError, TypeError, ValueError) as error:  # damage shows as these too
        said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        said = said.replace(str(parts.password or "\0"), "***")
        raise Unavailable(Problem(shown, f"the store cannot be read: {said}",
                                  "restore a copy, or save what can be read with `sqlite3 FILE .recover`"
                                  if backend == "sqlite" else "is the server running?")) from None
    finally:
        engine.dispose()


def integrity(connection: Connection) -> list[str]:
    """What SQLite finds wrong with its file, the first of it; PostgreSQL has no such check."""
    if connection.dialect.name != "sqlite":
        return []
    return [str(line) for (line,) in connection.execute(text("PRAGMA integrity_check(20)")) if line != "ok"]


def find_sweep(connection: Connection, name: str) -> Record:
    """The row of a sweep. Raises NotFound; Unavailable where the tables are of another layout."""
    layout = connection.execute(text("SELECT version FROM seqsweep_schema")).scalar()
    if layout != LAYOUT:
        raise Unavailable(f"the store has layout {layout}, and doctor knows {LAYOUT}: any verb that opens an older "
                          "store brings it up to date")
    rows = _rows(connection, "SELECT * FROM seqsweep_sweeps WHERE name = :name", name=name)
    if not rows:
        names = connection.execute(text("SELECT name FROM seqsweep_sweeps")).scalars().all()
        near = difflib.get_close_matches(name, names, n=1)
        raise NotFound(f"no sweep named {name} in the store; "
                       f"{f'did you mean {near[0]}?' if near else '`seqsweep list` shows those there are'}")
    return rows[0]


def read(connection: Connection, name: str) -> Stored:
    """Everything that is stored of a sweep."""
    sweep = find_sweep(connection, name)
    key, spec, unreadable = sweep["id"], _json(sweep["spec"]), list[str]()
    broken = [] if _is_sealed("sweep", sweep) else [f"sweep {name}"]
    trials = _rows(connection, "SELECT * FROM seqsweep_trials WHERE sweep_id = :key ORDER BY number, id", key=key)
    broken_trials = {trial["number"] for trial in trials if not _is_sealed("trial", trial)}
    for trial in trials:
        for column in ("params", "extra"):
            trial[column] = _decoded(trial[column], f"trial {trial['number']}, {column}", unreadable)
    mine = "trial_id IN (SELECT id FROM seqsweep_trials WHERE sweep_id = :key)"
    curves: dict[int, list[Record]] = {}
    for row in _rows(connection, f"SELECT * FROM seqsweep_reports WHERE {mine} ORDER BY trial_id, epoch", key=key):  # noqa: S608
        curves.setdefault(row["trial_id"], []).append(row)
    for trial in trials:
        curve = curves.get(trial["id"], [])
        if _hash([[row["epoch"], row["reported"], row["metrics"]] for row in curve]) != trial["curve"]:
            broken_trials.add(trial["number"])
        for row in curve:
            row["metrics"] = _decoded(row["metrics"], f"trial {trial['number']}, epoch {row['epoch']}", unreadable)
    stages = _rows(connection, "SELECT * FROM seqsweep_stages WHERE sweep_id = :key", key=key)
    broken += [f"stage {stage['stage']}" for stage in stages if not _is_sealed("stage", stage)]
    for stage in stages:
        stage["value"] = _decoded(stage["value"], f"stage {stage['stage']}", unreadable)
    leases = _rows(connection, "SELECT * FROM seqsweep_leases WHERE sweep_id = :key", key=key)
    return Stored(
        sweep=sweep, spec=spec if isinstance(spec, dict) else {}, lease=leases[0] if leases else None, trials=trials,
        curves=curves, checkpoints=list(_checkpoints(connection, key)),
        stages={stage["stage"]: stage for stage in stages},
        test_uses=_rows(connection, "SELECT * FROM seqsweep_test_uses WHERE data_hash = :data ORDER BY id",
                        data=sweep["data_hash"]),
        orphans={table: count for table, wanting in _ORPHANS.items()
                 if (count := connection.execute(text(f"SELECT count(*) FROM {table} WHERE {wanting}")).scalar_one())},  # noqa: S608
        clock=float(connection.execute(text(f"SELECT {_CLOCK[connection.dialect.name]}")).scalar_one()),
        unreadable=unreadable, broken=broken, broken_trials=broken_trials)


def _checkpoints(connection: Connection, key: int) -> Iterator[Record]:
    """Each with whether its bytes are those written; one blob at a time is in memory."""
    places = _rows(connection, "SELECT c.trial_id, t.number, t.state, c.kind, c.epoch, c.sha256 FROM "
                   "seqsweep_checkpoints c JOIN seqsweep_trials t ON t.id = c.trial_id WHERE t.sweep_id = :key "
                   "ORDER BY t.number, c.kind, c.epoch", key=key)
    for place in places:
        blob = connection.execute(text("SELECT blob FROM seqsweep_checkpoints WHERE trial_id = :trial AND kind = :kind "
                                       "AND epoch = :epoch"), {"trial": place["trial_id"], "kind": place["kind"],
                                                               "epoch": place["epoch"]}).scalar_one()
        named = f"{place['trial_id']} {place['kind']} {place['epoch']} ".encode()
        place["is_whole"] = isinstance(blob, bytes) and hashlib.sha256(named + blob).hexdigest() == place["sha256"]
        yield place


def _rows(connection: Connection, statement: str, **values: Any) -> list[Record]:
    return [dict(row) for row in connection.execute(text(statement), values).mappings()]


def _is_sealed(kind: str, row: Record) -> bool:
    return bool(_hash([row[column] for column in _SEALED[kind].split()]) == row["seal"])


def _hash(values: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(values, default=repr).encode(), digest_size=16).hexdigest()


def _decoded(value: Any, where: str, unreadable: list[str]) -> Any:
    decoded = _json(value)
    if not isinstance(decoded, dict):
        unreadable.append(where)
        return None
    return decoded


def _json(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return None


def _is_dead(lease: Mapping[str, Any]) -> bool:
    """Whether the holder was a process of this machine, and is gone."""
    here = socket.gethostname()
    if (namespace := Path("/proc/self/ns/pid")).is_symlink():
        here += f" {namespace.readlink()}"  # in a container the same number is another process
    if lease["place"] != here:
        return False
    try:
        process = psutil.Process(lease["pid"])
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - lease["born"]) > 2.0
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
