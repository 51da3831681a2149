"""A linear autoregression over all series, fitted directly to each step of the horizon.

Shapes: N windows, H steps of the horizon, D targets, P rows that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import Ints, Prepared

Floats64 = npt.NDArray[np.float64]
_WINDOWS, _ROWS = 20_000, 400
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the ridge penalty, in mean squares of what is read."""


@dataclass(frozen=True, eq=False)
class Autoregression:
    """The next H values of a target as linear maps of its last P, less the last of them (NLinear, Zeng et al., 2023).

    One map a target for all series, by ridge regression on the training part, its strength chosen on the validation
    part.
    """

    weights_DPH: Floats64
    bias_DH: Floats64

    @classmethod
    def fit(cls, task: ForecastingConfig, data: Prepared, targets_TD: npt.NDArray[np.float32]) -> Autoregression | None:
        """None where no training window's horizon was observed."""
        origin_N = _origins(task, data, "train")
        if not len(origin_N):
            return None
        rows = min(task.context, _ROWS)
        val_N = _origins(task, data, "val")
        fitted = [_fit(targets_TD[:, d], origin_N, val_N, rows, task.horizon) for d in range(targets_TD.shape[1])]
        return cls(np.stack([weights for weights, _ in fitted]), np.stack([bias for _, bias in fitted]))

    @property
    def name(self) -> str:
        """As leaderboards and the gate's reasons show it."""
        return f"linear AR ({self.history})"

    @property
    def history(self) -> int:
        """Rows before a window's first target that it reads."""
        return int(self.weights_DPH.shape[1])

    def forecast(self, targets_TD: npt.NDArray[np.float32], origin_N: Ints, horizon: int) -> Floats64:
        """Return `(N, H, D)`, in the units of the targets. `origin_N` are the rows of each window's first target."""
        forecast_NHD = np.empty((len(origin_N), horizon, targets_TD.shape[1]))
        for d, (weights_PH, bias_H) in enumerate(zip(self.weights_DPH, self.bias_DH, strict=True)):
            x_NP, last_N1 = _read(targets_TD[:, d], origin_N, self.history)
            forecast_NHD[:, :, d] = x_NP @ weights_PH + bias_H + last_N1
        return forecast_NHD


def _origins(task: ForecastingConfig, data: Prepared, part: str) -> Ints:
    """First target rows of the part's windows that were observed as a whole, thinned."""
    if part not in data.parts:
        return np.zeros(0, dtype=np.int64)
    origin_N = data.parts[part].start_N + task.context
    if data.observed_TD is not None:
        missing = np.concatenate([[0], np.cumsum(~data.observed_TD.all(axis=1))])
        origin_N = origin_N[missing[origin_N + task.horizon] == missing[origin_N]]
    thinned: Ints = origin_N[::max(1, -(-len(origin_N) // _WINDOWS))]
    return thinned


def _read(x_T: npt.NDArray[np.float32], origin_N: Ints, rows: int) -> tuple[Floats64, Floats64]:
    """What is read `(N, P)`, less the last value `(N, 1)`."""
    x_NP = x_T[origin_N[:, None] + np.arange(-rows, 0)].astype(np.float64)
    return x_NP - x_NP[:, -1:], x_NP[:, -1:]


def _fit(x_T: npt.NDArray[np.float32], origin_N: Ints, val_N: Ints, rows: int, horizon: int
         ) -> tuple[Floats64, Floats64]:
    """Weights `(P, H)` and bias `(H,)` of the strength that errs least on the validation part, or the middle one."""
    def sides(at_N: Ints) -> tuple[Floats64, Floats64]:
        x_NP, last_N1 = _read(x_T, at_N, rows)
        return x_NP, x_T[at_N[:, None] + np.arange(horizon)].astype(np.float64) - last_N1

    x_NP, y_NH = sides(origin_N)
    x_P, y_H = x_NP.mean(axis=0), y_NH.mean(axis=0)
    squares_PP, products_PH = (x_NP - x_P).T @ (x_NP - x_P), (x_NP - x_P).T @ (y_NH - y_H)
    unit = max(float(np.trace(squares_PP)) / rows, 1e-12)
    solved = [np.linalg.solve(squares_PP + strength * unit * np.eye(rows), products_PH) for strength in _STRENGTHS]
    best = len(solved) // 2
    if len(val_N):
        x_val, y_val = sides(val_N)
        best = int(np.argmin([np.square((x_val - x_P) @ weights + y_H - y_val).mean() for weights in solved]))
    weights_PH = solved[best]
    return weights_PH, y_H - x_P @ weights_PH
