"""Times: the distance of two steps, the seasons it suggests, and cyclic calendar features. Times are Unix nanoseconds.

All times are UTC; times without a zone are taken as they stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats64 = npt.NDArray[np.float64]

_SECOND = 10**9
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3600 * _SECOND, 86400 * _SECOND
_FIXED = {"s": _SECOND, "min": _MINUTE, "h": _HOUR, "D": _DAY, "W": 7 * _DAY}
_MONTHS = {"MS": 1, "QS": 3, "YS": 12}
_PATTERN = re.compile(r"(\d*)(s|min|h|D|W|MS|QS|YS)")


@dataclass(frozen=True)
class Frequency:
    """The distance of two steps: a fixed number of nanoseconds, or of months."""

    text: str
    """As a pandas offset: `30min`, `h`, `MS`; empty where no offset names it."""
    nanoseconds: int = 0
    months: int = 0

    @classmethod
    def parse(cls, text: str) -> Frequency:
        """Read `30min`, `h`, `MS`; raises ValueError."""
        match = _PATTERN.fullmatch(text)
        count = int(match[1] or 1) if match else 0
        if match is None or count == 0:
            raise ValueError("a frequency is a count and one of s, min, h, D, W, MS, QS, YS: 30min")
        unit = match[2]
        return cls(text, nanoseconds=count * _FIXED.get(unit, 0), months=count * _MONTHS.get(unit, 0))

    @classmethod
    def of_step(cls, step: int, times: Ints, nexts: Ints) -> Frequency:
        """Name the commonest step in nanoseconds, given pairs of neighbouring times."""
        months = _month(nexts) - _month(times)
        for unit, count in reversed(_MONTHS.items()):
            if 27 * count * _DAY < step < 32 * count * _DAY and len(months) and np.all(months % count == 0):
                return cls(unit, months=count)
        for unit, length in reversed(_FIXED.items()):
            if step % length == 0:
                return cls(f"{step // length if step > length else ''}{unit}", nanoseconds=step)
        return cls("", nanoseconds=step)

    def steps(self, times: Ints, nexts: Ints) -> Floats64:
        """Count the steps from each time to the next one; 1 where they are neighbours."""
        if self.months:
            return (_month(nexts) - _month(times)) / self.months
        return (nexts - times) / self.nanoseconds

    def advance(self, time: int, steps: Ints) -> Ints:
        """Times that lie `steps` after `time`; the end of a month leads to ends of months."""
        if not self.months:
            return time + steps * self.nanoseconds
        day = np.datetime64(time, "ns").astype("M8[D]")
        month = day.astype("M8[M]") + steps * self.months
        last = (month + 1).astype("M8[D]") - 1
        is_last = (day + 1).astype("M8[M]") != day.astype("M8[M]")
        offset = day - day.astype("M8[M]").astype("M8[D]")
        days = last if is_last else np.minimum(month.astype("M8[D]") + offset, last)
        result: Ints = days.astype("M8[ns]").astype(np.int64) + time % _DAY
        return result

    @property
    def seasons(self) -> tuple[int, ...]:
        """Candidate seasonal periods in steps, shortest first: the whole hour, day, week or year where it has sense."""
        if self.months:
            return _whole(12 / self.months)
        step = self.nanoseconds
        if step < _MINUTE:
            return _whole(_MINUTE / step, _HOUR / step)
        if step < 10 * _MINUTE:
            return _whole(_HOUR / step, _DAY / step)
        if step < _DAY:
            return _whole(_DAY / step, 7 * _DAY / step)
        return (52,) if step == 7 * _DAY else _whole(7 * _DAY / step)


def _whole(*periods: float) -> tuple[int, ...]:
    return tuple(int(period) for period in periods if period > 1 and period == int(period))


def _month(times: Ints) -> Ints:
    """Months since 1970."""
    months: Ints = times.astype("M8[ns]").astype("M8[M]").astype(np.int64)
    return months


def _phase(name: str, times: Ints) -> Floats64:
    """How far into its cycle each time is, from 0 to 1."""
    if name == "minute":
        return (times % _HOUR) / _HOUR
    if name == "hour":
        return (times % _DAY) / _DAY
    day = times.astype("M8[ns]").astype("M8[D]")
    month = day.astype("M8[M]")
    days: Ints
    if name == "weekday":
        days, length = (day.astype(np.int64) + 3) % 7, 7  # 1970 began on a Thursday
    elif name == "monthday":
        days, length = (day - month.astype("M8[D]")).astype(np.int64), 31
    elif name == "month":
        days, length = month.astype(np.int64) % 12, 12
    else:
        days, length = (day - month.astype("M8[Y]").astype("M8[D]")).astype(np.int64), 366
    return days / length


def calendar_names(calendar: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the calendar features, two each."""
    return tuple(f"{name}:{wave}" for name in calendar for wave in ("sin", "cos"))


def calendar_features(times_T: Ints, calendar: tuple[str, ...]) -> list[npt.NDArray[np.float32]]:
    """Sine and cosine of each cycle, in the order of `calendar_names`."""
    columns = []
    for name in calendar:
        angle = 2 * np.pi * _phase(name, times_T)
        columns += [np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)]
    return columns
