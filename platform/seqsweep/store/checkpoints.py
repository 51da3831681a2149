"""Checkpoints as blobs: the last and the best of a running trial, the weights of a sweep's best."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, Label, delete, insert, select

from seqsweep.errors import Unavailable
from seqsweep.records import TrialState
from seqsweep.store.tables import checkpoints, trials

LAST = "last"
"""Everything needed to go on with training."""
BEST = "best"
"""The weights of the best epoch so far."""


def put(connection: Connection, trial_id: int, kind: str, epoch: int, blob: bytes) -> None:
    """Store a checkpoint in the place of the trial's earlier one of that kind."""
    drop(connection, trial_id, kind)
    connection.execute(insert(checkpoints).values(
        trial_id=trial_id, kind=kind, epoch=epoch, sha256=hashlib.sha256(blob).hexdigest(), blob=blob))


def drop(connection: Connection, trial_id: int, kind: str) -> None:
    """Delete a checkpoint; nothing happens if there is none."""
    connection.execute(delete(checkpoints).where(checkpoints.c.trial_id == trial_id, checkpoints.c.kind == kind))


def read(connection: Connection, sweep_id: int, number: int, kind: str) -> tuple[int, bytes] | None:
    """A checkpoint's epoch and bytes, None if there is none; Unavailable if the bytes are not those written."""
    row = connection.execute(
        select(checkpoints).join(trials, trials.c.id == checkpoints.c.trial_id)
        .where(trials.c.sweep_id == sweep_id, trials.c.number == number, checkpoints.c.kind == kind)).one_or_none()
    if row is None:
        return None
    if hashlib.sha256(row.blob).hexdigest() != row.sha256:
        raise Unavailable(f"trial {number}: its {kind} checkpoint is damaged in the store; restore a copy of the store")
    return row.epoch, bytes(row.blob)


def last_epoch() -> Label[int | None]:
    """A column beside those of a query of trials: the epoch of the last checkpoint, NULL if there is none."""
    epoch = select(checkpoints.c.epoch).where(checkpoints.c.trial_id == trials.c.id, checkpoints.c.kind == LAST)
    return epoch.correlate(trials).scalar_subquery().label("checkpoint_epoch")


def keep_best(connection: Connection, sweep_id: int, keep: int, sign: int) -> None:
    """Delete the weights of all closed trials but the `keep` best complete or pruned ones (sign +1: least is best)."""
    rows = connection.execute(
        select(trials.c.id, trials.c.state, trials.c.value, trials.c.number)
        .join(checkpoints, trials.c.id == checkpoints.c.trial_id)
        .where(trials.c.sweep_id == sweep_id, trials.c.state != TrialState.RUNNING, checkpoints.c.kind == BEST)).all()
    ranked = sorted((row for row in rows if row.state != TrialState.FAILED and row.value is not None),
                    key=lambda row: (sign * row.value, row.number))
    kept = {row.id for row in ranked[:keep]}
    for row in rows:
        if row.id not in kept:
            drop(connection, row.id, BEST)
