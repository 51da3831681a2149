"""How the rows of a table follow one another: the column of times, and the column that tells series apart.

A time is recognised by what it does, growing from row to row within each series; names only decide between columns
that do alike. Shapes: T rows of the file, S series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from seqsweep.data.calendar import Frequency
from seqsweep.data.columns import Ints
from seqsweep.data.gaps import count_missing
from seqsweep.errors import InvalidData, Problem
from seqsweep.proposal.columns import Column, Floats64
from seqsweep.proposal.page import listed, named

TIME_WORDS = frozenset({"time", "timestamp", "date", "datetime", "ds", "ts", "t", "step", "day", "hour", "week",
                        "month", "quarter", "year", "period", "second", "seconds", "minute", "minutes", "cycle",
                        "visit", "frame", "tick"})
SERIES_WORDS = frozenset({
    "id", "series", "sequence", "meter", "store", "item", "sku", "product", "sensor", "unit", "device", "station",
    "site", "patient", "subject", "user", "customer", "symbol", "ticker", "recording", "engine", "machine", "vehicle",
    "region", "country", "county", "city", "household", "building", "trip", "session", "sample", "case", "shop"})
_PARTS_OF_TIME = frozenset({"hour", "minute", "second", "weekday", "dow", "day", "dayofweek", "month", "quarter",
                            "week", "year", "season", "period", "holiday", "weekend"})
_LEAST_ROWS = 3
"""A series has so many rows in the mean, or the column is none that tells series apart."""
_SATURDAY = 5
_PAIRED = 8
"""Columns of which every pair is tried."""


@dataclass(frozen=True, eq=False)
class Order:
    """Which columns order the rows."""

    code_T: Ints
    """The series of each row, numbered in the order they appear."""
    series: Column | None = None
    time: Column | None = None
    """Named in the sweep; None where the rows are counted instead."""
    set_aside: Column | None = None
    """A column of times that forecasting cannot use, since its steps are not all equal."""
    frequency: Frequency | None = None
    """Of timestamps that are a step apart, or that would be without their gaps."""
    remarks: tuple[str, ...] = ()
    seasons: tuple[int, ...] = ()
    """Likely seasons in rows, where the frequency does not tell."""
    gaps: int = 0
    """Places where rows are missing between two times."""
    missing_rows: int = 0
    """Rows that are missing there."""
    step_T: Ints | None = None
    """Number of each row's step within its series, sorted as `sorted_T`, where rows are missing; else rows count."""

    @cached_property
    def sorted_T(self) -> Ints:  # noqa: N802
        """Row numbers sorted by series."""
        return np.argsort(self.code_T, kind="stable")

    @cached_property
    def length_S(self) -> Ints:  # noqa: N802
        """Rows of each series."""
        return np.bincount(self.code_T)

    @cached_property
    def bounds(self) -> Ints:
        """(S + 1): series s holds the sorted rows from bounds[s] up to bounds[s + 1]."""
        return np.concatenate([[0], np.cumsum(self.length_S)])

    def code_of(self, column: Column) -> Ints:
        """(S,) the highest code a column has in each series: of one that is constant in each, its value's."""
        code_S: Ints = np.maximum.reduceat(column.code_T[self.sorted_T], self.bounds[:-1])
        return code_S

    def is_constant(self, column: Column) -> bool:
        """Whether a column has one value in each series, and never none."""
        code_T, high_S = column.code_T[self.sorted_T], self.code_of(column)
        low_S = np.minimum.reduceat(np.where(code_T < 0, len(code_T), code_T), self.bounds[:-1])
        return bool(np.all((high_S == low_S) & (high_S >= 0)))


