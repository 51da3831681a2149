"""A trial in hand: what the controller knows of it between its start and its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Choice, ProgramConfig
from seqsweep.records import Report, Scalar, Trial, TrialRecord


@dataclass
class Hand:
    """A trial in hand: its curve so far, and what it would go on from."""

    trial: Trial
    config: FitConfig
    """Its program is filled in once it is known."""
    pack: int = 0
    """Trials of its shape that a worker trains in step at the most; 0 until the program is known."""
    attempts: int = 0
    """Breakdowns of its own so far."""
    hangs: int = 0
    """Those of them in which its worker hung."""
    micro_batch: int | None = None
    """Samples computed at once since it ran out of memory."""
    whole_epochs: int = 0
    """Epochs trained before that."""
    alone: bool = False
    """It is trained alone until it has left a checkpoint: the pack it was in broke down."""
    mates: int = 0
    """Trials that its worker trains in step with it."""
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

    @property
    def room(self) -> int:
        """Trials that its worker may train in step now, itself included."""
        return 1 if self.alone or self.micro_batch else self.pack

    @property
    def losses(self) -> int:
        """Breakdowns in which its worker was lost."""
        return self.attempts - self.hangs - (self.micro_batch is not None)

    @property
    def extra(self) -> dict[str, Scalar]:
        """What of its breakdowns decides how it goes on, for the store."""
        facts = {"hangs": self.hangs, "micro_batch": self.micro_batch, "whole_epochs": self.whole_epochs}
        return {name: value for name, value in facts.items() if value}

    def settle(self, choice: Choice, most: int | None) -> None:
        """Take the program of its shape, once; `most`: trials in step at the most, None: as the choice says."""
        if not self.pack:
            self.pack = min(choice.pack, most or choice.pack)
            self.compute(choice.program)

    def compute(self, program: ProgramConfig) -> None:
        """Be computed so from now on, in micro-batches where it ran out of memory."""
        pieces = {"micro_batch": self.micro_batch, "whole_epochs": self.whole_epochs}
        self.config = self.config.model_copy(update={"program": program.model_copy(update=pieces)})

    def restore(self, record: TrialRecord) -> None:
        """Take up what the store knows of it."""
        self.attempts, self.reports = record.attempts, list(record.reports)
        self.hangs, self.whole_epochs = (int(record.extra.get(name, 0)) for name in ("hangs", "whole_epochs"))
        self.micro_batch = int(record.extra["micro_batch"]) if "micro_batch" in record.extra else None

    def at_stake(self, slice_s: float, crew: int) -> float:
        """Seconds of training that a kill just before the answer after the next would cost.

        `slice_s`: seconds after which a worker answers, at the end of an epoch; `crew`: trials it trains in step.
        """
        epoch = self.reports[-1].metrics.get("seconds", 0.0) * crew if self.reports else 0.0
        return time.monotonic() - self.checkpoint_at + 2 * (slice_s + epoch)

    def rewind(self) -> None:
        """Forget what came after the checkpoint."""
        del self.reports[self.checkpoint_epoch:]
