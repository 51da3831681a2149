"""Where a search stands, for whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seqsweep.records import TrialState


@dataclass(frozen=True)
class Progress:
    """Where a search stands."""

    trials: Mapping[TrialState, int]
    max_trials: int
    active_seconds: float
    seconds_left: float | None
    """Estimated from the trials so far; None before the first has ended."""
    best: tuple[int, float] | None
    """Number and value of the best trial that has ended."""
    running: Mapping[int, int]
    """Trial number -> epochs trained."""
    note: str = ""
    """What the user should know: a lost worker, an end of budget."""
    waiting: float | None = None
    """Share of the workers' time that `deterministic` cost so far: idle until a trial's turn came; None without it."""
