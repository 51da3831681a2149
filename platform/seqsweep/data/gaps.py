"""Rows for the steps that no row of a series was given for.

Shapes: T rows of all series end to end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seqsweep.data.calendar import Frequency
from seqsweep.data.table import Ints, Table

MOST_ADDED = 1_000_000
"""Rows that are added at most to what a prediction is made from."""


def count_missing(steps_T: npt.NDArray[np.float64], series_T: Ints, *, trained: bool = False) -> int:
    """Count the rows that lack where a row comes `steps_T` steps after the one before in its series (1 at its first).

    0 where none are to be added: rows lie between two steps, or in a series so many lack that the step was taken for
    less than it is, unless it is `trained`. Of business days 2 rows lack for 5 that are there.
    """
    if np.any(steps_T != np.round(steps_T)) or np.any(steps_T < 1):
        return 0
    lacking_S = np.bincount(series_T, weights=steps_T - 1)
    few = lacking_S.sum() <= MOST_ADDED if trained else np.all(2 * lacking_S <= np.bincount(series_T))
    return int(lacking_S.sum()) if few else 0


def with_missing_rows(table: Table, steps_T: npt.NDArray[np.float64], frequency: Frequency) -> Table:
    """Add the rows that lack, without any value, at their times; each is of the part of the row before it."""
    more_T = np.append(steps_T[1:].astype(np.int64), 1)  # of each row and of those that lack behind it
    more_T[table.bounds[1:] - 1] = 1
    bounds = np.concatenate([[0], np.cumsum(more_T)])[table.bounds]
    from_T = np.repeat(np.arange(len(more_T)), more_T)
    first_T = np.cumsum(more_T) - more_T
    added_T = np.arange(len(from_T)) > first_T[from_T]
    assert table.times_T is not None  # noqa: S101 - steps are counted between times
    times_T = table.times_T[from_T]
    for t in np.flatnonzero(more_T > 1):
        lacking = np.arange(1, more_T[t])
        times_T[first_T[t] + lacking] = frequency.advance(int(table.times_T[t]), lacking)
    return replace(table, values_TR=np.where(added_T[:, None], np.nan, table.values_TR[from_T]), bounds=bounds,
                   file_T=table.file_T[from_T], row_T=np.where(added_T, 0, table.row_T[from_T]),
                   part_T=table.part_T[from_T], times_T=times_T, added_rows=int(added_T.sum()))
