"""Detectors that need no training: what any trained one must beat (Lavin & Ahmad, 2015).

Shapes: T rows of all series, N rows of a part, D columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import AnomalyConfig
from seqsweep.data.batch import Ints, Prepared
from seqsweep.tasks.anomaly import rows_of, watch_of
from seqsweep.tasks.anomaly_scores import choose_threshold, detected

Floats64 = npt.NDArray[np.float64]
GAUSSIAN, RANDOM, NULL = "windowed Gaussian", "random", "null"
_WINDOW, _STEP = 6_400, 100
_erfc = np.frompyfunc(math.erfc, 1, 1)


def naive_detections(task: AnomalyConfig, data: Prepared, part: str) -> dict[str, Floats64]:
    """Return predictions `(N, 3)`, score, alarm and loss (unknown: nan), of three detectors.

    Each reads the series from their first row; thresholds are chosen on the validation part, as the model's is.
    """
    columns = list(data.info.targets)
    first_S = data.first_S if data.first_S is not None else np.zeros(1, dtype=np.int64)
    rowed: dict[str, Callable[[Floats64, int], Floats64]] = {
        GAUSSIAN: lambda x_TD, _: np.max([windowed_gaussian(x_T) for x_T in x_TD.T], axis=0),
        RANDOM: lambda x_TD, number: np.random.default_rng(number).random(len(x_TD)),
        NULL: lambda x_TD, _: np.full(len(x_TD), 0.5),
    }
    found = {}
    for name, scores in rowed.items():
        score_T = np.concatenate([scores(data.values_TF[rows][:, columns].astype(np.float64), number)
                                  for number, rows in enumerate(_series(first_S, len(data.values_TF)))])
        threshold = math.inf if name == NULL or "val" not in data.parts else choose_threshold(
            task, score_T[rows_of(task, data, "val")], watch_of(task, data, "val"))
        score_N = score_T[rows_of(task, data, part)]
        found[name] = detected(score_N, np.full(len(score_N), np.nan), threshold)
    return found


def _series(first_S: Ints, rows: int) -> list[slice]:
    return [slice(int(a), int(b)) for a, b in zip(first_S, [*first_S[1:], rows], strict=True)]


def windowed_gaussian(x_T: Floats64) -> Floats64:
    """Return `(T,)` 1 less the tail probability of each value under a Gaussian of the rows before it.

    As in NAB: of all rows so far up to 6,400, then of the last 6,400, moved on every 100 rows.
    """
    values = x_T - x_T[0]  # sums of squares keep their digits
    total, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (values, values ** 2))
    here = np.arange(len(values))
    stop = np.where(here < _WINDOW, here, _WINDOW + (here - _WINDOW) // _STEP * _STEP)
    begin = np.maximum(stop - _WINDOW, 0)
    count = np.maximum(stop - begin, 1)
    mean_T = (total[stop] - total[begin]) / count
    variance_T = (squares[stop] - squares[begin]) / count - mean_T ** 2
    deviation_T = np.sqrt(np.maximum(variance_T, 0.0))
    z_T = np.abs(values - mean_T) / np.where(deviation_T > 0, deviation_T, 1e-6)
    score_T: Floats64 = 1.0 - 0.5 * _erfc(z_T / math.sqrt(2.0)).astype(np.float64)
    score_T[0] = 0.0
    return score_T
