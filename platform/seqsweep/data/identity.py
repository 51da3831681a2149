"""Names rows and data sets by hashes that do not change from run to run, machine to machine, or as data grow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import PrepareConfig, SplitConfig
from seqsweep.config.tasks import AnomalyConfig, ForecastingConfig, RegressionConfig
from seqsweep.data.batch import Keys
from seqsweep.data.splits import contents
from seqsweep.data.table import Table, Task


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def mix(x: Keys) -> Keys:
    """Scatter 64-bit numbers (the finaliser of SplitMix64; Steele, Lea & Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def row_keys(table: Table) -> Keys:
    """(T,) one key a row: of the series' id and the row's time, or its number where there is no time."""
    series_S = np.array([_hash(name.encode()) for name in table.series], dtype=np.uint64)
    when_T = table.times_T if table.times_T is not None else table.step_T
    return mix(mix(when_T.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)) ^ series_S[table.series_T])


def sequence_keys(table: Table) -> Keys:
    """(S,) one key a sequence: of its id, or of its values where it has none."""
    identities = [name.encode() for name in table.series] if table.has_ids else contents(table)
    return np.array([_hash(identity) for identity in identities], dtype=np.uint64)


def data_hash(table: Table, folds: Sequence[npt.NDArray[np.int8]], task: Task, prepare: PrepareConfig,
              split: SplitConfig) -> str:
    """SHA-256 of the columns used and of how they are split and prepared."""
    shape: dict[str, object] = {"type": task.type, "static": task.static}
    if isinstance(task, ForecastingConfig):
        shape |= {"horizon": task.horizon, "context": task.context, "stride": task.stride, "targets": task.targets,
                  "past": task.past, "known": task.known}
    elif isinstance(task, RegressionConfig):
        shape |= {"context": task.context, "stride": task.stride, "cap": task.cap}
    elif isinstance(task, AnomalyConfig):
        shape |= {"context": task.context, "stride": task.stride}
    static = {name: column.category_S if column.number_S is None else column.number_S.tolist()
              for name, column in table.static.items()}
    not_said = {"end"} if split.end is None else None  # younger than the hashes that are stored
    described = {"columns": table.columns, "series": table.series, "labels": table.label_S, "static": static,
                 "frequency": table.frequency.text if table.frequency else "", "task": shape,
                 "prepare": prepare.model_dump(mode="json"), "split": split.model_dump(mode="json", exclude=not_said)}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    optional = [array for array in (table.times_T, table.target_T, table.window_T) if array is not None]
    for array in (table.values_TR, table.bounds, *folds, *optional):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
