"""Is one model better than another beyond chance? A paired bootstrap over windows or rows.

Shapes: N samples, K terms, M blocks, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqsweep.data.batch import Samples

Floats64 = npt.NDArray[np.float64]
RESAMPLES, _FEWEST = 10_000, 500
_DRAWS = 200_000_000
"""Beyond so many draws in all, which take some seconds, there are fewer resamples."""
FEW_UNITS = 10
_CHUNK = 4_000_000


@dataclass(frozen=True, eq=False)
class Terms:
    """What one model's metric is made of: `figure` of the sums over samples, so that any resample gives one too."""

    terms_NK: Floats64
    figure: Callable[[Floats64], Floats64]
    """From sums `(R, K)` to the metric `(R,)`."""

    def value(self) -> float:
        """The metric over all samples."""
        return float(self.figure(self.terms_NK.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn: runs of samples that may depend on each other, all runs of one length within a series."""

    first_M: npt.NDArray[np.int64]
    """First sample of each block, in the order of `order_N`."""
    length_M: npt.NDArray[np.int64]
    order_N: npt.NDArray[np.int64]
    """Samples by series, then by time."""
    draws: int
    """Blocks per resample: as many as make up about N samples."""

    @property
    def samples(self) -> int:
        """Number of windows or rows."""
        return len(self.order_N)

    @property
    def block(self) -> int:
        """Longest block; 1 where samples are drawn one by one."""
        return int(self.length_M.max(initial=1))

    def sums(self, terms_NK: Floats64) -> Floats64:
        """Return `(M, K)`: the terms summed over each block."""
        running = np.zeros((len(terms_NK) + 1, terms_NK.shape[1]))
        np.cumsum(terms_NK[self.order_N], axis=0, out=running[1:])
        if self.block == 1:
            return terms_NK[self.order_N]  # differences of running sums would lose digits
        sums_MK: Floats64 = running[self.first_M + self.length_M] - running[self.first_M]
        return sums_MK


def units(samples: Samples, horizon: int = 1, *, whole: bool = False) -> Units:
    """Say what is drawn.

    Windows whose targets overlap are drawn in moving blocks (Künsch, 1989) as long as the overlap and at least the
    cube root of the number of windows; rows and windows side by side are drawn one by one (Efron, 1979).
    `whole`: draw whole series, where there are 10 at least.
    """
    order_N = np.lexsort((samples.start_N, samples.series_N))
    series_N, start_N = samples.series_N[order_N], samples.start_N[order_N]
    same = series_N[1:] == series_N[:-1]
    distance = (start_N[1:] - start_N[:-1])[same]
    block = 1
    if horizon > 1 and len(distance) and distance.min() < horizon:
        block = max(math.ceil(horizon / max(1, int(distance.min()))), round(len(order_N) ** (1 / 3)))
    if whole and len(np.unique(series_N)) >= FEW_UNITS:
        block = len(order_N)
    first, length = [], []
    borders = np.flatnonzero(np.concatenate([[True], ~same, [True]])) if len(order_N) else np.zeros(1, dtype=np.int64)
    for begin, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        of_series = min(block, end - begin)
        starts = np.arange(begin, end - of_series + 1)
        first.append(starts)
        length.append(np.full(len(starts), of_series))
    length_M = np.concatenate(length) if length else np.zeros(0, dtype=np.int64)
    first_M = np.concatenate(first) if first else np.zeros(0, dtype=np.int64)
    draws = math.ceil(len(order_N) / length_M.mean()) if len(length_M) else 0
    return Units(first_M, length_M, order_N, draws)


@dataclass(frozen=True)
class Comparison:
    """A candidate beside a rival on the same samples; a difference above 0 means that the candidate is better."""

    rival_name: str
    metric: str
    candidate: float
    rival: float
    difference: float
    low: float
    """95% interval of the difference less the margin asked for."""
    high: float
    margin: float
    """Share of the rival's figure by which the candidate must be better."""
    samples: int
    block: int

    @property
    def better(self) -> bool:
        """Better than the rival by more than the margin, beyond chance."""
        return self.low > 0

    def __str__(self) -> str:
        verdict = "better" if self.difference > 0 else "worse" if self.difference < 0 else "different"
        way = ("less the", "asked") if self.margin > 0 else ("plus the", "granted")
        margin = f" {way[0]} {100 * abs(self.margin):g}% of the rival's figure {way[1]}:" if self.margin else ""
        few = f"; only {self.samples} samples, so the interval is wide" if self.samples < FEW_UNITS else ""
        drawn = f" in blocks of {self.block}" if self.block > 1 else ""
        return (f"{self.metric} {self.candidate:.5g} against {self.rival:.5g} of {self.rival_name}: {verdict} by "
                f"{abs(self.difference):.4g} (95% interval of the gain{margin} {self.low:.4g} to {self.high:.4g}, "
                f"{self.samples} samples{drawn}{few})")


def compare(candidate: Terms, rival: Terms, drawn: Units, *, rival_name: str, metric: str,
            goal: Literal["minimize", "maximize"], margin: float = 0.0, seed: int = 0) -> Comparison:
    """Draw both models' samples together 10,000 times (of more than 20,000 blocks less often, 500 times at least).

    The metric is computed anew of each draw; the interval is from the 2.5% to the 97.5% quantile of the differences
    (percentile interval, Efron & Tibshirani, 1993). The same seed gives the same interval.
    """
    sign = 1.0 if goal == "minimize" else -1.0
    columns = candidate.terms_NK.shape[1]
    sums_MK = drawn.sums(np.hstack([candidate.terms_NK, rival.terms_NK]))
    gains = []
    for resampled_RK in _resampled(sums_MK, drawn.draws, seed):
        ours, theirs = candidate.figure(resampled_RK[:, :columns]), rival.figure(resampled_RK[:, columns:])
        gains.append(sign * (theirs - ours) - margin * np.abs(theirs))
    low, high = np.quantile(np.concatenate(gains), [0.025, 0.975]).tolist()  # nan where any is: never better
    ours_all, theirs_all = candidate.value(), rival.value()
    return Comparison(rival_name, metric, ours_all, theirs_all, sign * (theirs_all - ours_all), low, high, margin,
                      drawn.samples, drawn.block)


def _resampled(sums_MK: Floats64, draws: int, seed: int) -> Iterator[Floats64]:
    """Return the sums of every resample, in chunks of `(R, K)`."""
    blocks = len(sums_MK)
    if not blocks:
        yield np.full((1, sums_MK.shape[1]), np.nan)
        return
    random = np.random.default_rng(seed)
    resamples = min(RESAMPLES, max(_FEWEST, _DRAWS // draws))
    chunk = max(1, min(resamples, _CHUNK // max(blocks, draws, sums_MK.shape[1])))
    for done in range(0, resamples, chunk):
        rows = min(chunk, resamples - done)
        picked = random.integers(blocks, size=(rows, draws)) + blocks * np.arange(rows)[:, None]
        counts_RM = np.bincount(picked.ravel(), minlength=rows * blocks).reshape(rows, blocks)
        yield counts_RM.astype(np.float64) @ sums_MK
