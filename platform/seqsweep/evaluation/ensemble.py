"""Ensembles: trials picked one after the other, with repeats, each time the one that betters the mean most.

Caruana et al., Ensemble selection from libraries of models (2004).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import MetricConfig, sign_of
from seqsweep.config.tasks import TaskConfig
from seqsweep.data.batch import Prepared
from seqsweep.records import model_name
from seqsweep.tasks.metrics import Truth, truth_of
from seqsweep.tasks.own import metrics_of
from seqsweep.training.predict import Member, mean_of, predict_folds

Doubles = npt.NDArray[np.float64]
_ROUNDING = 1e-9
"""A mean that is better by a lesser share is the same."""


@dataclass(frozen=True)
class Selection:
    """The trials that were picked, and what their mean is worth beside the best trial alone."""

    picks: Mapping[int, int]
    """Trial -> how often it was picked; the first is the best alone."""
    validation: float
    """The sweep's metric of their mean on the validation part; the mean over folds."""
    alone: float
    """That of the best trial, computed in the same way."""
    seen: bool
    """Whether both were chosen on the rows that these figures are of. Where there are folds they were not: each fold
    has the figures of what was picked on the others."""
    better: bool
    """Whether the mean of several is better than the best trial alone, by these figures."""

    def __str__(self) -> str:
        if len(self.picks) == 1:
            return f"none: no mean of several trials is better than {model_name(self.picks)} alone"
        how = "picked and scored on the same rows, so that both look better than they are" if self.seen else \
            "each fold scored with what was picked on the others"
        verdict = "has" if self.better else "is not taken: it has"
        return (f"{model_name(self.picks).removeprefix('ensemble ')} {verdict} {self.validation:.5g} on the validation "
                f"part, the best trial alone {self.alone:.5g} ({how})")


def select(task: TaskConfig, metric: MetricConfig, size: int, candidates: Iterable[Member],
           data: tuple[Prepared, ...], device: str = "cpu") -> Selection:
    """Pick `size` times among the candidates, the best alone first, and keep as many picks as are best together.

    Each candidate predicts the validation part of each fold once, by that fold's own model. Of two that are equal the
    earlier one is picked.
    """
    sign = sign_of(metric, task)
    folds = [_Fold(task, metric, sign, truth_of(task, fold, "val")) for fold in data]
    for member in candidates:
        own = predict_folds(member.fit, member.weights, data, "val", device)
        for fold, prediction in zip(folds, own, strict=True):
            fold.predictions[member.trial] = np.asarray(prediction, dtype=np.float64)
    picked = _pick(folds, size)
    chosen = [picked] if len(folds) == 1 else [_pick([*folds[:k], *folds[k + 1:]], size) for k in range(len(folds))]
    several = _mean(fold.loss(Counter(picks)) for fold, picks in zip(folds, chosen, strict=True))
    alone = _mean(fold.loss(Counter(picks[:1])) for fold, picks in zip(folds, chosen, strict=True))
    picks = Counter(picked) if len(set(picked)) > 1 else {picked[0]: 1}
    return Selection(dict(picks), sign * several, sign * alone, seen=len(folds) == 1,
                     better=len(picks) > 1 and several < alone)


@dataclass(frozen=True, eq=False)
class _Fold:
    """What the candidates told of one validation part, and what came true."""

    task: TaskConfig
    metric: MetricConfig
    sign: int
    truth: Truth
    predictions: dict[int, Doubles] = field(default_factory=dict)

    def loss(self, picks: Mapping[int, int]) -> float:
        """What the mean of these trials is worth: less is better, and infinite is what has no value."""
        mean = mean_of([self.predictions[number] for number in picks], list(picks.values()))
        value = metrics_of(self.metric, self.task, self.truth, mean)[self.metric.name]
        return math.inf if math.isnan(value) else self.sign * value


def _pick(folds: Sequence[_Fold], size: int) -> list[int]:
    """Return trials in the order they were picked, up to the last that bettered the mean."""
    picked, losses = list[int](), list[float]()
    for _ in range(size):
        loss, _, number = min((_mean(fold.loss(Counter([*picked, number])) for fold in folds), place, number)
                              for place, number in enumerate(folds[0].predictions))
        picked.append(number)
        losses.append(loss)
    least = min(losses)
    return picked[:next(count for count, loss in enumerate(losses, 1) if loss <= least + _ROUNDING * abs(least))]


def _mean(losses: Iterable[float]) -> float:
    each = list(losses)
    return math.fsum(each) / len(each)
