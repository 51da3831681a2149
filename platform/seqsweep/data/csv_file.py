"""Tables as text, UTF-8, plain or gzipped: CSV, and columns between spaces or tabs; with a header line, or named.

Where the header has no comma, columns may lie between semicolons, tabs or bars, and numbers have a decimal comma.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import warnings
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqsweep.errors import InvalidData, Problem

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "<NA>", "#N/A", "?", "-"]
"""How a missing number is written. In text columns only an empty field is missing: NA is a country."""
_SEPARATORS = (";", "\t", "|", ",")
_WITH_COMMA = r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?(?:[eE][+-]?\d+)?"
_THOUSANDS = r"[+-]?[1-9]\d{{0,2}}(?:{}\d{{3}})*"
_MOST = 0.5
"""Share of a column's different entries that are numbers with commas, from which on the others are mistakes."""


def read_csv(path: Path, text: Collection[str], columns: Collection[str] | None, names: Sequence[str] = (),
             separator: str = ",") -> pd.DataFrame:
    """Read a CSV file; the index holds line numbers. Columns without a name are left out. Raises InvalidData.

    `names`: of the columns where the first line is no header, which is to say that it holds a number.
    """
    try:
        header, lines, separator = _header(path, names, separator)
        used = [name for name in header if name and (columns is None or name in columns)]
        kinds = {name: "str" if name in used and name in text else "category" for name in header
                 if name and (name not in used or name in text)}
        frame = _read(path, header, lines, kinds, separator)[used]
        if separator not in (",", " "):
            commas, doubtful = _comma_columns(path, header, lines, separator)
            for name in [name for name in used if name in doubtful - set(text)][:1]:
                written = "1,234" if name in commas else "1.234"
                raise InvalidData(Problem(f"{path}, column {name}", f"{written} may be a thousand or a decimal there: "
                                          "this file writes numbers with commas", "decimal points, and no thousands "
                                          "separators"))
            for name in set(used) & commas - set(text):
                frame[name] = [_from_comma(entry) for entry in frame[name].astype(object)]
    except UnicodeDecodeError as error:
        raise InvalidData(_not_utf8(path)) from error
    except (EOFError, zlib.error) as error:
        raise InvalidData(Problem(str(path), f"the gzip file is broken: {error}", "write it again")) from error
    frame.attrs["columns"] = header
    return frame


def read_txt(path: Path, text: Collection[str], columns: Collection[str] | None,
             names: Sequence[str] = ()) -> pd.DataFrame:
    """Read a file whose columns lie between spaces or tabs; see `read_csv`."""
    return read_csv(path, text, columns, names, " ")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _comma_columns(path: Path, header: Sequence[str], lines: int, separator: str) -> tuple[set[str], set[str]]:
    """Find columns of numbers such as 1.234,5, and columns where 1.234 may then be a thousand.

    All columns of the file are looked at, whichever are used: what a number means must not depend on that.
    """
    frame = _read(path, header, lines, "category", separator)
    commas = {str(name) for name in frame for each in [_texts(frame[name].cat.categories)]
              if each.str.contains(",").any() and each.str.fullmatch(_WITH_COMMA).mean() > _MOST}
    if not commas:
        return commas, commas
    frame = _read(path, header, lines, "str", separator)  # a category that holds numbers alone has lost their points
    texts = {str(name): _texts(frame[name].dropna()) for name in frame}
    return commas, {name for name, each in texts.items()
                    for point, other in ([",", "."] if name in commas else [".", ","],)
                    if each.str.contains(point, regex=False).any() and not each.str.contains(other, regex=False).any()
                    and each.str.fullmatch(_THOUSANDS.format(re.escape(point))).all()}


def _texts(entries: Any) -> pd.Series[Any]:
    return pd.Series(entries, dtype=object).astype(str).str.strip()


def _from_comma(entry: Any) -> Any:
    if not isinstance(entry, str):
        return math.nan
    return float(entry.replace(".", "").replace(",", ".")) if re.fullmatch(_WITH_COMMA, entry.strip()) else entry


