"""What a person should know of new rows: what a prediction from them had to fill, and what it left out.

Shapes: T rows of all series end to end, S series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import ForecastingConfig, WindowTask
from seqsweep.data.table import Ints, Table

_NAMED = 3
"""Series that are named one by one."""


def of_rows(table: Table, task: WindowTask, trained: Sequence[str]) -> list[str]:
    """Say how many rows were added, and which series the model was not trained on (`trained`: those it was)."""
    added = table.added_rows
    told = [f"{added:,} row{'s were' if added > 1 else ' was'} missing, and filled"] if added else []
    known = set(trained)
    unseen = [name for name in table.series if name and name not in known]
    if unseen and isinstance(task, ForecastingConfig):
        listed = ", ".join(unseen[:_NAMED]) + (f" and {len(unseen) - _NAMED:,} more" if len(unseen) > _NAMED else "")
        told.append(f"not among the series of the training data: {listed}")
    return told


def of_forecasts(table: Table, task: ForecastingConfig, origin_S: Ints, given_S: Ints) -> list[str]:
    """Say what the rows lack that forecasts beginning at rows `origin_S` read, and how many given ones come after them.

    `given_S`: the rows that each series had from its origin on.
    """
    lacks_TR = np.isnan(table.values_TR)
    known = np.array([name in task.known for name in table.columns])
    before = _counts(lacks_TR, origin_S - task.context, origin_S)
    within = _counts(lacks_TR[:, known], origin_S, origin_S + task.horizon)
    names, targets = ", ".join(task.known), ", ".join(task.targets)

    def when(t: int) -> str:
        return f" ({table.time_of(t)})" if table.times_T is not None else ""

    return [
        *_by_series(table, before, lambda s: f"{before[s]:,} of the {task.context:,} rows before the forecast lack "
                    "values, and were filled"),
        *_by_series(table, within, lambda s: f"{within[s]:,} of the {task.horizon:,} rows of the forecast lack {names},"
                    f" and were filled; it begins after the last {targets}{when(int(origin_S[s]) - 1)}"),
        *_by_series(table, given_S - task.horizon, lambda s: f"{given_S[s] - task.horizon:,} given rows come after the "
                    f"forecast, which ends {task.horizon:,} steps after the last {targets}"
                    f"{when(int(origin_S[s]) + task.horizon - 1)}; they are not used")]


def _counts(lacks_TR: npt.NDArray[np.bool_], first_S: Ints, end_S: Ints) -> Ints:
    """(S,) rows from `first_S` up to `end_S` that lack any value."""
    total = np.concatenate([[0], np.cumsum(np.logical_or.reduce(lacks_TR, axis=1))])
    counts: Ints = total[end_S] - total[np.maximum(first_S, 0)]
    return counts


def _by_series(table: Table, count_S: Ints, said: Callable[[int], str]) -> list[str]:
    """A sentence for each of the series with most, and how many others there are."""
    worst = [int(s) for s in np.argsort(-count_S, kind="stable") if count_S[s] > 0]
    told = [f"{table.named(s)}: {said(s)}" for s in worst[:_NAMED]]
    others = len(worst) - _NAMED
    return told + [f"{others:,} more series alike, with no more"] * (others > 0)
