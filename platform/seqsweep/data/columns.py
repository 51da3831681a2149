"""Reads single columns of a table: numbers, names, and times."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.data.slashes import DateOrder, Slashed, year_first

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
TimeKind = Literal["timestamp", "number"]
_POINTED = re.compile(r"\s*(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[ T]+(\d{1,2})(:\d{2}(?::\d{2}(?:\.\d{1,9})?)?))?\s*")


def read_numbers(column: pd.Series[Any]) -> tuple[npt.NDArray[np.float64], Mask]:
    """Read numbers, missing ones as NaN; the mask tells which entries are no numbers."""
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        if pd.api.types.is_complex_dtype(column.dtype):
            return np.full(len(column), np.nan), np.ones(len(column), dtype=bool)
        return column.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(column), dtype=bool)
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        return np.full(len(column), np.nan), column.notna().to_numpy(dtype=bool)
    try:
        parsed = pd.to_numeric(column.astype(object), errors="coerce")
    except OverflowError:
        parsed = pd.to_numeric(column.astype(object).map(_without_endless), errors="coerce")
    bad = (parsed.isna() & column.notna()).to_numpy(dtype=bool)
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan), bad


def _without_endless(entry: Any) -> Any:
    """A whole number of more digits than a float holds is infinite, as a text of so many digits is."""
    try:
        return math.inf if float(entry) == math.inf else entry
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return entry


def name_of(value: Any) -> str:
    """Write an id, class or category as text: 3.0 is 3."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def encode(columns: Sequence[pd.Series[Any]]) -> tuple[Ints, tuple[str, ...]]:
    """Number the names in columns put end to end, in the order they appear; a missing name is -1."""
    index: dict[str, int] = {}
    codes = []
    for column in columns:
        try:
            found, uniques = pd.factorize(column)
        except TypeError:  # lists and other values without a hash
            found, uniques = pd.factorize(column.astype(str))
        # the last entry answers for -1
        mapping = np.array([index.setdefault(name_of(value), len(index)) for value in uniques] + [-1], dtype=np.int64)
        codes.append(mapping[found])
    return np.concatenate(codes), tuple(index)


def row_numbers(index: pd.Index[Any]) -> Ints:
    """The index of a table where it holds numbers, else rows from 1."""
    if index.dtype.kind in "iu":
        return index.to_numpy(dtype=np.int64)
    return np.arange(1, len(index) + 1, dtype=np.int64)


def read_times(column: pd.Series[Any], dates: DateOrder | None = None) -> tuple[npt.NDArray[Any], TimeKind, Mask]:
    """Read ISO 8601 text, timestamps or dates as Unix nanoseconds (UTC), or numbers as they are.

    Between points the day comes first: 31.12.2024 23:30. Between slashes `dates` says it (`seqsweep.data.dates` finds
    it out); where it does not, only 2024/12/31 is read.

    The mask tells which entries are missing, unreadable, or outside 1678 to 2262.
    """
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        missing = ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
        whole = pd.api.types.is_integer_dtype(column.dtype) and not missing.any()
        return column.to_numpy(dtype=np.int64 if whole else np.float64, na_value=np.nan), "number", missing
    if dates is not None and (slashed := Slashed.of(column)) is not None:
        slashed_times, bad = slashed.read(dates)
        return slashed_times, "timestamp", bad
    stamps = pd.to_datetime(_pointed_to_iso(column), errors="coerce", utc=True, format="ISO8601")
    low, high = pd.Timestamp.min.tz_localize("UTC"), pd.Timestamp.max.tz_localize("UTC")
    bad = ~((stamps > low) & (stamps < high)).to_numpy(dtype=bool)
    stamps = stamps.where(~bad, pd.Timestamp(0, tz="UTC"))
    times = stamps.dt.as_unit("ns").astype("int64").to_numpy()
    if bad.any() and (of_slashes := year_first(column)) is not None:  # with am or pm
        times, bad = np.where(bad, of_slashes[0], times), bad & of_slashes[1]
    return times, "timestamp", bad


def with_timestamps(frame: pd.DataFrame, name: str, dates: DateOrder) -> pd.DataFrame:
    """Put timestamps in place of a column of times between slashes."""
    times, _, bad = read_times(frame[name], dates)
    plain = frame.copy(deep=False)
    plain[name] = pd.to_datetime(times, utc=True).where(~bad)
    return plain


def _pointed_to_iso(column: pd.Series[Any]) -> pd.Series[Any]:
    """Write 1.3.2024 9:05 as 2024-03-01T09:05 where the first entry is such a text; what is none stays as it is."""
    first = column.dropna().iloc[:1]
    if not len(first) or not isinstance(first.iloc[0], str) or not _POINTED.fullmatch(first.iloc[0]):
        return column
    return column.astype(object).map(_to_iso)


def _to_iso(entry: Any) -> Any:
    found = _POINTED.fullmatch(entry) if isinstance(entry, str) else None
    if found is None:
        return entry
    day, month, year, hour, rest = found.groups(default="")
    return f"{year}-{month:0>2}-{day:0>2}" + (f"T{hour:0>2}{rest}" if hour else "")


def whole_times(times: npt.NDArray[Any]) -> tuple[Ints, float]:
    """Write number times as whole multiples of a unit: 1 where they are whole, else 1e-9. Raises OverflowError."""
    if np.all(times == np.round(times)) and np.abs(times).max(initial=0) < 2**53:
        return times.astype(np.int64), 1.0
    if np.abs(times).max(initial=0) > 9e9:
        raise OverflowError("fractional times beyond 9e9")
    return np.round(times * 1e9).astype(np.int64), 1e-9
