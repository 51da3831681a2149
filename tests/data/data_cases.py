"""Tables and sweeps that the data tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqsweep.config.sweep import Sweep
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidData

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real data sets are not at {SHARED}")


def forecast(path: Path | str, **sections: Any) -> Sweep:
    """A forecasting sweep of column y by time; sections are merged into the default ones."""
    base: dict[str, Any] = {
        "task": {"type": "forecasting", "target": "y", "horizon": 2, "context": 4}, "data": {"path": str(path)},
        "prepare": {}, "split": {"by": "time", "val": "20%", "test": "20%"}, "metric": {"name": "mae"}}
    return _sweep(base, sections)


def classify(path: Path | str, **sections: Any) -> Sweep:
    """A classification sweep of sequences named by id; sections are merged into the default ones."""
    base: dict[str, Any] = {
        "task": {"type": "classification"}, "data": {"path": str(path), "series": "id"}, "prepare": {},
        "split": {"by": "random"}, "metric": {"name": "accuracy"}}
    return _sweep(base, sections)


def _sweep(base: dict[str, Any], sections: dict[str, Any]) -> Sweep:
    merged = {key: {**base.get(key, {}), **sections.get(key, {})} for key in {**base, **sections}}
    return Sweep.model_validate({"name": "test", **merged})


def series_table(length: int = 40, series: int = 1, seed: int = 0) -> pd.DataFrame:
    """Hourly series with a target y, a past covariate p, a known one k, and static columns size and kind."""
    rng = np.random.default_rng(seed)
    frames = [pd.DataFrame({
        "id": f"s{s}", "t": pd.date_range("2024-01-01", periods=length, freq="h").astype(str),
        "y": 10.0 * s + rng.normal(size=length), "p": rng.normal(size=length), "k": rng.integers(0, 2, length),
        "size": 1.5 * s, "kind": "ab"[s % 2]}) for s in range(series)]
    return pd.concat(frames, ignore_index=True)


def sequences_table(count: int = 120, seed: int = 0) -> pd.DataFrame:
    """Labelled sequences of 3 to 6 steps with two channels."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(count):
        length = int(rng.integers(3, 7))
        frames.append(pd.DataFrame({"id": f"q{i}", "a": rng.normal(size=length), "b": rng.normal(size=length),
                                    "label": "xy"[i % 2]}))
    return pd.concat(frames, ignore_index=True)


def refusal(sweep: Sweep) -> str:
    """The message with which a sweep's data are refused."""
    with pytest.raises(InvalidData) as caught:
        prepare(sweep)
    return str(caught.value)
