"""The times of a table's rows: read, counted from a start, in order, and for forecasts a step apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from seqsweep.config.sweep import DataConfig, PrepareConfig
from seqsweep.config.tasks import AnomalyConfig, ForecastingConfig
from seqsweep.data.calendar import Frequency
from seqsweep.data.gaps import count_missing, with_missing_rows
from seqsweep.data.problems import Problems
from seqsweep.data.table import Table, Task
from seqsweep.errors import Problem


def with_times(table: Table, task: Task, data: DataConfig, prepare: PrepareConfig, problems: Problems,
               trained: Frequency | None = None) -> Table:
    """Check the times, find the frequency, and give times to rows that have none where `data.start` tells them.

    `trained`: of the training data, where the rows are new.
    """
    frequency = None
    if data.freq is not None:
        try:
            frequency = Frequency.parse(data.freq)
        except ValueError as error:
            problems.add("frequency", "data.freq", str(data.freq), str(error))
    if table.times_T is None:
        table = _times_from_start(table, data, frequency, problems)
    elif data.start is not None:
        problems.add("start", "data.start", "it is set beside data.time", "only one of the two")
    else:
        table = _checked_times(table, frequency, task, prepare, problems, trained)
    if prepare.calendar and table.time != "timestamp" and not problems:
        problems.add("calendar", "prepare.calendar", "the rows have no times",
                     "data.time: a column of times, or data.start and data.freq")
    return table


def _times_from_start(table: Table, data: DataConfig, frequency: Frequency | None, problems: Problems) -> Table:
    """Count times from the first row of each series."""
    table = replace(table, frequency=frequency)
    if data.start is None:
        return table
    start = pd.to_datetime(pd.Series([data.start]), errors="coerce", utc=True, format="ISO8601")[0]
    if pd.isna(start):
        problems.add("start", "data.start", repr(data.start), "ISO 8601 such as 2000-06-05 or 2000-06-05T12:30")
    elif frequency is None:
        problems.add("start", "data.start", "it needs data.freq", "data.freq: 30min")
    else:
        times_T = frequency.advance(start.as_unit("ns").value, table.step_T)
        return replace(table, times_T=times_T, time="timestamp")
    return table


def _checked_times(table: Table, frequency: Frequency | None, task: Task, prepare: PrepareConfig,
                   problems: Problems, trained: Frequency | None) -> Table:
    """Check order, and for forecasts equal steps, where rows may be added if missing values are filled. Where anomalies
    are sought, clocks may be wrong: rows are taken as they follow.
    """
    times_T = table.times_T
    assert times_T is not None  # noqa: S101  (the caller has looked)
    later = np.ones(len(times_T), dtype=bool)
    later[table.first_S] = False
    nexts = np.flatnonzero(later)
    steps = times_T[nexts] - times_T[nexts - 1]

    shown = table.time_of
    wrong = np.zeros(len(steps), dtype=bool) if isinstance(task, AnomalyConfig) else steps <= 0
    problems.add_each("duplicate times", nexts[wrong & (steps == 0)], lambda t: Problem(
        table.where(t), f"{shown(t)} for the second time{_of(table, t)}", "one row a time in each series"))
    problems.add_each("unsorted times", nexts[wrong & (steps < 0)], lambda t: Problem(
        table.where(t), f"{shown(t)} after {shown(t - 1)}{_of(table, t)}", "rows of a series sorted by time"
        + ("" if any(table.series) else "; if the file holds several series, data.series: the column of their names")))
    if np.any(steps <= 0) or not len(steps):
        return replace(table, frequency=frequency)
    values, counts = np.unique(steps, return_counts=True)
    commonest = int(values[np.argmax(counts)])
    if trained is not None and not np.any(trained.steps(times_T[nexts - 1], times_T[nexts]) == 1):
        trained = None  # other steps: told as such
    if trained is not None:
        found = trained
    elif table.time == "number":
        found = Frequency("", nanoseconds=commonest)
    else:
        found = frequency or Frequency.of_step(commonest, times_T[nexts - 1], times_T[nexts])
    steps_T = np.ones(len(times_T))
    steps_T[nexts] = found.steps(times_T[nexts - 1], times_T[nexts])
    uneven = np.flatnonzero(steps_T != 1)
    if not len(uneven):
        return replace(table, frequency=found)
    if not isinstance(task, ForecastingConfig):
        return replace(table, frequency=frequency)
    lacking = count_missing(steps_T, table.series_T, trained=trained is not None)
    if lacking and prepare.fill != "refuse":
        return with_missing_rows(replace(table, frequency=found), steps_T, found)
    name = found.text or f"{commonest * table.time_unit:g}"
    between = uneven[steps_T[uneven] != np.round(steps_T[uneven])]
    if not lacking and not len(between):
        t = int(uneven[0])
        problems.add("irregular steps", table.where(t), f"{shown(t)} follows {shown(t - 1)}{_of(table, t)}, but a step "
                     f"is {name}, and {len(uneven):,} of {len(nexts):,} are longer: too many rows lack to be added",
                     "the right data.freq, or a row for each step; prepare.fill adds at most half as many rows as a "
                     "series has")
        return replace(table, frequency=frequency)
    right = f"prepare.fill: forward or interpolate, which adds missing rows too ({lacking:,})" if lacking else \
        "a row for each step"
    uneven = uneven if lacking else between
    problems.add_each("irregular steps", uneven, lambda t: Problem(
        table.where(t), f"{shown(t)} follows {shown(t - 1)}{_of(table, t)}, but a step is {name}",
        f"{right}, or the right data.freq"))
    return replace(table, frequency=frequency)


def _of(table: Table, t: int) -> str:
    s = int(np.searchsorted(table.bounds, t, side="right")) - 1
    return f" in {table.named(s)}" if table.series[s] else ""
