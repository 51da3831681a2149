"""From raw columns to the feature array: filled, scaled, with indicators, calendar, lags and differences.

The columns of `values_TF` are the raw ones, then `missing:<column>`, then `time:elapsed` and `since:<column>`, then the
calendar's sines and cosines, then lags, then differences.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import PrepareConfig
from seqsweep.config.tasks import ForecastingConfig, WindowTask
from seqsweep.data.batch import ELAPSED, Floats, Scaling, indicator_name, since_name
from seqsweep.data.calendar import calendar_features, calendar_names
from seqsweep.data.scaling import Figures, fit
from seqsweep.data.table import Ints, Table, Task, target_columns

Floats64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """Which features there are."""

    features: tuple[str, ...]
    targets: tuple[int, ...]
    known: tuple[int, ...]
    """Features that are known ahead."""
    indicators: tuple[int, ...]
    """Raw columns that have an indicator."""

    @classmethod
    def of(cls, columns: tuple[str, ...], indicated: Collection[str], task: Task, prepare: PrepareConfig) -> Layout:
        """Lay out the features; `indicated` names the raw columns with an indicator."""
        forecast = task if isinstance(task, ForecastingConfig) else None
        targets = target_columns(task, columns)
        ahead = set(forecast.known if forecast else ())
        indicators = tuple(r for r, name in enumerate(columns) if name in indicated)
        names = [(name, name in ahead) for name in columns]
        names += [(indicator_name(columns[r]), columns[r] in ahead) for r in indicators]
        if prepare.elapsed:
            names += [(ELAPSED, False), *((since_name(columns[r]), False) for r in indicators)]
        names += [(name, True) for name in calendar_names(prepare.calendar)]
        if isinstance(task, WindowTask):
            names += [(f"{name}:lag{lag}", lag >= task.horizon) for lag in prepare.lags for name in targets]
            names += [(f"{name}:diff{steps}", False) for steps in prepare.differences for name in targets]
        known = tuple(f for f, (_, is_known) in enumerate(names) if is_known and targets)
        return cls(tuple(name for name, _ in names), tuple(range(len(targets))), known, indicators)


@dataclass(frozen=True, eq=False)
class Features:
    """The assembled features."""

    values_TF: Floats
    ahead_T: Mask
    """Rows where a value that is not known ahead was filled with the help of a later row."""
    difference_scales: tuple[float, ...] = ()
    """What each difference was divided by."""
    elapsed_scale: float = 0.0
    """What times were divided by; 0 where they are no features."""


def assemble(table: Table, layout: Layout, figures: Figures, fill_values: tuple[float, ...], prepare: PrepareConfig,
             end_T: Ints, difference_scales: tuple[float, ...] | Mask, elapsed_scale: float = 0.0) -> Features:
    """Compute every feature. Interpolation looks no further than `end_T`, the end of each row's part.

    `difference_scales`: as fitted on the training part, or the training rows to fit them and `elapsed_scale` on.
    """
    T = len(table.values_TR)
    values_TF = np.empty((T, len(layout.features)), dtype=np.float32)
    ahead_T = np.zeros(T, dtype=bool)
    series_T = table.series_T
    first_T = table.first_S[series_T]
    for r in range(len(table.columns)):
        filled_T, later_T = _fill(table.values_TR[:, r], first_T, end_T, prepare.fill, fill_values[r])
        with np.errstate(over="ignore"):  # what does not fit is found below
            values_TF[:, r] = (filled_T - figures.shift_SR[series_T, r]) / figures.scale_SR[series_T, r]
        if r not in layout.known:
            ahead_T |= later_T
    at = len(table.columns)
    for r in layout.indicators:
        values_TF[:, at] = np.isnan(table.values_TR[:, r])
        at += 1
    if prepare.elapsed and table.times_T is not None:
        gap_T = np.where(table.step_T > 0, np.diff(table.times_T, prepend=0) * table.time_unit, 0.0)
        if not isinstance(difference_scales, tuple):
            between = gap_T[difference_scales & (table.step_T > 0)]
            elapsed_scale = float(between.mean()) if len(between) else 1.0
        values_TF[:, at] = np.log1p(gap_T / elapsed_scale)
        for place, r in enumerate(layout.indicators, start=at + 1):
            values_TF[:, place] = np.log1p(_since(np.isnan(table.values_TR[:, r]), gap_T, first_T) / elapsed_scale)
        at += 1 + len(layout.indicators)
    if table.times_T is not None:
        for column_T in calendar_features(table.times_T, prepare.calendar):
            values_TF[:, at] = column_T
            at += 1
    step_T, earlier = table.step_T, [(lag, target) for lag in prepare.lags for target in layout.targets]
    for lag, target in earlier:
        values_TF[:, at] = _earlier(values_TF[:, target], step_T, lag)
        at += 1
    scales: list[float] = []
    for steps, target in [(steps, target) for steps in prepare.differences for target in layout.targets]:
        change_T = np.where(step_T >= steps, values_TF[:, target] - _earlier(values_TF[:, target], step_T, steps), 0.0)
        scales.append(difference_scales[len(scales)] if isinstance(difference_scales, tuple)
                      else _deviation(change_T[difference_scales & (step_T >= steps)]))
        values_TF[:, at] = change_T / scales[-1]
        at += 1
    return Features(values_TF, ahead_T, tuple(scales), elapsed_scale if prepare.elapsed else 0.0)


def _since(missing_T: Mask, gap_T: Floats64, first_T: Ints) -> Floats64:
    """Time from when a column was last seen before each row, or from the series' first row (Che et al., 2018)."""
    row_T, clock_T = np.arange(len(gap_T)), np.cumsum(gap_T)
    seen_T = np.maximum.accumulate(np.where(missing_T, first_T, row_T))
    before_T = np.maximum(np.concatenate([[0], seen_T[:-1]]), first_T)
    since_T: Floats64 = clock_T - clock_T[before_T]
    return since_T


