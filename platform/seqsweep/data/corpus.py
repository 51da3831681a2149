"""Many files as one data set: those of a folder or an archive, each a series; and windows that mark anomalies in them.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqsweep.data.columns import read_times
from seqsweep.data.problems import nearest
from seqsweep.data.slashes import DateOrder
from seqsweep.errors import InvalidData, Problem

WINDOW = "anomaly window"
"""Column for the labels that do not come with the data, but from a file of windows."""
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


@contextmanager
def opened(path: Path, pattern: str, beside: str | None = None) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give a folder, and of each file in it that fits the pattern the name of its series and its path.

    What fits, and the file `beside`, is taken out of an archive into a folder that is gone afterwards. A `*` stands for
    no `/`. A series is named by its path below the folders that the pattern names. Raises InvalidData.
    """
    if path.is_dir():
        every = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        yield path, _series(path, every, pattern)
        return
    with tempfile.TemporaryDirectory(prefix="seqsweep-") as temporary:
        try:
            every = _extract(path, Path(temporary), pattern, beside)
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise InvalidData(Problem(str(path), f"the archive cannot be read: {error}",
                                      f"a whole archive that ends in {', '.join(ARCHIVES)}")) from error
        yield Path(temporary), _series(path, every, pattern)


def _extract(path: Path, target: Path, pattern: str, beside: str | None) -> list[str]:
    """Take out what is asked for; return the names of all files."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/")]
            for name in names:
                if _fits(name, pattern) or name == beside:
                    packed.extract(name, target)
            return sorted(names)
    with tarfile.open(path) as tape:
        members = {member.name.removeprefix("./"): member for member in tape.getmembers() if member.isfile()}
        for name, member in members.items():
            if _fits(name, pattern) or name == beside:
                tape.extract(member, target, filter="data")
        return sorted(members)


def _fits(name: str, pattern: str) -> bool:
    steps, wanted = name.split("/"), pattern.split("/")
    return len(steps) == len(wanted) and all(map(fnmatchcase, steps, wanted))


def _series(path: Path, every: list[str], pattern: str) -> dict[str, str]:
    fitting = [name for name in every if _fits(name, pattern)]
    if not fitting:
        raise InvalidData(Problem(str(path), f"none of its {len(every)} files fits {pattern}",
                                  nearest(pattern, every, "files")))
    above = 0
    for step in pattern.split("/")[:-1]:
        if any(sign in step for sign in "*?["):
            break
        above += 1
    return {"/".join(name.split("/")[above:]): name for name in fitting}


def read_windows(path: Path, shown: str) -> dict[str, list[list[str]]]:
    """Read `{series: [[from, to], ...]}`; `shown` is how errors call the file. Raises InvalidData."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidData(Problem(shown, f"no windows can be read: {error}", "a JSON file")) from error
    if not (isinstance(found, dict) and all(isinstance(windows, list) and all(
            isinstance(window, list) and len(window) == 2 for window in windows) for windows in found.values())):
        raise InvalidData(Problem(shown, "it does not hold windows", '{"series": [["from", "to"], ...]}'))
    return found


def mark(frame: pd.DataFrame, series: str | None, time: str, windows: Mapping[str, list[list[str]]],
         shown: str, dates: DateOrder | None = None) -> None:
    """Add the column WINDOW: the number of the window that a row lies in, 0 outside. Raises InvalidData.

    `dates`: the order of day and month between slashes, of rows and windows.
    A window begins at the first row of its first time, or the next row where there is none, and ends likewise at the
    first row of its last time, or the row before.
    """
    number_T = np.zeros(len(frame), dtype=np.int64)
    if time in frame:
        ids = frame[series].astype(str) if series else pd.Series("", index=frame.index)
        times_T, _, _ = read_times(frame[time], dates)
        for name, rows in ids.groupby(ids, sort=False).indices.items():
            of_series = windows.get(str(name), ()) if series else _only(windows, shown)
            for number, window in enumerate(of_series, start=1):
                first, last = _bounds(times_T[rows], window, frame[time], shown, dates)
                number_T[rows[first:last + 1]] = number
    frame[WINDOW] = number_T


def _only(windows: Mapping[str, list[list[str]]], shown: str) -> list[list[str]]:
    if len(windows) != 1:
        raise InvalidData(Problem(shown, f"windows of {len(windows)} series, and the data have one", "one series"))
    return next(iter(windows.values()))


def _bounds(times_T: Any, window: list[str], column: pd.Series[Any], shown: str,
            dates: DateOrder | None) -> tuple[int, int]:
    ends, _, bad = read_times(pd.Series(window, dtype=column.dtype if column.dtype.kind in "iuf" else "object"), dates)
    if bad.any() or ends[1] < ends[0]:
        raise InvalidData(Problem(shown, f"the window {window} is no stretch of time",
                                  "[from, to], as the time column"))
    at_first, at_last = np.flatnonzero(times_T == ends[0]), np.flatnonzero(times_T == ends[1])
    first = at_first[0] if len(at_first) else np.argmax(np.append(times_T >= ends[0], True))
    last = at_last[0] if len(at_last) else len(times_T) - 1 - np.argmax(np.append(times_T[::-1] <= ends[1], True))
    return int(first), int(last)
