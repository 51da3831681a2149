"""Small prepared data, built by hand: what preparation would give, without its files."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqsweep.data.batch import DataInfo, Prepared, Samples


def _samples(start: npt.ArrayLike, length: int, series: int = 0) -> Samples:
    start_N = np.asarray(start, dtype=np.int64)
    whole = np.full(len(start_N), length, dtype=np.int64)
    return Samples(start_N, whole, np.full(len(start_N), series, dtype=np.int64), np.zeros(0, dtype=np.int64),
                   start_N.astype(np.uint64))


def prepare_windows(y_T: npt.NDArray[np.float64], context: int, horizon: int, seasons: tuple[int, ...] = (),
                    stride: int | None = None, observed_T: npt.NDArray[np.bool_] | None = None) -> Prepared:
    """One series: the first 60% train, then 20% each validation and test, by the windows' targets."""
    borders = [context, int(0.6 * len(y_T)), int(0.8 * len(y_T)), len(y_T)]
    shift, scale = float(y_T[:borders[1]].mean()), float(y_T[:borders[1]].std())
    parts, keys = {}, {}
    for name, first, last in zip(("train", "val", "test"), borders, borders[1:], strict=False):
        origins = np.arange(first, last - horizon + 1, 1 if name == "train" else stride or horizon)
        parts[name] = _samples(origins - context, context + horizon)
        keys[name] = np.arange(first, last, dtype=np.uint64)
    info = DataInfo(features=("y",), targets=(0,), columns=("y",), seasons=seasons, data_hash="none")
    return Prepared(values_TF=((y_T - shift) / scale).astype(np.float32)[:, None],
                    static_SC=np.zeros((1, 0), np.float32), shift_SD=np.array([[shift]], np.float32),
                    scale_SD=np.array([[scale]], np.float32),
                    observed_TD=None if observed_T is None else observed_T[:, None], parts=parts, row_keys=keys,
                    info=info)


def prepare_sequences(classes: int = 3, rows: int = 60, seed: int = 0, lengths: tuple[int, int] = (1, 8)) -> Prepared:
    """Sequences of different lengths whose level says their class."""
    random = np.random.default_rng(seed)
    label_N = np.arange(rows) % classes
    length_N = random.integers(lengths[0], lengths[1] + 1, rows)
    values = [random.normal(label_N[i], 0.3, (length_N[i], 2)) for i in range(rows)]
    start_N = np.concatenate([[0], np.cumsum(length_N)[:-1]])
    part_of = np.array(["train", "train", "train", "val", "test"])[np.arange(rows) // classes % 5]
    parts, keys = {}, {}
    for name in ("train", "val", "test"):
        mine = np.flatnonzero(part_of == name)
        parts[name] = Samples(start_N[mine], length_N[mine], np.zeros(len(mine), np.int64), label_N[mine],
                              mine.astype(np.uint64))
        keys[name] = mine.astype(np.uint64)
    none = np.zeros((1, 0), np.float32)
    info = DataInfo(features=("a", "b"), columns=("a", "b"), classes=tuple("pqrs"[:classes]), data_hash="none")
    return Prepared(np.concatenate(values).astype(np.float32), none, none, none, None, parts, keys, info)
