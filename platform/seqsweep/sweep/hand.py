"""A trial in hand: what the controller knows of it between its start and its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from seqsweep.config.sweep import FitConfig
from seqsweep.records import Report, Trial


@dataclass
class Hand:
    """A trial in hand: its curve so far, and what it would go on from."""

    trial: Trial
    config: FitConfig
    """Its program is filled in once it is known."""
    pack: int = 0
    """Trials of its shape that a worker trains in step at the most; 0 until the program is known."""
    attempts: int = 0
    """Breakdowns so far."""
    dispatch: int = 0
    worker: int = -1
    worker_name: str = ""
    reports: list[Report] = field(default_factory=list)
    checkpoint: bytes | None = None
    checkpoint_epoch: int = 0
    """Reports up to here are stored."""
    checkpoint_at: float = field(default_factory=time.monotonic)
    best: bytes | None = None
    to_epoch: int = 0
    fresh: bool = True
    """The worker may not hold it: it goes on from the checkpoint."""
    leaving: bool = False
    """It is to send its checkpoint and train no further."""
    num_weights: int = 0

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self.reports)

    def rewind(self) -> None:
        """Forget what came after the checkpoint."""
        del self.reports[self.checkpoint_epoch:]
