"""What evaluation asks of a task: the truth of a part, the metrics of predictions, and one loss per sample.

Computed by the same functions as in training, from numpy in data units.
Shapes: N samples, H steps of the horizon, D targets, Q quantiles or 1, C classes, S series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from seqsweep.config.tasks import AnomalyConfig, ForecastingConfig, RegressionConfig, TaskConfig
from seqsweep.data.batch import Ints, Prepared
from seqsweep.tasks.anomaly import watch_of
from seqsweep.tasks.anomaly_scores import figures
from seqsweep.tasks.batch import borrow
from seqsweep.tasks.classification import class_weights
from seqsweep.tasks.classification_metrics import (
    classification_losses,
    classification_metrics,
    classification_sums,
)
from seqsweep.tasks.forecast_metrics import ForecastTruth, forecast_losses, forecast_metrics, forecast_sums
from seqsweep.tasks.nab import Watch
from seqsweep.tasks.regression_metrics import regression_losses, regression_metrics, regression_sums

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """What came true for the N samples of a part."""

    y: Doubles | Ints
    """Forecasting `(N, H, D)` in data units; classification `(N,)` class indices; regression `(N,)` in data units."""
    observed_NHD: npt.NDArray[np.bool_] | None
    """Forecasting: False where the truth is unknown and counts nowhere; None: all known."""
    scale_ND: Doubles
    """Forecasting and regression (D = 1): data units of one scaled unit."""
    mase_ND: Doubles
    """Forecasting: in-sample error of the seasonal naive forecast."""
    weight_C: npt.NDArray[Any]
    """Classification: the loss's weight of each class."""
    watch: Watch | None = None
    """Anomalies: what alarms are worth; None where nothing is labelled."""


def truth_of(task: TaskConfig, data: Prepared, part: str) -> Truth:
    """Return what is to be predicted in a part."""
    samples, none = data.parts[part], np.empty((0,))
    if isinstance(task, AnomalyConfig):
        return Truth(none, None, none, none, none, watch_of(task, data, part))
    if isinstance(task, RegressionConfig):
        shift_N, scale_ND = data.shift_SD[samples.series_N, 0], data.scale_SD[samples.series_N].astype(np.float64)
        return Truth(samples.target_N * scale_ND[:, 0] + shift_N, None, scale_ND, none, none)
    if not isinstance(task, ForecastingConfig):
        return Truth(samples.label_N, None, none, none, class_weights(task, data).numpy())
    rows_NH = samples.start_N[:, None] + np.arange(task.context, task.context + task.horizon)
    scale_ND = data.scale_SD[samples.series_N].astype(np.float64)
    shift_ND = data.shift_SD[samples.series_N].astype(np.float64)
    y_NHD = data.values_TF[rows_NH][..., list(data.info.targets)] * scale_ND[:, None] + shift_ND[:, None]
    observed_NHD = None if data.observed_TD is None else data.observed_TD[rows_NH]
    return Truth(y_NHD, observed_NHD, scale_ND, naive_error(data)[samples.series_N], none)


def metrics_from_predictions(task: TaskConfig, prediction: npt.NDArray[Any], truth: Truth) -> dict[str, float]:
    """Return all metrics of predictions `(N, H, D, Q)` or `(N,)` in data units, of probabilities `(N, C)`, or of judged
    rows `(N, 3)`.

    `loss` is the validation loss. A point forecast (Q = 1) is accepted where the task has quantiles.
    """
    if isinstance(task, AnomalyConfig):
        return figures(prediction, truth.watch)
    prediction_N = borrow(prediction)
    if isinstance(task, RegressionConfig):
        return regression_metrics(regression_sums(task, *_errors(prediction_N, truth)))
    if not isinstance(task, ForecastingConfig):
        return classification_metrics(classification_sums(prediction_N, borrow(truth.y), borrow(truth.weight_C)))
    return forecast_metrics(forecast_sums(task, prediction_N, _tensors(truth)))


def sample_losses(task: TaskConfig, metric: str, prediction: npt.NDArray[Any], truth: Truth) -> Doubles:
    """Return one figure per sample `(N,)`, lower is better, for a paired bootstrap.

    Their mean is the metric, with these exceptions: for `rmse` its square, for `accuracy`, `balanced_accuracy` and `r2`
    1 - metric, and for `f1` and `auc`, which are no means over rows, the error balanced over classes and the log loss
    stand in. Of anomalies it is the loss.
    """
    if isinstance(task, AnomalyConfig):
        losses: Doubles = prediction[:, 2].astype(np.float64)
        return losses
    prediction_N = borrow(prediction)
    if isinstance(task, RegressionConfig):
        losses_N = regression_losses(task, metric, *_errors(prediction_N, truth))
    elif not isinstance(task, ForecastingConfig):
        losses_N = classification_losses(metric, prediction_N, borrow(truth.y), borrow(truth.weight_C))
    else:
        losses_N = forecast_losses(task, metric, prediction_N, _tensors(truth))
    return losses_N.numpy()


def _errors(prediction_N: Tensor, truth: Truth) -> tuple[Tensor, Tensor, Tensor]:
    """Errors, deviations of the truth, and scales, each `(N,)`."""
    y_N = borrow(truth.y)
    return y_N - prediction_N, y_N - y_N.mean(), borrow(truth.scale_ND)[:, 0]


def naive_error(data: Prepared) -> Doubles:
    """Return `(S, D)`: the seasonal naive forecast's mean absolute error on the series' training rows, in data units.

    The season is the one given, else the longest of the data, or 1; nan where a series has no two training rows a
    season apart, or no error. Rows count that some training sample covers and whose targets were observed.
    """
    series, targets = len(data.scale_SD), list(data.info.targets)
    errors_SD = np.full((series, len(targets)), np.nan)
    if "train" not in data.parts or not targets:
        return errors_SD
    train, season = data.parts["train"], data.info.mase_season or max(data.info.seasons, default=1)
    covered_T = _covered(train.start_N, train.length_N, len(data.values_TF))
    for number in np.unique(train.series_N):
        mine = train.series_N == number
        first, last = train.start_N[mine].min(), (train.start_N + train.length_N)[mine].max()
        y_TD = data.values_TF[first:last, targets].astype(np.float64)
        known_TD = np.repeat(covered_T[first:last, None], len(targets), axis=1)
        if data.observed_TD is not None:
            known_TD &= data.observed_TD[first:last]
        both_TD = known_TD[season:] & known_TD[:-season]
        total_D = np.where(both_TD, np.abs(y_TD[season:] - y_TD[:-season]), 0.0).sum(0)
        count_D = both_TD.sum(0)
        ok = (count_D > 0) & (total_D > 0)
        errors_SD[number, ok] = (total_D / np.maximum(count_D, 1) * data.scale_SD[number])[ok]
    return errors_SD


def _covered(start_N: Ints, length_N: Ints, rows: int) -> npt.NDArray[np.bool_]:
    change_T = np.zeros(rows + 1, dtype=np.int64)
    np.add.at(change_T, start_N, 1)
    np.add.at(change_T, start_N + length_N, -1)
    return np.cumsum(change_T[:-1]) > 0


def _tensors(truth: Truth) -> ForecastTruth:
    observed = None if truth.observed_NHD is None else borrow(truth.observed_NHD)
    return ForecastTruth(borrow(truth.y), observed, borrow(truth.scale_ND), borrow(truth.mase_ND))
