"""Arrays as bytes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from seqsweep.errors import InvalidData
from seqsweep.training.state import pack, scoped, unpack, within


def test_round_trip_keeps_every_bit() -> None:
    arrays: dict[str, npt.NDArray[Any]] = {"a/b": np.array([np.nan, -0.0, np.inf], np.float32),
                                           "c": np.arange(6).reshape(2, 3), "d": np.array(3.5)}
    meta = {"epoch": 3, "best": None, "lowest": float("inf")}
    back, note = unpack(pack(arrays, meta))
    assert note == meta
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in back.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}


def test_the_same_content_gives_the_same_bytes() -> None:
    assert pack({"a": np.ones(3)}, {"b": 1}) == pack({"a": np.ones(3)}, {"b": 1})


def test_pickles_are_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        pack({"a": np.array([object()])}, {})
    import io

    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([object()]), allow_pickle=True)
    with pytest.raises(InvalidData, match="no packed weights or checkpoint"):
        unpack(buffer.getvalue())


def test_scopes() -> None:
    arrays = scoped("1", {"w": 1}) | scoped("10", {"w": 2})
    assert within("1", arrays) == {"w": 1}
