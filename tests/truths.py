"""What prepared data say came true, computed apart from the tasks room's own way."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import ForecastingConfig, TaskConfig
from seqsweep.data.batch import Prepared
from seqsweep.data.predict import target_row_numbers


def truth(data: Prepared, part: str, task: TaskConfig) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
    """What was to be predicted, in data units, and which of it was observed.

    Forecasting: float64 (N, horizon, D) and a mask of that shape. Classification: class indexes (N,), -1 where
    unknown, and a mask (N,).
    """
    samples = data.parts[part]
    if not isinstance(task, ForecastingConfig):
        return samples.label_N, samples.label_N >= 0
    row_NH = target_row_numbers(data, part, task)
    scaled_NHD = data.values_TF[row_NH][:, :, list(data.info.targets)].astype(np.float64)
    shift_N1D, scale_N1D = data.shift_SD[samples.series_N, None], data.scale_SD[samples.series_N, None]
    observed = np.ones(scaled_NHD.shape, dtype=bool) if data.observed_TD is None else data.observed_TD[row_NH]
    return scaled_NHD * scale_N1D.astype(np.float64) + shift_N1D, observed
