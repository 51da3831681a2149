"""The YAML that comes with seqsweep: inside the package in a wheel, beside it in a checkout."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_SUFFIX = ".yaml"


@cache
def shipped(folder: str) -> Path:
    """Give the folder `pipelines` or `search_spaces`. Raises FileNotFoundError where the installation lacks it."""
    from importlib.resources import files  # only a name that is not in the working folder needs it

    package = Path(str(files("seqsweep")))
    for parent in (package, package.parent.parent):
        if (parent / folder).is_dir():
            return parent / folder
    raise FileNotFoundError(f"seqsweep's folder {folder} is missing: install seqsweep again")


def shipped_names(folder: str) -> list[str]:
    """Give the names of the files in a shipped folder, without `.yaml`."""
    return sorted(path.stem for path in shipped(folder).glob(f"*{_SUFFIX}"))


def shipped_file(folder: str, name: str) -> Path | None:
    """Give the shipped file of a name, with or without `.yaml`; None where there is none."""
    stem = name.removesuffix(_SUFFIX)
    return shipped(folder) / f"{stem}{_SUFFIX}" if stem in shipped_names(folder) else None
