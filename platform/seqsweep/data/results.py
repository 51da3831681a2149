"""Predictions as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.tasks import AnomalyConfig, ForecastingConfig, RegressionConfig
from seqsweep.data.batch import Prepared
from seqsweep.data.predict import target_row_numbers
from seqsweep.data.table import Task


def prediction_table(data: Prepared, prediction: npt.NDArray[np.floating[Any]], task: Task,
                     part: str = "predict") -> pd.DataFrame:
    """Write predictions in data units as a table.

    Forecasting, (N, horizon, D, Q): a row for each window, step and target with `series` (where there are ids), `time`
    (or `step`, the row's number in its series, from 0), `ahead` (1 to horizon), `target`, and `prediction` or a column
    a quantile such as `q0.1`. Classification, (N, C): a row a sequence with `series`, `class`, and `p:<class>`.
    Regression, (N,): a row a sample with `series`, the `time` or `step` of its last row, and `prediction`.
    Anomalies, (N, 3): a row a row that was judged with `series`, `time` or `step`, `score` and `is_anomaly`.
    """
    if isinstance(task, ForecastingConfig):
        return _forecasts(data, prediction, task, part)
    sample = np.arange(len(prediction))
    series, samples = _series(data, part, sample), data.parts[part]
    if isinstance(task, RegressionConfig | AnomalyConfig):
        when = _when(data, part, sample, samples.start_N + samples.length_N - 1)
        if isinstance(task, RegressionConfig):
            return pd.DataFrame({**series, **when, "prediction": prediction})
        return pd.DataFrame({**series, **when, "score": prediction[:, 0], "is_anomaly": prediction[:, 1] >= 0.5})
    best = np.array(data.info.classes, dtype=object)[prediction.argmax(axis=1)]
    columns = {f"p:{name}": prediction[:, c] for c, name in enumerate(data.info.classes)}
    return pd.DataFrame({**series, "class": best, **columns})


def _forecasts(data: Prepared, prediction: npt.NDArray[np.floating[Any]], task: ForecastingConfig,
               part: str) -> pd.DataFrame:
    N, H, D, Q = prediction.shape
    row_NH = target_row_numbers(data, part, task)
    sample = np.repeat(np.arange(N), H * D)
    row = np.repeat(row_NH.ravel(), D)
    names = [f"q{quantile:g}" for quantile in task.quantiles] or ["prediction"]
    flat = prediction.reshape(N * H * D, Q)
    return pd.DataFrame({
        **_series(data, part, sample), **_when(data, part, sample, row),
        "ahead": np.tile(np.repeat(np.arange(1, H + 1), D), N),
        "target": np.tile(np.array(task.targets, dtype=object), N * H),
        **{name: flat[:, q] for q, name in enumerate(names)}})


def _when(data: Prepared, part: str, sample: npt.NDArray[np.int64], row: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The times of rows, or where there are none their numbers in their series, from 0."""
    if data.times_T is None:
        return {"step": row - _first_row(data, part, sample)}
    times = data.times_T[row]
    return {"time": pd.to_datetime(times, unit="ns") if data.info.time == "timestamp" else _numbers(data, times)}


def _series(data: Prepared, part: str, sample: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The series column, where series have ids."""
    if not any(data.info.series):
        return {}
    return {"series": np.array(data.info.series, dtype=object)[data.parts[part].series_N[sample]]}


def _first_row(data: Prepared, part: str, sample: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if data.first_S is None:
        return np.zeros(len(sample), dtype=np.int64)
    first: npt.NDArray[np.int64] = data.first_S[data.parts[part].series_N[sample]]
    return first


def _numbers(data: Prepared, times: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Numbers of the time column."""
    return times if data.info.time_unit == 1.0 else times * data.info.time_unit
