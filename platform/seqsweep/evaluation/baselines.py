"""What any trained model must beat: predictions that need no training, or next to none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import AnomalyConfig, ForecastingConfig, RegressionConfig, TaskConfig
from seqsweep.data.batch import Prepared
from seqsweep.evaluation.detectors import naive_detections
from seqsweep.evaluation.windows import naive_forecasts


def baselines(task: TaskConfig, data: Prepared, part: str = "test") -> dict[str, npt.NDArray[np.float64]]:
    """Return each baseline's predictions of a part, by name.

    Forecasting: `(N, horizon, D, Q)` in data units; classification: probabilities `(N, C)`; regression: `(N,)` in data
    units; anomalies: `(N, 3)`, score, alarm, loss. Deterministic. Whatever is fitted is fitted on the training part and
    chosen on the validation part.
    """
    if isinstance(task, ForecastingConfig):
        return naive_forecasts(task, data, part)
    if isinstance(task, AnomalyConfig):
        return naive_detections(task, data, part)
    if isinstance(task, RegressionConfig):
        from seqsweep.evaluation.numbers import naive_numbers  # scikit-learn takes two seconds to import

        return naive_numbers(task, data, part)
    from seqsweep.evaluation.sequences import naive_classifications

    return naive_classifications(data, part)
