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
from seqsweep.models.subnormal import without_subnormals
from seqsweep.records import Report, best_epoch
from seqsweep.training.fit import Fit, Pack

STEPS, STEPS_TOLERANCE, EPOCH_TOLERANCE = 20, 1e-4, 1e-9
SEEDS = 5
_LUCK, _ULP = 30.0, 2.0 ** -23
"""Times the sensitivity that rounding may come to, since it is one draw of many; and a float32's last bit."""
_T_99 = (63.657, 9.925, 5.841, 4.604)
"""Two-sided 99 % quantiles of Student's t with 1 to 4 degrees of freedom: two to five seeds."""


@dataclass(frozen=True)
class Evidence:
    """What was found. Differences are relative; those to torch's layers are of the trial's own program."""

    epochs: int
    """Epochs of the stored curve."""
    differs_at: int | None
    """The first epoch that another run of the same program gives otherwise; None: equal to the bit."""
    steps_difference: float
    """Largest difference of the losses of the first 20 optimiser steps, float32."""
    sensitivity: float
    """The same difference between torch's layers and themselves with the first gradients rounded otherwise: Adam makes
    whole steps of gradients that are nothing but rounding."""
    epoch_difference: float
    """Largest difference of the first epoch's figures, float64."""
    value: float
    """The trial's metric."""
    seeds: tuple[float, ...]
    """The metric of torch's layers for those of five other seeds that did not diverge."""
    interval: tuple[float, float] | None
    """99 % prediction interval for one more seed; None where fewer than two have a value."""
    sign: int
    """+1 where the metric is minimised, -1 where it is maximised."""
    bits: bool = True
    """Whether equal bits are promised: on a CPU; a GPU's libraries choose products by how many trials are in step."""

    @property
    def problems(self) -> list[str]:
        """What speaks against the trial; empty: nothing."""
        found = []
        if self.differs_at is not None and self.bits:
            found.append(f"the curve differs from epoch {self.differs_at} on; bits are promised on the machine that "
                         "trained the trial, with the same versions and number of threads")
        if not self.steps_difference <= max(STEPS_TOLERANCE, _LUCK * self.sensitivity):
            found.append(f"the first {STEPS} losses differ from torch's layers by {self.steps_difference:.1e}")
        if not self.epoch_difference <= EPOCH_TOLERANCE:
            found.append(f"an epoch in float64 differs from torch's layers by {self.epoch_difference:.1e}")
        if self.interval and self.sign * self.value > max(self.sign * end for end in self.interval):
            found.append(f"{self.value:.6g} is worse than what five seeds of torch's layers predict, "
                         f"{self.interval[0]:.6g} to {self.interval[1]:.6g}")
        return found


def verify(config: FitConfig, data: tuple[Prepared, ...], curve: Sequence[Report], *, threads: int = 1,
           on_gpu: bool = False, tell: Callable[[str], None] = lambda _: None) -> Evidence:
    """Train the trial again, alone in its program, beside torch's own layers and five other seeds of them.

    `on_gpu`: a GPU trained it, and does again if there is one; bits are not promised then.
    """
    device = "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # else torch's own layers round factors to TF32
        return _verify(config, data, curve, threads, device, bits=not on_gpu, tell=tell)


def _verify(config: FitConfig, data: tuple[Prepared, ...], curve: Sequence[Report], threads: int, device: str,
            bits: bool, tell: Callable[[str], None]) -> Evidence:
    torch.set_num_threads(threads)
    pieces = config.program.model_dump(include={"micro_batch", "whole_epochs"})  # whole batches may not fit here either
    plain = config.model_copy(update={"program": ProgramConfig(**pieces)})
    sign = -1 if config.metric.goal == "maximize" else 1
    metric = f"val_{config.metric.name}"
    tell(f"training it again, {len(curve)} epochs")
    differs_at = _first_difference(_run(config, data, device, len(curve)), curve)
    tell("comparing the first steps with torch's layers")
    exact, plain_exact = (each.model_copy(update={"training": each.training.model_copy(
        update={"precision": "float32"})}) for each in (config, plain))
    losses = _losses(plain_exact, data, device)
    steps = _largest(_losses(exact, data, device), losses)
    sensitivity = _largest(_losses(plain_exact, data, device, nudge=True), losses)
    epoch = _epoch(exact, plain_exact, data, device)
    values = []
    for number in range(SEEDS):
        tell(f"seed {number + 1} of {SEEDS} with torch's layers")
        reports = _run(plain.model_copy(update={"seed": (config.seed + 7919 * (number + 1)) % 2 ** 31}), data, device,
                       len(curve))
        if found := best_epoch(reports, metric, sign):
            values.append(found[1])
    own = best_epoch(curve, metric, sign)
    interval = None
    if len(values) > 1:
        spread = _T_99[len(values) - 2] * math.sqrt(1 + 1 / len(values)) * statistics.stdev(values)
        interval = (statistics.fmean(values) - spread, statistics.fmean(values) + spread)
    return Evidence(len(curve), differs_at, steps, sensitivity, epoch, own[1] if own else math.nan, tuple(values),
                    interval, sign, bits)


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


@without_subnormals()
def _losses(config: FitConfig, data: tuple[Prepared, ...], device: str, nudge: bool = False) -> list[float]:
    """The losses of the first steps; `nudge` adds to the first gradients what another order of summing may."""
    engine = Pack([Fit(config, data[:1], device)]).engines[0]
    fold, losses, draw = engine.folds[0], [], torch.Generator().manual_seed(0)
    for step, batch in enumerate(islice(engine.batches([fold.order(1)], [fold.keys(1)]), STEPS)):
        losses.append(float(engine.backward(batch, config.program.micro_batch)[0]))
        for gradient in (p.grad for p in fold.parameters if nudge and step == 0 and p.grad is not None):
            noise = torch.rand(gradient.shape, generator=draw).to(gradient) - 0.5
            gradient += 2 * _ULP * gradient.abs().max() * noise
        fold.update(fold.rate(1, step, 1.0))
        engine.clear()
    return losses


def _largest(ours: list[float], others: list[float]) -> float:
    """The largest relative difference; what is not finite, as in a trial that diverges, is left out."""
    return max(_relative(a, b) for a, b in zip(ours, others, strict=True))


def _epoch(config: FitConfig, plain: FitConfig, data: tuple[Prepared, ...], device: str) -> float:
    a, b = (Fit(each, data, device, torch.float64).advance().metrics for each in (config, plain))
    return max(_relative(a[name], b[name]) for name in a if name != "seconds")


def _relative(a: float, b: float) -> float:
    return 0.0 if not (math.isfinite(a) and math.isfinite(b)) else abs(a - b) / max(abs(a), abs(b), 1e-12)
