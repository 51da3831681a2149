"""Which rows are for training, validation and test, by the end of each series, by a hash, or as given.

The hash rule: with h = crc32(id as UTF-8), a row's position is h % 10 plus a fraction from the next three digits, in
[0, 10). It is test below 10 x the test share and validation below 10 x (test + validation share); at 10% and 10% a row
is test if h % 10 == 0 and validation if h % 10 == 1. A row never changes part as data grow.

Folds of single sequences are dealt in the order of the hashes, class by class, so that each has its share of every
class (stratified; Kohavi, 1995); those of groups are drawn by the hash. What is test is so whatever the folds.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.base import Extent
from seqsweep.config.sweep import SplitConfig
from seqsweep.config.tasks import WindowTask, reads_whole
from seqsweep.data.columns import read_times
from seqsweep.data.problems import Problems
from seqsweep.data.table import TEST, TRAIN, UNUSED, VAL, Ints, Table, Task

Parts = npt.NDArray[np.int8]
_DEFAULT = Extent(share=0.1)
_NAMES = {VAL: "val", TEST: "test"}


@dataclass(frozen=True)
class Split:
    """The part of each row, one array a fold, and which parts a rule drew."""

    folds: tuple[Parts, ...]
    drawn: frozenset[int]
    remedy: str
    """What would help where a drawn part is empty or lacks a class."""


def split_table(table: Table, config: SplitConfig, task: Task, problems: Problems) -> Split:
    """Decide each row's part. Raises InvalidData when the split cannot be made."""
    drawn = frozenset({VAL, TEST} - table.given)
    _check_config(table, config, task, drawn, problems)
    problems.raise_if_any()
    sizes = {part: getattr(config, name) or _DEFAULT for part, name in _NAMES.items() if part in drawn}
    by_time = config.by == "time" or (config.by == "given" and isinstance(task, WindowTask))
    if not drawn:
        return Split((table.part_T,), drawn, "give each part rows")
    if by_time:
        draw = [_by_time(table, sizes, config, fold, problems) for fold in range(config.folds)]
        remedy = "more rows, or a larger part (split.val, split.test)"
    else:
        draw = _by_hash(table, sizes, config)
        remedy = ("fewer folds" if config.folds > 1 else "larger parts (split.val: 20%, split.test: 20%)")
        remedy += ", more sequences, or parts of your own choice (split.by: given)"
    problems.raise_if_any()
    return Split(tuple(draw), drawn, remedy)


def _check_config(table: Table, config: SplitConfig, task: Task, drawn: frozenset[int], problems: Problems) -> None:
    """Note settings that contradict each other or the data."""
    whole = reads_whole(task)
    for part, name in _NAMES.items():
        if part in table.given and getattr(config, name) is not None:
            problems.add("split", f"split.{name}", f"a size is set, but the {name} part is given",
                         f"leave out split.{name}")
    if config.by == "given" and drawn == {VAL, TEST}:
        problems.add("split", "split.by: given", "no part is given",
                     "split.key: a column of train, val and test; or data.val and data.test")
    if config.by == "time" and whole:
        problems.add("split", "split.by: time", "a sequence that is one sample is not cut in time",
                     "random, group or given")
    if config.folds > 1 and VAL not in drawn:
        problems.add("split", "split.folds", "the validation part is given", "folds: 1, or no validation part")
    hashed = config.by in ("random", "group") or (config.by == "given" and not isinstance(task, WindowTask))
    if hashed:
        _check_hashed(table, config, drawn, whole, problems)
    shares = [getattr(config, _NAMES[part]) or _DEFAULT for part in drawn]
    if sum((config.folds if part == VAL else 1) * (size.share or 0) for part, size in zip(drawn, shares, strict=True)
           if not (hashed and config.folds > 1 and part == VAL)) >= 1:
        problems.add("split", "split", "the parts leave nothing to train on", "smaller shares or fewer folds")


def _check_hashed(table: Table, config: SplitConfig, drawn: frozenset[int], whole: bool, problems: Problems) -> None:
    """Note what a split by hash cannot do."""
    if config.by == "group" and config.key is None and not table.has_ids:
        problems.add("split", "split.by: group", "nothing names the groups", "split.key: a column")
    if drawn and not whole and len(table.series) == 1:
        problems.add("split", f"split.by: {config.by}", "whole series are drawn, and there is one only",
                     "split: {by: time}, which cuts the end of each series")
    if config.embargo != "auto" and config.embargo:
        problems.add("split", "split.embargo", "it only has a meaning in time", "split.by: time")
    for name in (_NAMES[part] for part in drawn):
        size = getattr(config, name)
        if size is not None and size.share is None:
            problems.add("split", f"split.{name}", f"{size} cannot be drawn by a hash", "a share such as 10%")
    if config.folds > 1 and config.val is not None:
        problems.add("split", "split.val", "each fold's validation part is one of the folds", "leave out split.val")


