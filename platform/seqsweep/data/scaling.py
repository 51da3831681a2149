"""Scaling, fitted on what the training part shows and on nothing else.

Shapes: T rows, R raw columns, S series. Arithmetic is in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import PrepareConfig
from seqsweep.config.tasks import WindowTask
from seqsweep.data.batch import Scaling
from seqsweep.data.table import Table, Task

_SMALLEST = 1e-30
"""A smaller spread counts as none: it would be 0 in 32 bits."""

Floats64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Figures:
    """`scaled = (x - shift) / scale`, per series and raw column."""

    shift_SR: Floats64
    scale_SR: Floats64


def is_by_series(prepare: PrepareConfig, task: Task) -> bool:
    """Whether each series has figures of its own."""
    return prepare.scale_by == "series" or (prepare.scale_by == "auto" and isinstance(task, WindowTask))


def fit_scaling(table: Table, train_T: Mask, prepare: PrepareConfig, task: Task) -> dict[str, Scaling]:
    """Fit the figures of all series (key "") and, when forecasting by series, of each series with training rows.

    A sequence to classify that is scaled by itself needs no stored figures: they are fitted on it again.
    """
    overall = fit(table.values_TR[train_T], prepare.scale, None)
    scaling = {"": overall}
    if not (is_by_series(prepare, task) and isinstance(task, WindowTask)):
        return scaling
    for s, name in enumerate(table.series):
        rows = slice(table.bounds[s], table.bounds[s + 1])
        if train_T[rows].any() and name:
            scaling[name] = fit(table.values_TR[rows][train_T[rows]], prepare.scale, overall)
    return scaling


def figures_of(table: Table, scaling: Mapping[str, Scaling], prepare: PrepareConfig, task: Task) -> Figures:
    """Look up each series' figures.

    A series without any, scaled by series, gets figures from its first `context` rows, which every window knows; a
    sequence to classify from all its rows.
    """
    overall = scaling[""]
    shift_SR = np.tile(np.array(overall.shift), (len(table.series), 1))
    scale_SR = np.tile(np.array(overall.scale), (len(table.series), 1))
    if is_by_series(prepare, task):
        for s, name in enumerate(table.series):
            found = scaling.get(name) if name or len(scaling) == 1 else None
            if found is None:
                start, stop = int(table.bounds[s]), int(table.bounds[s + 1])
                if isinstance(task, WindowTask):
                    stop = min(stop, start + task.context)
                found = fit(table.values_TR[start:stop], prepare.scale, overall)
            shift_SR[s], scale_SR[s] = found.shift, found.scale
    return Figures(shift_SR, scale_SR)


def fit(x_NR: Floats64, kind: str, fallback: Scaling | None) -> Scaling:
    """Fit each column on its observed values; a constant one takes the fallback's scale, an empty one all of it."""
    shifts, scales = [], []
    for r, column in enumerate(x_NR.T):
        shift, scale = _fit_column(column[~np.isnan(column)], kind)
        if shift is None:
            shift = fallback.shift[r] if fallback else 0.0
        if scale < _SMALLEST:
            scale = fallback.scale[r] if fallback else 1.0
        shifts.append(shift)
        scales.append(scale)
    return Scaling(shift=tuple(shifts), scale=tuple(scales))


def _fit_column(x: Floats64, kind: str) -> tuple[float | None, float]:
    """Shift and scale of observed values; (None, 0) where there are none, scale 0 where they are all equal."""
    if kind == "none":
        return 0.0, 1.0
    if not len(x):
        return None, 0.0
    low, high = float(x.min()), float(x.max())
    if low == high:
        return low, 0.0
    if kind == "minmax":
        return low, high - low
    if kind == "robust":
        quarter, half, three = np.quantile(x, [0.25, 0.5, 0.75])
        return float(half), float(three - quarter) or float(x.std())
    return float(x.mean()), float(x.std())
