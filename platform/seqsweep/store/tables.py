"""The tables of the store, and the version of their layout."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from seqsweep.records import TrialState
from seqsweep.store.sweeps import SweepState

VERSION = 2
"""Version of this layout; a store of an older one is brought up to it, one of a newer is refused."""

metadata = MetaData()


def _one_of(column: str, states: type[TrialState] | type[SweepState]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(state.value) for state in states)})")


schema = Table(
    "seqsweep_schema", metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

sweeps = Table(
    "seqsweep_sweeps", metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(32), nullable=False, unique=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("document", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("spec_hash", String(128), nullable=False),
    Column("data_hash", String(128)),
    Column("state", String(16), _one_of("state", SweepState), nullable=False),
    Column("message", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("active_seconds", Double, CheckConstraint("active_seconds >= 0"), nullable=False),
    Column("facts", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("seal", String(32), nullable=False),
)

leases = Table(
    "seqsweep_leases", metadata,
    Column("sweep_id", ForeignKey(sweeps.c.id), primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("host", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("born", Double, nullable=False),
    Column("since", Double, nullable=False),
    Column("expires", Double, nullable=False),
)

trials = Table(
    "seqsweep_trials", metadata,
    Column("id", Integer, primary_key=True),
    Column("sweep_id", ForeignKey(sweeps.c.id), nullable=False),
    Column("number", Integer, CheckConstraint("number >= 0"), nullable=False),
    Column("params", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("grid_cell", Text, nullable=False),
    Column("state", String(16), _one_of("state", TrialState), nullable=False),
    Column("reason", String(32)),
    Column("value", Double),
    Column("best_epoch", Integer),
    Column("message", Text, nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double),
    Column("attempts", Integer, CheckConstraint("attempts >= 0"), nullable=False),
    Column("worker", Text, nullable=False),
    Column("extra", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("curve", String(32), nullable=False),
    Column("seal", String(32), nullable=False),
    UniqueConstraint("sweep_id", "number"),
    CheckConstraint("(state = 'running') = (ended IS NULL)", name="seqsweep_ended_iff_closed"),
    CheckConstraint("(state = 'running') = (reason IS NULL)", name="seqsweep_reason_iff_closed"),
    CheckConstraint("(value IS NULL) = (best_epoch IS NULL)", name="seqsweep_value_iff_best_epoch"),
    Index("seqsweep_trials_by_revision", "sweep_id", "revision"),
)

reports = Table(
    "seqsweep_reports", metadata,
    Column("trial_id", ForeignKey(trials.c.id), primary_key=True),
    Column("epoch", Integer, CheckConstraint("epoch >= 1"), primary_key=True, autoincrement=False),
    Column("reported", Double, nullable=False),
    # Text, not the database's JSON: that has no NaN.
    Column("metrics", Text, nullable=False),
)

checkpoints = Table(
    "seqsweep_checkpoints", metadata,
    Column("trial_id", ForeignKey(trials.c.id), primary_key=True),
    Column("kind", String(4), CheckConstraint("kind IN ('last', 'best')"), primary_key=True),
    Column("epoch", Integer, CheckConstraint("epoch >= 0"), primary_key=True, autoincrement=False),
    # Of trial, kind and epoch before the blob: a row that moved to another trial is damaged too.
    Column("sha256", String(64), nullable=False),
    Column("blob", LargeBinary, nullable=False),
)

stages = Table(
    "seqsweep_stages", metadata,
    Column("sweep_id", ForeignKey(sweeps.c.id), primary_key=True),
    Column("stage", String(64), primary_key=True),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("seal", String(32), nullable=False),
)

test_uses = Table(
    "seqsweep_test_uses", metadata,
    Column("id", Integer, primary_key=True),
    Column("data_hash", String(128), nullable=False, index=True),
    Column("sweep", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("created", Double, nullable=False),
)

