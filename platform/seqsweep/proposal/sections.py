"""Parts of a proposal that every task has: what was read, what was left out, the data, the search."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from seqsweep.proposal.columns import Column
from seqsweep.proposal.order import Order
from seqsweep.proposal.page import Line, frequency_words, listed, named
from seqsweep.proposal.view import View


def reading(view: View, *, evenly: bool = True) -> list[str]:
    """What the file is, in a few sentences. `evenly`: whether the task needs a row for each step."""
    order = view.order
    series = "one series" if view.series == 1 else f"{view.series:,} series of " + _range(order)
    found = [f"{view.rows:,} rows, {len(view.columns)} column{'s' * (len(view.columns) > 1)}, {series}."]
    if view.wide:
        return [" ".join([*found, "Each row of the file is one of them."])]
    if order.series is not None:
        found.append(f"{named(order.series.name)} tells the series apart.")
    if order.time is not None:
        step = f", {frequency_words(order.frequency)} apart" if order.frequency and order.frequency.text else ""
        step += f" but for {order.gaps:,} gap{'s' * (order.gaps > 1)}" if order.gaps else ""
        found.append(f"{named(order.time.name)} is the time of each row{step}{_dates(order.time)}.")
    elif order.set_aside is not None and not evenly:
        time = f"{named(order.set_aside.name)} is the time of each row{_dates(order.set_aside)}"
        return [" ".join([*found, f"{time}; the steps are not equal."])]
    elif order.set_aside is None and not view.sequences:
        found.append("No column of times was found: rows are taken in the order of the file.")
    return [" ".join(found), *order.remarks]


def _dates(time: Column) -> str:
    """What was taken for the day between slashes, and why."""
    return f", read with {time.dates.why}" if time.dates else ""


def _range(order: Order) -> str:
    low, high = int(order.length_S.min()), int(order.length_S.max())
    return f"{low:,} rows" if low == high else f"{low:,} to {high:,} rows"


def aside(view: View, used: Sequence[Column], reasons: Collection[tuple[str, str]]) -> list[str]:
    """A comment on columns that take no part."""
    told = dict(reasons)
    names = {column.name for column in used}
    for column in view.free():
        if column.name in names or column.name in told:
            continue
        if column.remark:
            told[column.name] = column.remark
        elif column.distinct <= 1:
            told[column.name] = "is the same in every row"
        elif column.kind == "text":
            told[column.name] = "holds text, and has several values in a series"
        elif column.kind == "time":
            told[column.name] = "holds times, and another column orders the rows"
        else:
            told[column.name] = "does not look like a measurement"
    by_reason: dict[str, list[str]] = {}
    for name, reason in told.items():
        by_reason.setdefault(reason, []).append(name)
    found = [f"Left out: {listed(names)}: {reason}." for reason, names in list(by_reason.items())[:8]]
    more = sum(len(names) for names in list(by_reason.values())[8:])
    return [*found, f"Left out: {more} more columns."] if more else found


def data_lines(view: View, test: str = "", ordered_by: Column | None = None) -> Line:
    """Where the data are. `ordered_by`: a column of times that need not be a step apart."""
    order, data = view.order, dict[str, Any]({"name" if view.is_named else "path": view.name})
    if test:
        data["test"] = test
    if (time := order.time or ordered_by) is not None:
        data["time"] = time.name
    guess = time.dates if time is not None and time.dates and time.dates.guessed else None
    if guess is not None:
        data["dates"] = guess.order
    if view.wide:
        data["layout"] = "wide"
        data |= {"series": view.wide.series} if view.wide.series else {}
    elif order.series is not None:
        data["series"] = order.series.name
    why = ["the file beside it is the test part"] * bool(test) + ["each row is a series"] * bool(view.wide)
    if guess is not None:
        other = "month_first" if guess.order == "day_first" else "day_first"
        why.append(f"`dates` is a guess, since no row tells which number is the day: {guess.why}. If it is wrong, "
                   f"write {other}")
    return Line("data", data, "; ".join(why))


def search_lines(parameters: Sequence[Line], epochs: int = 20,
                 batch_sizes: Sequence[int] = (32, 64)) -> list[Line]:
    """How models are searched, and for how long: a first look."""
    return [
        Line("seed", 1),
        Line("search_space", ["recurrent"], "Elman, GRU and LSTM side by side; what follows replaces parts of it"),
        Line("parameters", (
            *parameters,
            Line("hidden_size", {"values": [16, 32, 64]}, "for a longer search: remove the lines from here"),
            Line("num_layers", {"value": 1}),
            Line("learning_rate", {"min": 1e-3, "max": 2e-2, "log": True}),
            Line("batch_size", {"values": list(batch_sizes)}),
            Line("schedule", {"value": "cosine"}),
            Line("epochs", {"value": epochs}, "to here"))),
        Line("early_terminate", {"type": "asha", "min_epochs": 4}, "ends weak trials early"),
        Line("early_stopping", {"patience": 8}),
        Line("budget", {"max_trials": 18, "max_time": "3m"}, "a first look: minutes; 60 trials and 30m find more"),
        Line("evaluate", {"baselines": "auto"}, "naive rivals on the test part; where one wins, it is said first"),
        Line("register", {"alias": "challenger"},
             "the winner. With `promote: {to: champion}` it passes the gate by itself"),
    ]
