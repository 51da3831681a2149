"""What any trained model must beat: the forecasts and classifications that need no training, or next to none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import ForecastingConfig, TaskConfig
from seqsweep.data.batch import Prepared
from seqsweep.evaluation.sequences import naive_classifications
from seqsweep.evaluation.windows import naive_forecasts


def baselines(task: TaskConfig, data: Prepared, part: str = "test") -> dict[str, npt.NDArray[np.float64]]:
    """Return each baseline's predictions of a part, by name.

    Forecasting: `(N, horizon, D, Q)` in data units; classification: probabilities `(N, C)`. Deterministic. Whatever is
    fitted is fitted on the training part and chosen on the validation part.
    """
    if isinstance(task, ForecastingConfig):
        return naive_forecasts(task, data, part)
    return naive_classifications(data, part)
