"""What a deterministic sweep promises, in words: one place for every verb that has to say it."""

from __future__ import annotations

from seqsweep.config.sweep import Sweep


def promise(sweep: Sweep) -> str:
    """What `deterministic: true` means for this sweep, and what it leaves out; empty without it."""
    if not sweep.deterministic:
        return ""
    workers = sweep.resources.workers
    whose = "as many workers as the machine has (resources.workers: auto)" if workers == "auto" else (
        f"{max(1, workers)} worker{'s' * (workers > 1)}")
    outside = ["trials that break down (out of memory, workers lost for good)"]
    if sweep.budget.max_time is not None:
        outside.insert(0, "budget.max_time, which ends trials by the clock on the wall")
    return f"one table of trials for {whose}, on machines that compute alike; not covered: {', '.join(outside)}"


def waiting(share: float | None) -> str:
    """What the order has cost, as the end of a sentence; empty where there is none."""
    return "" if share is None else f"; waiting in order cost {share:.1%} of the workers' time"
