"""Naive regressions. Shapes: N samples, K statistics."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from seqsweep.config.tasks import RegressionConfig
from seqsweep.data.batch import Prepared
from seqsweep.evaluation.sequences import statistics

Floats64 = npt.NDArray[np.float64]
MEAN, RIDGE = "training mean", "ridge on statistics"
_STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)


def naive_numbers(task: RegressionConfig, data: Prepared, part: str) -> dict[str, Floats64]:
    """Return `(N,)` in data units: the mean of the training targets, and a ridge regression (Hoerl & Kennard, 1970).

    The regression reads `statistics` of each sample, standardised; its strength is chosen by the squared error on the
    validation part. Like a model's, its numbers do not exceed the cap.
    """
    train, samples = data.parts["train"], data.parts[part]
    scaler = StandardScaler().fit(x_NK := statistics(data, train))
    fitted = [Ridge(alpha=strength).fit(scaler.transform(x_NK), train.target_N) for strength in _STRENGTHS]
    val = data.parts.get("val")
    if val is not None and len(val):
        x_val = scaler.transform(statistics(data, val))
        fitted.sort(key=lambda model: float(np.square(model.predict(x_val) - val.target_N).mean()))  # stable
    scaled = {MEAN: np.full(len(samples), train.target_N.mean(dtype=np.float64)),
              RIDGE: fitted[0].predict(scaler.transform(statistics(data, samples))).astype(np.float64)}
    shift_N, scale_N = (each[samples.series_N, 0].astype(np.float64) for each in (data.shift_SD, data.scale_SD))
    cap = np.inf if task.cap is None else task.cap
    return {name: np.minimum(number_N * scale_N + shift_N, cap) for name, number_N in scaled.items()}