def hash_position(h: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Position of a hash in [0, 10): its last digit, then the next three as a fraction."""
    return h % 10 + (h // 10) % 1000 / 1000


def _by_hash(table: Table, sizes: dict[int, Extent], config: SplitConfig) -> list[Parts]:
    """Draw whole series by the hash of their group, id or content."""
    h_S = np.array([zlib.crc32(content) for content in _identities(table)], dtype=np.int64)
    test = sizes[TEST].share or 0.0 if TEST in sizes else 0.0
    val = sizes[VAL].share or 0.0 if VAL in sizes else 0.0
    position_S = hash_position(h_S)
    # rounding: 10 * (0.1 + 0.2) is a little more than 3
    is_test_S, is_val_S = position_S < round(10 * test, 9), position_S < round(10 * (test + val), 9)
    fold_S = h_S // 10_000 % config.folds
    if config.folds > 1 and not table.group_S:
        fold_S = _dealt(table, h_S, ~is_test_S & (table.part_T[table.first_S] == TRAIN), config.folds)
    draws = []
    for fold in range(config.folds):
        held_S = is_val_S if config.folds == 1 else fold_S == fold
        drawn_S = np.where(is_test_S, TEST, np.where(held_S, VAL, TRAIN)).astype(np.int8)
        drawn_T = np.repeat(drawn_S, table.length_S)
        draws.append(np.where(table.part_T == TRAIN, drawn_T, table.part_T))
    return draws


def _dealt(table: Table, h_S: Ints, free_S: npt.NDArray[np.bool_], folds: int) -> Ints:
    """Deal the free series to folds in turn, class by class; those of equal values go to one fold."""
    values_S = [zlib.crc32(content) for content in contents(table)]
    place_of: dict[int, tuple[str, int]] = {}
    for s in np.flatnonzero(free_S):
        place = (table.label_S[s] if table.label_S else "", int(h_S[s]))
        place_of[values_S[s]] = min(place_of.get(values_S[s], place), place)
    fold_of = {values: turn % folds for turn, values in enumerate(sorted(place_of, key=place_of.__getitem__))}
    return np.array([fold_of.get(values, -1) for values in values_S], dtype=np.int64)


def _identities(table: Table) -> list[bytes]:
    """What is hashed per series: its group, its id, or where it has none its values."""
    if table.group_S:
        return [group.encode() for group in table.group_S]
    if table.has_ids or (len(table.label_S) == 0 and table.target_T is None):
        return [name.encode() for name in table.series]
    return contents(table)


def contents(table: Table) -> list[bytes]:
    """The values of each series as little-endian float64 bytes."""
    values = np.ascontiguousarray(table.values_TR, dtype="<f8")
    return [values[a:b].tobytes() for a, b in zip(table.bounds[:-1], table.bounds[1:], strict=True)]


def _by_time(table: Table, sizes: dict[int, Extent], config: SplitConfig, fold: int, problems: Problems) -> Parts:
    """Cut the end of each series: validation, then test. Earlier folds validate on earlier rows (expanding origin).

    A share of n rows is floor(share x n) rows: the last 20% of 4,032 rows begin at row 4032 - 806 = 3226. With
    `of_rows` the parts are cut from so many first rows, and the test part goes on to the end. A duration
    reaches back from a part's last row and leaves out its own start: 14d of hourly rows are 336 rows.
    """
    part_T = table.part_T.copy()
    embargo = 0 if config.embargo == "auto" else config.embargo
    needs_times = [name for part, name in _NAMES.items() if part in sizes and sizes[part].seconds is not None]
    if needs_times and table.time != "timestamp":
        problems.add("split", f"split.{needs_times[0]}", "a length of time, but the rows have no times",
                     "a share (10%) or a number of rows (480)")
        return part_T
    _leave_out(table, config.end, part_T, problems)
    for s in range(len(table.series)):
        free = np.arange(table.bounds[s], table.bounds[s + 1])
        free = free[part_T[free] == TRAIN]
        total = min(len(free), config.of_rows or len(free))
        for part in (TEST, VAL):
            if part not in sizes:
                continue
            beyond = len(free) - total if part == TEST else 0
            later = config.folds - 1 - fold if part == VAL else 0
            for use in range(later + 1):
                start = _start(table, free[:len(free) - beyond], sizes[part], total)
                part_T[free[start:]] = part if use == later else UNUSED
                if use == later:
                    part_T[free[max(0, start - embargo):start]] = UNUSED
                    start = max(0, start - embargo)
                free = free[:start]
    return part_T


def _leave_out(table: Table, end: int | str | None, part_T: Parts, problems: Problems) -> None:
    """Take what follows `end` out of every part."""
    if isinstance(end, int):
        part_T[table.step_T >= end] = UNUSED
    elif end is not None and table.times_T is not None and table.time == "timestamp":
        part_T[table.times_T >= read_times(pd.Series([end], dtype=object))[0][0]] = UNUSED
    elif end is not None:
        problems.add("split", f"split.end: {end}", "a time, but the rows have no times", "a number of rows")


def _start(table: Table, free: Ints, size: Extent, total: int) -> int:
    """Where the last part of the free rows begins."""
    if size.rows is not None:
        return max(0, len(free) - size.rows)
    if size.share is not None:
        return max(0, len(free) - math.floor(size.share * total + 1e-9))
    if not len(free) or table.times_T is None:
        return 0
    times = table.times_T[free]
    return int(np.searchsorted(times, times[-1] - round((size.seconds or 0) * 1e9), side="right"))
