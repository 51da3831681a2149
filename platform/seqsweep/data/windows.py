"""Windows: `context` rows, then `horizon` rows to be forecast or judged; the first of those is the origin.

A window's targets lie in one part. Training windows lie in the training part with their context; the context of
validation and test windows may reach back, since the past is known by then. No window crosses a series.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import WindowTask
from seqsweep.data.table import TRAIN, UNUSED, Ints

Mask = npt.NDArray[np.bool_]


def runs(part_T: npt.NDArray[np.int8], bounds: Ints) -> tuple[Ints, Ints]:
    """First row, and row after the last, of each stretch of one part within one series."""
    starts = np.zeros(len(part_T), dtype=bool)
    starts[bounds[:-1]] = True
    starts[1:] |= part_T[1:] != part_T[:-1]
    begin = np.flatnonzero(starts)
    return begin, np.append(begin[1:], len(part_T))


def window_origins(part_T: npt.NDArray[np.int8], bounds: Ints, task: WindowTask, lead: int,
                   stride: int) -> dict[int, Ints]:
    """Origins of each part. `lead` rows at the start of a series, without lags or differences, are no context.

    Training origins are `task.stride` apart. Validation and test origins are `stride` apart and begin at the part's
    first row, or at the first row with enough past.
    """
    begin, end = runs(part_T, bounds)
    series_begin = bounds[np.searchsorted(bounds, begin, side="right") - 1]
    found: dict[int, list[Ints]] = {}
    for a, b, first in zip(begin.tolist(), end.tolist(), series_begin.tolist(), strict=True):
        part = int(part_T[a])
        if part == UNUSED:
            continue
        if part == TRAIN:
            origins = np.arange(max(a, first + lead) + task.context, b - task.horizon + 1, task.stride)
        else:
            origins = np.arange(max(a, first + lead + task.context), b - task.horizon + 1, stride)
        found.setdefault(part, []).append(origins)
    return {part: np.concatenate(origins).astype(np.int64) for part, origins in found.items()}


def target_rows(origins: Ints, horizon: int, length: int) -> Ints:
    """The rows that lie in the horizon of any window."""
    change = np.zeros(length + 1, dtype=np.int64)
    np.add.at(change, origins, 1)
    np.add.at(change, origins + horizon, -1)
    return np.flatnonzero(np.cumsum(change[:-1]) > 0)


def usable(origins: Ints, observed_T: Mask, ahead_T: Mask, horizon: int) -> Ints:
    """Leave out windows without any observed target, and those whose last known row was filled from the future."""
    seen = np.concatenate([[0], np.cumsum(observed_T)])
    kept: Ints = origins[(seen[origins + horizon] > seen[origins]) & ~ahead_T[origins - 1]]
    return kept
