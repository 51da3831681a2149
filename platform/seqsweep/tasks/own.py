"""A user's own metric, a function of the truth and the predictions of a whole part, and what a user's own class learns.

Shapes: N samples, H steps of the horizon, D targets, Q quantiles, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.config.own import Own
from seqsweep.config.sweep import FitConfig, MetricConfig
from seqsweep.config.tasks import ForecastingConfig, TaskConfig, own_learner
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.own import load, told
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tasks.learner import Learner
from seqsweep.tasks.metrics import Truth, metrics_from_predictions
from seqsweep.tasks.regression import Regressor


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


def metrics_of(metric: MetricConfig, task: TaskConfig, truth: Truth, prediction: npt.NDArray[Any]) -> dict[str, float]:
    """Return the task's metrics of predictions, and the user's own where the sweep has one.

    Raises InvalidSweep, with the line, where that fails.
    """
    found = metrics_from_predictions(task, np.ascontiguousarray(prediction), truth)
    if own := metric.own:
        with told(own, own.name):
            found[metric.name] = OwnMetric(own, task, truth)(prediction)
    return found


def build_own(config: FitConfig, data: Prepared) -> Learner:
    """Return the user's own learner: called as the class of seqsweep's is that it is made from, and with the trial's
    arguments.

    Raises InvalidSweep where it is no `Learner`, or its making fails.
    """
    own = own_learner(config.task)
    if own is None:
        raise ValueError("the task is seqsweep's own")
    made: Any = load(own)
    if not (isinstance(made, type) and issubclass(made, Learner)):
        raise InvalidSweep(Problem(own.entry, f"{own.name} is not made from a learner of seqsweep's",
                                   f"class {own.name}({_LEARNERS[config.task.type]}), imported from seqsweep.tasks"))
    arguments = "".join(f", {name}={value!r}" for name, value in config.learner.items())
    with told(own, f"{own.name}(task, model, data{arguments})"):
        learner: Learner = made(config.task, config.model,
                                data.info if issubclass(made, Forecaster | Regressor) else data, **config.learner)
    return learner


_LEARNERS = {"forecasting": "Forecaster", "classification": "Classifier", "regression": "Regressor"}


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view: the truth of one epoch is that of the next."""
    view = array.view()
    view.flags.writeable = False
    return view


def _shown(found: Any) -> str:
    return f"an array {np.shape(found)}" if np.ndim(found) else f"{found!r:.60}, a {type(found).__name__}"
