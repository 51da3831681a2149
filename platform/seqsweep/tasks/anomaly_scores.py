"""From errors of a model to scores of anomaly in [0, 1], and from scores of the validation part to a threshold.

A score looks back, never ahead: rows that come later do not change it. Shapes: N rows, by series and then by time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import AnomalyConfig
from seqsweep.data.batch import Ints
from seqsweep.tasks.nab import Doubles, Mask, Watch, best_threshold, crossed_alarms, nab_score

_HISTORY = 1_000
"""Errors that the next one is held against."""


@dataclass(frozen=True)
class Calibration:
    """What the validation part tells about a model's errors; the defaults are those of a model that has none yet."""

    level: float = 0.0
    """Median."""
    spread: float = 1.0
    """From the median to the 84% quantile, which for a Gaussian is its standard deviation; outliers do not move it."""
    threshold: float = 1.0

    @classmethod
    def of(cls, task: AnomalyConfig, error_N: Doubles, series_N: Ints, watched: Watch | None) -> Calibration:
        """Fit level and spread to the errors of the validation part, and choose a threshold for their scores."""
        level, high = np.quantile(error_N, [0.5, 0.8413]).tolist()
        known = cls(level, max(high - level, 1e-9))
        return cls(known.level, known.spread, choose_threshold(task, known.scores(task, error_N, series_N), watched))

    @classmethod
    def read(cls, notes: Mapping[str, float]) -> Calibration:
        """Read what `notes` wrote."""
        return cls(notes["error_level"], notes["error_spread"], notes["threshold"])

    def notes(self) -> dict[str, float]:
        """Return the figures by the names under which training keeps them."""
        return {"error_level": self.level, "error_spread": self.spread, "threshold": self.threshold}

    def scores(self, task: AnomalyConfig, error_N: Doubles, series_N: Ints) -> Doubles:
        """Return `(N,)` scores in [0, 1].

        An error is held against the mean and spread of the up to 1,000 before it in its series (Ahmad et al., 2017),
        which begin as `context` errors of the validation part. At z spreads above the mean the score is
        z^2 / (1 + z^2): by Cantelli's inequality a later error of whatever distribution is larger with a probability of
        at most 1 - score. A score that does not exceed each of the `context` scores before it is 0: an event that
        lasts is one alarm.
        """
        score_N = np.zeros(len(error_N))
        borders = np.flatnonzero(np.diff(series_N)) + 1
        for rows in np.split(np.arange(len(error_N)), borders):
            if len(rows):
                score_N[rows] = _novel(self._bound(error_N[rows], task.context), task.context)
        return score_N

    def _bound(self, error_N: Doubles, prior: int) -> Doubles:
        excess_N = error_N - self.level  # small numbers: sums of squares keep their digits
        total = np.concatenate([[0.0], np.cumsum(excess_N)])
        squares = np.concatenate([[0.0], np.cumsum(excess_N ** 2)])
        here = np.arange(len(error_N))
        begin = np.maximum(here - _HISTORY, 0)
        count = here - begin + prior
        mean_N = (total[here] - total[begin]) / count
        variance_N = (squares[here] - squares[begin] + prior * self.spread ** 2) / count - mean_N ** 2
        z_N = np.maximum(excess_N - mean_N, 0.0) / np.sqrt(np.maximum(variance_N, 1e-18))
        bound_N: Doubles = 1.0 - 1.0 / (1.0 + z_N ** 2)
        return bound_N


def _novel(score_N: Doubles, span: int) -> Doubles:
    """Keep the scores that exceed each of the `span` before; 0 elsewhere."""
    padded = np.concatenate([np.full(span, -1.0), score_N[:-1]])
    highest_N = np.lib.stride_tricks.sliding_window_view(padded, span).max(axis=1)
    return np.where(score_N > highest_N, score_N, 0.0)


def choose_threshold(task: AnomalyConfig, score_N: Doubles, watched: Watch | None) -> float:
    """Return the threshold: of the best NAB score where the rows have labelled windows; else the lowest that at most a
    share `alarm_rate` of the rows reaches, the highest score where too many have that. In any case it is 0.5 at least.
    """
    if watched is not None and watched.windows:
        return max(0.5, best_threshold(score_N, watched)[0])
    falling = -np.sort(-score_N)
    allowed = int(task.alarm_rate * len(falling))
    if not len(falling):
        return 1.0
    above = float(np.nextafter(falling[min(allowed, len(falling) - 1)], np.inf))
    return max(0.5, min(above, float(falling[0])))


def detected(score_N: Doubles, error_N: Doubles, threshold: float) -> Doubles:
    """Return predictions `(N, 3)`: score, 1.0 where it is an alarm, and Huber's loss of the error (Huber, 1964)."""
    loss_N = np.where(error_N < 1.0, error_N ** 2 / 2, error_N - 0.5)
    return np.column_stack([score_N, score_N >= threshold, loss_N])


def alarms(prediction_N3: npt.NDArray[np.floating]) -> Mask:
    """Return which rows are alarms, where several models agree by majority."""
    alarm_N: Mask = prediction_N3[:, 1] >= 0.5
    return alarm_N


def figures(prediction_N3: npt.NDArray[np.floating], watched: Watch | None) -> dict[str, float]:
    """Return the metrics of predictions: nan where they count labelled windows and there is none.

    `nab` is the NAB score at the threshold that was chosen before; `nab_cross` that of the thresholds that are best for
    other series; `nab_best` that of the threshold that is best for these very rows, as the figures NAB publishes; `f1`
    the harmonic mean of the share of windows with an alarm and of the share of events that are windows: alarms in one
    window are one event, those outside are one each.
    """
    alarm_N, score_N = alarms(prediction_N3), prediction_N3[:, 0].astype(np.float64)
    found = {"loss": float(prediction_N3[:, 2].mean()), "alarms": float(alarm_N.sum())}
    if watched is None or not watched.windows:
        return found | dict.fromkeys(("nab", "nab_cross", "nab_best", "f1"), float("nan"))
    hits = len(np.unique(watched.window_N[alarm_N & (watched.window_N >= 0)]))
    false = int((alarm_N & (watched.window_N < 0)).sum())
    crossed_N = crossed_alarms(score_N, watched)
    return found | {"nab": nab_score(alarm_N, watched),
                    "nab_cross": float("nan") if crossed_N is None else nab_score(crossed_N, watched),
                    "nab_best": best_threshold(score_N, watched)[1],
                    "f1": 2 * hits / (hits + false + watched.windows), "windows_found": float(hits),
                    "false_alarms": float(false)}
