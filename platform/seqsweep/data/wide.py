"""Tables of a row a series, its values in order in numbered or dated columns, made long: one row a time step.

Shapes: N series, L columns of values.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.sweep import DataConfig
from seqsweep.data.columns import name_of, read_numbers, read_times
from seqsweep.data.problems import Problems, nearest
from seqsweep.errors import InvalidData, Problem

VALUE = "value"
"""Column that holds the values."""
_NUMBERED = re.compile(r"(.*?)(\d{1,9})")
DATE = re.compile(r"\d{4}-\d")
"""How a column that is a date begins."""


def melted(frame: pd.DataFrame, data: DataConfig, shown: str) -> pd.DataFrame:
    """Return a row for each value; `shown` is how errors call the table.

    The columns are `data.series` (where there is none `series`, the row's number in the table), whatever else the table
    says of each series, `value`, and `data.time`, which the dates of the columns are called. Empty cells before the
    first and after the last value of a row are left out; those between are missing values. Raises InvalidData with
    every problem.
    """
    if frame.attrs.get("sequences"):
        raise InvalidData(Problem(shown, "the format holds whole sequences, and has no columns to be taken for steps",
                                  "data.layout: long"))
    if data.series is not None and data.series not in frame:
        raise InvalidData(Problem(shown, f"there is no column {data.series!r}",
                                  nearest(data.series, [str(name) for name in frame.columns][:50], "columns")))
    columns = steps_of([str(name) for name in frame.columns if name != data.series])
    if len(columns) < 2:
        raise InvalidData(Problem(shown, "no columns that follow one another as steps of a series",
                                  "data.layout: long, a row a time step; or columns such as V1, V2, ..., or dates"))
    if data.time is not None and not DATE.match(columns[0]):
        raise InvalidData(Problem(shown, f"the columns {columns[0]} to {columns[-1]} are no dates",
                                  "no data.time; data.start and data.freq tell the times of all series, if need be"))
    values_NL = _numbers(frame, columns, shown)
    ids = _ids(frame, data, shown)
    known_NL = np.isfinite(values_NL)
    begun = np.logical_or.accumulate(known_NL, axis=1)
    kept_NL = begun & np.logical_or.accumulate(known_NL[:, ::-1], axis=1)[:, ::-1]
    row, step = np.nonzero(kept_NL)
    series = data.series or "series"
    others = [name for name in frame.columns if name != data.series and name not in set(columns)]
    long = frame[others].iloc[row]
    long.insert(0, series, ids.to_numpy()[row])
    new = {VALUE: values_NL[row, step]} | ({data.time: np.array(columns, dtype=object)[step]} if data.time else {})
    for name, column in new.items():
        if name in long:
            raise InvalidData(Problem(shown, f"it has a column {name!r} already, beside the steps of its series",
                                      "another name for that column"))
        long[name] = column
    long.attrs = {**frame.attrs, "columns": [str(name) for name in long.columns]}
    return long


def is_melted(frame: pd.DataFrame) -> bool:
    """Whether a table of new rows is long already."""
    return VALUE in frame.columns


def steps_of(names: list[str]) -> list[str]:
    """Return the columns that are steps of a series: all dates, else the longest stretch that counts up by one."""
    dates = [name for name in names if DATE.match(name)]
    if len(dates) > 1 and not read_times(pd.Series(dates, dtype=object))[2].any():
        return dates
    found = [(name, match) for name in names if (match := _NUMBERED.fullmatch(name))]
    stretches: list[list[str]] = []
    for _, same in groupby(found, key=lambda each: each[1][1]):
        stretch: list[str] = []
        last = None
        for name, match in same:
            if last is not None and int(match[2]) != last + 1:
                stretches.append(stretch)
                stretch = []
            stretch.append(name)
            last = int(match[2])
        stretches.append(stretch)
    return max(stretches, key=len, default=[])


def _numbers(frame: pd.DataFrame, columns: list[str], shown: str) -> npt.NDArray[np.float64]:
    """The values `(N, L)`."""
    plain = frame.copy(deep=False)
    plain.attrs = {}  # pandas copies them for each column taken
    problems = Problems()
    values_NL = np.empty((len(plain), len(columns)))
    for place, name in enumerate(columns):
        column = plain[name]
        values, bad = read_numbers(column)
        bad = bad | np.isinf(values)
        values_NL[:, place] = values
        problems.add_each("text in number columns", np.flatnonzero(bad), lambda i, column=column, name=name: Problem(  # type: ignore[misc]
            f"{shown}, row {column.index[i]}, column {name}", repr(column.iloc[i]), "a number, or an empty cell"))
    for i in np.flatnonzero(np.isnan(values_NL).all(axis=1))[:1] if not problems else ():
        problems.add("empty series", f"{shown}, row {plain.index[i]}", "no value in the whole row", "a row with values")
    problems.raise_if_any()
    return values_NL


def _ids(frame: pd.DataFrame, data: DataConfig, shown: str) -> pd.Series[Any]:
    """What each row's series is called; InvalidData where two rows are called the same."""
    if data.series is None:
        return pd.Series(np.arange(1, len(frame) + 1), index=frame.index)
    ids: pd.Series[Any] = frame[data.series]
    names = ids.map(name_of, na_action="ignore")
    problems = Problems()
    twice = (names.duplicated() & names.notna()).to_numpy()
    problems.add_each("ids in two rows", np.flatnonzero(twice), lambda i: Problem(
        f"{shown}, row {frame.index[i]}, column {data.series}", f"series {names.iloc[i]} for the second time",
        "one row a series"))
    problems.raise_if_any()
    return ids
