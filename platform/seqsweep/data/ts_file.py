"""The `.ts` format of the UCR and UEA archives: a line a sequence, channels between colons, the label last."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.data.problems import Problems
from seqsweep.errors import InvalidData, Problem

Channels = npt.NDArray[np.float64]


@dataclass
class _Header:
    dimensions: int | None = None
    labels: tuple[str, ...] | None = None
    """None: the file has no labels."""
    data_line: int = 0
    """Line of `@data`."""


def read_ts(path: Path) -> pd.DataFrame:
    """Read a `.ts` file; `?` and NaN are missing values. Raises InvalidData with every bad line."""
    lines = _lines(path)
    header = _header(path, lines)
    problems = Problems()
    sequences: list[Channels] = []
    labels: list[str] = []
    numbers: list[int] = []
    for number, line in enumerate(lines[header.data_line:], start=header.data_line + 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            channels, label = _sequence(line.strip(), header)
        except ValueError as error:
            problems.add("lines of a .ts file", f"{path}:{number}", *error.args)
            continue
        sequences.append(channels)
        labels.append(label)
        numbers.append(number)
    problems.raise_if_any()
    if not sequences:
        raise InvalidData(Problem(str(path), "no sequences after @data", "a line for each sequence"))
    return _frame(sequences, labels if header.labels is not None else None, numbers)


def _lines(path: Path) -> list[str]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    try:
        return raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = raw[:error.start].count(b"\n") + 1
        raise InvalidData(Problem(f"{path}:{line}", "not UTF-8", "save the file as UTF-8")) from error


def _header(path: Path, lines: list[str]) -> _Header:
    """Read the lines above `@data`. Raises InvalidData for timestamps, regression targets and no `@data`."""
    header = _Header()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or not words[0].startswith("@"):
            continue
        key, values = words[0].lower(), words[1:]
        first = values[0].lower() if values else ""
        where = f"{path}:{number}"
        if key == "@data":
            header.data_line = number
            return header
        if key == "@timestamps" and first == "true":
            raise InvalidData(Problem(where, "the form with timestamps is not read",
                                      "equally spaced values (@timeStamps false), or a CSV file with a time column"))
        if key == "@targetlabel" and first == "true":
            raise InvalidData(Problem(where, "the targets are numbers (regression)", "@classLabel true and classes"))
        if key == "@dimensions" and first.isdigit():
            header.dimensions = int(first)
        elif key == "@univariate" and first == "true":
            header.dimensions = 1
        elif key == "@classlabel" and first == "true":
            header.labels = tuple(values[1:])
    raise InvalidData(Problem(str(path), "there is no line @data", "@data stands before the first sequence"))


def _sequence(line: str, header: _Header) -> tuple[Channels, str]:
    """Read one line into channels (T, F) and its label. Raises ValueError(what, right)."""
    if line.startswith("("):
        raise ValueError("values with timestamps", "equally spaced values, or a CSV file with a time column")
    fields = line.split(":")
    label = fields.pop().strip() if header.labels is not None else ""
    if header.labels and label not in header.labels:
        raise ValueError(f"label {label!r}", f"the labels of @classLabel: {', '.join(header.labels)}")
    if header.dimensions is None:
        header.dimensions = len(fields)
    if len(fields) != header.dimensions or not fields:
        raise ValueError(f"{len(fields)} channels", f"{header.dimensions} channels, separated by colons")
    channels = [_channel(i, text) for i, text in enumerate(fields)]
    if len(lengths := {len(channel) for channel in channels}) > 1:
        raise ValueError(f"channels of {', '.join(map(str, sorted(lengths)))} values", "channels of equal length")
    return np.stack(channels, axis=1), label


def _channel(number: int, text: str) -> npt.NDArray[np.float64]:
    """Read the values of one channel. Raises ValueError(what, right)."""
    try:
        return np.array(text.replace("?", "nan").split(","), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"channel {number + 1}: {error}", "numbers, ? or NaN between commas") from error


def _frame(sequences: list[Channels], labels: list[str] | None, numbers: list[int]) -> pd.DataFrame:
    """Put the sequences end to end; the index holds the line of each."""
    lengths = [len(sequence) for sequence in sequences]
    values_TF = np.concatenate(sequences)
    frame = pd.DataFrame({f"dim_{i}": column for i, column in enumerate(values_TF.T)},
                         index=pd.Index(np.repeat(numbers, lengths)))
    if labels is not None:
        frame.insert(0, "label", np.repeat(np.array(labels, dtype=object), lengths))
    frame.insert(0, "series", np.repeat(np.arange(len(lengths)), lengths))
    frame.attrs["sequences"] = True
    return frame
