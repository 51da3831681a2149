"""Regression's targets: read, counted to the end of a series, or told by a second file; and the samples they end.

Shapes: T rows, S series, N samples.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import DataConfig
from seqsweep.config.tasks import RegressionConfig
from seqsweep.data.batch import Floats, Keys, Samples, Scaling
from seqsweep.data.columns import read_numbers
from seqsweep.data.identity import sequence_keys
from seqsweep.data.problems import Problems
from seqsweep.data.sources import read_frame
from seqsweep.data.table import TRAIN, UNUSED, Ints, Table
from seqsweep.data.windows import Mask, runs

Floats64 = npt.NDArray[np.float64]
_DAY = 86400e9


def with_targets(table: Table, task: RegressionConfig, data: DataConfig, problems: Problems) -> Table:
    """Give each row its target, up to the cap; where a whole sequence is one sample, the last known one at its end."""
    target_T = _remaining(table) if table.target_T is None else table.target_T.copy()
    if data.test_target is not None:
        _tell(table, target_T, str(data.test), data.test_target, data.columns, problems)
    if task.context is None:
        known_T = np.where(np.isfinite(target_T), np.arange(len(target_T)), -1)
        last_S, ends = np.maximum.reduceat(known_T, table.first_S), table.bounds[1:] - 1
        for s in np.flatnonzero(last_S < 0).tolist():
            problems.add("targets", table.where(int(table.first_S[s]), task.target),
                         f"no value for {table.named(s)}", "one value a sequence")
        last = np.where(last_S < 0, np.nan, target_T[last_S])
        target_T = np.full(len(target_T), np.nan)
        target_T[ends] = last
    if task.cap is not None:
        target_T = np.minimum(target_T, task.cap)
    return replace(table, target_T=target_T)


def _remaining(table: Table) -> Floats64:
    """What is left until the last row of each series."""
    last_T = (table.bounds[1:] - 1)[table.series_T]
    if table.times_T is None:
        return (last_T - np.arange(len(last_T))).astype(np.float64)
    left_T = (table.times_T[last_T] - table.times_T).astype(np.float64)
    return left_T / _DAY if table.time == "timestamp" else left_T * table.time_unit


def _tell(table: Table, target_T: Floats64, test: str, path: str, columns: tuple[str, ...],
          problems: Problems) -> None:
    """Put the file's numbers at the last rows of the test file's series; their other rows have none."""
    frame = read_frame(path, names=columns[:1] or ("target",))
    if frame.shape[1] != 1:
        problems.add("targets", path, f"{frame.shape[1]} columns", "one number a line, for each series of data.test")
        return
    numbers, bad = read_numbers(frame.iloc[:, 0])
    from_test_T = table.file_T == table.files.index(test)
    series = np.flatnonzero(np.logical_or.reduceat(from_test_T, table.first_S))
    for row in np.flatnonzero(bad | ~np.isfinite(numbers))[:1]:
        problems.add("targets", f"{path}, row {frame.index[row]}", repr(frame.iloc[row, 0]), "a finite number")
    if len(numbers) != len(series):
        problems.add("targets", path, f"{len(numbers)} numbers", f"{len(series)}: one for each series of {test}, in "
                     "the order they have there")
        return
    target_T[from_test_T] = np.nan
    target_T[table.bounds[1:][series] - 1] = numbers


def check_target(table: Table, task: RegressionConfig, part_T: npt.NDArray[np.int8], problems: Problems) -> None:
    """The target must vary within the training part."""
    assert table.target_T is not None  # noqa: S101  (a regression table has targets)
    train_T = table.target_T[part_T == TRAIN]
    train_T = train_T[np.isfinite(train_T)]
    if not len(train_T):
        problems.add("nothing to learn from", table.files[0], "no row of the training part has a target",
                     "more rows, or smaller parts (split.val, split.test)")
    elif train_T.min() == train_T.max():
        capped = " or a larger task.cap" if task.cap is not None else ""
        problems.add("constant target", f"{table.files[0]}, column {task.target}",
                     f"it is {train_T[0]:g} in the whole training part", f"a target that varies{capped}")


def sample_ends(table: Table, part_T: npt.NDArray[np.int8], task: RegressionConfig, stride: int, ahead_T: Mask
                ) -> dict[int, Ints]:
    """Last rows of each part's samples, `stride` apart (in the training part `task.stride`), backwards from the end.

    A row without a target ends none, nor does one with a value that was filled with the help of a later row.
    """
    assert table.target_T is not None  # noqa: S101
    if task.context is None:
        ends = table.bounds[1:] - 1
        return {part: ends[part_T[ends] == part] for part in np.unique(part_T[ends]).tolist() if part != UNUSED}
    found: dict[int, list[Ints]] = {}
    for a, b in zip(*(each.tolist() for each in runs(part_T, table.bounds)), strict=True):
        part = int(part_T[a])
        if part != UNUSED:
            step = task.stride if part == TRAIN else stride
            found.setdefault(part, []).append(np.arange(b - 1, a - 1, -step, dtype=np.int64)[::-1])
    usable_T = np.isfinite(table.target_T) & ~ahead_T
    return {part: (ends := np.concatenate(pieces))[usable_T[ends]] for part, pieces in found.items()}


def ending_samples(table: Table, ends: Ints, task: RegressionConfig, scaling: Scaling, keys_T: Keys,
                   first_T: Ints | None = None) -> Samples:
    """Samples that end at these rows; none begins before `first_T`, by default its series' first row.

    A sample close to the start of a series is shorter than the context.
    """
    series_N = np.searchsorted(table.bounds, ends, side="right").astype(np.int64) - 1
    start_N = table.first_S[series_N] if first_T is None else first_T[ends]
    if task.context is not None:
        start_N = np.maximum(start_N, ends - task.context + 1)
    key_N = sequence_keys(table)[series_N] if task.context is None else keys_T[ends]
    return Samples(start_N=start_N.astype(np.int64), length_N=(ends - start_N + 1).astype(np.int64), series_N=series_N,
                   label_N=np.zeros(0, dtype=np.int64), key_N=key_N, target_N=_scaled(table, ends, scaling))


def _scaled(table: Table, ends: Ints, scaling: Scaling) -> Floats:
    if table.target_T is None:
        return np.full(len(ends), np.nan, dtype=np.float32)
    scaled: Floats = ((table.target_T[ends] - scaling.shift[0]) / scaling.scale[0]).astype(np.float32)
    return scaled
