"""The store's layout: made whole where there is none, brought up to date where it is older."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text, update

from seqsweep.errors import Outage, Problem, Unavailable
from seqsweep.store import checkpoints as blobs
from seqsweep.store import seals
from seqsweep.store.curves import seal_curve
from seqsweep.store.database import ADVICE, Database
from seqsweep.store.tables import VERSION, checkpoints, metadata, schema, stages, sweeps, trials


def ensure_layout(database: Database) -> None:
    """Create the tables where there are none; Unavailable if they are of a newer seqsweep, or some are gone."""
    if database.file is not None:
        _ensure_file(database, database.file)
    with database.read() as connection:
        version = _version(connection)
    if version in (None, *_STEPS):
        with database.write() as connection:
            if not database.is_sqlite:  # two first comers would create the same table
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('seqsweep_schema'))"))
            version = _version(connection)
            if version is None:
                version = _create(database, connection)
            while version in _STEPS:
                _STEPS[version](connection)
                version += 1
                connection.execute(update(schema).values(version=version))
    if version != VERSION:
        raise Unavailable(Problem(str(database), f"the store has layout {version}, this seqsweep knows {VERSION}",
                                  "Use the seqsweep that wrote it, or a newer one."))


def _ensure_file(database: Database, path: Path) -> None:
    """Make a new SQLite file under another name, so that an empty one was never ours: it lost what was in it."""
    if path.exists():
        if path.stat().st_size == 0:
            raise Unavailable(Problem(str(database), "the file is empty, as no store ever is",
                                      "Restore a copy; if there was nothing in it, delete it."))
        return
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
    made = database.at(new)
    try:
        with made.write() as connection:
            _create(made, connection)
        made.close()
        if Path(f"{new}-wal").exists():  # SQLite says nothing where what it committed did not fit into the file
            raise Outage(Problem(str(database), "the store cannot be made: database or disk is full",
                                 ADVICE["disk is full"]))
        with contextlib.suppress(FileExistsError):  # another process was faster
            _put(new, path)
    finally:
        made.close()
        for left in (new, Path(f"{new}-wal"), Path(f"{new}-shm")):
            left.unlink(missing_ok=True)


def _put(new: Path, path: Path) -> None:
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if not path.exists():
            new.rename(path)


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(schema.name):
        return None
    return connection.execute(select(schema.c.version)).scalar()


def _create(database: Database, connection: Connection) -> int:
    if {sweeps.name, trials.name} & set(inspect(connection).get_table_names()):
        raise Unavailable(Problem(str(database), f"the store is damaged: it has no table {schema.name}",
                                  ADVICE["malformed"]))
    metadata.create_all(connection)
    connection.execute(insert(schema).values(id=1, version=VERSION))
    return VERSION


def _from_1(connection: Connection) -> None:
    """Seals for every row, and two checkpoints to go on from."""
    for table, column in ((sweeps, "seal"), (stages, "seal"), (trials, "seal"), (trials, "curve")):
        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column} VARCHAR(32) NOT NULL DEFAULT ''"))
    if connection.dialect.name == "sqlite":  # it cannot change a primary key
        connection.execute(text(f"ALTER TABLE {checkpoints.name} RENAME TO seqsweep_checkpoints_1"))
        checkpoints.create(connection)
        connection.execute(text(f"INSERT INTO {checkpoints.name} (trial_id, kind, epoch, sha256, blob) "  # noqa: S608
                                "SELECT trial_id, kind, epoch, sha256, blob FROM seqsweep_checkpoints_1"))
        connection.execute(text("DROP TABLE seqsweep_checkpoints_1"))
    else:
        connection.execute(text(f"ALTER TABLE {checkpoints.name} DROP CONSTRAINT {checkpoints.name}_pkey, "
                                "ADD PRIMARY KEY (trial_id, kind, epoch)"))
    places = connection.execute(select(checkpoints.c.trial_id, checkpoints.c.kind, checkpoints.c.epoch)).all()
    for trial, kind, epoch in places:
        this = blobs.place(trial, kind, epoch)
        blob, sha256 = connection.execute(select(checkpoints.c.blob, checkpoints.c.sha256).where(*this)).one()
        if isinstance(blob, bytes) and hashlib.sha256(blob).hexdigest() == sha256:  # a damaged one stays so
            connection.execute(update(checkpoints).where(*this).values(
                sha256=blobs.checksum(trial, kind, epoch, blob)))
    for key in connection.execute(select(trials.c.id)).scalars().all():
        connection.execute(update(trials).where(trials.c.id == key).values(curve=seal_curve(connection, key)))
    for table in (sweeps, trials, stages):
        seals.renew(connection, table)


_STEPS = {1: _from_1}
"""Layout -> what brings it to the next."""
