"""Whether a split can be made, keeps the parts apart, and means what it says."""

from __future__ import annotations

from datetime import datetime

from seqsweep.config.base import Extent
from seqsweep.config.structure import Draft
from seqsweep.config.sweep import DataConfig, SplitConfig
from seqsweep.config.tasks import REMAINING, RegressionConfig, WindowTask, reads_whole

_USUAL = Extent(share=0.1)
"""What a part is where nothing is said of it."""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "D": 86400, "W": 7 * 86400}


def filled_split(draft: Draft) -> SplitConfig:
    """The split with `by` filled in: windows are split by time unless it says otherwise."""
    split = draft.sweep.split
    if isinstance(draft.sweep.task, WindowTask) and not draft.written("split", "by"):
        return split.model_copy(update={"by": "time"})
    return split


def check_split(draft: Draft) -> None:
    """Note every contradiction of the split with itself, the task and the data."""
    if not draft.sound("split", "task", "data"):
        return
    split, data = filled_split(draft), draft.sweep.data
    is_forecast = isinstance(draft.sweep.task, WindowTask)
    # Of parts that are given in part, the rest is drawn: in time for forecasts, else by a hash.
    by_time = split.by == "time" or (split.by == "given" and is_forecast)
    _check_kind(draft, split, by_time)
    _check_key(draft, split, data)
    if isinstance(split.end, str):
        _check_end(draft, split.end, data)
    for part in ("val", "test"):
        extent = getattr(split, part)
        if extent is None:
            continue
        if getattr(data, part) is not None:
            draft.refuse(("split", part), f"data.{part} is the {part} part already", f"data.{part} or split.{part}",
                         key=True)
        else:
            _check_extent(draft, part, extent, by_time)
    _check_folds(draft, split, data, by_time)
    _check_left(draft, split, data, by_time)


def _check_kind(draft: Draft, split: SplitConfig, by_time: bool) -> None:
    task, data = draft.sweep.task, draft.sweep.data
    whole = reads_whole(task)
    if not whole and split.by == "random" and data.series is None and data.files is None \
            and data.layout != "wide":
        draft.refuse(("split", "by"), "random draws whole series, so that no window lies in two parts, and here is one",
                     "by: time; or data.series where there are several")
    elif whole and split.by == "time":
        such = "classified whole" if task.type == "classification" else "one sample where task.context is not set"
        draft.refuse(("split", "by"), f"time cuts off the end of each series, and a sequence is {such}",
                     "by: random, group or given")
    elif isinstance(task, RegressionConfig) and task.target == REMAINING and split.by == "time":
        draft.refuse(("split", "by"), "what remains is counted to the end of a series, which time cuts off",
                     "by: random, group or given")
    if whole and split.stride is not None:
        draft.refuse(("split", "stride"), "stride is the distance of forecast origins, or of samples with a context",
                     "remove it", key=True)
    if split.by != "time" and split.of_rows is not None:
        draft.refuse(("split", "of_rows"), f"of_rows has no meaning with by: {split.by}", "by: time, or no of_rows",
                     key=True)
    if split.by != "time" and split.end is not None:
        draft.refuse(("split", "end"), f"end has no meaning with by: {split.by}", "by: time, or no end", key=True)
    elif split.end is not None and data.test is not None:
        draft.refuse(("split", "end"), "data.test is the test part, from its first row to its last", "no end", key=True)
    if not by_time and split.embargo != "auto":
        draft.refuse(("split", "embargo"), f"embargo has no meaning with by: {split.by}", "by: time, or no embargo",
                     key=True)


def _check_key(draft: Draft, split: SplitConfig, data: DataConfig) -> None:
    if split.by == "group" and split.key is None and data.series is None:
        draft.refuse(("split",), "by: group needs a key", "key: the column that names the group", key=True)
    elif split.by == "given" and split.key is None and data.val is None and data.test is None:
        draft.refuse(("split",), "by: given needs to know the parts, and nothing tells them",
                     "key: a column that holds train, val and test; or data.val and data.test", key=True)
    elif split.by in ("time", "random") and split.key is not None:
        draft.refuse(("split", "key"), f"key has no meaning with by: {split.by}", "by: group or given, or no key",
                     key=True)


def _check_extent(draft: Draft, part: str, extent: Extent, by_time: bool) -> None:
    path, data, task = ("split", part), draft.sweep.data, draft.sweep.task
    if extent.share is None and not by_time:
        draft.refuse(path, f"{part} cannot be {extent}: a hash tells each row's or group's part, whatever their number",
                     "a share such as 10%")
    elif extent.seconds is not None and data.time is None and (data.freq is None or data.start is None):
        draft.refuse(path, f"{part} is {extent}, and the rows have no times",
                     "data.time, or data.freq and data.start; or a number of rows (480), or a share (10%)")
    elif extent.seconds is not None and (step := _step(data)) and extent.seconds < step:
        draft.refuse(path, f"{part} is {extent}, and one step takes {data.freq}", "a longer time")
    elif extent.rows is not None and isinstance(task, WindowTask) and extent.rows < task.horizon:
        draft.refuse(path, f"{part} is {extent} steps, and one forecast takes {task.horizon}",
                     f"at least task.horizon, {task.horizon}")


def _check_end(draft: Draft, end: str, data: DataConfig) -> None:
    try:
        datetime.fromisoformat(end)
    except ValueError:
        draft.refuse(("split", "end"), f'"{end[:60]}" is no time', "a number of rows, or ISO 8601 such as 2018-02-21")
    else:
        if data.time is None and (data.freq is None or data.start is None):
            draft.refuse(("split", "end"), f"end is {end}, and the rows have no times",
                         "data.time, or data.freq and data.start; or a number of rows")


def _check_folds(draft: Draft, split: SplitConfig, data: DataConfig, by_time: bool) -> None:
    if split.folds == 1:
        return
    if split.by == "given":
        draft.refuse(("split", "folds"), "folds cannot be made of parts that are given", "folds: 1, or another by")
    elif data.val is not None:
        draft.refuse(("split", "folds"), "folds make the validation parts, and data.val is one already",
                     "folds: 1, or no data.val")
    elif split.val is not None and not by_time:
        draft.refuse(("split", "val"), f"each of the {split.folds} folds is a validation part", "no split.val",
                     key=True)


def _check_left(draft: Draft, split: SplitConfig, data: DataConfig, by_time: bool) -> None:
    """Shares must leave something to learn from; in time, each fold takes a validation part of its own."""
    if split.by == "given" or (split.folds > 1 and not by_time):
        return
    sizes = {part: getattr(split, part) or _USUAL for part in ("val", "test") if getattr(data, part) is None}
    shares = {part: size.share or 0.0 for part, size in sizes.items()}
    total = shares.get("val", 0.0) * split.folds + shares.get("test", 0.0)
    if total >= 1:
        folds = f" of {split.folds} folds" if split.folds > 1 else ""
        draft.refuse(("split",), f"val{folds} and test together are {100 * total:.12g}%, and nothing is left to learn "
                                 "from", "less than 100% together", key=True)


def _step(data: DataConfig) -> float | None:
    """Seconds of one step; None where they are unknown or differ, as a month's do."""
    if data.freq is None:
        return None
    unit = data.freq.lstrip("0123456789")
    return int(data.freq.removesuffix(unit) or 1) * _SECONDS[unit] if unit in _SECONDS else None
