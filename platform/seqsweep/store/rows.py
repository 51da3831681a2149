"""Rows as values, each only if it is what was written."""

from __future__ import annotations

import json
import math
from typing import Any

from sqlalchemy import Row

from seqsweep.records import Outcome, Reason, Trial, TrialRecord, TrialState
from seqsweep.store import seals
from seqsweep.store.curves import Curve
from seqsweep.store.sweeps import SweepRecord, SweepState
from seqsweep.store.tables import sweeps, trials


def sweep_record(row: Row[Any]) -> SweepRecord:
    """A row of a sweep as a value."""
    seals.require_whole(sweeps, row, f"sweep {row.name}")
    return SweepRecord(
        id=row.id, uid=row.uid, name=row.name, document=row.document, spec=row.spec, spec_hash=row.spec_hash,
        data_hash=row.data_hash, state=SweepState(row.state), message=row.message, created=row.created,
        updated=row.updated, active_seconds=row.active_seconds, facts=json.loads(row.facts))


def trial_record(row: Row[Any], curve: Curve | None = None) -> TrialRecord:
    """A row of a trial as a value, with its curve where that was read."""
    seals.require_whole(trials, row, f"trial {row.number}")
    if curve is None:
        curve = Curve()
    elif curve.seal != row.curve:
        raise seals.damaged(f"trial {row.number}, its curve")
    return TrialRecord(
        trial=trial_of(row), state=TrialState(row.state),
        started=row.started, ended=row.ended, outcome=outcome_of(row), reports=tuple(curve.reports),
        times=tuple(curve.times), attempts=row.attempts, checkpoint_epoch=row.checkpoint_epoch or 0,
        worker=row.worker, extra=json.loads(row.extra), revision=row.revision)


def trial_of(row: Row[Any]) -> Trial:
    """What a row of a trial says is to be trained."""
    return Trial(row.number, json.loads(row.params), row.seed, row.grid_cell)


def outcome_of(row: Row[Any]) -> Outcome | None:
    """How a trial ended; None while it runs."""
    if row.state == TrialState.RUNNING:
        return None
    return Outcome(TrialState(row.state), Reason(row.reason), row.value, row.best_epoch, row.message)


def check_outcome(number: int, outcome: Outcome) -> None:
    """ValueError if an outcome contradicts itself."""
    if outcome.state is TrialState.RUNNING:
        raise ValueError(f"trial {number}: an outcome cannot be running")
    if (outcome.value is None) != (outcome.best_epoch is None):
        raise ValueError(f"trial {number}: a value has its best epoch, and only a value has one")
    if outcome.value is not None and not math.isfinite(outcome.value):
        raise ValueError(f"trial {number}: its value is {outcome.value}; a trial without a finite one has None")
