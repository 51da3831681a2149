"""The table every format ends in: raw values of all series end to end, with what each series and row is.

Shapes: T rows sorted by series, R raw value columns, S series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.sweep import DataConfig, SplitConfig
from seqsweep.config.tasks import (
    REMAINING,
    AnomalyConfig,
    ClassificationConfig,
    ForecastingConfig,
    RegressionConfig,
    TaskConfig,
    WindowTask,
)
from seqsweep.data.batch import Outline
from seqsweep.data.calendar import Frequency
from seqsweep.data.corpus import WINDOW
from seqsweep.data.sources import Source

Ints = npt.NDArray[np.int64]
Task = TaskConfig

TRAIN, VAL, TEST, UNUSED = 0, 1, 2, -1
PARTS = {"train": TRAIN, "val": VAL, "test": TEST}


@dataclass(frozen=True)
class Roles:
    """Which column plays which part."""

    values: tuple[str, ...]
    """Raw value columns: targets, past and known covariates, or a sequence's features."""
    static: tuple[str, ...] = ()
    series: str | None = None
    time: str | None = None
    label: str | None = None
    key: str | None = None
    """The split's key."""
    target: str | None = None
    """Regression's target where a column holds it; it is no value column."""
    has_ids: bool = True
    """Whether the series column holds ids, or mere positions in a file."""

    @property
    def used(self) -> tuple[str, ...]:
        """Every column that is read."""
        others = (self.series, self.time, self.label, self.target, self.key)
        return tuple(dict.fromkeys([*self.values, *self.static, *(name for name in others if name)]))


def value_columns(task: Task) -> tuple[str, ...]:
    """The value columns a task names; empty where it takes all that have no other role."""
    return (*task.targets, *task.past, *task.known) if isinstance(task, ForecastingConfig) else task.features


def target_columns(task: Task, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the raw columns a model is to predict: the first ones, or where anomalies are sought all."""
    if isinstance(task, ForecastingConfig):
        return task.targets
    return columns if isinstance(task, AnomalyConfig) else ()


def roles_of(source: Source, task: Task, data: DataConfig, split: SplitConfig | None) -> Roles:
    """Give each column of a table its role; `split` is None for new data, which need no label and no key."""
    frame = source.frame
    sequences = bool(frame.attrs.get("sequences"))
    series = data.series
    is_wide = data.layout == "wide"
    if series is None and "series" in frame and (
            sequences or is_wide or data.files is not None or not isinstance(task, WindowTask)):
        series = "series"
    label = None
    if isinstance(task, ClassificationConfig):
        label = "label" if sequences else task.label
        label = label if split is not None or label in frame else None
    elif isinstance(task, AnomalyConfig):
        label = WINDOW if data.windows else task.label
        label = label if split is not None or label in frame else None
    target = None
    if isinstance(task, RegressionConfig) and split is not None:
        target = "label" if sequences else task.target if task.target != REMAINING or REMAINING in frame else None
    key = split.key if split is not None and split.by in ("group", "given") else None
    roles = Roles(value_columns(task), task.static, series, data.time, label, key, target,
                  has_ids=series is not None and not ((sequences or is_wide) and data.series is None))
    if roles.values:
        return roles
    taken = set(roles.used)
    return replace(roles, values=tuple(str(name) for name in frame.columns if name not in taken))


@dataclass(frozen=True, eq=False)
class Static:
    """One static column: a number or a category per series."""

    number_S: npt.NDArray[np.float64] | None
    category_S: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """All rows, sorted by series and, within one, as they follow in time."""

    columns: tuple[str, ...]
    values_TR: npt.NDArray[np.float64]
    """Raw values; NaN is missing."""
    series: tuple[str, ...]
    """Ids, in the order they appear."""
    has_ids: bool
    bounds: Ints
    """(S + 1): series s holds the rows from bounds[s] up to bounds[s + 1]."""
    file_T: npt.NDArray[np.int32]
    row_T: Ints
    """Row or line number in the file; 0 for rows that are in none."""
    files: tuple[str, ...]
    part_T: npt.NDArray[np.int8]
    """The part a row was given for; TRAIN also where nothing was said."""
    given: frozenset[int]
    """Parts that were given."""
    static: Mapping[str, Static]
    label_S: tuple[str, ...] = ()
    group_S: tuple[str, ...] = ()
    """The split key's name per series, where the sweep groups by one."""
    target_T: npt.NDArray[np.float64] | None = None
    """Regression: the number to tell at each row, nan where it is not known."""
    window_T: Ints | None = None
    """Labelled anomaly that a row lies in, numbered from 1 over all series; 0: none. None: nothing is labelled."""
    times_T: Ints | None = None
    time: Literal["", "timestamp", "number"] = ""
    time_unit: float = 1.0
    dates: Literal["", "day_first", "month_first"] = ""
    """What comes first in times between slashes; empty where there are none."""
    frequency: Frequency | None = None
    added_rows: int = 0
    """Rows that are in no file, added for steps without one."""
    outlines: tuple[Outline, ...] = ()
    """Of the files."""
    remarks: tuple[str, ...] = ()
    """What a person should know of how the files were read."""
    raw: tuple[str, ...] = ()
    """Columns of the file that the user's own code was given; empty where there is none."""

    @property
    def first_S(self) -> Ints:  # noqa: N802
        """First row of each series."""
        return self.bounds[:-1]

    @property
    def length_S(self) -> Ints:  # noqa: N802
        """Rows of each series."""
        lengths: Ints = np.diff(self.bounds)
        return lengths

    @property
    def series_T(self) -> Ints:  # noqa: N802
        """Series of each row."""
        return np.repeat(np.arange(len(self.series)), self.length_S)

    @property
    def step_T(self) -> Ints:  # noqa: N802
        """Number of each row within its series, from 0."""
        steps: Ints = np.arange(len(self.values_TR)) - np.repeat(self.first_S, self.length_S)
        return steps

    def observed_rows(self, D: int) -> npt.NDArray[np.bool_]:
        """(T,) rows where any of the first D columns, the targets, was observed."""
        observed: npt.NDArray[np.bool_] = np.logical_or.reduce(np.isfinite(self.values_TR[:, :D]), axis=1)
        return observed

    def where(self, t: int, column: str = "") -> str:
        """The place of a row, as errors write it."""
        name, row = self.files[self.file_T[t]], self.row_T[t]
        return f"{name}, row {row}" + (f", column {column}" if column else "")

    def time_of(self, t: int) -> str:
        """The time of a row, as errors write it."""
        assert self.times_T is not None  # noqa: S101  (the caller has looked)
        time = int(self.times_T[t])
        return str(pd.Timestamp(time)) if self.time == "timestamp" else f"{time * self.time_unit:g}"

    def named(self, s: int) -> str:
        """A series as errors write it."""
        return f"series {self.series[s]}" if self.series[s] else "the series"
