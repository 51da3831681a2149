"""Forecasts of every window of a part that need no training, or next to none (Hyndman & Athanasopoulos, 2021).

Shapes: N windows, H steps of the horizon, D targets, Q quantiles, S series, T rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import Ints, Prepared, Samples
from seqsweep.evaluation.autoregression import Autoregression
from seqsweep.evaluation.theta import MOST, Theta

Floats64 = npt.NDArray[np.float64]
_CYCLES = 4
_SPREAD_WINDOWS = 5_000


class Method(Protocol):
    """A way to forecast windows from the rows before them."""

    @property
    def name(self) -> str:
        """As leaderboards and the gate's reasons show it."""

    @property
    def history(self) -> int:
        """Rows before a window's first target that it reads."""

    def forecast(self, targets_TD: npt.NDArray[np.float32], origin_N: Ints, horizon: int) -> Floats64:
        """Return `(N, H, D)`, in the units of the targets. `origin_N` are the rows of each window's first target."""


@dataclass(frozen=True)
class Naive:
    """Repeat what was `season` steps before; the mean of the last `cycles` such values where there is more than one."""

    season: int
    cycles: int = 1

    @property
    def name(self) -> str:
        """As leaderboards and the gate's reasons show it."""
        if self.season == 1:
            return "repeat last"
        if self.cycles == 1:
            return f"seasonal naive ({self.season})"
        return f"seasonal mean ({self.season} x {self.cycles})"

    @property
    def history(self) -> int:
        """Rows before a window's first target that it reads."""
        return self.season * self.cycles

    def forecast(self, targets_TD: npt.NDArray[np.float32], origin_N: Ints, horizon: int) -> Floats64:
        """Return `(N, H, D)`, in the units of the targets. `origin_N` are the rows of each window's first target."""
        phase_H = np.arange(horizon) % self.season - self.season
        total = np.zeros((len(origin_N), horizon, targets_TD.shape[1]))
        for cycle in range(self.cycles):
            total += targets_TD[origin_N[:, None] + (phase_H - cycle * self.season)]
        return total / self.cycles


def naive_forecasts(task: ForecastingConfig, data: Prepared, part: str) -> dict[str, Floats64]:
    """Return every method's forecasts `(N, H, D, Q)` in data units: naive ones, theta, and a linear autoregression.

    A method takes part where the rows before every window of the part reach back far enough; rows from before the
    context are read too, since they are the past. With quantiles, each is the forecast plus the same quantile of the
    method's residuals on training windows, taken from their median: the middle one stays the forecast itself.
    """
    samples = data.parts[part]
    history = _shortest_history(task, data, samples)
    targets_TD = data.values_TF[:, list(data.info.targets)]
    forecasts = {}
    methods: list[Method] = [*_methods(data.info.seasons, history)]
    if (theta := Theta.of(data.info.seasons, history)) and len(samples) * len(data.info.targets) <= MOST:
        methods.append(theta)
    if linear := Autoregression.fit(task, data, targets_TD):
        methods.append(linear)
    for method in methods:
        scaled_NHD = method.forecast(targets_TD, samples.start_N + task.context, task.horizon)
        scaled_NHDQ = scaled_NHD[..., None] + _quantile_spread(task, data, method, targets_TD)
        scale_ND, shift_ND = (array[samples.series_N].astype(np.float64) for array in (data.scale_SD, data.shift_SD))
        forecasts[method.name] = scaled_NHDQ * scale_ND[:, None, :, None] + shift_ND[:, None, :, None]
    return forecasts


def _methods(seasons: tuple[int, ...], history: int) -> list[Naive]:
    seasonal = [season for season in seasons if 1 < season <= history]
    means = [Naive(season, min(_CYCLES, history // season)) for season in seasonal if history // season > 1]
    return [Naive(1), *(Naive(season) for season in seasonal), *means]


def _first_rows(data: Prepared) -> Ints:
    """Return `(S,)`: the first row of each series, or the earliest one a sample uses where that is not known."""
    if data.first_S is not None:
        return data.first_S
    first_S = np.full(len(data.shift_SD), len(data.values_TF), dtype=np.int64)
    for samples in data.parts.values():
        np.minimum.at(first_S, samples.series_N, samples.start_N)
    return first_S


def _shortest_history(task: ForecastingConfig, data: Prepared, samples: Samples) -> int:
    if not len(samples):
        return 1
    return int((samples.start_N + task.context - _first_rows(data)[samples.series_N]).min())


def _quantile_spread(task: ForecastingConfig, data: Prepared, method: Method,
                     targets_TD: npt.NDArray[np.float32]) -> Floats64:
    """Return `(H, D, Q)`: what is added to a forecast for each quantile, in scaled units; 0 for a point forecast."""
    train = data.parts.get("train")
    shape = (task.horizon, targets_TD.shape[1], max(1, len(task.quantiles)))
    if not task.quantiles or train is None:
        return np.zeros(shape)
    origin_N = train.start_N + task.context
    origin_N = origin_N[origin_N - _first_rows(data)[train.series_N] >= method.history]
    origin_N = origin_N[::max(1, len(origin_N) // _SPREAD_WINDOWS)]  # thinned: the spread needs no more
    if not len(origin_N):
        return np.zeros(shape)
    rows_NH = origin_N[:, None] + np.arange(task.horizon)
    residual_NHD = targets_TD[rows_NH] - method.forecast(targets_TD, origin_N, task.horizon)
    if data.observed_TD is not None:
        observed_NHD = data.observed_TD[rows_NH]
        residual_NHD[~observed_NHD] = np.nan
        residual_NHD[:, ~observed_NHD.any(axis=0)] = 0.0  # nothing known about this step: no spread
    levels_QHD = np.nanquantile(residual_NHD, task.quantiles, axis=0)
    return np.moveaxis(levels_QHD - levels_QHD[task.quantiles.index(0.5)], 0, -1)