def find_order(columns: Sequence[Column], rows: int, name: str, *, sequences: bool, by_clock: bool) -> Order:
    """Find what orders the rows. `sequences`: the format itself tells series apart, by its column `series`.

    Raises InvalidData where there are times, and the rows do not follow them; unless not `by_clock`: rows are taken as
    they follow then, since clocks may be wrong.
    """
    if sequences:
        series = next((column for column in columns if column.name == "series"), None)
        if series is not None:
            return Order(series.code_T)
    one_T = np.zeros(rows, dtype=np.int64)
    candidates = [column for column in columns if _may_be_series(column)]
    times = sorted((column for column in columns if column.times is not None and _may_be_time(column)),
                   key=lambda column: (column.kind != "time", -column.like(TIME_WORDS)))
    for column in times:
        blocks = _best([other for other in candidates if other is not column and other.like(SERIES_WORDS)
                        and _is_in_blocks(other) and _grows(column, other.code_T)])
        if blocks is None and _grows(column, one_T):
            return _timed(column, None, one_T)
        if blocks is not None:
            return _timed(column, blocks, blocks.code_T)
        valid = [other for other in candidates if other is not column and _tells_apart(other, column)]
        if (series := _best(valid)) is not None:
            return _timed(column, series, series.code_T)
    for column in times:
        if any(_is_in_blocks(other) and Order(other.code_T).is_constant(column) for other in candidates):
            continue  # a date of birth is no time of a row
        remark = _parts_of_a_time(column, columns, one_T)
        if remark:
            return Order(one_T, remarks=(remark,))
        if column.kind == "time" and column.like(TIME_WORDS) and not by_clock:
            return Order(one_T, set_aside=column)
        _refuse_unsorted(column, candidates, name)
    blocks = _best([column for column in candidates if _is_in_blocks(column) and
                    (column.like(SERIES_WORDS) or column.kind == "text" or _counts_up(column))])
    if blocks is None:
        return Order(one_T)
    steps = next((column for column in columns if column is not blocks and _counts_rows(column, blocks.code_T)), None)
    return Order(blocks.code_T, blocks, steps)


def _may_be_time(column: Column) -> bool:
    """Timestamps may; of numbers, those that a name calls times, and those that are a step apart."""
    if column.kind == "time" or column.like(TIME_WORDS):
        return True
    return column.is_whole and column.like(SERIES_WORDS) == 0 and column.name not in ("", "index", "rownames") and \
        bool(np.all(np.diff(column.value_T) == 1)) and len(column.value_T) > 1 and column.value_T[0] > 1


def _may_be_series(column: Column) -> bool:
    whole = column.kind == "text" or column.is_whole
    return whole and not column.missing_T.any() and column.like(_PARTS_OF_TIME) == 0 and \
        1 < column.distinct <= len(column.code_T) // _LEAST_ROWS


def _steps(times_T: Ints | Floats64, code_T: Ints) -> tuple[Ints, Ints]:
    """Times, or whole numbers, that have a later row in their series, and those of that row."""
    order = np.argsort(code_T, kind="stable")
    times, code = times_T[order].astype(np.int64), code_T[order]
    same = code[1:] == code[:-1]
    return times[:-1][same], times[1:][same]


def _grows(time: Column, code_T: Ints) -> bool:
    """Whether times grow from row to row within each series."""
    before, after = _steps(_stamps(time), code_T)
    return len(before) > 0 and bool(np.all(after > before))


def _stamps(time: Column) -> Ints:
    assert time.times is not None  # noqa: S101 - only such columns are candidates
    return time.times[0]


def _is_in_blocks(column: Column) -> bool:
    """Whether rows of one value stand together."""
    return int(np.count_nonzero(np.diff(column.code_T))) + 1 == column.distinct


def _counts_up(column: Column) -> bool:
    """Whether it numbers what stands one after the other: 0, 0, 0, 1, 1, 1, 2, ..."""
    return bool(np.all(np.isin(np.diff(column.value_T), (0, 1))))


def _counts_rows(column: Column, code_T: Ints) -> bool:
    """Whether it numbers the rows of each series."""
    if not column.is_whole or column.missing_T.any():
        return False
    before, after = _steps(column.value_T, code_T)
    return len(before) > 0 and bool(np.all(after - before == 1))


def _tells_apart(column: Column, time: Column) -> bool:
    """Whether times grow within each of its values, and not by chance: in blocks, or mostly by one and the same step.
    """
    if not _grows(time, column.code_T):
        return False
    before, after = _steps(_stamps(time), column.code_T)
    _, counts = np.unique(after - before, return_counts=True)
    return _is_in_blocks(column) or bool(counts.max() >= len(before) / 2)


def _best(columns: Sequence[Column]) -> Column | None:
    """Of columns that tell series apart, the one whose name says so best, then the one with the fewest."""
    return min(columns, key=lambda column: (-column.like(SERIES_WORDS), column.kind != "text", column.distinct),
               default=None)