def _separated(first: str, second: str, given: Sequence[str]) -> tuple[list[str], str]:
    """Split the first line at what gives as many fields in the second, and as many as names are `given`.

    Commas come last: where lines fit with both, they are decimal.
    """
    found = {separator: [[name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
                         for line in (first, second)] for separator in _SEPARATORS}
    counts = {separator: [len(names) for names in each] for separator, each in found.items()}
    fitting = [each for each, (names, fields) in counts.items() if 1 < names == fields]
    as_given = [each for each, (names, _) in counts.items() if names == len(given)]
    several = [each for each in (",", *_SEPARATORS) if counts[each][0] > 1]
    separator = [*(each for each in fitting if each in as_given), *as_given, *fitting, *several, ","][0]
    return found[separator][0], separator


def _header(path: Path, given: Sequence[str], separator: str) -> tuple[list[str], int, str]:
    """Read the column names, and say how many lines they take: none where they are `given` and there is no header.

    Also what separates columns: in place of commas it may be something else. Raises InvalidData for a repeated name, or
    a first line of numbers that nobody named.
    """
    with _open(path) as stream:
        first, second = stream.readline().decode("utf-8-sig"), stream.readline().decode("utf-8", errors="replace")
    where = f"{path}:1"
    try:
        names, separator = (first.split(), " ") if separator == " " else _separated(first, second, given)
    except csv.Error as error:
        raise InvalidData(Problem(where, f"the first line cannot be read: {error}",
                                  "names between commas, and lines that end in LF or CRLF")) from error
    if not any(names):
        raise InvalidData(Problem(where, "the first line is empty", "the first line names the columns"))
    if given and any(_is_number(name) for name in names):
        if len(given) != len(names):
            raise InvalidData(Problem(where, f"{len(names)} columns", f"data.columns names {len(given)}"))
        return list(given), 0, separator
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise InvalidData(Problem(where, f"columns named twice: {', '.join(repeated)}", "a name for each column"))
    if all(_is_number(name) for name in names if name):
        raise InvalidData(Problem(where, "the first line holds numbers", "the first line names the columns, or "
                                  "data.columns does"))
    if len(names) == 1 and separator == " " and re.search("[,;|]", names[0]):
        raise InvalidData(Problem(where, f"one column, named {names[0]!r}", "columns are separated by spaces or tabs"))
    return names, 1, separator


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read(path: Path, header: Sequence[str], lines: int, kind: Mapping[str, str] | str, separator: str) -> pd.DataFrame:
    """Read the rows below the header's lines, of columns that have a name. `kind`: of a column, `str` or `category`."""
    names = [name or f"\0{i}" for i, name in enumerate(header)]
    named = [name for name in names if name[0] != "\0"]
    # usecols would let rows with a field too many pass; as a category an unused column is small
    kinds = dict.fromkeys(set(names) - set(named), "category") | (
        dict.fromkeys(named, kind) if isinstance(kind, str) else dict(kind))
    as_text = {name for name, each in kinds.items() if each == "str"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                path, sep=r"\s+" if separator == " " else separator, names=names, header=0 if lines else None,
                index_col=False, encoding="utf-8-sig", dtype=kinds, low_memory=False,
                keep_default_na=False, na_values={name: [""] if name in as_text else _MISSING for name in named},
                skip_blank_lines=len(names) > 1)
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise InvalidData(_ragged(path, len(names), str(error).strip())) from error
    frame = frame[named]
    frame.index = _line_numbers(path, len(frame), lines, blank_is_row=len(names) == 1)
    if len(names) > 1 or not named:
        return frame
    filled = np.flatnonzero(frame[named[0]].notna())
    return frame.iloc[:int(filled[-1]) + 1 if len(filled) else 0]


def _ragged(path: Path, fields: int, message: str) -> Problem:
    """Say which line has more fields than the header."""
    right = "as many fields as names; text with a comma stands in quotes, and quotes are closed"
    if match := re.search(r"Expected \d+ fields in line (\d+), saw (\d+)", message):
        return Problem(f"{path}:{match[1]}", f"{match[2]} fields where the header has {fields}", right)
    if "Length of header" in message:
        return Problem(f"{path}:2", f"more fields than the {fields} names of the header", right)
    return Problem(str(path), f"not a readable CSV file: {message}", right)


def _line_numbers(path: Path, rows: int, lines: int, *, blank_is_row: bool) -> pd.Index[int]:
    """The line of each row below the header; where text in quotes spans lines, the number of the record."""
    plain = pd.RangeIndex(1 + lines, rows + 1 + lines)
    if blank_is_row:
        return plain
    with _open(path) as stream:
        filled = [number for number, line in enumerate(stream, start=1) if line.strip()]
    return pd.Index(filled[lines:]) if len(filled) == rows + lines != filled[-1] else plain


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
