"""CSV: UTF-8, commas, one header line, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from seqsweep.errors import InvalidData, Problem

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>", "#N/A", "?"]
"""How a missing number is written. In text columns only an empty field is missing: NA is a country."""


def read_csv(path: Path, text: Collection[str], columns: Collection[str] | None) -> pd.DataFrame:
    """Read a CSV file; the index holds line numbers. Columns without a name are left out. Raises InvalidData."""
    try:
        header = _header(path)
        frame = _read(path, header, text, columns)
    except UnicodeDecodeError as error:
        raise InvalidData(_not_utf8(path)) from error
    except (EOFError, zlib.error) as error:
        raise InvalidData(Problem(str(path), f"the gzip file is broken: {error}", "write it again")) from error
    frame.attrs["columns"] = header
    return frame


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _header(path: Path) -> list[str]:
    """Read the column names. Raises InvalidData for a repeated name or a header of numbers."""
    with _open(path) as stream:
        first = stream.readline().decode("utf-8-sig")
    names = [name.strip() for name in next(csv.reader([first]), [])]
    where = f"{path}:1"
    if not any(names):
        raise InvalidData(Problem(where, "the first line is empty", "the first line names the columns"))
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise InvalidData(Problem(where, f"columns named twice: {', '.join(repeated)}", "a name for each column"))
    if all(_is_number(name) for name in names if name):
        raise InvalidData(Problem(where, "the first line holds numbers", "the first line names the columns"))
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        raise InvalidData(Problem(where, f"one column, named {names[0]!r}", "columns are separated by commas"))
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read(path: Path, header: list[str], text: Collection[str], columns: Collection[str] | None) -> pd.DataFrame:
    """Read the rows below the header."""
    names = [name or f"\0{i}" for i, name in enumerate(header)]
    used = [name for name in names if name[0] != "\0" and (columns is None or name in columns)]
    as_text = [name for name in used if name in text]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, names=names, header=0, usecols=lambda name: name in used, index_col=False, encoding="utf-8-sig",
                dtype=dict.fromkeys(as_text, "str"), keep_default_na=False, skip_blank_lines=False, low_memory=False,
                na_values={name: [""] if name in as_text else _MISSING for name in used},
                float_precision="round_trip")
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InvalidData(_ragged(path, len(names), str(error))) from error
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    return _without_blank_lines(frame, used)


def _ragged(path: Path, fields: int, message: str) -> Problem:
    """Say which line has more fields than the header."""
    if match := re.search(r"Expected \d+ fields in line (\d+), saw (\d+)", message):
        return Problem(f"{path}:{match[1]}", f"{match[2]} fields where the header has {fields}",
                       "as many fields as names; text with a comma stands in quotes")
    return Problem(str(path), f"the rows do not fit the header of {fields} names: {message.strip()}",
                   "as many fields as names")


def _without_blank_lines(frame: pd.DataFrame, used: list[str]) -> pd.DataFrame:
    """Drop empty lines; in a file of one column only those at the end, since a blank is a missing value there."""
    blank = frame[used].isna().all(axis=1).to_numpy() if used else np.zeros(len(frame), dtype=bool)
    if not blank.any():
        return frame
    if len(used) > 1:
        return frame[~blank]
    filled = np.flatnonzero(~blank)
    return frame.iloc[:int(filled[-1]) + 1 if len(filled) else 0]


def _not_utf8(path: Path) -> Problem:
    """Find the first line that is not UTF-8."""
    with _open(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return Problem(f"{path}:{number}:{error.start + 1}", f"byte 0x{line[error.start]:02x} is not UTF-8",
                               "save the file as UTF-8")
    return Problem(str(path), "the file is not UTF-8", "save the file as UTF-8")
