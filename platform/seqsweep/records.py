"""The values that travel downward through the house: Trial -> Report -> Outcome.

Defined once: a trial's value is its best validation epoch and its weights are that epoch's; with folds it is the mean
over folds. `max_trials` counts complete + pruned + failed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Scalar = bool | int | float | str
"""What a parameter's value can be."""


class TrialState(enum.StrEnum):
    """Where a trial stands; all but RUNNING are final."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


class Reason(enum.StrEnum):
    """Why a trial ended as it did."""

    FINISHED = "finished"
    EARLY_STOPPED = "early stopped"
    PRUNED = "pruned"
    TIME_UP = "time up"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    WORKER_LOST = "worker lost"
    HUNG = "hung"
    USER_ERROR = "user error"


BREAKDOWNS = frozenset({Reason.OUT_OF_MEMORY, Reason.WORKER_LOST, Reason.HUNG})
"""The reasons that `max_failed_trials` counts: a divergence is a result, not a breakdown."""


@dataclass(frozen=True)
class Trial:
    """What is to be trained: a number (from 0, in the order asked), active parameters only, and a seed."""

    number: int
    params: Mapping[str, Scalar]
    seed: int
    grid_cell: str = ""
    """Canonical JSON of the grid axes' values; empty where the sweep has no grid axis."""


@dataclass(frozen=True)
class Report:
    """What one epoch gave. Epochs count from 1."""

    epoch: int
    metrics: Mapping[str, float]
    """`train_loss`, `val_loss`, `val_<metric>` of the task, `grad_norm`, `learning_rate`, `seconds`."""


def best_epoch(reports: Sequence[Report], metric: str, sign: int) -> tuple[int, float] | None:
    """The first epoch with the best finite `metric` and its value; `sign` is 1 to minimise, -1 to maximise."""
    finite = [(sign * value, report.epoch) for report in reports
              if math.isfinite(value := report.metrics.get(metric, math.nan))]
    if not finite:
        return None
    value, epoch = min(finite)
    return epoch, sign * value


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: TrialState
    reason: Reason
    value: float | None
    """The best validation epoch's metric; None where no finite epoch was reported."""
    best_epoch: int | None
    message: str = ""
    """For a failure: what happened, where."""


@dataclass(frozen=True)
class TrialRecord:
    """A trial as the store holds it, with its curve."""

    trial: Trial
    state: TrialState
    started: float
    """Unix seconds, on the store's clock."""
    ended: float | None = None
    outcome: Outcome | None = None
    reports: tuple[Report, ...] = ()
    times: tuple[float, ...] = ()
    """When each report's epoch ended: Unix seconds on the store's clock, one for each of `reports`."""
    attempts: int = 0
    """How often it was tried again after a breakdown of its own; the loss of a pack is nobody's own."""
    checkpoint_epoch: int = 0
    """While it runs: the epoch of its last checkpoint, which training goes on from after a kill."""
    worker: str = ""
    """Host, device and process that trained it."""
    extra: Mapping[str, Scalar] = field(default_factory=dict)
    """Facts measured on the way, such as the number of weights."""
    revision: int = 0
    """The sweep's revision counter when the trial was last written."""

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number


def model_name(picks: Mapping[int, int]) -> str:
    """`trial 18`; of several trials `ensemble 18 x3 + 4`: their mean, in which 18 counts three times and 4 once."""
    if len(picks) == 1:
        return f"trial {next(iter(picks))}"
    return "ensemble " + " + ".join(f"{number} x{count}" if count > 1 else str(number)
                                    for number, count in picks.items())
