"""The theta method for many windows at once: exponential smoothing with half the trend as its drift.

Shapes: N windows, H steps of the horizon, D targets, B series (a window's one target), L rows of history, A strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqsweep.data.batch import Ints

Floats64 = npt.NDArray[np.float64]
_STRENGTHS = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
_CYCLES, _ROWS, _CHUNK = 4, 100, 4_000
MOST = 50_000
"""Where there are more windows of one target than that, the method is left out: it takes their time."""


@dataclass(frozen=True)
class Theta:
    """Assimakopoulos & Nikolopoulos (2000), in the form of Hyndman & Billah (2003), on the last `rows` rows.

    A season is taken out before and put back after, by the classical additive decomposition, as statsmodels has it.
    """

    season: int
    rows: int

    @classmethod
    def of(cls, seasons: tuple[int, ...], history: int) -> Theta | None:
        """Take the longest season that the history holds twice, and four of them at the most; None without history."""
        fitting = [season for season in seasons if 1 < season <= history // 2]
        if fitting:
            return cls(fitting[-1], min(_CYCLES, history // fitting[-1]) * fitting[-1])
        return cls(1, min(_ROWS, history)) if history >= 10 else None

    @property
    def name(self) -> str:
        """As leaderboards and the gate's reasons show it."""
        return "theta" if self.season == 1 else f"theta ({self.season})"

    @property
    def history(self) -> int:
        """Rows before a window's first target that it reads."""
        return self.rows

    def forecast(self, targets_TD: npt.NDArray[np.float32], origin_N: Ints, horizon: int) -> Floats64:
        """Return `(N, H, D)`, in the units of the targets. `origin_N` are the rows of each window's first target."""
        forecast_NHD = np.empty((len(origin_N), horizon, targets_TD.shape[1]))
        for start in range(0, len(origin_N), _CHUNK):
            rows_NL = origin_N[start:start + _CHUNK, None] + np.arange(-self.rows, 0)
            for d in range(targets_TD.shape[1]):
                forecast_NHD[start:start + _CHUNK, :, d] = self._forecast(
                    targets_TD[rows_NL, d].astype(np.float64), horizon)
        return forecast_NHD

    def _forecast(self, x_BL: Floats64, horizon: int) -> Floats64:
        """Return `(B, H)`."""
        L = x_BL.shape[1]
        season_BP = _season(x_BL, self.season)
        y_BL = x_BL - np.tile(season_BP, L // self.season)
        drift_B, (level_B, strength_B) = _slope(y_BL) / 2, _smoothed(y_BL)
        ahead_BH = np.arange(horizon) + ((1 - (1 - strength_B) ** L) / strength_B)[:, None]
        forecast_BH: Floats64 = (level_B[:, None] + drift_B[:, None] * ahead_BH
                                 + season_BP[:, np.arange(horizon) % self.season])
        return forecast_BH


def _season(x_BL: Floats64, season: int) -> Floats64:
    """Return what each phase adds, `(B, P)`: its mean distance from a moving average of one season, less their mean."""
    if season == 1:
        return np.zeros((len(x_BL), 1))
    half, L = season // 2, x_BL.shape[1]
    sums_BL = np.cumsum(np.pad(x_BL, ((0, 0), (1, 0))), axis=1)
    means_BL = (sums_BL[:, season:] - sums_BL[:, :-season]) / season
    if season % 2 == 0:  # the middle of an even season lies between two rows
        means_BL = (means_BL[:, 1:] + means_BL[:, :-1]) / 2
    rest_BL = np.full_like(x_BL, np.nan)
    rest_BL[:, half:L - half] = x_BL[:, half:L - half] - means_BL
    season_BP: Floats64 = np.nanmean(rest_BL.reshape(len(x_BL), -1, season), axis=1)
    season_BP -= season_BP.mean(axis=1, keepdims=True)
    return season_BP


def _slope(x_BL: Floats64) -> Floats64:
    """Of each series' least-squares line, a row."""
    line_L = np.arange(x_BL.shape[1]) - (x_BL.shape[1] - 1) / 2
    slope_B: Floats64 = x_BL @ line_L / (line_L @ line_L)
    return slope_B


def _smoothed(y_BL: Floats64) -> tuple[Floats64, Floats64]:
    """Simple exponential smoothing: the last level `(B,)` at the strength `(B,)` that tells the next row best."""
    level_AB = np.repeat(y_BL[None, :, 0], len(_STRENGTHS), axis=0)
    squares_AB = np.zeros_like(level_AB)
    for y_B in y_BL.T[1:]:
        error_AB = y_B - level_AB
        squares_AB += error_AB * error_AB
        level_AB += _STRENGTHS[:, None] * error_AB
    best_B = squares_AB.argmin(axis=0)
    return level_AB[best_B, np.arange(len(y_BL))], _STRENGTHS[best_B]