def _timed(time: Column, series: Column | None, code_T: Ints) -> Order:
    """Look at the steps as the preparation of data does."""
    before, after = _steps(_stamps(time), code_T)
    sizes, counts = np.unique(after - before, return_counts=True)
    commonest = int(sizes[np.argmax(counts)])
    is_number = time.kind == "number"
    frequency = Frequency("", nanoseconds=commonest) if is_number else Frequency.of_step(commonest, before, after)
    uneven = int(np.count_nonzero(frequency.steps(before, after) != 1))
    if not uneven:
        return Order(code_T, series, time, frequency=None if is_number else frequency)
    if not is_number and frequency.text == "D" and np.all(_weekday(_stamps(time)) < _SATURDAY):
        remark = (f"{named(time.name)} holds business days, and forecasting needs equal steps: rows are counted "
                  "instead, as if there were no weekends and holidays.")
        return Order(code_T, series, None, time, None, (remark,), seasons=(5,))
    sorted_T = np.sort(code_T, kind="stable")
    steps_T = np.ones(len(sorted_T))
    steps_T[1:][sorted_T[1:] == sorted_T[:-1]] = frequency.steps(before, after)
    if lacking := count_missing(steps_T, sorted_T):
        end_T = np.cumsum(steps_T).astype(np.int64)
        return Order(code_T, series, time, frequency=None if is_number else frequency, gaps=uneven,
                     missing_rows=lacking, step_T=end_T - end_T[np.searchsorted(sorted_T, sorted_T)])
    remark = (f"{named(time.name)}: the steps are not equal, and forecasting needs a row for each step: rows are "
              "counted instead, as if nothing were missing.")
    return Order(code_T, series, None, time, None, (remark,))


def _weekday(stamps_T: Ints) -> Ints:
    """0 is Monday."""
    return (stamps_T // (86400 * 10**9) + 3) % 7


def _parts_of_a_time(time: Column, columns: Sequence[Column], one_T: Ints) -> str:
    """What to say where a date and an hour stand in two columns, and the rows follow both."""
    stamps = _stamps(time)
    if np.any(np.diff(stamps) < 0):
        return ""
    for part in columns:
        if part is time or not part.is_whole or not part.like(_PARTS_OF_TIME) or part.missing_T.any():
            continue
        before, after = _steps(part.value_T, np.cumsum(np.diff(stamps, prepend=stamps[0]) > 0))
        if len(before) and np.all(after > before):
            return (f"{named(time.name)} and {named(part.name)} are a time only together: rows are counted instead. "
                    "One column of both (2024-03-01T12:30), named in data.time, gives calendar features.")
    return ""


def _refuse_unsorted(time: Column, candidates: Sequence[Column], name: str) -> None:
    """Raise InvalidData for rows that do not follow a column which is certainly their time."""
    stamps = _stamps(time)
    step = np.diff(stamps)
    if not (time.kind == "time" and (time.like(TIME_WORDS) or np.mean(step > 0) > 0.5 or np.mean(step < 0) > 0.5)):
        return
    where = f"{name}, column {time.name}"
    if np.all(step <= 0):
        raise InvalidData(Problem(where, "the rows are sorted from the newest to the oldest",
                                  "sort the file by time: the last row is the latest"))
    for pair in combinations(sorted(candidates, key=lambda column: -column.like(SERIES_WORDS))[:_PAIRED], 2):
        code_T = pair[0].code_T * (pair[1].distinct + 1) + pair[1].code_T
        if len(np.unique(code_T)) <= len(code_T) // _LEAST_ROWS and _grows(time, code_T):
            names = listed([column.name for column in pair])
            raise InvalidData(Problem(where, f"series are told apart by {names} together, and a sweep names one column",
                                      "join the two into one column"))
    nearly: list[Column | None] = [None, *(column for column in candidates
                                           if column.like(SERIES_WORDS) or _is_in_blocks(column))]
    one_T = np.zeros(len(stamps), dtype=np.int64)
    wrong = [_first_wrong(stamps, one_T if column is None else column.code_T) for column in nearly]
    best = min(range(len(wrong)), key=lambda number: wrong[number][0])
    row, apart = wrong[best][1], nearly[best]
    same = stamps == stamps[row] if apart is None else (stamps == stamps[row]) & (apart.code_T == apart.code_T[row])
    twice = "stands for the second time" if np.count_nonzero(same) > 1 else "comes after a later one"
    series = f" in series {apart.entries.iloc[row]}" if apart is not None else ""
    raise InvalidData(Problem(
        f"{name}, row {time.entries.index[row]}, column {time.name}", f"{_shown(time, row)} {twice}{series}",
        "one row a time, sorted by it" + ("; no column was found that tells series apart" if apart is None else "")))


def _shown(time: Column, row: int) -> str:
    try:
        return str(time.entries.iloc[row])
    except (ValueError, OverflowError, NotImplementedError):  # a year that Python has no name for
        return f"a time of {_stamps(time)[row]} ns"


def _first_wrong(stamps_T: Ints, code_T: Ints) -> tuple[float, int]:
    """Which share of the steps within a series does not lead forward, and the row of the first that does not."""
    order = np.argsort(code_T, kind="stable")
    wrong = (code_T[order][1:] == code_T[order][:-1]) & (np.diff(stamps_T[order]) <= 0)
    return float(np.mean(wrong)), int(order[np.argmax(wrong) + 1])
