"""A metric of the user's own: a function of the truth and the predictions of a whole part, in data units.

Shapes: N samples, H steps of the horizon, D targets, Q quantiles, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.config.own import Own
from seqsweep.config.tasks import ForecastingConfig, TaskConfig
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.own import load
from seqsweep.tasks.metrics import Truth


class OwnMetric:
    """Forecasting: truth `(N, H, D)`, nan where it is not known, and forecasts `(N, H, D)`, with quantiles
    `(N, H, D, Q)`. Classification: class indices `(N,)` and probabilities `(N, C)`. Regression: `(N,)` each.
    """

    def __init__(self, own: Own, task: TaskConfig, truth: Truth) -> None:
        self.own = own
        self._function: Any = load(own)
        self._point = isinstance(task, ForecastingConfig) and not task.quantiles
        y = truth.y if truth.observed_NHD is None else np.where(truth.observed_NHD, truth.y, np.nan)
        self._y = _read_only(y)

    def __call__(self, prediction: npt.NDArray[Any], chosen: Any = slice(None)) -> float:
        """Return the metric of predictions as `seqsweep.training.predict` gives them, or of `chosen` samples.

        Raises InvalidSweep where it is no number, and whatever the function raises.
        """
        prediction = prediction[..., 0] if self._point else prediction
        found = self._function(self._y[chosen], _read_only(prediction[chosen]))
        try:
            if np.ndim(found) != 0:
                raise TypeError
            return float(found)
        except (TypeError, ValueError):
            raise InvalidSweep(Problem(self.own.entry, f"{self.own.name} returns {_shown(found)}",
                                       "one number: float")) from None


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view: the truth of one epoch is that of the next."""
    view = array.view()
    view.flags.writeable = False
    return view


def _shown(found: Any) -> str:
    return f"an array {np.shape(found)}" if np.ndim(found) else f"{found!r:.60}, a {type(found).__name__}"
