"""Which part of 12/31/2024 is the day, in a stranger's column: what its rows decide, else what its steps suggest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seqsweep.data.calendar import Frequency
from seqsweep.data.columns import Ints
from seqsweep.data.dates import PLACES, Given, Times, settle
from seqsweep.data.problems import Problems
from seqsweep.data.slashes import DateOrder, Slashed
from seqsweep.proposal.page import frequency_words

_FEWER = 0.5
"""Steps are even in one order, and at most so large a share of the other's uneven ones is uneven in it."""
_UNEVEN = 0.1
"""A share of steps that may be gaps."""


_MOST = 0.8
"""A share of entries that are such times, below which the column is text."""


@dataclass(frozen=True)
class DateReading:
    """In which order a column is read, and why."""

    order: DateOrder | None
    why: str = ""
    """`the month first (12/31/2024 in row 4)`."""
    guessed: bool = False
    """Whether no row decides, so that the sweep must say it."""
    remark: str = ""
    """Why it is read in no order."""


def read_dates(entries: pd.Series[Any]) -> DateReading | None:
    """Find the order of a column of times between slashes; None where it is none."""
    times = Times.of("", entries)
    if times.slashed is None or times.slashed.found_T.sum() < _MOST * entries.notna().sum():
        return None
    problems = Problems()
    order, _ = settle([times], Given(), problems)
    if order is not None:
        deciding_T = times.slashed.day_first_T if order == "day_first" else times.slashed.month_first_T
        return DateReading(order, f"the {PLACES[order][0]} first ({_shown(times, int(np.argmax(deciding_T)))})")
    short_T, day_T, month_T = times.slashed.short_T, times.slashed.day_first_T, times.slashed.month_first_T
    if short_T.any():
        return DateReading(None, remark=f"holds years of two digits: {_shown(times, int(np.argmax(short_T)))}; write "
                           "four, or ISO 8601 (2024-12-31T23:30)")
    if day_T.any():
        both = " and ".join(_shown(times, int(np.argmax(mask_T))) for mask_T in (day_T, month_T))
        return DateReading(None, remark=f"has the day first in some rows and the month in others: {both}")
    return _guess(times, times.slashed)


def _guess(times: Times, slashed: Slashed) -> DateReading:
    """Take the order by which the rows are a step apart, if by the other they are not."""
    steps = {order: _steps(slashed, order) for order in PLACES}
    order: DateOrder = min(steps, key=lambda each: steps[each][0])
    uneven, count, step = steps[order]
    others = max(uneven for uneven, _, _ in steps.values())
    if count and uneven <= _UNEVEN * count and uneven <= _FEWER * others and uneven < others:
        first, second = PLACES[order]
        return DateReading(order, f"the {first} first, for so the rows are {step} apart, and with the {second} first "
                           "they are not", guessed=True)
    return DateReading(None, remark="may have the day or the month first: no number there is above 12. Name it in "
                       "data.time with data.dates: day_first or month_first; or write ISO 8601 (2024-12-31)")


def _steps(slashed: Slashed, order: DateOrder) -> tuple[int, int, str]:
    """How many rows are another step apart than most, of how many that differ from the row before, and that step."""
    stamps, bad = slashed.read(order)
    stamps = stamps[~bad]
    apart = np.diff(stamps) != 0
    before, after = stamps[:-1][apart], stamps[1:][apart]
    frequency = _frequency(before, after) if len(before) else None
    if frequency is None:
        return 0, 0, ""
    return int(np.count_nonzero(frequency.steps(before, after) != 1)), len(before), frequency_words(frequency)


def _frequency(before: Ints, after: Ints) -> Frequency | None:
    """The commonest step; None where it leads back."""
    sizes, counts = np.unique(after - before, return_counts=True)
    commonest = int(sizes[np.argmax(counts)])
    return Frequency.of_step(commonest, before, after) if commonest > 0 else None


def _shown(times: Times, t: int) -> str:
    return f"{str(times.column.iloc[t]).strip()} in row {times.rows[t]}"
