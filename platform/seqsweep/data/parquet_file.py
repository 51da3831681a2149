"""Parquet, through pyarrow."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from seqsweep.errors import InvalidData, Problem


def read_parquet(path: Path, text: Collection[str], columns: Collection[str] | None) -> pd.DataFrame:
    """Read a Parquet file; a pandas index stored in it becomes a column. Raises InvalidData."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            used = [name for name in names if columns is None or name in columns]
            table = file.read(columns=used)
        table.validate(full=True)  # text that is not UTF-8 would be told where it is used
        # pandas' own metadata would hide columns in an index, and may be damaged
        frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        raise InvalidData(Problem(str(path), f"not a readable Parquet file: {str(error).strip().splitlines()[0]}",
                                  "write the file again")) from error
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    frame.attrs["columns"] = names
    return frame
