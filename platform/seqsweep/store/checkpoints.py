"""Checkpoints as blobs: the last two and the best of a running trial, the weights of a sweep's best."""

from __future__ import annotations

import hashlib

from sqlalchemy import ColumnElement, Connection, Label, delete, func, insert, select

from seqsweep.errors import Unavailable
from seqsweep.records import TrialState
from seqsweep.store.tables import checkpoints, trials

LAST = "last"
"""Everything needed to go on with training; the one before is kept too, in case this one is damaged."""
BEST = "best"
"""The weights of the best epoch so far."""


def put(connection: Connection, trial_id: int, kind: str, epoch: int, blob: bytes) -> None:
    """Store a checkpoint in the place of the trial's earlier ones of that kind; of LAST the one before stays."""
    before = select(func.max(checkpoints.c.epoch)).where(
        checkpoints.c.trial_id == trial_id, checkpoints.c.kind == kind, checkpoints.c.epoch < epoch)
    kept = connection.execute(before).scalar() if kind == LAST else None
    drop(connection, trial_id, kind, but=kept)
    connection.execute(insert(checkpoints).values(
        trial_id=trial_id, kind=kind, epoch=epoch, sha256=checksum(trial_id, kind, epoch, blob), blob=blob))


def drop(connection: Connection, trial_id: int, kind: str, but: int | None = None) -> None:
    """Delete a trial's checkpoints of a kind, all `but` that of an epoch; nothing happens if there is none."""
    others = () if but is None else (checkpoints.c.epoch != but,)
    connection.execute(delete(checkpoints).where(checkpoints.c.trial_id == trial_id, checkpoints.c.kind == kind,
                                                 *others))


def place(trial_id: int, kind: str, epoch: int) -> tuple[ColumnElement[bool], ...]:
    """The condition that finds one checkpoint."""
    return checkpoints.c.trial_id == trial_id, checkpoints.c.kind == kind, checkpoints.c.epoch == epoch


def checksum(trial_id: int, kind: str, epoch: int, blob: bytes) -> str:
    """SHA-256 of a checkpoint and of what it is: `7 last 12 ` before the bytes."""
    hashed = hashlib.sha256(f"{trial_id} {kind} {epoch} ".encode())
    hashed.update(blob)
    return hashed.hexdigest()


def read(connection: Connection, sweep_id: int, number: int, kind: str) -> tuple[int, bytes] | None:
    """Epoch and bytes of a trial's newest checkpoint that is whole; None if there is none.

    Unavailable if there are damaged ones alone, except of LAST: without a checkpoint training begins again.
    """
    epochs = connection.execute(
        select(checkpoints.c.trial_id, checkpoints.c.epoch).join(trials, trials.c.id == checkpoints.c.trial_id)
        .where(trials.c.sweep_id == sweep_id, trials.c.number == number, checkpoints.c.kind == kind)
        .order_by(checkpoints.c.epoch.desc())).all()
    for trial_id, epoch in epochs:
        blob, sha256 = connection.execute(select(checkpoints.c.blob, checkpoints.c.sha256).where(
            *place(trial_id, kind, epoch))).one()
        if isinstance(blob, bytes) and checksum(trial_id, kind, epoch, blob) == sha256:  # damage may have made it text
            return epoch, blob
    if epochs and kind != LAST:
        raise Unavailable(f"trial {number}: its {kind} checkpoint is damaged in the store; restore a copy of the store")
    return None


def weighted(connection: Connection, sweep_id: int) -> frozenset[int]:
    """Numbers of the trials that have weights."""
    return frozenset(connection.execute(
        select(trials.c.number).join(checkpoints, trials.c.id == checkpoints.c.trial_id)
        .where(trials.c.sweep_id == sweep_id, checkpoints.c.kind == BEST)).scalars())


def last_epoch() -> Label[int | None]:
    """A column beside those of a query of trials: the epoch of the last checkpoint, NULL if there is none."""
    epoch = select(func.max(checkpoints.c.epoch)).where(
        checkpoints.c.trial_id == trials.c.id, checkpoints.c.kind == LAST)
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
