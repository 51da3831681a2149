"""Strangers' times between slashes: what is taken for the day, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from strangers import wave

from seqsweep.proposal.columns import Column
from seqsweep.proposal.propose import Proposal, propose


def proposed(folder: Path, times: Sequence[str], task: str = "", **columns: object) -> Proposal:
    frame = pd.DataFrame({"date": times, "load": wave(len(times), 24)} | columns)
    frame.to_csv(folder / "file.csv", index=False)
    return propose(str(folder / "file.csv"), task)


def hours(form: str, rows: int = 500) -> list[str]:
    return list(pd.date_range("2024-11-01", periods=rows, freq="h").strftime(form))


def said(found: Proposal) -> str:
    return " ".join(line.lstrip("# ") for line in found.document.splitlines())


@pytest.mark.parametrize(("form", "why"), [
    ("%m/%d/%Y %H:%M", "the month first (11/13/2024 00:00 in row 290)"),
    ("%d/%m/%Y %I:%M %p", "the day first (13/11/2024 12:00 AM in row 290)")])
def test_the_rows_decide(form: str, why: str, tmp_path: Path) -> None:
    found = proposed(tmp_path, hours(form))
    assert (found.sweep.data.time, found.sweep.data.dates) == ("date", None)
    assert found.sweep.prepare.calendar == ("hour",)
    assert f"date is the time of each row, an hour apart, read with {why}." in said(found)


@pytest.mark.parametrize(("form", "order", "other"), [
    ("%m/%d/%Y %H:%M", "month_first", "day_first"), ("%d/%m/%Y %H:%M", "day_first", "month_first")])
def test_first_days_are_guessed_by_their_steps(form: str, order: str, other: str, tmp_path: Path) -> None:
    found = proposed(tmp_path, hours(form, 280))
    assert (found.sweep.data.time, found.sweep.data.dates) == ("date", order)
    assert f"dates: {order}}}" in found.document
    words = {"day_first": "day", "month_first": "month"}
    assert (f"`dates` is a guess, since no row tells which number is the day: the {words[order]} first, for so the "
            f"rows are an hour apart, and with the {words[other]} first they are not. If it is wrong, write {other}"
            ) in said(found)


def test_months_are_guessed_by_their_steps(tmp_path: Path) -> None:
    months = pd.date_range("2020-01-01", periods=40, freq="MS").strftime("%m/%d/%Y")
    found = proposed(tmp_path, list(months))
    assert found.sweep.data.dates == "month_first"
    assert "for so the rows are a month apart" in said(found)


def test_what_is_even_both_ways_is_not_guessed(tmp_path: Path) -> None:
    """A year of months, or twelve days of January."""
    year = list(pd.date_range("2024-01-01", periods=12, freq="MS").strftime("%m/%d/%Y"))
    found = proposed(tmp_path, year * 6, shop=np.repeat(list("abcdef"), 12))
    assert (found.sweep.data.time, found.sweep.data.dates, found.sweep.data.series) == (None, None, "shop")
    assert "Left out: date: may have the day or the month first: no number there is above 12." in said(found)
    assert "data.dates: day_first or month_first" in said(found)


@pytest.mark.parametrize(("times", "words"), [
    (hours("%m/%d/%y %H:%M", 100), "holds years of two digits: 11/01/24 00:00 in row 2; write four, or ISO 8601"),
    (["31/12/2024", "12/31/2024"] * 40, "has the day first in some rows and the month in others: 31/12/2024 in row 2 "
                                        "and 12/31/2024 in row 3"),
    ([*hours("%m/%d/%Y %H:%M", 400), "2025-01-01"], "holds times, but not only: 2025-01-01 in row 402"),
    ([*hours("%m/%d/%Y %H:%M", 400), "02/30/2025 1:00"], "holds times, but not only: \"02/30/2025 1:00\" in row 402")])
def test_what_is_left_out(times: list[str], words: str, tmp_path: Path) -> None:
    found = proposed(tmp_path, times)
    assert found.sweep.data.time is None
    assert words in said(found)


def test_clocks_that_are_set_back_are_read_too(tmp_path: Path) -> None:
    times = hours("%d/%m/%Y %H:%M")
    found = proposed(tmp_path, times[:300] + times[200:], "anomaly")
    assert (found.sweep.data.time, found.sweep.data.dates) == ("date", None)
    assert "date is the time of each row, read with the day first (13/11/2024 00:00 in row 290); the steps are not " \
           "equal." in said(found)


def test_a_text_that_begins_like_a_date_stays_text() -> None:
    column = Column("note", pd.Series(["1/2/2024", *"abcdefgh"], dtype=object))
    assert (column.kind, column.dates) == ("text", None)
