"""Which season a series has, if any: by autocorrelation in its training part (Box & Jenkins, 1970).

A season is believed where the series, less its moving average over one season, repeats itself, and its changes over a
quarter of a season do so too: a random walk looks periodic at times, its changes do not. Shapes: T steps, L lags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats64 = npt.NDArray[np.float64]

_LEAST_CYCLES = 3
_MOST_STEPS = 400
"""Longer seasons are left alone: a first look has to end."""
_LEAST_STRENGTH = 0.3
_PROMINENCE = 0.1
"""How far a peak that nothing suggested stands out from the trough before it."""
_FAR = 3.0
"""Values beyond so many interquartile ranges from the median are cut off (Tukey, 1977)."""
_NEAR = 1.15
"""Of seasons whose naive forecast is off by so many times the least error, or less, the shortest is taken."""
_SURE, _VERY_SURE = 2.5, 4.0
"""Deviations of pure chance that a suggested season, or any other, has to exceed."""
_LEAST_CHANGE = 0.1
_AHEAD = 8
"""So many steps of a horizon are looked at."""


@dataclass(frozen=True)
class Season:
    """A period in steps, and how strongly the series repeats itself after it."""

    steps: int
    strength: float
    """Autocorrelation at that many steps, of the training part less its moving average."""


def find_season(series: Sequence[Floats64], candidates: Iterable[int], most: int = _MOST_STEPS) -> Season | None:
    """Find the season of training parts (each (T,), without NaN): one of the candidates, or else any up to `most`."""
    used = [_clipped(y_T) for y_T in series if len(y_T) >= 2 * _LEAST_CYCLES]
    used = [y_T / np.abs(y_T - y_T.mean()).max() for y_T in used if np.ptp(y_T) > 0]  # series of any size count alike
    if not used:
        return None
    most = min(most, _MOST_STEPS, max(len(y_T) for y_T in used) // _LEAST_CYCLES)
    used = [y_T for y_T in used if len(y_T) >= _LEAST_CYCLES * most]
    found = _believed(used, (m for m in candidates if 1 < m <= most), _SURE) or \
        _believed(used, _peaks(used, most), _VERY_SURE)
    reach = max((season.steps for season in found), default=0)
    errors = [np.mean([np.abs(y_T[reach:] - y_T[reach - season.steps:-season.steps]).mean() for y_T in used])
              for season in found]
    near = [season for season, error in zip(found, errors, strict=True) if error <= _NEAR * min(errors)]
    return min(near, key=lambda season: season.steps, default=None)


def _believed(series: Sequence[Floats64], steps: Iterable[int], deviations: float) -> list[Season]:
    """Seasons after which changes repeat themselves beyond chance, and with them the series."""
    found = []
    for m in steps:
        quarter = max(1, m // 4)
        changes = [y_T[quarter:] - y_T[:-quarter] for y_T in series]
        chance = deviations * np.sqrt(quarter / sum(len(change_T) for change_T in changes))
        if _mean(changes, m) > max(_LEAST_CHANGE, chance):
            found.append(Season(m, _mean([_less_average(y_T, m) for y_T in series], m)))
    return [season for season in found if season.strength >= _LEAST_STRENGTH]


def naive_errors(series: Sequence[Floats64], horizon: int, season: int | None) -> dict[int, float]:
    """Mean absolute errors over training parts of forecasts that need no model, over the steps of a horizon.

    By what a model would correct: 0, the mean; 1, the last value; and the season's steps, the value a season before.
    """
    ahead = np.unique(np.linspace(1, horizon, min(horizon, _AHEAD)).astype(int)).tolist()
    backs = {1: ahead} | ({season: [season * -(-h // season) for h in ahead]} if season else {})
    reach = max(back for steps in backs.values() for back in steps)
    used = [y_T for y_T in series if len(y_T) > reach]
    errors = {0: [np.abs(y_T[reach:] - y_T.mean()).mean() for y_T in used]} | {
        naive: [np.mean([np.abs(y_T[reach:] - y_T[reach - back:-back]).mean() for back in steps]) for y_T in used]
        for naive, steps in backs.items()}
    return {naive: float(np.mean(of_each)) for naive, of_each in errors.items() if of_each}


def _peaks(series: Sequence[Floats64], most: int) -> list[int]:
    """Lags up to `most` at which the autocorrelation has a peak that stands out."""
    acf_L = np.mean([_autocorrelation(_without_trend(y_T), most + 1) for y_T in series], axis=0)
    reach_L = np.maximum(1, np.arange(most + 1) // 20)
    return [m for m in range(2, most + 1) if acf_L[m] - acf_L[1:m].min() >= _PROMINENCE
            and acf_L[m] == acf_L[max(1, m - reach_L[m]):m + reach_L[m] + 1].max()]


def _mean(series: Sequence[Floats64], m: int) -> float:
    """Mean autocorrelation at m steps."""
    return float(np.mean([_autocorrelation(x_T - x_T.mean(), m)[m] for x_T in series]))


def _clipped(y_T: Floats64) -> Floats64:
    """Without what lies far out: one spike would hide every season."""
    quarter, half, three = np.quantile(y_T, [0.25, 0.5, 0.75])
    reach = _FAR * (three - quarter)
    return np.clip(y_T, half - reach, half + reach) if reach > 0 else y_T


def _less_average(y_T: Floats64, m: int) -> Floats64:
    """Less the centred moving average over m steps, where there is one."""
    total = np.concatenate([[0.0], np.cumsum(y_T - y_T.mean())])
    average = y_T.mean() + (total[m:] - total[:-m]) / m
    less: Floats64 = y_T[m // 2:m // 2 + len(average)] - average
    return less


def _without_trend(y_T: Floats64) -> Floats64:
    t = np.linspace(-1.0, 1.0, len(y_T))
    y_T = y_T - y_T.mean()
    without: Floats64 = y_T - t * (t @ y_T) / (t @ t)
    return without


def _autocorrelation(x_T: Floats64, most: int) -> Floats64:
    """Autocorrelation at 0 to `most` steps of a series of mean 0, each divided by its number of pairs."""
    size = 1 << (2 * len(x_T) - 1).bit_length()
    scaled = x_T / (np.abs(x_T).max() or 1.0)
    power = np.abs(np.fft.rfft(scaled, size)) ** 2
    products = np.fft.irfft(power, size)[:most + 1]
    products = np.pad(products, (0, most + 1 - len(products)))
    pairs = np.maximum(len(x_T) - np.arange(most + 1), 1)
    mean = products / pairs
    return mean / mean[0] if mean[0] > 1e-12 else np.zeros(most + 1)
