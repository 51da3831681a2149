"""Which part of 12/31/2024 is the day: what a column says of itself in all its files, or what is known before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from seqsweep.data.columns import Ints, row_numbers
from seqsweep.data.problems import SHOWN, Problems
from seqsweep.data.slashes import DateOrder, Mask, Slashed
from seqsweep.errors import Problem

ISO = "ISO 8601 such as 2024-12-31T23:30"
PLACES: dict[DateOrder, tuple[str, str]] = {"day_first": ("day", "month"), "month_first": ("month", "day")}
"""What stands first and second in each order."""


@dataclass(frozen=True)
class Given:
    """What is known of the order before the column is looked at."""

    order: DateOrder | None = None
    by: Literal["key", "training", "nobody"] = "nobody"
    """`key`: data.dates can say it, whether or not it does. `training`: the training data did. `nobody`: only the
    column can."""


@dataclass(frozen=True, eq=False)
class Times:
    """The time column of one file."""

    shown: str
    """The file, as errors write it."""
    column: pd.Series[Any]
    slashed: Slashed | None

    @classmethod
    def of(cls, shown: str, column: pd.Series[Any]) -> Times:
        """Take a column apart where its times stand between slashes."""
        return cls(shown, column, Slashed.of(column))

    @property
    def rows(self) -> Ints:
        """Numbers of the rows, as errors write them."""
        return row_numbers(self.column.index)

    def where(self, t: int) -> str:
        """The place of a row, as errors write it."""
        return f"{self.shown}, row {self.rows[t]}, column {self.column.name}"


def settle(files: Sequence[Times], given: Given, problems: Problems) -> tuple[DateOrder | None, str]:
    """Find the order of a column over all its files, and what a person should know of it.

    None where no time has slashes, or where a problem was noted: a year of two digits, files with and without slashes,
    rows of both orders or of another one than is known, or none that decides.
    """
    slashed = [(file, file.slashed) for file in files if file.slashed is not None]
    if not slashed:
        unneeded = given.by == "key" and given.order is not None and len(files) > 0
        return None, "data.dates is not needed: no time of the data has the year behind two slashes" if unneeded else ""
    if _note_other(files, slashed, problems):
        return None, ""
    firsts: dict[DateOrder, tuple[Times, int] | None] = {
        "day_first": _first(slashed, [each.day_first_T for _, each in slashed]),
        "month_first": _first(slashed, [each.month_first_T for _, each in slashed])}
    said: list[DateOrder] = [order for order, first in firsts.items() if first is not None]
    if given.order is not None:
        _note_contradictions(slashed, given, problems)
        if said != [given.order] or given.by != "key":
            return given.order, ""
        return given.order, f"data.dates is not needed: {_told(firsts[given.order])} says {_words(given.order)}"
    if len(said) == 1:
        return said[0], ""
    if said:
        _note_both(firsts, problems)
    else:
        _note_doubt(slashed, given, problems)
    return None, ""


def _note_other(files: Sequence[Times], slashed: Sequence[tuple[Times, Slashed]], problems: Problems) -> bool:
    """Note what is read in no order; returns whether there was anything."""
    others = [file for file in files if file.slashed is None and file.column.notna().any()]
    for file in others[:1]:
        problems.add("times of two kinds", f"{slashed[0][0].shown}, column {file.column.name}", "times stand between "
                     f"slashes here, and not in {file.shown}", "the same in all files")
    short = False
    for file, each in slashed:
        short |= bool(each.short_T.any())
        problems.add_each("years of two digits", np.flatnonzero(each.short_T), lambda t, file=file: Problem(  # type: ignore[misc]
            file.where(t), f"{file.column.iloc[t]!r} has a year of two digits", f"a year of four; or {ISO}"))
    return bool(others) or short


def _note_contradictions(slashed: Sequence[tuple[Times, Slashed]], given: Given, problems: Problems) -> None:
    assert given.order is not None  # noqa: S101 - the caller has looked
    place = PLACES[given.order].index("month")
    by = "as in the training data" if given.by == "training" else f"as data.dates: {given.order} says"
    right = f"{_words(given.order)}, {by}; or {ISO}"
    for file, each in slashed:
        wrong_T = each.month_first_T if given.order == "day_first" else each.day_first_T
        month_T = (each.one_T, each.two_T)[place]
        problems.add_each("dates of the other order", np.flatnonzero(wrong_T),
                          lambda t, file=file, month_T=month_T: Problem(  # type: ignore[misc]
            file.where(t), f"{file.column.iloc[t]!r} has {month_T[t]} in the month's place", right))


def _note_both(firsts: dict[DateOrder, tuple[Times, int] | None], problems: Problems) -> None:
    for order, first in firsts.items():
        assert first is not None  # noqa: S101 - both were found
        file, t = first
        problems.add("dates of two orders", file.where(t), f"{file.column.iloc[t]!r} has {_words(order)}, and other "
                     "rows have not", f"one order in the whole column; or {ISO}")


def _note_doubt(slashed: Sequence[tuple[Times, Slashed]], given: Given, problems: Problems) -> None:
    found = sum(int(each.found_T.sum()) for _, each in slashed)
    right = f"data.dates: day_first or month_first; or {ISO}" if given.by == "key" else ISO
    shown = 0
    for file, each in slashed:
        rows = np.flatnonzero(each.doubtful_T if any(e.doubtful_T.any() for _, e in slashed) else each.found_T)
        for t in rows[:SHOWN - 2 - shown].tolist():
            shown += 1
            problems.add("doubtful dates", file.where(t), f"{file.column.iloc[t]!r}: which number is the day? None of "
                         f"{found:,} rows has one above 12 there" + (", and the training data do not tell"
                         if given.by == "nobody" else ""), right)


def _first(slashed: Sequence[tuple[Times, Slashed]], masks: Sequence[Mask]) -> tuple[Times, int] | None:
    """The first row that a mask tells, of all files."""
    return next(((file, int(np.argmax(mask_T))) for (file, _), mask_T in zip(slashed, masks, strict=True)
                 if mask_T.any()), None)


def _told(first: tuple[Times, int] | None) -> str:
    assert first is not None  # noqa: S101 - it was found
    file, t = first
    return f"{file.column.iloc[t]} in {file.shown}, row {file.rows[t]},"


def _words(order: DateOrder) -> str:
    return f"the {PLACES[order][0]} first"
