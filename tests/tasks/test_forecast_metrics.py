"""Forecasting's metrics against their definitions, and the losses per sample that give them."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, mean_pinball_loss, mean_squared_error
from window_toys import CONTEXT, HORIZON, TARGETS, batch_of, forecaster, task_of, windows_of

from seqsweep.config.tasks import METRICS
from seqsweep.data.batch import Prepared
from seqsweep.tasks.forecast_metrics import forecast_metrics
from seqsweep.tasks.metrics import metrics_from_predictions, naive_error, sample_losses, truth_of

QUANTILES = (0.1, 0.5, 0.9)


def guess(data: Prepared, quantiles: int = 1, part: str = "val") -> npt.NDArray[np.float64]:
    draw = np.random.default_rng(4)
    prediction = truth_of(task_of(), data, part).y[..., None] + draw.normal(0, 2, (*_shape(data, part), quantiles))
    return np.sort(prediction, axis=-1)


def _shape(data: Prepared, part: str) -> tuple[int, int, int]:
    return len(data.parts[part]), HORIZON, len(TARGETS)


def test_definitions_on_every_point() -> None:
    data, task = windows_of(), task_of()
    truth, prediction = truth_of(task, data, "val"), guess(data)
    y, p = truth.y.reshape(-1), prediction.reshape(-1)
    metrics = metrics_from_predictions(task, prediction, truth)
    expected = {
        "mae": mean_absolute_error(y, p), "mse": mean_squared_error(y, p), "rmse": math.sqrt(mean_squared_error(y, p)),
        "mape": 100 * mean_absolute_percentage_error(y, p),
        "smape": np.mean(200 * np.abs(y - p) / (np.abs(y) + np.abs(p))),
        "mase": np.mean(np.abs(truth.y - prediction[..., 0]) / naive_error(data)[data.parts["val"].series_N][:, None]),
        "pinball": mean_pinball_loss(y, p, alpha=0.5),
        "loss": np.mean(np.abs(truth.y - prediction[..., 0]) / truth.scale_ND[:, None]),
        "scaled_mse": np.mean(np.square((truth.y - prediction[..., 0]) / truth.scale_ND[:, None])),
    }
    assert metrics == pytest.approx(expected, rel=1e-9)
    assert set(expected) == set(METRICS["forecasting"])


def test_truth_is_the_raw_value() -> None:
    data = windows_of()
    truth, samples = truth_of(task_of(), data, "val"), data.parts["val"]
    row, series = samples.start_N[-1] + CONTEXT + HORIZON - 1, samples.series_N[-1]
    raw_D = data.values_TF[row, list(TARGETS)] * data.scale_SD[series] + data.shift_SD[series]
    assert truth.y[-1, -1] == pytest.approx(raw_D, rel=1e-5)


def test_quantiles_pinball_and_coverage() -> None:
    data, task = windows_of(), task_of(quantiles=QUANTILES)
    truth, prediction = truth_of(task, data, "val"), guess(data, 3)
    metrics = metrics_from_predictions(task, prediction, truth)
    pinball = [mean_pinball_loss(truth.y.reshape(-1), prediction[..., place].reshape(-1), alpha=quantile)
               for place, quantile in enumerate(QUANTILES)]
    assert metrics["pinball"] == pytest.approx(np.mean(pinball))
    inside = (prediction[..., 0] <= truth.y) & (truth.y <= prediction[..., 2])
    assert metrics["coverage"] == pytest.approx(inside.mean())
    assert metrics["mae"] == pytest.approx(np.abs(truth.y - prediction[..., 1]).mean())


def test_a_point_forecast_stands_for_every_quantile() -> None:
    data, task = windows_of(), task_of(quantiles=QUANTILES)
    truth, point = truth_of(task, data, "val"), guess(data)
    metrics = metrics_from_predictions(task, point, truth)
    assert metrics["pinball"] == pytest.approx(np.mean([mean_pinball_loss(truth.y.ravel(), point.ravel(), alpha=q)
                                                        for q in QUANTILES]))
    assert "coverage" not in metrics


def test_unobserved_points_change_nothing() -> None:
    data, task = windows_of(gaps=True), task_of()
    truth, prediction = truth_of(task, data, "val"), guess(data)
    before = metrics_from_predictions(task, prediction, truth)
    assert truth.observed_NHD is not None
    wild = np.where(truth.observed_NHD[..., None], prediction, np.nan)
    assert metrics_from_predictions(task, wild, truth) == before
    seen = truth.observed_NHD
    assert before["mae"] == pytest.approx(np.abs(truth.y - prediction[..., 0])[seen].mean())


def test_zero_truths_are_left_out_of_mape_and_smape_is_zero_where_both_are() -> None:
    data, task = windows_of(), task_of()
    data.values_TF[:, list(TARGETS)] = 0
    data.shift_SD[:] = 0
    truth = truth_of(task, data, "val")
    zero = metrics_from_predictions(task, np.zeros((*truth.y.shape, 1)), truth)
    assert math.isnan(zero["mape"])
    assert zero["smape"] == 0
    assert metrics_from_predictions(task, np.ones((*truth.y.shape, 1)), truth)["smape"] == 200


def test_naive_error_is_in_sample_per_series_and_target() -> None:
    data = windows_of()
    raw = data.values_TF[:, list(TARGETS)].reshape(2, 60, 2) * data.scale_SD[:, None] + data.shift_SD[:, None]
    expected = np.abs(raw[:, 4:40] - raw[:, :36]).mean(1)  # 40 training rows, season 4
    assert naive_error(data) == pytest.approx(expected, rel=1e-5)


def test_naive_error_leaves_out_unobserved_rows_and_constant_series() -> None:
    data = windows_of(gaps=True)
    assert data.observed_TD is not None
    train = data.values_TF[60:100, 0].astype(float)
    pairs = data.observed_TD[64:100, 0] & data.observed_TD[60:96, 0]
    expected = np.abs(train[4:] - train[:-4])[pairs].mean() * data.scale_SD[1, 0]
    assert naive_error(data)[1, 0] == pytest.approx(expected, rel=1e-5)
    data.values_TF[:60, 0] = 2
    assert np.isnan(naive_error(data)[0, 0])
    metrics = metrics_from_predictions(task_of(), guess(data), truth_of(task_of(), data, "val"))
    assert math.isfinite(metrics["mase"])


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("metric", [*METRICS["forecasting"], "coverage"])
def test_mean_of_sample_losses_is_the_metric(metric: str, gaps: bool) -> None:
    data, task = windows_of(gaps=gaps), task_of(quantiles=QUANTILES)
    truth, prediction = truth_of(task, data, "val"), guess(data, 3)
    losses_N = sample_losses(task, metric, prediction, truth)
    assert losses_N.shape == (len(prediction),)
    mean = losses_N.mean() ** (0.5 if metric == "rmse" else 1)
    assert mean == pytest.approx(metrics_from_predictions(task, prediction, truth)[metric])


@pytest.mark.parametrize("gaps", [False, True])
def test_sums_over_batches_are_those_of_the_whole_part(gaps: bool) -> None:
    data, task = windows_of(gaps=gaps), task_of(quantiles=QUANTILES)
    learner = forecaster(data, task)
    with torch.inference_mode():
        whole = batch_of(data)
        prediction = learner.predict(learner(whole), whole)
        totals: dict[str, torch.Tensor] = {}
        for first in range(0, len(prediction), 5):
            batch = batch_of(data, rows=slice(first, first + 5))
            for name, value in learner.sums(prediction[first:first + 5], batch).items():
                totals[name] = totals.get(name, torch.zeros(2)) + value
    expected = metrics_from_predictions(task, prediction.numpy(), truth_of(task, data, "val"))
    assert forecast_metrics(totals) == pytest.approx(expected, rel=1e-12)


def test_the_season_that_was_asked_for_is_the_unit_of_mase() -> None:
    data = windows_of()
    raw = data.values_TF[:, list(TARGETS)].reshape(2, 60, 2) * data.scale_SD[:, None] + data.shift_SD[:, None]
    asked = replace(data, info=data.info.model_copy(update={"mase_season": 3}))
    assert naive_error(asked) == pytest.approx(np.abs(raw[:, 3:40] - raw[:, :37]).mean(1), rel=1e-5)


def test_scaled_mse_measures_each_target_by_its_own_scale() -> None:
    data = windows_of()
    truth, prediction = truth_of(task_of(), data, "val"), guess(data)
    error_NHD = (truth.y - prediction[..., 0]) / truth.scale_ND[:, None]
    found = metrics_from_predictions(task_of(), prediction, truth)
    assert found["scaled_mse"] == pytest.approx(np.square(error_NHD).mean())
    assert sample_losses(task_of(), "scaled_mse", prediction, truth).mean() == pytest.approx(found["scaled_mse"])
