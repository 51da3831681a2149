"""Arrays and their meaning as bytes: an npz without pickles, with JSON beside the arrays."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.errors import InvalidData, Problem

_META = "meta.json"


def pack(arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> bytes:
    """Return an npz, uncompressed; `meta` must be JSON."""
    note = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_META: note}, **arrays)
    return buffer.getvalue()


def unpack(blob: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Return what `pack` was given; raises InvalidData where the bytes are damaged or are something else."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop(_META).tobytes())
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidData(Problem("", f"these bytes are no packed weights or checkpoint: {error}")) from error
    if not isinstance(meta, dict):
        raise InvalidData(Problem("", "these bytes are no packed weights or checkpoint: no JSON object beside them"))
    return arrays, meta


def scoped(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Put a prefix before every name."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def within(prefix: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return what lies under a prefix, without it."""
    return {name.removeprefix(f"{prefix}/"): array for name, array in arrays.items() if name.startswith(f"{prefix}/")}
