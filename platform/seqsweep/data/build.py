"""From the tables of all files to one Table, with every problem of single columns noted on the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import AnomalyConfig, ClassificationConfig, reads_whole
from seqsweep.data.columns import Ints, TimeKind, encode, read_numbers, read_times, row_numbers, whole_times
from seqsweep.data.corpus import WINDOW
from seqsweep.data.dates import PLACES, Given, Times, settle
from seqsweep.data.problems import Problems, nearest
from seqsweep.data.slashes import DateOrder
from seqsweep.data.sources import Source
from seqsweep.data.table import PARTS, TRAIN, Roles, Static, Table, Task
from seqsweep.errors import Problem

Floats64 = npt.NDArray[np.float64]

_UNTOLD = Given()
_LARGEST = 1e30
"""Larger values leave no room for sums of squares, nor in 32 bits."""


def build_table(sources: Sequence[Source], roles: Roles, task: Task, problems: Problems, *, by_given: bool = False,
                categories: Collection[str] | None = None, dates: Given = _UNTOLD) -> Table:
    """Put the files' rows end to end, sorted by series. Raises InvalidData with the problems of all columns.

    `by_given` reads the key column as parts. `categories` names the static columns that are text, where that was
    decided before: the data are new then, and need no labels. None decides by what the columns hold. `dates`: what is
    known of the order of day and month between slashes.
    """
    _check_columns(sources, roles, by_given, reads_whole(task) and (categories is None or bool(roles.label)), problems)
    problems.raise_if_any()
    values_TR = _values(sources, roles.values, problems)
    target_T = None if roles.target is None else _values(sources, (roles.target,), problems)[:, 0]
    codes_T, series = _series(sources, roles, isinstance(task, ClassificationConfig), problems)
    part_T, given = _parts(sources, roles.key if by_given else None, problems)
    times = [Times.of(source.name, source.frame[roles.time]) for source in sources] if roles.time else []
    order_of_dates, remark = settle(times, dates, problems)
    times_T, time, unit = _times(times, order_of_dates, problems)
    problems.raise_if_any()
    order = None if np.all(np.diff(codes_T) >= 0) else np.argsort(codes_T, kind="stable")
    row_T = np.concatenate([row_numbers(source.frame.index) for source in sources])
    file_T = np.repeat(np.arange(len(sources), dtype=np.int32), [len(source.frame) for source in sources])
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes_T, minlength=len(series)))])
    table = Table(
        columns=roles.values, values_TR=_sorted(values_TR, order), series=series, has_ids=roles.has_ids, bounds=bounds,
        file_T=_sorted(file_T, order), row_T=_sorted(row_T, order), files=tuple(source.name for source in sources),
        part_T=_sorted(part_T, order), given=given, static={},
        target_T=None if target_T is None else _sorted(target_T, order),
        times_T=None if times_T is None else _sorted(times_T, order), time=time, time_unit=unit,
        dates=order_of_dates or "", remarks=(remark,) if remark else ())
    constants = _Constants(sources, table, order, problems)
    rows_labelled = isinstance(task, AnomalyConfig)
    label_S = constants.names(roles.label, needed=categories is None) if roles.label and not rows_labelled else ()
    if isinstance(task, ClassificationConfig) and task.positive is not None and label_S:
        label_S = _one_of(label_S, str(task.positive), table, task.label, problems if categories is None else None)
    window_T = _windows(sources, roles.label, table, order, problems) if roles.label and rows_labelled else None
    group_S = constants.names(roles.key) if roles.key and not by_given else ()
    static = {name: constants.static(name, categories) for name in roles.static}
    problems.raise_if_any()
    return Table(**{**vars(table), "label_S": label_S, "window_T": window_T, "group_S": group_S, "static": static})


def _one_of(label_S: tuple[str, ...], positive: str, table: Table, column: str,
            problems: Problems | None) -> tuple[str, ...]:
    """Call every other class `not <positive>`; a missing label stays missing. None: new rows may lack the class."""
    if problems is not None and positive not in label_S and any(label_S):
        problems.add("positive class", f"{table.files[0]}, column {column}", f"no sequence is of class {positive}",
                     f"task.positive: {nearest(positive, sorted(set(label_S) - {''}), 'classes')}")
    return tuple(label if label in ("", positive) else f"not {positive}" for label in label_S)


def _sorted(array: npt.NDArray[Any], order: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    return array if order is None else array[order]


def _check_columns(sources: Sequence[Source], roles: Roles, by_given: bool, are_whole: bool,
                   problems: Problems) -> None:
    """Note missing columns and empty tables, and sequences that are samples with nothing between them."""
    for source in sources:
        known = [str(name) for name in source.frame.attrs.get("columns", source.frame.columns)]
        for name in roles.used:
            told_by_file = source.part and ((by_given and name == roles.key) or name == roles.target)
            if name not in source.frame.columns and not told_by_file:
                problems.add("missing columns", source.name, f"there is no column {name!r}",
                             nearest(name, known, "columns"))
        if not len(source.frame):
            problems.add("empty files", source.name, "no rows", "a file with data is needed")
    if not roles.values:
        problems.add("no features", sources[0].name, "no column is left to read",
                     "columns of numbers beside series, time, label, target and key")
    if are_whole and roles.series is None:
        problems.add("no sequences", sources[0].name, "nothing tells one sequence from the next",
                     "data.series: the column that names the sequence a row belongs to")


def _values(sources: Sequence[Source], names: Sequence[str], problems: Problems) -> Floats64:
    """Read columns of numbers `(T, R)`; of one that a second file lacks every number is missing."""
    values_TR = np.empty((sum(len(source.frame) for source in sources), len(names)))
    start = 0
    for source in sources:
        rows = row_numbers(source.frame.index)
        stop = start + len(rows)
        frame = source.frame.copy(deep=False)
        frame.attrs = {}  # pandas copies them for each column taken: minutes where there are 10,000
        for r, name in enumerate(names):
            if name not in frame:  # was looked for where it must be
                values_TR[start:stop, r] = np.nan
                continue
            column = frame[name]
            values, bad = read_numbers(column)
            values_TR[start:stop, r] = values
            _note(problems, "text in number columns", source, rows, bad, name, "a number is needed",
                  lambda i, column=column: repr(column.iloc[i]))
            _note(problems, "infinite or huge values", source, rows, np.abs(values) > _LARGEST, name,
                  f"a finite number up to {_LARGEST:g}, or an empty field and prepare.fill",
                  lambda i, values=values: f"{values[i]:g}")
        start = stop
    return values_TR


def _note(problems: Problems, kind: str, source: Source, rows: Ints, bad: npt.NDArray[np.bool_], column: str,
          right: str, found: Any) -> None:
    """Note the rows of one column that are bad."""
    if bad.any():
        problems.add_each(kind, np.flatnonzero(bad), lambda i: Problem(
            f"{source.name}, row {rows[i]}, column {column}", found(i), right))


def _series(sources: Sequence[Source], roles: Roles, separate: bool,
            problems: Problems) -> tuple[Ints, tuple[str, ...]]:
    """Number the series of all files. With `separate`, each file has its own; an id in two files is a problem."""
    name = roles.series
    if name is None:
        return np.zeros(sum(len(source.frame) for source in sources), dtype=np.int64), ("",)
    if not separate or len(sources) == 1:
        codes_T, series = encode([source.frame[name] for source in sources])
    else:
        codes: list[Ints] = []
        names: list[str] = []
        for source in sources:
            code, own = encode([source.frame[name]])
            if roles.has_ids:
                for repeated in sorted(set(own) & set(names)):
                    problems.add("ids in two files", source.name, f"id {repeated} is also in another file",
                                 "a sequence stands in one part; give different sequences different ids")
            codes.append(np.where(code < 0, -1, code + len(names)))
            names += own if roles.has_ids or not source.part else [f"{source.part}/{one}" for one in own]
        codes_T, series = np.concatenate(codes), tuple(names)
    start = 0
    for source in sources:
        rows = row_numbers(source.frame.index)
        _note(problems, "missing ids", source, rows, codes_T[start:start + len(rows)] < 0, name,
              "each row names its series", lambda i: "the id is missing")
        start += len(rows)
    return codes_T, series


def _parts(sources: Sequence[Source], key: str | None,
           problems: Problems) -> tuple[npt.NDArray[np.int8], frozenset[int]]:
    """The part of each row that is given by its file or by the key column, and which parts are given."""
    parts = []
    for source in sources:
        part_T = np.full(len(source.frame), PARTS.get(source.part, TRAIN), dtype=np.int8)
        if key and not source.part:
            codes, names = encode([source.frame[key]])
            table = np.array([PARTS.get(name, TRAIN) for name in names] + [TRAIN], dtype=np.int8)
            wrong = np.array([name not in PARTS for name in names] + [True])
            column = source.frame[key]
            _note(problems, "unknown parts", source, row_numbers(source.frame.index), wrong[codes], key,
                  "train, val or test", lambda i, column=column: repr(column.iloc[i]))
            part_T = table[codes]
        parts.append(part_T)
    part_T = np.concatenate(parts)
    return part_T, frozenset(int(part) for part in np.unique(part_T)) - {TRAIN}


def _times(files: Sequence[Times], dates: DateOrder | None,
           problems: Problems) -> tuple[Ints | None, TimeKind | Any, float]:
    """Read the time column of all files. `dates`: the order between slashes; None where it is a problem already."""
    if not files:
        return None, "", 1.0
    found, kinds = [], set()
    for file in files:
        if file.slashed is None:
            times, kind, bad = read_times(file.column)
            right = ("ISO 8601 such as 2024-03-01T12:30, 1.3.2024 12:30, 3/31/2024 12:30, a timestamp, or a number, in "
                     "all rows alike")
        elif dates is None:
            continue
        else:
            (times, bad), kind = file.slashed.read(dates), "timestamp"
            bad_order = file.slashed.day_first_T if dates == "month_first" else file.slashed.month_first_T
            right = "{}/{}/year in all rows, with or without a time of day; or ISO 8601 in all".format(*PLACES[dates])
            bad = bad & ~bad_order
        problems.add_each("unreadable times", np.flatnonzero(bad), lambda t, file=file, right=right: Problem(  # type: ignore[misc]
            file.where(t), f"time {file.column.iloc[t]!r}", right))
        found.append(times)
        kinds.add(kind)
    shown, name = files[0].shown, files[0].column.name
    if len(kinds) > 1:
        problems.add("times of two kinds", shown, f"column {name} holds times here, numbers there",
                     "the same in all files")
    if problems:
        return None, "", 1.0
    times_T, kind = np.concatenate(found), kinds.pop()
    if kind == "timestamp":
        return times_T, kind, 1.0
    try:
        numbers_T, unit = whole_times(times_T)
    except OverflowError:
        problems.add("large times", shown, f"column {name} holds fractional numbers beyond 9e9",
                     "whole numbers, or ISO 8601")
        return None, "", 1.0
    return numbers_T, kind, unit


def _windows(sources: Sequence[Source], name: str, table: Table, order: npt.NDArray[Any] | None,
             problems: Problems) -> Ints:
    """(T,) number the labelled anomalies: rows in a stretch that hold the same number above 0 are one."""
    marks = []
    for source in sources:
        column = source.frame[name]
        values, bad = read_numbers(column)
        bad = bad | np.isnan(values) | ((values != 0) & (values != 1) & (name != WINDOW))
        rows = row_numbers(source.frame.index)
        _note(problems, "unreadable labels", source, rows, bad, name, "1 for an anomaly, else 0",
              lambda i, column=column: repr(column.iloc[i]))
        marks.append(np.where(bad, 0.0, values))
    mark_T = _sorted(np.concatenate(marks), order)
    opens_T = np.ones(len(mark_T), dtype=bool)
    opens_T[1:] = mark_T[1:] != mark_T[:-1]
    opens_T[table.first_S] = True
    numbers_T: Ints = np.where(mark_T > 0, np.cumsum(opens_T & (mark_T > 0)), 0).astype(np.int64)
    return numbers_T


class _Constants:
    """Reads columns that are constant within each series."""

    def __init__(self, sources: Sequence[Source], table: Table, order: npt.NDArray[Any] | None,
                 problems: Problems) -> None:
        self.sources, self.table, self.order, self.problems = sources, table, order, problems

    def names(self, name: str, *, needed: bool = True) -> tuple[str, ...]:
        """One name per series; empty where it is missing and not needed."""
        codes_T, names = encode([source.frame[name] for source in self.sources])
        code_S = self._reduce(name, np.where(codes_T < 0, np.nan, codes_T), names, needed)
        return tuple("" if np.isnan(code) else names[int(code)] for code in code_S)

    def static(self, name: str, categories: Collection[str] | None) -> Static:
        """A static column: text where it holds text (or is listed as such), else numbers."""
        columns = [source.frame[name] for source in self.sources]
        read = [read_numbers(column) for column in columns]
        is_text = any(bad.any() for _, bad in read) if categories is None else name in categories
        if is_text:
            return Static(None, self.names(name))
        for source, column, (values, bad) in zip(self.sources, columns, read, strict=True):
            wrong = bad | (np.abs(values) > _LARGEST)
            _note(self.problems, "text in number columns", source, row_numbers(source.frame.index), wrong, name,
                  "a finite number is needed", lambda i, column=column: repr(column.iloc[i]))
        return Static(self._reduce(name, np.concatenate([values for values, _ in read]), None, True))

    def _reduce(self, name: str, x_T: Floats64, names: tuple[str, ...] | None, needed: bool) -> Floats64:
        """Take each series' one value; note where there are two, or none."""
        table = self.table
        x_T = _sorted(x_T, self.order)
        low_S, high_S = np.fmin.reduceat(x_T, table.first_S), np.fmax.reduceat(x_T, table.first_S)

        def show(x: float) -> str:
            return repr(names[int(x)]) if names is not None else f"{x:g}"

        def differing(s: int) -> Problem:
            rows = np.arange(table.bounds[s], table.bounds[s + 1])
            rows = rows[~np.isnan(x_T[rows])]
            row = int(rows[np.argmax(x_T[rows] != x_T[rows[0]])])
            return Problem(table.where(row, name), f"{show(x_T[row])}, but {show(x_T[rows[0]])} above in "
                           f"{table.named(s)}", "one value for the whole series")

        self.problems.add_each(f"column {name} changes within a series", np.flatnonzero(low_S < high_S), differing)
        if needed:
            self.problems.add_each(f"column {name} is missing", np.flatnonzero(np.isnan(low_S)), lambda s: Problem(
                table.where(int(table.bounds[s]), name), f"no value for {table.named(s)}", "one value a series"))
        return low_S
