"""Whether a split can be made, keeps the parts apart, and means what it says."""

from __future__ import annotations

from seqsweep.config.base import Extent
from seqsweep.config.structure import Draft
from seqsweep.config.sweep import DataConfig, SplitConfig
from seqsweep.config.tasks import ForecastingConfig

_SECONDS = {"s": 1, "min": 60, "h": 3600, "D": 86400, "W": 7 * 86400}


def filled_split(draft: Draft) -> SplitConfig:
    """The split with `by` filled in: forecasting is split by time unless it says otherwise."""
    split = draft.sweep.split
    if isinstance(draft.sweep.task, ForecastingConfig) and not draft.written("split", "by"):
        return split.model_copy(update={"by": "time"})
    return split


def check_split(draft: Draft) -> None:
    """Note every contradiction of the split with itself, the task and the data."""
    if not draft.sound("split", "task", "data"):
        return
    split, data = filled_split(draft), draft.sweep.data
    _check_kind(draft, split)
    _check_key(draft, split, data)
    _check_files(draft, split, data)
    for part in ("val", "test"):
        extent = getattr(split, part)
        if extent is not None and getattr(data, part) is None:
            _check_extent(draft, part, extent, split, data)
    _check_left(draft, split)
    if split.folds > 1 and split.by == "given":
        draft.refuse(("split", "folds"), "folds cannot be made of parts that are given", "folds: 1, or another by")


def _check_kind(draft: Draft, split: SplitConfig) -> None:
    forecasting = isinstance(draft.sweep.task, ForecastingConfig)
    if forecasting and split.by == "random":
        draft.refuse(("split", "by"), "random windows of a series overlap, so that the validation part would be known",
                     "by: time, or by: group with the series as key")
    elif not forecasting and split.by == "time":
        draft.refuse(("split", "by"), "time cuts off the end of each series, and a sequence is classified whole",
                     "by: random, group or given")
    if not forecasting and split.stride is not None:
        draft.refuse(("split", "stride"), "stride is the distance of forecast origins", "remove it", key=True)
    if split.by != "time" and split.embargo != "auto":
        draft.refuse(("split", "embargo"), f"embargo has no meaning with by: {split.by}", "by: time, or no embargo",
                     key=True)


def _check_key(draft: Draft, split: SplitConfig, data: DataConfig) -> None:
    if split.by == "group" and split.key is None:
        draft.refuse(("split",), "by: group needs a key", "key: the column that names the group", key=True)
    elif split.by == "given" and split.key is None and (data.val is None or data.test is None):
        missing = [f"data.{part}" for part in ("val", "test") if getattr(data, part) is None]
        draft.refuse(("split",), f"by: given needs to know the parts, and {' and '.join(missing)} "
                                 f"{'is' if len(missing) == 1 else 'are'} missing",
                     "key: a column that holds train, val and test; or data.val and data.test", key=True)
    elif split.by in ("time", "random") and split.key is not None:
        draft.refuse(("split", "key"), f"key has no meaning with by: {split.by}", "by: group or given, or no key",
                     key=True)


def _check_files(draft: Draft, split: SplitConfig, data: DataConfig) -> None:
    """A part comes from one place: a file of its own, a key, or the split."""
    for part in ("val", "test"):
        own_file, own_size = getattr(data, part) is not None, getattr(split, part) is not None
        if own_file and own_size:
            draft.refuse(("split", part), f"data.{part} is the {part} part already", f"data.{part} or split.{part}",
                         key=True)
        elif own_file and split.by == "given" and split.key is not None:
            draft.refuse(("data", part), f"the column {split.key} already says which rows are the {part} part",
                         f"split.key or data.{part}", key=True)
        elif own_size and split.by == "given":
            draft.refuse(("split", part), f"by: given takes the {part} part as it is given", f"remove split.{part}",
                         key=True)
        if own_file and part == "val" and split.folds > 1:
            draft.refuse(("split", "folds"), "folds make the validation parts, and data.val is one already",
                         "folds: 1, or no data.val")


def _check_extent(draft: Draft, part: str, extent: Extent, split: SplitConfig, data: DataConfig) -> None:
    path = ("split", part)
    if extent.share is None and split.by in ("random", "group"):
        draft.refuse(path, f"{part} cannot be {extent} with by: {split.by}, where each {_unit(split)} has its place by "
                           "a hash", "a share such as 10%")
    elif extent.seconds is not None and data.time is None and data.freq is None:
        draft.refuse(path, f"{part} is {extent}, and the rows have no times", "data.time or data.freq; or 480, or 10%")
    elif extent.seconds is not None and (step := _step(data)) and extent.seconds < step:
        draft.refuse(path, f"{part} is {extent}, and one step takes {data.freq}", "a longer time")
    elif extent.rows is not None and isinstance(draft.sweep.task, ForecastingConfig) \
            and extent.rows < draft.sweep.task.horizon:
        draft.refuse(path, f"{part} is {extent} steps, and one forecast takes {draft.sweep.task.horizon}",
                     f"at least task.horizon, {draft.sweep.task.horizon}")


def _check_left(draft: Draft, split: SplitConfig) -> None:
    """Shares must leave something to learn from."""
    shares = [extent.share for extent in (split.val, split.test) if extent is not None and extent.share is not None]
    if sum(shares) >= 1:
        draft.refuse(("split", "test"), f"val and test together are {100 * sum(shares):.12g}%, and nothing is left to "
                                        "learn from", "less than 100% together")


def _unit(split: SplitConfig) -> str:
    return "group" if split.by == "group" else "row"


def _step(data: DataConfig) -> float | None:
    """Seconds of one step; None where they are unknown or differ, as a month's do."""
    if data.freq is None:
        return None
    unit = data.freq.lstrip("0123456789")
    return int(data.freq.removesuffix(unit) or 1) * _SECONDS[unit] if unit in _SECONDS else None
