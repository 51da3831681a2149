"""The scoring rule of the Numenta Anomaly Benchmark (Lavin & Ahmad, 2015), standard profile.

The first alarm within a labelled window earns from 1 at its first row towards 0 at its last; a window without one
costs 1; an alarm outside costs up to 0.11, less just behind a window. The sum is scaled so that no alarm at all gives
0 and an alarm at the first row of every window 100.

Shapes: T rows of all series, N rows under watch in the order of time within each series, S series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqsweep.data.batch import Ints

Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_FALSE_ALARM = 0.11
_TENTHS = 10
_FAR = 3.0
"""Widths of a window behind which an alarm has nothing to do with it any more."""


@dataclass(frozen=True, eq=False)
class Watch:
    """What an alarm is worth at each of N rows."""

    window_N: Ints
    """Labelled window that a row lies in; -1: none."""
    gain_N: Doubles
    """Of an alarm, were it the only one: above 0 in a window, below 0 outside, near 0 just behind one."""
    series_N: Ints

    @property
    def windows(self) -> int:
        """Labelled windows with a row under watch."""
        return len(np.unique(self.window_N[self.window_N >= 0]))


def watch(window_T: npt.NDArray[np.integer], first_S: Ints, row_N: Ints) -> Watch:
    """Say what alarms at the rows `row_N` are worth.

    `window_T`: the number of the window a row lies in, 0 outside; no number stands in two series. A window of which
    only a part is under watch keeps its whole width.
    """
    gain_T = np.full(len(window_T), -_FALSE_ALARM)
    end_S = np.append(first_S[1:], len(window_T))
    for begin, end in zip(first_S.tolist(), end_S.tolist(), strict=True):
        own = window_T[begin:end]
        for number in [int(each) for each in dict.fromkeys(own.tolist()) if each]:
            inside = begin + np.flatnonzero(own == number)
            first, last = int(inside[0]), int(inside[-1])
            width = last - first + 1
            place = (np.arange(first, last + 1) - last - 1) / width
            gain_T[first:last + 1] = _sigmoid(place) / _sigmoid(np.array(-1.0))
            behind = (np.arange(last + 1, end) - last) / max(1, width - 1)
            gain_T[last + 1:end] = _FALSE_ALARM * np.where(behind < _FAR, _sigmoid(behind), -1.0)
    series_N = np.searchsorted(first_S, row_N, side="right") - 1
    return Watch(window_T[row_N].astype(np.int64) - 1, gain_T[row_N], series_N)


def _sigmoid(place: Doubles) -> Doubles:
    """From nearly 1 at the left edge of a window (-1) over 0 at its right edge (0) to nearly -1 a width behind (1)."""
    value: Doubles = 2.0 / (1.0 + np.exp(5.0 * np.minimum(place, _FAR))) - 1.0
    return value


def earned(alarm_N: Mask, watched: Watch) -> tuple[Doubles, Doubles]:
    """Return `(N,)` what each row adds to the score above that of no alarm at all, and 1 at each window's first row.

    The score is 100 x the sum of the first / twice the sum of the second.
    """
    earned_N = np.where(alarm_N & (watched.window_N < 0), watched.gain_N, 0.0)
    hit = np.flatnonzero(alarm_N & (watched.window_N >= 0))
    _, first = np.unique(watched.window_N[hit], return_index=True)  # of each window the first alarm, worth most
    earned_N[hit[first]] = 1.0 + watched.gain_N[hit[first]]
    opens_N = np.zeros(len(alarm_N))
    inside = np.flatnonzero(watched.window_N >= 0)
    _, opening = np.unique(watched.window_N[inside], return_index=True)
    opens_N[inside[opening]] = 1.0
    return earned_N, opens_N


def nab_score(alarm_N: Mask, watched: Watch) -> float:
    """Return the score: 0 for no alarm, 100 at best, below 0 where false alarms cost more; nan without a window."""
    earned_N, opens_N = earned(alarm_N, watched)
    return float(50.0 * earned_N.sum() / opens_N.sum()) if opens_N.any() else float("nan")


def best_threshold(score_N: Doubles, watched: Watch) -> tuple[float, float]:
    """Return the threshold whose alarms, the rows with a score as high at least, have the best NAB score, and that.

    Every distinct score is tried. Of thresholds that are as good it is the lowest, just above the next lower score: a
    miss costs more than a false alarm. Above every score where no alarm is best.
    """
    order_N = np.argsort(-score_N, kind="stable")
    score, window, gain = score_N[order_N], watched.window_N[order_N], watched.gain_N[order_N]
    adds = np.where(window < 0, gain, 0.0)
    best: dict[int, float] = {}
    for place in np.flatnonzero(window >= 0).tolist():
        number, value = int(window[place]), 1.0 + float(gain[place])
        adds[place] = max(0.0, value - best.get(number, 0.0))
        best[number] = max(value, best.get(number, 0.0))
    whole = np.append(score[1:] != score[:-1], True)[:len(score)]
    total = np.where(whole, np.cumsum(adds), -np.inf)
    windows = watched.windows
    if not windows or not len(score) or total.max() <= 0:
        return float(np.nextafter(score.max(initial=0.0), np.inf)), 0.0 if windows else float("nan")
    place = int(np.flatnonzero(total == total.max())[-1])
    lower = float(score[place + 1]) if place + 1 < len(score) else 0.0
    return float(np.nextafter(lower, np.inf)), float(50.0 * total[place] / windows)


def crossed_alarms(score_N: Doubles, watched: Watch) -> Mask | None:
    """Return the alarms of each series at the threshold that is best for others: of tenths, each in turn is left out.

    No series' labels have a say in its own threshold. None where no two series have a window.
    """
    if len(np.unique(watched.series_N[watched.window_N >= 0])) < 2:
        return None
    _, place_N = np.unique(watched.series_N, return_inverse=True)
    tenth_N = place_N % min(_TENTHS, int(place_N.max()) + 1)
    alarm_N = np.zeros(len(score_N), dtype=bool)
    for tenth in np.unique(tenth_N):
        own = tenth_N == tenth
        others = Watch(watched.window_N[~own], watched.gain_N[~own], watched.series_N[~own])
        alarm_N[own] = score_N[own] >= best_threshold(score_N[~own], others)[0]
    return alarm_N
