"""A sketch of each file that was read, small enough to keep: it tells later which files, columns, rows changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.data.batch import Block, Keys, Outline
from seqsweep.data.identity import mix
from seqsweep.data.sources import Source

_BLOCKS = 256
"""At most so many blocks of rows a file: where a file has fewer rows, the first changed row is known exactly."""
_LISTED = 8


def outline(source: Source, columns: Sequence[str]) -> Outline:
    """Sketch the columns of one file that are used."""
    frame = source.frame.copy(deep=False)
    frame.attrs = {}  # pandas copies them for each column taken
    rows, size = len(frame), 1
    while rows > size * _BLOCKS:
        size *= 2
    position_T = mix(np.arange(rows, dtype=np.uint64))
    whole_T = np.zeros(rows, dtype=np.uint64)
    hashes = {}
    for c, name in enumerate(columns):
        column_T = mix(_hashed(frame[name]) + position_T)
        hashes[name] = _text(column_T.sum(dtype=np.uint64))
        whole_T += mix(column_T ^ np.uint64(c))
    starts = np.arange(0, rows, size)
    blocks = tuple(Block(first=int(frame.index[int(start)]), hash=_text(total)) for start, total in
                   zip(starts, np.add.reduceat(whole_T, starts) if rows else (), strict=True))
    return Outline(file=source.name, rows=rows, last=int(frame.index[-1]) if rows else 0, columns=hashes,
                   block_rows=size, blocks=blocks)


def compare(old: Sequence[Outline], new: Sequence[Outline]) -> list[str]:
    """What changed, a line each: `load.csv: rows 400 -> 420`; none where the sketches are equal."""
    return [line for before, now in zip_longest(old, new) for line in _changes(before, now)]


def _changes(old: Outline | None, new: Outline | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"{new.file}: a file more" if new else f"{old.file if old else ''}: a file less"
        return
    if old.rows != new.rows:
        yield f"{new.file}: rows {old.rows:,} -> {new.rows:,}"
    for what, names in (("added", new.columns.keys() - old.columns.keys()),
                        ("removed", old.columns.keys() - new.columns.keys())):
        if names:
            yield f"{new.file}: columns {what}: {_listed(sorted(names))}"
    if list(old.columns) != list(new.columns):
        return  # rows of other columns cannot be compared
    where = _first_change(old, new)
    if old.rows == new.rows and where:
        changed = [name for name, found in new.columns.items() if old.columns[name] != found]
        yield f"{new.file}: columns with other values: {_listed(changed)}; the first change is in {where}"
    elif old.rows != new.rows:
        yield f"{new.file}: " + (f"the first change is in {where}" if where else "the rows there were are the same")


def _first_change(old: Outline, new: Outline) -> str:
    """The rows of the first block that differs, numbered as in the file; empty where none is known to."""
    size = max(old.block_rows, new.block_rows)
    before, now = _merged(old, size), _merged(new, size)
    whole = min(old.rows, new.rows) // size  # a block that is not full differs because of its length
    common = len(now) if old.rows == new.rows else whole
    for number in range(common):
        if before[number].hash != now[number].hash:
            last = now[number + 1].first - 1 if number + 1 < len(now) else new.last
            first = now[number].first
            return f"row {first:,}" if last <= first else f"rows {first:,} to {last:,}"
    return ""


def _merged(sketch: Outline, size: int) -> list[Block]:
    """The blocks as they would be with more rows each: hashes of blocks add up."""
    step = size // sketch.block_rows
    return [Block(first=sketch.blocks[start].first, hash=_text(np.uint64(sum(
        int(block.hash, 16) for block in sketch.blocks[start:start + step]) % 2**64)))
        for start in range(0, len(sketch.blocks), step)]


def _hashed(column: pd.Series[Any]) -> Keys:
    """(T,) one hash a value; a number is the same whatever type it was read as."""
    values: Any = column
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
        values = pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan))
    try:
        found: npt.NDArray[Any] = pd.util.hash_pandas_object(values, index=False).to_numpy()
    except TypeError:  # lists and other values without a hash
        found = pd.util.hash_pandas_object(column.astype(str), index=False).to_numpy()
    return found.astype(np.uint64)


def _text(number: np.uint64) -> str:
    return f"{int(number):016x}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
