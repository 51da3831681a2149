"""Checks of the whole table: times in order and regular, nothing missing, series long enough, a target that varies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.sweep import DataConfig, MetricConfig, PrepareConfig
from seqsweep.config.tasks import AnomalyConfig, ClassificationConfig, ForecastingConfig, WindowTask
from seqsweep.data.calendar import Frequency
from seqsweep.data.gaps import count_missing, with_missing_rows
from seqsweep.data.problems import Problems
from seqsweep.data.table import TEST, TRAIN, VAL, Table, Task, target_columns
from seqsweep.errors import Problem

Mask = npt.NDArray[np.bool_]


def with_times(table: Table, task: Task, data: DataConfig, prepare: PrepareConfig, problems: Problems) -> Table:
    """Check the times, find the frequency, and give times to rows that have none where `data.start` tells them."""
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
        table = _checked_times(table, frequency, task, prepare, problems)
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
                   problems: Problems) -> Table:
    """Check order, and for forecasts equal steps, where rows may be added if missing values are filled. Where anomalies
    are sought, clocks may be wrong: rows are taken as they follow.
    """
    times_T = table.times_T
    assert times_T is not None  # noqa: S101  (the caller has looked)
    later = np.ones(len(times_T), dtype=bool)
    later[table.first_S] = False
    nexts = np.flatnonzero(later)
    steps = times_T[nexts] - times_T[nexts - 1]

    def shown(t: int) -> str:
        return _show(table, int(times_T[t]))

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
    if table.time == "number":
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
    lacking = count_missing(steps_T)
    if lacking and prepare.fill != "refuse":
        return with_missing_rows(replace(table, frequency=found), steps_T, found)
    name = found.text or f"{commonest * table.time_unit:g}"
    right = f"prepare.fill: forward or interpolate, which adds missing rows too ({lacking:,})" if lacking else \
        "a row for each step"
    problems.add_each("irregular steps", uneven, lambda t: Problem(
        table.where(t), f"{shown(t)} follows {shown(t - 1)}{_of(table, t)}, but a step is {name}",
        f"{right}, or the right data.freq"))
    return replace(table, frequency=frequency)


def _show(table: Table, time: int) -> str:
    return str(pd.Timestamp(time)) if table.time == "timestamp" else f"{time * table.time_unit:g}"


def _of(table: Table, t: int) -> str:
    s = int(np.searchsorted(table.bounds, t, side="right")) - 1
    return f" in {table.named(s)}" if table.series[s] else ""


def check_missing(table: Table, prepare: PrepareConfig, problems: Problems, exempt_TR: Mask | None = None) -> None:
    """Refuse missing values unless `prepare.fill` says what to do with them."""
    if prepare.fill != "refuse":
        return
    missing_TR = np.isnan(table.values_TR)
    if exempt_TR is not None:
        missing_TR &= ~exempt_TR
    for r in np.flatnonzero(missing_TR.any(axis=0)):
        name = table.columns[r]
        problems.add_each("missing values", np.flatnonzero(missing_TR[:, r]), lambda t, name=name: Problem(  # type: ignore[misc]
            table.where(t, name), "the value is missing", "fill it in, or prepare.fill: interpolate, forward, ..."))


def check_lengths(table: Table, task: WindowTask, lead: int, problems: Problems, ahead: int = 0) -> None:
    """Each series must hold one window; `lead` rows at its start are used up by lags.

    `ahead`: how many rows at the end of each are the future, added to what was given; they are not counted.
    """
    needed = lead + task.context + task.horizon - ahead
    horizon = f" + horizon {task.horizon}" if not ahead else ""
    lags = f" + longest lag or difference {lead}" if lead else ""
    problems.add_each("short series", np.flatnonzero(table.length_S - ahead < needed), lambda s: Problem(
        table.where(int(table.bounds[s])), f"{table.named(s)} has {table.length_S[s] - ahead} rows"
        + " up to its last observed target" * bool(ahead),
        f"context {task.context}{horizon}{lags} = {needed} rows at least; "
        + ("give more of its history, or leave the series out" if ahead else
           "leave the series out, or take a smaller context")))


def check_targets(table: Table, task: WindowTask, part_T: npt.NDArray[np.int8], problems: Problems) -> None:
    """A target must vary within the training part."""
    train_T = part_T == TRAIN
    if not train_T.any():
        problems.add("nothing to learn from", table.files[0], f"no row of {len(part_T)} is left for the training part",
                     "more rows, or smaller parts (split.val, split.test)")
        return
    for d, name in enumerate(target_columns(task, table.columns)):
        values = table.values_TR[train_T, d]
        values = values[~np.isnan(values)]
        if not len(values):
            problems.add("empty target", f"{table.files[0]}, column {name}", "no value in the training part",
                         "a target with values")
        elif values.min() == values.max():
            problems.add("constant target", f"{table.files[0]}, column {name}",
                         f"it is {values[0]:g} in the whole training part", "a target that varies")


def check_labelled(table: Table, metric: MetricConfig, task: WindowTask, part_T: npt.NDArray[np.int8],
                   problems: Problems) -> None:
    """Figures that are counted in labelled anomalies need some."""
    if not isinstance(task, AnomalyConfig):
        return
    for name, part, key in ((metric.name, VAL, "metric.name"), (metric.judged.name, TEST, "metric.test")):
        if name != "loss" and (table.window_T is None or not table.window_T[part_T == part].any()):
            words = "validation" if part == VAL else "test"
            problems.add("no labelled anomaly", key, f"{name} counts labelled anomalies, and the {words} part has none",
                         "task.label or data.windows, and a part that holds some; or loss")
        elif name == "nab_cross" and table.window_T is not None and len(np.unique(
                table.series_T[(part_T == part) & (table.window_T > 0)])) < 2:
            problems.add("one labelled series", key, "nab_cross chooses a threshold by the labels of other series, and "
                         "there are none", "several series with labels; or nab")


def check_classes(table: Table, task: ClassificationConfig, part_T: npt.NDArray[np.int8], drawn: frozenset[int],
                  remedy: str, problems: Problems) -> None:
    """Two classes at least, all of them in the training part and in each part that was drawn."""
    label_S, part_S = np.array(table.label_S, dtype=object), part_T[table.first_S]
    classes = set(label_S.tolist())
    if len(classes) == 1:
        problems.add("one class", f"{table.files[0]}, column {task.label}", f"every label is {label_S[0]!r}",
                     "two classes at least")
        return
    for part, name in enumerate(("training", "validation", "test")):
        held = set(label_S[part_S == part].tolist())
        absent = sorted(classes - held)
        if not held or not absent or (part != TRAIN and part not in drawn):
            continue
        listed = ", ".join(f"{label} ({np.sum(label_S == label)} in all)" for label in absent[:5])
        listed += ", ..." if len(absent) > 5 else ""
        right = remedy if drawn else "each class needs sequences to learn from"
        if part == TEST:
            right = f"a larger test part (split.test: 30%), {right.partition(', ')[2]}"
        first = int(table.first_S[np.argmax(label_S == absent[0])])
        problems.add("classes missing from a part", table.where(first, task.label),
                     f"no sequence of class {listed} is among the {np.sum(part_S == part)} of the {name} part", right)