def _earlier(x_T: Floats, step_T: Ints, lag: int) -> Floats:
    """The value so many steps before in the same series; 0 where there is none."""
    earlier_T = np.zeros_like(x_T)
    earlier_T[lag:] = np.where(step_T[lag:] >= lag, x_T[:-lag], 0.0)
    return earlier_T


def _deviation(x_N: npt.NDArray[np.floating]) -> float:
    """Standard deviation; 1 where there is none to divide by."""
    deviation = float(x_N.std(dtype=np.float64)) if len(x_N) else 0.0
    return deviation if np.isfinite(deviation) and deviation > 0 else 1.0


def _fill(x_T: Floats64, first_T: Ints, end_T: Ints, how: str, lead: float) -> tuple[Floats64, Mask]:
    """Fill the missing values of one column; the mask tells which were filled with the help of a later row.

    `lead` (the training mean) stands where a series has no value yet. Interpolation is linear between neighbours of
    the same series, the later of which lies before `end_T`; else the last value is carried forward.
    """
    missing_T = np.isnan(x_T)
    none_T = np.zeros(len(x_T), dtype=bool)
    if not missing_T.any():
        return x_T, none_T
    if how in ("zero", "mean"):
        return np.where(missing_T, 0.0 if how == "zero" else lead, x_T), none_T
    row_T = np.arange(len(x_T))
    before_T = np.maximum.accumulate(np.where(missing_T, -1, row_T))
    filled_T = np.where(before_T >= first_T, x_T[before_T], lead)
    if how != "interpolate":
        return filled_T, none_T
    after_T = np.minimum.accumulate(np.where(missing_T, len(x_T), row_T)[::-1])[::-1]
    between_T = missing_T & (before_T >= first_T) & (after_T < end_T)
    t = row_T[between_T]
    a, b = before_T[t], after_T[t]
    filled_T[t] = x_T[a] + (x_T[b] - x_T[a]) * ((t - a) / (b - a))
    return filled_T, between_T


@dataclass(frozen=True)
class StaticLayout:
    """How static columns are written: numbers scaled, text one-hot; fitted on series with training rows."""

    features: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] | None = None
    scaling: Scaling | None = None


def fit_static(table: Table, train_S: Mask, kind: str) -> StaticLayout:
    """Fit categories and scaling of the static columns on the training series."""
    features: list[str] = []
    categories: dict[str, tuple[str, ...]] = {}
    numbers = [column.number_S for column in table.static.values() if column.number_S is not None]
    for name, column in table.static.items():
        if column.number_S is not None:
            features.append(name)
            continue
        categories[name] = tuple(sorted({one for one, train in zip(column.category_S, train_S, strict=True) if train}))
        features += [f"{name}={category}" for category in categories[name]]
    scaling = fit(np.stack(numbers, axis=1)[train_S], kind, None) if numbers else None
    return StaticLayout(tuple(features), categories, scaling)


def encode_static(table: Table, layout: StaticLayout) -> Floats:
    """Write static_SC; a category that no training series has is a row of zeros."""
    columns: list[npt.NDArray[np.floating]] = []
    number = 0
    for name, column in table.static.items():
        if column.number_S is not None and layout.scaling is not None:
            columns.append((column.number_S - layout.scaling.shift[number]) / layout.scaling.scale[number])
            number += 1
        else:
            held_S = np.array(column.category_S, dtype=object)
            columns += [(held_S == category).astype(np.float32) for category in (layout.categories or {})[name]]
    if not columns:
        return np.zeros((len(table.series), 0), dtype=np.float32)
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)
