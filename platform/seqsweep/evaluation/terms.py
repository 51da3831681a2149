"""A task's metric as sums over samples. Shapes: N samples, C classes, R resamples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import AnomalyConfig, TaskConfig
from seqsweep.evaluation.bootstrap import Floats64, Terms
from seqsweep.tasks.anomaly_scores import alarms
from seqsweep.tasks.metrics import Truth, sample_losses
from seqsweep.tasks.nab import Watch, crossed_alarms, earned
from seqsweep.tasks.own import OwnMetric

_OF_THE_MEAN: dict[str, Callable[[Floats64], Floats64]] = {"rmse": np.sqrt, "accuracy": lambda error: 1.0 - error}


def terms_of(task: TaskConfig, metric: str, prediction: npt.NDArray[Any], truth: Truth) -> Terms:
    """Split a metric of predictions, shaped as `seqsweep.training.predict` gives them, into terms per sample."""
    if isinstance(task, AnomalyConfig) and metric != "loss":
        return _detections(metric, prediction, truth.watch)
    if metric == "auc":
        return _by_rank(prediction, truth.y)
    if metric in ("balanced_accuracy", "f1"):
        return _by_class(metric, prediction, truth.y)
    if metric == "r2":
        deviation_N = truth.y - truth.y.mean()
        return Terms(np.column_stack([np.square(truth.y - prediction), np.ones(len(truth.y)), deviation_N,
                                      np.square(deviation_N)]), _r2)
    losses_N = sample_losses(task, metric, prediction, truth)
    return Terms(np.column_stack([losses_N, np.ones(len(losses_N))]), _Mean(_OF_THE_MEAN.get(metric, _itself)))


def own_terms(metric: OwnMetric, prediction: npt.NDArray[Any]) -> Terms:
    """The same for a metric of the user's own, of which nothing is known but what it says of samples.

    Where it is the mean of what it says of each, that is what is drawn; else each resample is told to it anew. Of more
    than 2,000 samples the mean stands in, since it would have to be told too much.
    """
    N = len(prediction)
    each_N = np.array([metric(prediction, slice(n, n + 1)) for n in range(N)])
    is_mean = bool(np.isclose(each_N.mean(), metric(prediction), rtol=1e-9, atol=0.0))
    if is_mean or N > _MOST_TOLD:
        return Terms(np.column_stack([each_N, np.ones(N)]), _Mean(_itself))
    return Terms(np.eye(N), _Told(metric, prediction))


_MOST_TOLD = 2_000


class _Told:
    """A function of how often each sample was drawn."""

    def __init__(self, metric: OwnMetric, prediction: npt.NDArray[Any]) -> None:
        self.metric, self.prediction = metric, prediction

    def __call__(self, counts_RN: Floats64) -> Floats64:
        place_N = np.arange(counts_RN.shape[1])
        return np.array([self.metric(self.prediction, np.repeat(place_N, counts_N.round().astype(int)))
                         for counts_N in counts_RN])


def _itself(mean: Floats64) -> Floats64:
    return mean


class _Mean:
    """A function of the mean loss."""

    def __init__(self, of_mean: Callable[[Floats64], Floats64]) -> None:
        self.of_mean = of_mean

    def __call__(self, sums_R2: Floats64) -> Floats64:
        return self.of_mean(sums_R2[:, 0] / sums_R2[:, 1])


def _r2(sums_RK: Floats64) -> Floats64:
    squared_R, count_R, total_R, squares_R = sums_RK.T
    with np.errstate(divide="ignore", invalid="ignore"):
        figure_R: Floats64 = 1 - squared_R / (squares_R - np.square(total_R) / count_R)
    return figure_R


_RANKS, _CELLS = 512, 5_000_000
"""Most ranks that are told apart, and most numbers that they may take."""


def _by_rank(probability_NC: npt.NDArray[Any], label_N: npt.NDArray[Any]) -> Terms:
    """One-hot ranks of each row's probability of a class, of the class's own rows and of the others.

    Of more than 512 different probabilities, fewer where there are many rows, neighbours share a rank, as ties do.
    """
    first = 1 if probability_NC.shape[1] == 2 else 0
    N, classes = probability_NC.shape[0], range(first, probability_NC.shape[1])
    most = max(8, min(_RANKS, _CELLS // max(1, 2 * N * len(classes))))
    terms_NCRT = np.zeros((N, len(classes), most, 2))
    for place, c in enumerate(classes):
        values, rank_N = np.unique(probability_NC[:, c], return_inverse=True)
        rank_N = rank_N * most // max(most, len(values))
        terms_NCRT[np.arange(N), place, rank_N, (label_N == c).astype(int)] = 1.0
    return Terms(terms_NCRT.reshape(N, -1), _Area(len(classes), most))


class _Area:
    """Mean over classes of the area under the ROC curve, from counts by rank; without classes that do not occur."""

    def __init__(self, classes: int, ranks: int) -> None:
        self.shape = (classes, ranks, 2)

    def __call__(self, sums_RK: Floats64) -> Floats64:
        others, own = np.moveaxis(sums_RK.reshape(len(sums_RK), *self.shape), -1, 0)
        pairs_RC = own.sum(2) * others.sum(2)
        hits_RC = (own * (others.cumsum(2) - others / 2)).sum(2)
        with np.errstate(invalid="ignore"):
            return _mean_where(pairs_RC > 0, hits_RC, pairs_RC)


def _by_class(metric: str, probability_NC: npt.NDArray[Any], label_N: npt.NDArray[Any]) -> Terms:
    one_hot_CC = np.eye(probability_NC.shape[1])
    truth_NC, guess_NC = one_hot_CC[label_N], one_hot_CC[probability_NC.argmax(axis=1)]
    figure = _balanced_accuracy if metric == "balanced_accuracy" else _f1
    return Terms(np.hstack([truth_NC * guess_NC, truth_NC, guess_NC]), figure)


def _balanced_accuracy(sums_RK: Floats64) -> Floats64:
    hits_RC, truth_RC, _ = np.split(sums_RK, 3, axis=1)
    return _mean_where(truth_RC > 0, hits_RC, truth_RC)


def _f1(sums_RK: Floats64) -> Floats64:
    hits_RC, truth_RC, guess_RC = np.split(sums_RK, 3, axis=1)
    return _mean_where(truth_RC + guess_RC > 0, 2 * hits_RC, truth_RC + guess_RC)


def _mean_where(occurs_RC: npt.NDArray[np.bool_], over_RC: Floats64, under_RC: Floats64) -> Floats64:
    """Mean over the classes that occur in a resample."""
    share_RC = np.divide(over_RC, under_RC, out=np.zeros_like(over_RC), where=occurs_RC)
    mean_R: Floats64 = share_RC.sum(axis=1) / occurs_RC.sum(axis=1)
    return mean_R


def _detections(metric: str, prediction_N3: npt.NDArray[Any], watched: Watch | None) -> Terms:
    """What each row earns, or whether it is a window's first alarm or a false one; and where windows begin."""
    if watched is None:
        return Terms(np.full((len(prediction_N3), 2), np.nan), _nab)
    alarm_N = alarms(prediction_N3)
    if metric == "nab_cross":
        crossed_N = crossed_alarms(prediction_N3[:, 0], watched)
        alarm_N = alarm_N if crossed_N is None else crossed_N
    earned_N, opens_N = earned(alarm_N, watched)
    if metric in ("nab", "nab_cross"):
        return Terms(np.column_stack([earned_N, opens_N]), _nab)
    hit_N, false_N = earned_N > 0, alarm_N & (watched.window_N < 0)
    return Terms(np.column_stack([hit_N, hit_N * 1.0 + false_N + opens_N]).astype(np.float64), _window_f1)


def _nab(sums_R2: Floats64) -> Floats64:
    return 50.0 * _ratio(sums_R2)


def _window_f1(sums_R2: Floats64) -> Floats64:
    return 2.0 * _ratio(sums_R2)


def _ratio(sums_R2: Floats64) -> Floats64:
    """0 for a resample in which nothing is to be found."""
    return np.divide(sums_R2[:, 0], sums_R2[:, 1], out=np.zeros(len(sums_R2)), where=sums_R2[:, 1] != 0)
