"""What the controller and a worker say to each other. Plain values: no library, no store."""

from __future__ import annotations

from dataclasses import dataclass

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Choice, Kernel
from seqsweep.records import Reason, Report

SLICE = 2.0
"""Seconds after which a worker that trains on lets its progress be seen."""


@dataclass(frozen=True)
class Advance:
    """Train one trial from an epoch to the next decision step."""

    trial: int
    attempt: int
    """Counts dispatches after a loss, so that an answer of a worker given up is told from the present one."""
    config: FitConfig
    from_epoch: int
    """Epochs already trained; 0 starts anew."""
    to_epoch: int
    """The pruner's next decision step: from the sweep alone, never from a clock."""
    checkpoint: bytes | None = None
    """The state after `from_epoch`, sent where the worker may not hold it."""
    want_checkpoint: bool = False
    """Send the state back with the answer."""
    slice_s: float = SLICE
    """Answer after the epoch in which this many seconds have passed, reached or not, so that progress is seen."""


@dataclass(frozen=True)
class Probe:
    """Measure how trials of this trial's shape are best computed on the worker's device; it trains nothing."""

    trial: int
    attempt: int
    config: FitConfig
    pack: int | None
    """Trials in step at the most: 1 leaves packs out, None measures what pays."""
    kernel: Kernel | None = None
    """The one to use; None measures which is fastest."""
    timed: bool = True
    """False: nothing is measured, and the one that is fastest as a rule is taken; two machines alike choose alike."""


@dataclass(frozen=True)
class Probed:
    """A worker's answer to a probe."""

    trial: int
    attempt: int
    choice: Choice | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Failure:
    """Why a worker could not go on with a trial."""

    reason: Reason
    message: str
    """Exception, and for user errors the remote trace."""


@dataclass(frozen=True)
class Advanced:
    """A worker's answer."""

    trial: int
    attempt: int
    epoch: int
    """Epochs trained now."""
    reports: tuple[Report, ...] = ()
    done: Reason | None = None
    """Finished, early stopped or diverged; None: more epochs are left."""
    last: bytes | None = None
    """State to go on from, where asked."""
    best: bytes | None = None
    """Weights of the best epoch; sent with `last`, at decision steps and at the end, when they are new."""
    num_weights: int = 0
    worker: str = ""
    need_checkpoint: bool = False
    """Nothing was trained: the worker does not hold (trial, attempt, from_epoch)."""
    failure: Failure | None = None


@dataclass(frozen=True)
class Lost:
    """A worker that died, was killed, or whose node is gone; what it was doing may or may not have run."""

    message: str
    reason: Reason = Reason.WORKER_LOST
    """Or HUNG: it took no step for `resources.timeout`, and the pool killed it; or OUT_OF_MEMORY: Ray killed it because
    its node had too little left."""


@dataclass(frozen=True)
class Event:
    """Something a pool has to tell of one of its workers."""

    worker: int
    answer: Advanced | Probed | Lost
