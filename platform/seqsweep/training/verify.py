"""Whether a trial's figures are what its parameters and seed give, and what torch's own layers would have given."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.records import Report, best_epoch
from seqsweep.training.fit import Fit, Pack

STEPS, STEPS_TOLERANCE, EPOCH_TOLERANCE = 20, 1e-4, 1e-9
SEEDS = 5
_T_99 = 4.604
"""99 % quantile (two-sided) of Student's t with 4 degrees of freedom: five seeds."""


@dataclass(frozen=True)
class Evidence:
    """What was found. Differences are relative; those to torch's layers are of the trial's own program."""

    epochs: int
    """Epochs of the stored curve."""
    differs_at: int | None
    """The first epoch that another run of the same program gives otherwise; None: equal to the bit."""
    steps_difference: float
    """Largest difference of the losses of the first 20 optimiser steps, float32."""
    epoch_difference: float
    """Largest difference of the first epoch's figures, float64."""
    value: float
    """The trial's metric."""
    seeds: tuple[float, ...]
    """The metric of torch's layers for five other seeds."""
    interval: tuple[float, float]
    """99 % prediction interval for one more seed."""

    @property
    def problems(self) -> list[str]:
        """What speaks against the trial; empty: nothing."""
        found = []
        if self.differs_at is not None:
            found.append(f"the curve differs from epoch {self.differs_at} on; bits are promised on the machine that "
                         "trained the trial, with the same versions and number of threads")
        if not self.steps_difference <= STEPS_TOLERANCE:
            found.append(f"the first {STEPS} losses differ from torch's layers by {self.steps_difference:.1e}")
        if not self.epoch_difference <= EPOCH_TOLERANCE:
            found.append(f"an epoch in float64 differs from torch's layers by {self.epoch_difference:.1e}")
        if not self.interval[0] <= self.value <= self.interval[1]:
            found.append(f"{self.value:.6g} lies outside of what five seeds of torch's layers predict, "
                         f"{self.interval[0]:.6g} to {self.interval[1]:.6g}")
        return found


def verify(config: FitConfig, data: tuple[Prepared, ...], curve: Sequence[Report], *, threads: int = 1,
           device: str = "cpu", tell: Callable[[str], None] = lambda _: None) -> Evidence:
    """Train the trial again, alone in its program, beside torch's own layers and five other seeds of them."""
    torch.set_num_threads(threads)
    plain = config.model_copy(update={"program": ProgramConfig()})
    sign = -1 if config.metric.goal == "maximize" else 1
    metric = f"val_{config.metric.name}"
    tell(f"training it again, {len(curve)} epochs")
    differs_at = _first_difference(_run(config, data, device, len(curve)), curve)
    tell("comparing the first steps with torch's layers")
    steps, epoch = _steps(config, plain, data, device), _epoch(config, plain, data, device)
    values = []
    for number in range(SEEDS):
        tell(f"seed {number + 1} of {SEEDS} with torch's layers")
        reports = _run(plain.model_copy(update={"seed": (config.seed + 7919 * (number + 1)) % 2 ** 31}), data, device,
                       len(curve))
        found = best_epoch(reports, metric, sign)
        values.append(found[1] if found else math.nan)
    own = best_epoch(curve, metric, sign)
    mean, spread = statistics.fmean(values), _T_99 * math.sqrt(1 + 1 / SEEDS) * statistics.stdev(values)
    return Evidence(len(curve), differs_at, steps, epoch, own[1] if own else math.nan, tuple(values),
                    (mean - spread, mean + spread))


def _run(config: FitConfig, data: tuple[Prepared, ...], device: str, epochs: int) -> list[Report]:
    """So many epochs, or fewer where the trial ends by itself."""
    fit, reports = Fit(config, data, device), list[Report]()
    while len(reports) < epochs and fit.done is None:
        reports.append(fit.advance())
    return reports


def _first_difference(ours: Sequence[Report], stored: Sequence[Report]) -> int | None:
    for mine, other in zip(ours, stored, strict=False):
        names = set(other.metrics) - {"seconds"}
        if any(not _same(mine.metrics.get(name, math.nan), other.metrics[name]) for name in names):
            return other.epoch
    return None if len(ours) == len(stored) else min(len(ours), len(stored)) + 1


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _steps(config: FitConfig, plain: FitConfig, data: tuple[Prepared, ...], device: str) -> float:
    """The largest relative difference of the first steps' losses; those of a trial that diverges are left out."""
    losses = []
    for each in (config, plain):
        engine = Pack([Fit(each, data[:1], device)]).engines[0]
        fold, seen = engine.folds[0], []
        for step, batch in enumerate(islice(engine.batches([fold.order(1)], [fold.keys(1)]), STEPS)):
            seen.append(float(engine.backward(batch)[0]))
            fold.update(fold.rate(1, step, 1.0))
            engine.clear()
        losses.append(seen)
    return max(_relative(a, b) for a, b in zip(*losses, strict=True))


def _epoch(config: FitConfig, plain: FitConfig, data: tuple[Prepared, ...], device: str) -> float:
    a, b = (Fit(each, data, device, torch.float64).advance().metrics for each in (config, plain))
    return max(_relative(a[name], b[name]) for name in a if name != "seconds")


def _relative(a: float, b: float) -> float:
    return 0.0 if not (math.isfinite(a) and math.isfinite(b)) else abs(a - b) / max(abs(a), abs(b), 1e-12)
