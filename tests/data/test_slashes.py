"""Times between slashes are read as a person would, without a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqsweep.data.columns import read_times
from seqsweep.data.slashes import Slashed


def texts(*written: object) -> pd.Series[Any]:
    return pd.Series(list(written), dtype=object)


@pytest.mark.parametrize(("written", "read"), [
    ("12/31/2024 23:30", "2024-12-31T23:30"), ("12/31/2024", "2024-12-31"), ("1/2/2024 9:05", "2024-01-02T09:05"),
    (" 01/02/2024 09:05:07 ", "2024-01-02T09:05:07"), ("12/31/2024 11:30 PM", "2024-12-31T23:30"),
    ("12/31/2024 11:30:15 pm", "2024-12-31T23:30:15"), ("12/31/2024, 12:05 AM", "2024-12-31T00:05"),
    ("12/31/2024 12:05 p.m.", "2024-12-31T12:05"), ("12/31/2024 9 AM", "2024-12-31T09:00"),
    ("12/31/2024T23:30:01.25", "2024-12-31T23:30:01.25"),
    ("12/31/2024 1:02:03.123456789", "2024-12-31 01:02:03.123456789"),
    ("12/31/2024 11:30\u202fPM", "2024-12-31T23:30"), ("2/29/2024", "2024-02-29"), ("2/29/2023", None),
    ("12/31/2024 24:00", None), ("12/31/2024 9:60", None), ("12/31/2024 13:00 PM", None), ("12/31/2024 0:30 AM", None),
    ("0/1/2024", None), ("13/13/2024", None), ("12/31/0001", None), ("12/31/9999", None), ("12/31/24", None)])
def test_one_time(written: str, read: str | None) -> None:
    for dtype in ("object", "category", "str"):
        times, kind, bad = read_times(pd.Series([written], dtype=dtype), "month_first")
        assert (kind, bad.tolist()) == ("timestamp", [read is None])
        assert read is None or times.tolist() == [pd.Timestamp(read).value]


@pytest.mark.parametrize("written", ["12/31", "12/31/202", "12-31-2024", "12/31/2024 Monday", "1/2/2024/5", "a/b/2024",
                                     "١/٢/٢٠٢٤", "2024-12-31", "12/31/2024" + " " * 60, "", "12/31/2024 23:3"])
def test_what_is_no_such_time(written: str) -> None:
    assert Slashed.of(texts(written)) is None or read_times(texts(written), "month_first")[2].all()
    _, _, bad = read_times(texts("12/31/2024", written), "month_first")
    assert bad.tolist() == [False, True]


def test_the_order_is_that_of_the_caller() -> None:
    column = texts("1/2/2024", "31/12/2024", None, 5, pd.Timestamp("2024-12-31"))
    times, _, bad = read_times(column, "day_first")
    assert bad.tolist() == [False, False, True, True, True]
    assert times[:2].tolist() == [pd.Timestamp(day).value for day in ("2024-02-01", "2024-12-31")]
    assert read_times(column, "month_first")[2].tolist() == [False, True, True, True, True]
    assert read_times(column)[2][:4].all()


def test_what_rows_say() -> None:
    found = Slashed.of(texts("1/2/2024", "31/12/2024", "12/31/2024", "4/4/2024", "13/13/2024", "99/1/2024", "31/12/24",
                             "x"))
    assert found is not None
    assert np.flatnonzero(found.day_first_T).tolist() == [1]
    assert np.flatnonzero(found.month_first_T).tolist() == [2]
    assert np.flatnonzero(found.doubtful_T).tolist() == [0]
    assert np.flatnonzero(found.short_T).tolist() == [6]
    assert np.flatnonzero(~found.found_T).tolist() == [7]


@pytest.mark.parametrize("form", ["%m/%d/%Y %H:%M", "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y, %H:%M:%S.%f"])
def test_many_times_equal_those_of_pandas(form: str) -> None:
    """More rows than are looked at together, with digits left out as people do."""
    stamps = pd.date_range("1700-01-01 00:00:01", "2250-01-01", periods=150_000).floor("s")
    written = pd.Series(stamps.strftime(form)).str.replace(r"\b0(\d)/", r"\1/", regex=True)
    times, _, bad = read_times(written, "day_first" if form.startswith("%d") else "month_first")
    assert not bad.any()
    expected = stamps if "%S" in form else stamps.floor("min")
    assert np.array_equal(times, expected.as_unit("ns").asi8)


def test_the_year_first_needs_nobody_to_say() -> None:
    times, _, bad = read_times(texts("2024/12/31 11:30 PM", "2024/1/2 9:05", "2024/12/31", "2024/13/1", "2024-12-31"))
    assert bad.tolist() == [False, False, False, True, False]
    assert times[[0, 1, 2, 4]].tolist() == [pd.Timestamp(day).value for day in
                                            ("2024-12-31T23:30", "2024-01-02T09:05", "2024-12-31", "2024-12-31")]
