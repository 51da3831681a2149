"""Proposes a forecast: which column, how far ahead, from how much of the past. Shapes: T rows, S series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.errors import InvalidData, Problem
from seqsweep.proposal.columns import Column
from seqsweep.proposal.order import SERIES_WORDS, TIME_WORDS
from seqsweep.proposal.page import Line, duration_words, listed, month_words, named
from seqsweep.proposal.seasons import Season, find_season, naive_errors
from seqsweep.proposal.sections import aside, data_lines, reading, search_lines
from seqsweep.proposal.view import Draft, View

Floats64 = npt.NDArray[np.float64]

_TARGET_WORDS = frozenset({"target", "y", "value", "values", "load", "demand", "consumption", "sales", "sold", "close",
                           "count", "traffic", "ot", "power", "energy", "revenue", "quantity", "orders", "passengers"})
_NO_TARGET_WORDS = SERIES_WORDS | TIME_WORDS | {"code", "rownames", "index", "latitude", "longitude", "lat", "lon"}
_LEAST_ROWS = 20
_LEVELS = 1000
"""Series whose levels are compared."""
_MOST_COVARIATES = 8
_MOST_CATEGORIES = 20
_SAME = 0.9999
"""Correlation from which a column is taken for the target in other units."""
_LONG_HORIZON = 100
_RIVALS = 1.25
"""Naive forecasts whose error is so many times that of the best, or less, are worth trying."""
_STEPS_AN_EPOCH = 300_000
"""Windows x context that an epoch trains at the most, so that a first look takes minutes."""
_WINDOWS = 12
"""Windows that a part has at least where its rows allow it."""
_LAST = "last: relative to each window's last value"
_LOOKED_BACK = 0.6
"""Share of the training part that horizon, context and lag may take up; what is left are windows."""
_SIZES = (1.0, 0.5, 0.25, 0.0)
"""How much of the wanted sizes is tried, from the first to the smallest."""


def forecasting(view: View) -> Iterator[Draft]:
    """Yield drafts, the wanted one first, then ones that need fewer rows. Raises InvalidData where nothing varies."""
    shortest = int(view.order.length_S.min())
    part = 0.15 if shortest >= 2000 else 0.2
    if view.rows < _LEAST_ROWS and view.numbers():
        raise InvalidData(Problem(view.name, f"{view.rows} rows in all", f"{_LEAST_ROWS} rows are the least to learn "
                                  "from, to choose by and to judge by"))
    target, others = _target(view, 1 - 2 * part)
    facts = _Facts(view, target, others, part)
    for size in _SIZES:
        yield facts.draft(facts.sizes(size))


@dataclass(frozen=True)
class _Sizes:
    """In rows of one series."""

    horizon: int
    context: int
    season: Season | None
    stride: int
    """Between training windows."""
    origins: int
    """Between the forecasts of the validation and test part."""


@dataclass(frozen=True, eq=False)
class _Facts:
    """What the choices are made from."""

    view: View
    target: Column
    others: list[Column]
    """Columns that could be the target too, or past covariates."""
    part: float
    """Share of the validation and of the test part."""

    @cached_property
    def series(self) -> list[Floats64]:
        """Training parts of the target, the longest series."""
        return self.view.by_series(self.target, 1 - 2 * self.part)

    @cached_property
    def seasons(self) -> tuple[int, ...]:
        """What the frequency suggests."""
        frequency = self.view.order.frequency
        if frequency is None:
            return self.view.order.seasons
        years = {"D": (365,), "W": (52,)}.get(frequency.text, ())
        return (*frequency.seasons, *years)

    @cached_property
    def season(self) -> Season | None:
        return find_season(self.series, self.seasons)

    def sizes(self, scale: float) -> _Sizes:
        """Horizon and context for the shortest series; `scale` makes less of them."""
        rows = int(self.view.order.length_S.min())
        part = math.floor(self.part * rows)
        train = rows - 2 * part
        season = self.season if scale >= 0.5 else None
        if season is not None and train < 4 * season.steps:
            season = find_season(self.series, self.seasons, train // 4)
        wanted = self._horizon(season)
        horizon = max(1, min(math.ceil(wanted * scale), part // 2, max(1, train // 6)))
        lead = season.steps if season else 0
        context = max(1, math.ceil(min(max(24, 2 * horizon), train // 4) * max(scale, 0.25)))
        if season is not None:
            fitting = (_LOOKED_BACK * train - lead - horizon) // season.steps
            context = season.steps * max(1, min(math.ceil(context / season.steps), math.floor(fitting)))
        lengths_S = self.view.order.length_S
        windows = int(np.maximum((lengths_S * (1 - 2 * self.part)).astype(int) - lead - context - horizon + 1, 0).sum())
        stride = max(1, math.ceil(windows * context / _STEPS_AN_EPOCH))
        while season is not None and stride > 1 and math.gcd(stride, season.steps) > 1:
            stride += 1
        spare = int(np.maximum((lengths_S * self.part).astype(int) - horizon, 0).sum())
        return _Sizes(horizon, context, season, stride, max(1, min(horizon, spare // _WINDOWS)))

    def _horizon(self, season: Season | None) -> int:
        """One day of hours, one week of days, one year of months; else the season, or ten steps."""
        frequency = self.view.order.frequency
        if frequency is not None:
            if frequency.text == "W":
                return 4
            if frequency.seasons and frequency.seasons[0] <= _LONG_HORIZON:
                return frequency.seasons[0]
        if season is not None and season.steps > _LONG_HORIZON:
            season = find_season(self.series, (), _LONG_HORIZON)
        return season.steps if season is not None else 10

    def draft(self, sizes: _Sizes) -> Draft:
        view, season = self.view, sizes.season
        past, unused = self._covariates()
        calendar = self._calendar()
        statics, ids = self._statics()
        used = [self.target, *past]
        missing = sum(int(column.missing_T.sum()) for column in used)
        task = [Line("type", "forecasting"), self._target_line(), self._horizon_line(sizes),
                Line("context", sizes.context, self._context_reason(sizes))]
        task.append(Line("loss", "mae", "or mse, huber; `quantiles: [0.05, 0.5, 0.95]` instead forecasts intervals"))
        if sizes.stride > 1:
            task.append(Line("stride", sizes.stride, "rows from one training window to the next; 1 takes longer"))
        if past:
            task.append(Line("past", [column.name for column in past],
                             "read up to now. Move those whose future you know when you forecast (holidays, planned "
                             "prices) to `known: [...]`: the file cannot tell"))
        if statics:
            task.append(Line("static", [column.name for column in statics], "one value in each series"))
        lines = [Line("task", tuple(task)), data_lines(view), self._prepare_line(sizes, calendar, missing, used),
                 Line("split", self._split(sizes), self._split_reason(sizes)), self._metric_line(),
                 *search_lines(self._parameters(sizes))]
        ahead = self._duration(sizes.horizon)
        summary = f"forecasting of {named(self.target.name)}, {sizes.horizon} step{'s' * (sizes.horizon > 1)} " \
                  f"ahead{f' ({ahead})' if ahead else ''}"
        head = [*reading(view), *aside(view, used + statics, [
            *((column.name, reason) for column, reason in (*unused, *ids))])]
        if view.order.time is None and not view.order.remarks:
            head.insert(1, "Rows that do not follow one another in time can be no forecast's past and future.")
        if season is None and self.season is not None:
            head.append(f"The target repeats itself after {self.season.steps} steps, but the series are too short to "
                        "learn from that.")
        median = float(np.median(view.order.length_S))
        if (shortest := int(view.order.length_S.min())) < median / 4:
            head.append(f"The shortest series has {shortest:,} rows, half of them {median:,.0f} and more: horizon and "
                        "context follow the shortest. Without short series they could be longer.")
        return Draft(summary, tuple(head), tuple(lines))

    def _duration(self, steps: int) -> str:
        """How long so many steps are, where that is known."""
        frequency = self.view.order.frequency
        if frequency is None or not frequency.text:
            return ""
        return month_words(steps * frequency.months) if frequency.months else \
            duration_words(steps * frequency.nanoseconds / 1e9)

    def _target_line(self) -> Line:
        also = [column.name for column in self.others]
        why = "what to forecast" if self.target.like(_TARGET_WORDS) else "the first column of numbers that vary"
        return Line("target", self.target.name, why + (f"; could also be: {listed(also)}" if also else ""))

    def _horizon_line(self, sizes: _Sizes) -> Line:
        ahead = self._duration(sizes.horizon)
        return Line("horizon", sizes.horizon, f"steps ahead{f': {ahead}' if ahead else ''}; yours to choose")

    def _context_reason(self, sizes: _Sizes) -> str:
        season = f", {sizes.context // sizes.season.steps} x its season" if sizes.season else ""
        return f"steps the model looks back{season}"

    def _statics(self) -> tuple[list[Column], list[tuple[Column, str]]]:
        """Columns of one value a series that tell kinds of series apart, not each from all others."""
        most = max(_MOST_CATEGORIES, self.view.series // 4)
        known = [column for column in self.view.constants if column is not self.target and column.distinct > 1]
        names = [column for column in known if column.kind == "text" and column.distinct > most]
        return [column for column in known if column not in names], [(column, "names nearly each series by itself")
                                                                     for column in names]

    def _covariates(self) -> tuple[list[Column], list[tuple[Column, str]]]:
        """Columns to read beside the target, those most related to it; and the others, each with a reason."""
        share = 1 - 2 * self.part
        y = _standardised(self.series)
        related: list[tuple[float, Column]] = []
        unused: list[tuple[Column, str]] = []
        for column in self.others:
            x = _standardised(self.view.by_series(column, share))
            if len(x) != len(y) or np.ptp(x) == 0:
                unused.append((column, "does not vary in the training part"))
            elif column.missing_T.mean() > 0.5:
                unused.append((column, f"is missing in {column.missing_T.mean():.0%} of the rows"))
            elif (strength := _correlation(x, y)) >= _SAME:
                unused.append((column, "is the target again, in the same or other units"))
            else:
                related.append((strength, column))
        related.sort(key=lambda pair: -pair[0])
        unused += [(column, f"is related less to the target than {_MOST_COVARIATES} others")
                   for _, column in related[_MOST_COVARIATES:]]
        chosen = {column.name for _, column in related[:_MOST_COVARIATES]}
        return [column for column in self.others if column.name in chosen], unused

    def _calendar(self) -> list[str]:
        """Cycles that are longer than a step, and that the training part has seen twice at least."""
        order = self.view.order
        if order.time is None or order.frequency is None or not order.frequency.text:
            return []
        frequency = order.frequency
        step = frequency.nanoseconds / 1e9 if not frequency.months else frequency.months * 30 * 86400
        span = step * float(order.length_S.max()) * (1 - 2 * self.part)
        cycles = (("minute", 900, 3600), ("hour", 6 * 3600, 86400), ("weekday", 86400, 7 * 86400),
                  ("yearday", 14 * 86400, 365 * 86400), ("month", 100 * 86400, 365 * 86400))
        return [name for name, longest, cycle in cycles if step <= longest and span >= 2 * cycle and
                (step >= 28 * 86400) == (name == "month")]

    def _prepare_line(self, sizes: _Sizes, calendar: list[str], missing: int, used: Sequence[Column]) -> Line:
        lines = []
        rows = self.view.order.missing_rows
        if missing or rows:
            share = missing / (len(used) * self.view.rows)
            what = [f"{missing:,} values are missing ({share:.1%})"] if missing else []
            what += [f"adds the missing rows, {rows:,} in all"] if rows else []
            lines.append(Line("fill", "interpolate", "; ".join([*what, "or forward, zero"])))
            if max(share, rows / self.view.rows) > 0.02:
                lines.append(Line("indicator", True, "a 0/1 column tells where a value was filled"))
        heavy = any(_is_heavy(y_T) for y_T in self.series if len(y_T))
        lines.append(Line("scale", "robust" if heavy else "standard",
                          "by median and quartiles, since a few values are far out" if heavy else ""))
        if calendar:
            lines.append(Line("calendar", calendar, "known ahead; shorter or longer cycles are not in the data twice"))
        if (season := sizes.season) is not None:
            if season.steps >= sizes.horizon:
                lines.append(Line("lags", [season.steps], f"the value {season.steps} steps before, known ahead: "
                                  f"autocorrelation {season.strength:.2f}"))
            lines.append(Line("differences", [season.steps], "by how much now differs from a season before"))
        return Line("prepare", tuple(lines))

    def _split(self, sizes: _Sizes) -> dict[str, Any]:
        split: dict[str, Any] = {"by": "time", "val": f"{self.part:.0%}", "test": f"{self.part:.0%}"}
        return split | ({"stride": sizes.origins} if sizes.origins != sizes.horizon else {})

    def _split_reason(self, sizes: _Sizes) -> str:
        of_each = " of each series" if self.view.series > 1 else ""
        stride = "" if sizes.origins == sizes.horizon else \
            f"; rows are few, so forecasts overlap: they begin {sizes.origins} row{'s' * (sizes.origins > 1)} apart"
        return f"the last rows{of_each} are the test part, opened once; those before them choose the model{stride}"

    def _metric_line(self) -> Line:
        if self.view.series > 1:
            train = self.view.by_series(self.target, 1 - 2 * self.part, _LEVELS)
            levels = [float(np.mean(np.abs(y_T))) for y_T in train if len(y_T)]
            if len(levels) > 1 and min(levels) * 3 < max(levels):
                return Line("metric", {"name": "mase"}, "in errors of a naive forecast, so that series of every size "
                            "count alike; or mae, rmse, smape")
        return Line("metric", {"name": "mae"}, "in units of the target; or rmse, mape, smape, mase")

    def _parameters(self, sizes: _Sizes) -> tuple[Line, ...]:
        season = sizes.season.steps if sizes.season else None
        one = len(self.series) == 1
        spreads = [1.0 if one else float(np.abs(y_T - y_T.mean()).mean()) if len(y_T) else 0.0 for y_T in self.series]
        scaled = [y_T / spread for y_T, spread in zip(self.series, spreads, strict=True) if spread > 0]
        errors = naive_errors(scaled, sizes.horizon, season) or {0: 1.0}
        best = min(errors.values())
        tried = [naive for naive, error in errors.items() if error <= best * _RIVALS]
        words = {0: "the mean", 1: "the last value", season: f"the value {season} steps before"}
        told = ", ".join(f"{words[naive]} by {_short(error)}" for naive, error in errors.items())
        found = [Line("naive_season", {"values": tried} if len(tried) > 1 else {"value": tried[0]},
                      "what the model corrects: in the training part " + told.replace(" by ", " is off by ", 1)
                      + ("" if one else ", in deviations of each series"))]
        if tried != [0]:
            norms = ["none", "last"] if season else ["none", "last", "standard"]
            found.append(Line("window_norm", {"values": norms}, _LAST))
        return tuple(found)


def _standardised(series: Sequence[Floats64]) -> Floats64:
    """The series end to end, each by its own mean and spread, so that series of any size count alike."""
    return np.concatenate([(y_T - y_T.mean()) / (np.abs(y_T - y_T.mean()).max() or 1.0) if len(y_T) else y_T
                           for y_T in series])


def _short(error: float) -> str:
    return f"{error:,.0f}" if 1000 <= error < 1e9 else f"{error:.3g}"


def _target(view: View, share: float) -> tuple[Column, list[Column]]:
    """The column to forecast, and the other columns of numbers that vary."""
    constants = {column.name for column in view.constants}
    numbers = [column for column in view.numbers() if column.name not in constants]
    varying = [column for column in numbers if
               any(len(y_T) and np.ptp(y_T) > 0 for y_T in view.by_series(column, share))]
    if not varying:
        raise InvalidData(Problem(view.name, "no column of numbers varies: there is nothing to forecast",
                                  "a column of numbers" + _remarks(view)))
    def rank(column: Column) -> tuple[Any, ...]:
        counter = _is_counter(column)
        named = column.like(_TARGET_WORDS)
        return (counter, column.missing_T.mean() > 0.5, -named, not named and column.like(_NO_TARGET_WORDS) > 0,
                column.distinct <= 2, varying.index(column))

    target = min(varying, key=rank)
    others = [column for column in numbers if column is not target and column.distinct > 1 and not _is_counter(column)]
    return target, others


def _is_counter(column: Column) -> bool:
    """Whether it only numbers the rows."""
    return column.is_whole and not column.missing_T.any() and len(column.value_T) > 1 and \
        bool(np.all(np.diff(column.value_T) == 1))


def _remarks(view: View) -> str:
    remarks = [f"{named(column.name)} {column.remark}" for column in view.columns if column.remark]
    return "; " + "; ".join(remarks[:5]) if remarks else ""


def _correlation(x: Floats64, y: Floats64) -> float:
    """Absolute correlation; 0 where it is none."""
    x, y = x - x.mean(), y - y.mean()
    x, y = x / (np.abs(x).max() or 1.0), y / (np.abs(y).max() or 1.0)
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return abs(float(x @ y)) / norm if norm > 0 else 0.0


def _is_heavy(x: Floats64) -> bool:
    """Whether a few values lie so far out that the standard deviation is theirs."""
    quarter, half, three = np.quantile(x, [0.25, 0.5, 0.75])
    return bool(three > quarter and np.abs(x - half).max() > 30 * (three - quarter))
