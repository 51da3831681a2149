"""Times between slashes, such as 12/31/2024 11:30 PM: taken apart by shapes, so that no row costs a step of Python.

Which part is the day is not written in one row: see `seqsweep.data.dates`. Shapes: T rows, W characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
DateOrder = Literal["day_first", "month_first"]

_CLOCK = (r"(?:(?:,\s*|\s+|T)(?P<hour>00?)(?::(?P<minute>00)(?::(?P<second>00)(?:\.(?P<fraction>0{1,9}))?)?)?"
          r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?)?\s*")
_YEAR_LAST = re.compile(r"\s*(?P<one>00?)/(?P<two>00?)/(?P<year>0000|00)" + _CLOCK)
"""Matched against texts whose every digit was made a 0."""
_YEAR_FIRST = re.compile(r"\s*(?P<year>0000)/(?P<one>00?)/(?P<two>00?)" + _CLOCK)
_LONGEST = 48
_ROWS = 1 << 17
"""Rows looked at together: some 50 MB."""
_WEIGHTS = np.random.default_rng(1).integers(1, 1 << 63, _LONGEST, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_DAYS = 106_750
"""Days before and after 1970 that fit into 64 bits of nanoseconds, whatever the time of day."""
_SECOND, _DAY = 10**9, 86_400 * 10**9


@dataclass(frozen=True, eq=False)
class Slashed:
    """A column of times between slashes, taken apart."""

    one_T: Ints
    """The first number; 0 where a row is no such time."""
    two_T: Ints
    """The second number."""
    year_T: Ints
    clock_T: Ints
    """Nanoseconds since midnight; -1 where there is no such time of day."""
    found_T: Mask
    """Which rows are such times."""
    short_T: Mask
    """Which of them have a year of two digits, and are read in no way."""

    @classmethod
    def of(cls, column: pd.Series[Any]) -> Slashed | None:
        """Take a column apart; None where its first entry is no day, month and year between slashes."""
        return _taken_apart(column, _YEAR_LAST) if _begins(column, _YEAR_LAST) else None

    @property
    def day_first_T(self) -> Mask:  # noqa: N802
        """Rows that can only be read day first: the first number is above 12."""
        return self.found_T & ~self.short_T & _is_day(self.one_T) & _is_month(self.two_T) & (self.one_T > 12)

    @property
    def month_first_T(self) -> Mask:  # noqa: N802
        """Rows that can only be read month first: the second number is above 12."""
        return self.found_T & ~self.short_T & _is_month(self.one_T) & _is_day(self.two_T) & (self.two_T > 12)

    @property
    def doubtful_T(self) -> Mask:  # noqa: N802
        """Rows that are one day read so, and another read so."""
        both = _is_month(self.one_T) & _is_month(self.two_T)
        doubtful_T: Mask = self.found_T & ~self.short_T & both & (self.one_T != self.two_T)
        return doubtful_T

    def read(self, order: DateOrder) -> tuple[Ints, Mask]:
        """(T,) Unix nanoseconds, and which rows have none: no such time, no such day, or outside 1678 to 2262."""
        day_T, month_T = (self.one_T, self.two_T) if order == "day_first" else (self.two_T, self.one_T)
        good = self.found_T & ~self.short_T & (self.clock_T >= 0) & _is_month(month_T) & _is_day(day_T)
        months_T = np.where(good, (self.year_T - 1970) * 12 + month_T - 1, 0).astype("datetime64[M]")
        days_T = months_T.astype("datetime64[D]") + np.where(good, day_T - 1, 0)
        good &= days_T.astype("datetime64[M]") == months_T
        number_T = days_T.astype(np.int64)
        good &= np.abs(number_T) <= _DAYS
        return np.where(good, np.where(good, number_T, 0) * _DAY + self.clock_T, 0), ~good


def year_first(column: pd.Series[Any]) -> tuple[Ints, Mask] | None:
    """Read 2024/12/31 11:30 PM, which says itself what is the day; None where the first entry is no such text."""
    if not _begins(column, _YEAR_FIRST):
        return None
    return _taken_apart(column, _YEAR_FIRST).read("month_first")


def _begins(column: pd.Series[Any], pattern: re.Pattern[str]) -> bool:
    first = column.dropna().iloc[:1]
    entry = first.iloc[0] if len(first) else None
    return isinstance(entry, str) and len(entry) < _LONGEST and \
        pattern.fullmatch(re.sub("[0-9]", "0", entry)) is not None


def _is_month(number_T: Ints) -> Mask:
    return (number_T >= 1) & (number_T <= 12)


def _is_day(number_T: Ints) -> Mask:
    return (number_T >= 1) & (number_T <= 31)


def _taken_apart(column: pd.Series[Any], pattern: re.Pattern[str]) -> Slashed:
    rows = len(column)
    one_T, two_T, year_T, clock_T = (np.zeros(rows, dtype=np.int64) for _ in range(4))
    found_T, short_T = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    entries = column.astype(object).where(column.notna(), "").to_numpy(dtype=object)
    for start in range(0, rows, _ROWS):
        codes_TW = _codes(entries[start:start + _ROWS])
        for match, of_shape in _shapes(codes_TW, pattern):
            at = of_shape + start
            numbers = {name: _number(codes_TW, of_shape, match.span(name))
                       for name in ("one", "two", "year", "hour", "minute", "second") if match[name]}
            one_T[at], two_T[at], year_T[at] = (numbers[name] for name in ("one", "two", "year"))
            found_T[at], short_T[at] = True, len(match["year"]) == 2
            if match["hour"]:
                clock_T[at] = _clock(numbers, match, _fraction(codes_TW, of_shape, match))
    return Slashed(one_T, two_T, year_T, clock_T, found_T, short_T)


def _codes(entries: npt.NDArray[np.object_]) -> npt.NDArray[np.uint32]:
    """(T, W) the characters of each text; one that is too long, or has not two slashes, is left empty."""
    codes_TW = entries.astype(f"U{_LONGEST}").view(np.uint32).reshape(len(entries), _LONGEST)
    codes_TW = codes_TW[:, :max(1, int(np.flatnonzero(codes_TW.any(axis=0)).max(initial=0)) + 1)]
    wrong = np.count_nonzero(codes_TW == ord("/"), axis=1) != 2
    if codes_TW.shape[1] == _LONGEST:
        wrong |= codes_TW[:, -1] != 0
    if wrong.any():
        codes_TW = codes_TW.copy()
        codes_TW[wrong] = 0
    return codes_TW


def _shapes(codes_TW: npt.NDArray[np.uint32], pattern: re.Pattern[str]) -> list[tuple[re.Match[str], Ints]]:
    """Rows whose texts differ in digits alone, for each of their shapes that fits."""
    digit_TW = (codes_TW >= ord("0")) & (codes_TW <= ord("9"))
    shape_TW = np.where(digit_TW, np.uint32(ord("0")), codes_TW)
    number_T, _ = pd.factorize(shape_TW.astype(np.uint64) @ _WEIGHTS[:shape_TW.shape[1]])
    order = np.argsort(number_T, kind="stable").astype(np.int64)
    found = []
    for same in np.split(order, np.cumsum(np.bincount(number_T))[:-1]) if len(order) else ():
        shape_W = shape_TW[same[0]]
        match = pattern.fullmatch("".join(map(chr, shape_W)).rstrip("\0"))
        if match is not None:
            found.append((match, same[(shape_TW[same] == shape_W).all(axis=1)]))  # two shapes may have one hash
    return found


def _number(codes_TW: npt.NDArray[np.uint32], rows: Ints, span: tuple[int, int]) -> Ints:
    """The number between two places of each row."""
    total = np.zeros(len(rows), dtype=np.int64)
    for place in range(*span):
        total = total * 10 + codes_TW[rows, place].astype(np.int64) - ord("0")
    return total


def _fraction(codes_TW: npt.NDArray[np.uint32], rows: Ints, match: re.Match[str]) -> Ints | int:
    """Nanoseconds behind the point."""
    if not match["fraction"]:
        return 0
    number = _number(codes_TW, rows, match.span("fraction"))
    return number * np.int64(10**(9 - len(match["fraction"])))


def _clock(numbers: dict[str, Ints], match: re.Match[str], fraction: Ints | int) -> Ints:
    hour, minute, second = numbers["hour"], numbers.get("minute", 0), numbers.get("second", 0)
    good = (minute < np.int64(60)) & (second < np.int64(60))
    if match["half"]:
        good &= (hour >= 1) & (hour <= 12)
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    good &= hour < 24
    return np.where(good, (hour * 3600 + minute * 60 + second) * _SECOND + fraction, -1)
