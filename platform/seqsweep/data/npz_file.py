"""NumPy `.npz`: either one array `x`, or one array a column. Object arrays are never unpickled."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.errors import InvalidData, Problem

_MEMBER = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f]+")
"""A member of the archive: a plain file name, which an unpacker would not put anywhere else."""
Arrays = dict[str, npt.NDArray[Any]]


def read_npz(path: Path) -> pd.DataFrame:
    """Read `x` (N, T, F), (N, T) with `y` or `lengths`, or (T, F), beside `y` (N,) and `lengths` (N,); or columns (T,).

    Raises InvalidData for a broken file, object arrays and shapes that do not fit.
    """
    arrays = _load(path)
    x = arrays.get("x")
    if x is None or x.ndim < 2:
        return _columns(path, arrays)
    _refuse_unless(set(arrays) <= {"x", "y", "lengths"}, path, f"arrays {', '.join(sorted(arrays))}",
                   "beside x only y and lengths")
    if x.ndim == 2 and not {"y", "lengths"} & set(arrays):
        return _long(x, np.array([len(x)]))
    x_NTF = x[:, :, None] if x.ndim == 2 else x
    _refuse_unless(x_NTF.ndim == 3, path, f"x has shape {x.shape}", "x has shape (N, T, F), (N, T) or (T, F)")
    return _sequences(path, x_NTF, arrays)


def _load(path: Path) -> Arrays:
    """Load every array without pickle."""
    _refuse_unless(zipfile.is_zipfile(path), path, "not a readable .npz file: it is no zip archive", "write it again")
    try:
        with zipfile.ZipFile(path) as archive:
            strays = [info.orig_filename for info in archive.infolist() if not _MEMBER.fullmatch(info.orig_filename)]
        _refuse_unless(not strays, path, f"an array named {', '.join(map(repr, strays[:3]))}",
                       "names of columns, without slashes, `..` at the start or characters that cannot be printed")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (InvalidData, OSError):
        raise
    except Exception as error:  # numpy and zipfile tell damage by whatever their parsers raise
        if "pickle" in str(error).lower():
            raise InvalidData(Problem(str(path), "it holds object arrays, which only pickle could load",
                                      "arrays of numbers or of fixed-width text")) from error
        raise _broken(path, str(error)) from error
    strays = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if strays:
        raise _broken(path, f"{strays[0]} is no array")
    if garbled := [name for name, array in arrays.items() if array.dtype.kind == "U" and not _is_text(array)]:
        raise _broken(path, f"{garbled[0]} holds no text but other bytes")
    _refuse_unless(bool(arrays), path, "no arrays", "an array x, or one array a column")
    return arrays


def _is_text(array: npt.NDArray[np.str_]) -> bool:
    """Whether every character is one: numpy takes any four bytes."""
    code = np.ascontiguousarray(array.ravel(), dtype=array.dtype.newbyteorder("=")).view(np.uint32)
    return not bool(((code > 0x10FFFF) | ((code >= 0xD800) & (code <= 0xDFFF))).any())


def _broken(path: Path, why: str) -> InvalidData:
    return InvalidData(Problem(str(path), f"not a readable .npz file: {why[:200]}", "write it again"))


def _columns(path: Path, arrays: Arrays) -> pd.DataFrame:
    """One array a column, all of the same length."""
    shapes = {array.shape for array in arrays.values()}
    listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    _refuse_unless(len(shapes) == 1 and len(next(iter(shapes))) == 1, path, f"arrays of shapes {listed}",
                   "an array x of two or three axes, or columns of one axis and equal length")
    length = len(next(iter(arrays.values())))
    return pd.DataFrame(arrays, index=pd.RangeIndex(1, length + 1))


def _sequences(path: Path, x_NTF: npt.NDArray[Any], arrays: Arrays) -> pd.DataFrame:
    """Many sequences, cut to their lengths."""
    _refuse_unless(x_NTF.size > 0, path, f"x has shape {x_NTF.shape}", "sequences of one step and one channel at least")
    N, T = x_NTF.shape[:2]
    length_N = arrays.get("lengths", np.full(N, T))
    _refuse_unless(length_N.shape == (N,) and length_N.dtype.kind in "iu", path,
                   f"lengths is {length_N.dtype} of shape {length_N.shape}", f"lengths holds {N} whole numbers")
    wrong = np.flatnonzero((length_N < 1) | (length_N > T))
    if len(wrong):
        raise InvalidData(Problem(f"{path}, lengths, row {wrong[0] + 1}", f"length {length_N[wrong[0]]}",
                                  f"lengths lie between 1 and {T}"))
    frame = _long(x_NTF.reshape(N * T, -1)[(np.arange(T) < length_N[:, None]).ravel()], length_N)
    if "y" in arrays:
        y = arrays["y"]
        _refuse_unless(y.shape == (N,), path, f"y has shape {y.shape}", f"y has one label for each of {N} sequences")
        frame.insert(1, "label", np.repeat(y, length_N))
    frame.attrs["sequences"] = True
    return frame


def _long(x_TF: npt.NDArray[Any], length_N: npt.NDArray[Any]) -> pd.DataFrame:
    """Put sequences end to end; the index holds the sequence's number from 1, or the row's for a single one."""
    frame = pd.DataFrame({f"dim_{i}": column for i, column in enumerate(x_TF.T)})
    number = np.repeat(np.arange(len(length_N)), length_N)
    if len(length_N) == 1:
        frame.index = pd.RangeIndex(1, len(frame) + 1)
        return frame
    frame.index = pd.Index(number + 1)
    frame.insert(0, "series", number)
    return frame


def _refuse_unless(right: bool, path: Path, what: str, hint: str) -> None:
    if not right:
        raise InvalidData(Problem(str(path), what, hint))
