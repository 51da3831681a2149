"""What an examination finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What is wrong with a record."""

    LOST = "lost"
    """It should be there."""
    DUPLICATED = "duplicated"
    """It is there more than once."""
    ORPHANED = "orphaned"
    """What it belongs to is not there."""
    CONTRADICTING = "contradicting"
    """It and another say different things."""
    DAMAGED = "damaged"
    """It is not what was written."""
    UNCHECKED = "unchecked"
    """It could not be looked at."""
    NOTE = "note"
    """No fault: the next `seqsweep resume` or `project` sets it right."""


class Remedy(enum.StrEnum):
    """What a repair may do about a finding."""

    PROJECT = "write the run to MLflow from the store"
    RENEW_RUN = "delete the MLflow run, and write it again from the store"
    DELETE_RUN = "delete the MLflow run"
    DROP_ROWS = "delete the rows"
    DROP_CHECKPOINT = "delete the checkpoint"
    DROP_ALIAS = "delete the alias"
    FORGET_TRIAL = "delete the trial: a resume trains its number anew"
    REOPEN_TRIAL = "open the trial again: a resume trains it from its start, with its parameters and seed"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    kind: Kind
    where: str
    """`trial 7`, `MLflow, trial 7`, `load/3`."""
    what: str
    right: str = ""
    """What a person can do about it."""
    remedy: Remedy | None = None
    """What a repair does about it; None where none is safe."""
    target: tuple[str | int, ...] = ()
    """What the remedy is for: a trial's number, a run's id, a table, a checkpoint's trial, kind and epoch."""

    @property
    def is_fault(self) -> bool:
        """Whether a record is wrong: what could not be looked at, and a note, are no faults."""
        return self.kind not in (Kind.UNCHECKED, Kind.NOTE)

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}" + (f" ({self.right})" if self.right else "")
