"""What each column of a stranger's table holds: numbers, times, text, nothing, or a mixture that cannot be read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.data.columns import Ints, TimeKind, encode, read_numbers, read_times, whole_times
from seqsweep.data.slashes import DateOrder
from seqsweep.proposal.dates import DateReading, read_dates
from seqsweep.proposal.page import named

Floats64 = npt.NDArray[np.float64]
Kind = Literal["number", "time", "text", "empty", "unreadable"]

LONGEST_NAME = 200
"""Characters of a column's name that a sweep may hold."""
_LARGEST = 1e30
_FEW = 0.2
"""A share of entries up to which those that differ in kind are taken for mistakes."""
_SAMPLE = 50


class Column:
    """One column, and what it holds. Shapes: T rows of the file."""

    def __init__(self, name: str, entries: pd.Series[Any]) -> None:
        self.name = name
        self.entries = entries
        self.remark = ""
        """Why it cannot be used, where it cannot."""
        self.dates: DateReading | None = None
        """How times between slashes are read; None where there are none."""
        self.kind: Kind = self._kind()

    @cached_property
    def missing_T(self) -> npt.NDArray[np.bool_]:  # noqa: N802
        """Which entries are missing."""
        return self.entries.isna().to_numpy(dtype=bool)

    @cached_property
    def value_T(self) -> Floats64:  # noqa: N802
        """Numbers; NaN where there is none."""
        return read_numbers(self.entries)[0]

    @cached_property
    def code_T(self) -> Ints:  # noqa: N802
        """Number of each entry's value in the order they appear; -1 where it is missing."""
        if pd.api.types.is_datetime64_any_dtype(self.entries.dtype):
            return pd.factorize(self.entries)[0].astype(np.int64)  # some years have no name
        return encode([self.entries])[0]

    @cached_property
    def distinct(self) -> int:
        """How many different values there are."""
        return int(self.code_T.max(initial=-1)) + 1

    @cached_property
    def times(self) -> tuple[Ints, TimeKind] | None:
        """Times as the preparation of data reads them; None where there are none."""
        if self.kind not in ("time", "number") or self.missing_T.any():
            return None
        times, kind, bad = _times(self.entries, self.dates.order if self.dates else None)
        if bad.any():
            return None
        try:
            return (whole_times(times)[0] if kind == "number" else times), kind
        except OverflowError:
            return None

    @property
    def is_whole(self) -> bool:
        """Whether every value is a whole number."""
        value = self.value_T[~np.isnan(self.value_T)]
        return self.kind == "number" and bool(np.all((value == np.round(value)) & (np.abs(value) < 2**53)))

    def like(self, words: Collection[str]) -> int:
        """How well the name fits: 2 where it is one of the words, 1 where it has one of them, else 0."""
        parts = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", self.name).lower())
        return 2 if self.name.lower() in words else int(any(part in words for part in parts))

    def _kind(self) -> Kind:
        if bool(self.missing_T.all()):
            self.remark = "is empty"
            return "empty"
        kind: Kind = self._kind_of_text() if _is_text(self.entries) else self._kind_of_dtype()
        if kind == "number" and (bad := np.abs(np.nan_to_num(self.value_T, nan=0.0)) > _LARGEST).any():
            return self._refuse("holds infinite or huge numbers", bad)
        if kind != "unreadable" and (len(self.name) > LONGEST_NAME or not self.name):
            self.remark = f"has a name of {len(self.name)} characters, and a sweep takes 1 to {LONGEST_NAME}"
            return "unreadable"
        return kind

    def _kind_of_dtype(self) -> Kind:
        """Of a column that is no text: numbers, truth values, timestamps, or something that is not read."""
        dtype = self.entries.dtype
        if pd.api.types.is_complex_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
            self.remark = f"holds {dtype}, which is not read"
            return "unreadable"
        if pd.api.types.is_numeric_dtype(dtype):
            return "number"
        return "time" if not _times(self.entries)[2][~self.missing_T].any() else "text"

    def _kind_of_text(self) -> Kind:
        no_number = read_numbers(self.entries)[1]
        if not no_number.any():
            return "number"
        self.dates = read_dates(self.entries)
        if self.dates is not None and self.dates.order is None:
            self.remark = self.dates.remark
            return "unreadable"
        order = self.dates.order if self.dates else None
        if not (no_time := _times(self.entries, order)[2] & ~self.missing_T).any():
            return "time"
        filled = int((~self.missing_T).sum())
        if no_number.sum() <= _FEW * filled:
            return self._refuse("holds numbers, but not only", no_number)
        if no_time.sum() <= _FEW * filled:
            return self._refuse("holds times, but not only", no_time)
        if self._has_other_times():
            self.remark = "holds times that are neither ISO 8601 (2024-03-01T12:30) nor 1.3.2024 or 3/31/2024 12:30"
            return "unreadable"
        return "text"

    def _refuse(self, what: str, bad_T: npt.NDArray[np.bool_]) -> Kind:
        row = int(np.argmax(bad_T))
        place = self.entries.index[row] if self.entries.index.dtype.kind in "iu" else row + 1
        self.remark = f"{what}: {named(str(self.entries.iloc[row]))} in row {place}"
        return "unreadable"

    def _has_other_times(self) -> bool:
        """Whether it holds times as people write them: 31-12-2024 23:30."""
        texts = [str(entry).strip() for entry in self.entries.dropna().iloc[:_SAMPLE]]
        if not all(re.fullmatch(r"(?=(.*\d){2})[\w ,:./+-]{6,40}", text) and re.search(r"[:/.-]", text)
                   for text in texts):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for day_first in (False, True):
                try:
                    found = pd.to_datetime(pd.Series(texts), errors="coerce", format="mixed", dayfirst=day_first,
                                           utc=True)
                except (ValueError, TypeError, OverflowError):
                    continue
                if found.notna().all():
                    return True
        return False


def _is_text(entries: pd.Series[Any]) -> bool:
    dtype = entries.dtype
    return not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_datetime64_any_dtype(dtype)
                or pd.api.types.is_timedelta64_dtype(dtype))


def _times(entries: pd.Series[Any],
           dates: DateOrder | None = None) -> tuple[npt.NDArray[Any], TimeKind, npt.NDArray[np.bool_]]:
    """Read times; where they are of a kind that has none, all entries are bad."""
    try:
        return read_times(entries, dates)
    except (TypeError, ValueError):
        return np.zeros(len(entries), dtype=np.int64), "timestamp", np.ones(len(entries), dtype=bool)
