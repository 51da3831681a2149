"""A user's own function from a table to a table, before anything else is done: at training and at prediction alike.

It is given one series at a time, rows in the order of the file, and neither labels nor numbers that are to be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from seqsweep.config.own import Own
from seqsweep.config.sweep import DataConfig
from seqsweep.config.tasks import (
    AnomalyConfig,
    ClassificationConfig,
    RegressionConfig,
    TaskConfig,
    WindowTask,
    reads_whole,
)
from seqsweep.data.corpus import WINDOW
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.own import load, told

_CUTS = 16
"""Places where a series is cut off, to see whether its earlier rows depend on later ones."""
_CLOSE = 1e-6


def own_columns(frame: pd.DataFrame, own: Own, task: TaskConfig, data: DataConfig) -> pd.DataFrame:
    """Return what the function makes of each series: the same rows, in the same order.

    Raises InvalidSweep where it answers otherwise, or with the line where it fails.
    """
    attrs, hidden, shown = dict(frame.attrs), frame[hidden_columns(frame, task)], _shown(frame, task)
    series = _series(frame, task, data)
    fixed = [name for name in (series, data.time) if name and name in shown]
    made, places = [], []
    for place in _places(shown, series):
        made.append(_call(own, shown.iloc[place], fixed))
        places.append(place)
    whole = pd.concat(made) if made else shown
    if len(made) > 1:
        whole = whole.iloc[np.argsort(np.concatenate(places), kind="stable")]
    for name in hidden.columns:
        whole[name] = hidden[name]
    whole.attrs = {name: value for name, value in attrs.items() if name != "columns"}
    return whole


def check_causal(frame: pd.DataFrame, own: Own, task: TaskConfig, data: DataConfig) -> None:
    """Raise InvalidSweep where a row of the longest series depends on later ones, and those are not known in time.

    A task that reads whole sequences knows all of one at once.
    """
    if reads_whole(task) or frame.empty:
        return
    shown = _shown(frame, task)
    longest = max(_places(shown, _series(frame, task, data)), key=len)
    rows = shown.iloc[longest]
    whole = _call(own, rows, [])
    for count in _cuts(rows):
        part = _call(own, rows.iloc[:count], [])
        for name in whole.columns:
            if name not in part or (place := _first_difference(whole[name].iloc[:count], part[name])) is not None:
                where = "" if name not in part else f", row {rows.index[place]},"
                raise InvalidSweep(Problem(own.entry, f"column {name}{where} is another once later rows are known",
                                           "each row from itself and earlier ones: shift, rolling, expanding, ewm"))


def _cuts(rows: pd.DataFrame) -> list[int]:
    """How many rows are left in turn: spread over the series, and behind values that are missing and may be filled."""
    spread = np.linspace(1, len(rows) - 1, _CUTS).astype(int)
    gaps = np.flatnonzero(rows.isna().to_numpy().any(axis=1))[:_CUTS // 2] + 1
    return sorted({int(count) for count in (*spread, len(rows) // 2, *gaps) if 0 < count < len(rows)})


def hidden_columns(frame: pd.DataFrame, task: TaskConfig) -> list[str]:
    """Columns that are no input: labels, and the numbers that regression tells."""
    names = [WINDOW, *(["label"] if frame.attrs.get("sequences") else [])]
    if isinstance(task, ClassificationConfig | AnomalyConfig) and task.label:
        names.append(task.label)
    if isinstance(task, RegressionConfig):
        names.append(task.target)
    return list(dict.fromkeys(name for name in names if name in frame))


def _shown(frame: pd.DataFrame, task: TaskConfig) -> pd.DataFrame:
    shown = frame.drop(columns=hidden_columns(frame, task))
    shown.attrs = {}  # pandas would copy them with every series
    return shown


def _series(frame: pd.DataFrame, task: TaskConfig, data: DataConfig) -> str | None:
    """The column that tells series apart, as `roles_of` has it."""
    several = bool(frame.attrs.get("sequences")) or data.files is not None or data.layout == "wide" or not isinstance(
        task, WindowTask)
    return data.series or ("series" if several and "series" in frame else None)


def _places(frame: pd.DataFrame, series: str | None) -> Iterator[Any]:
    """The rows of each series."""
    if series is None or series not in frame:
        yield np.arange(len(frame))
        return
    codes, _ = pd.factorize(frame[series], use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.cumsum(np.bincount(codes))[:-1]) if len(codes) else ()


def _call(own: Own, rows: pd.DataFrame, fixed: list[str]) -> pd.DataFrame:
    with told(own, f"{own.name} of {len(rows)} rows"):
        made = load(own)(rows.copy())
    if not isinstance(made, pd.DataFrame):
        raise _refused(own, f"{own.name} returns a {type(made).__name__}", "a DataFrame")
    if not made.index.equals(rows.index):
        what = f"{len(made)} rows of {len(rows)}" if len(made) != len(rows) else "rows in another order or renumbered"
        raise _refused(own, f"{own.name} returns {what}", "the same rows in the same order, with their index")
    for name in fixed:
        if name not in made or not made[name].equals(rows[name]):
            raise _refused(own, f"{own.name} changes the column {name}, which tells rows apart", "this column as it is")
    if not made.columns.is_unique:
        raise _refused(own, f"{own.name} returns two columns of one name", "each once")
    return made.set_axis([str(name) for name in made.columns], axis=1)


def _refused(own: Own, what: str, right: str) -> InvalidSweep:
    return InvalidSweep(Problem(own.entry, what, right))


def _first_difference(a: pd.Series[Any], b: pd.Series[Any]) -> int | None:
    """The place of the first two values that differ by more than rounding."""
    if pd.api.types.is_numeric_dtype(a.dtype) and pd.api.types.is_numeric_dtype(b.dtype):
        x, y = (each.to_numpy(dtype=np.float64, na_value=np.nan) for each in (a, b))
        largest = np.abs(x[np.isfinite(x)]).max(initial=0.0)  # sums that roll differ in the measure of what they hold
        same = np.isclose(x, y, rtol=_CLOSE, atol=_CLOSE * largest, equal_nan=True)
    else:
        same = ((a.astype(object) == b.astype(object)) | (a.isna() & b.isna())).to_numpy(dtype=bool)
    return None if same.all() else int(np.argmin(same))
