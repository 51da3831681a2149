"""Trained winners of a forecasting and a classification sweep, small enough to train in a second."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.data.batch import Prepared
from seqsweep.data.prepare import prepare
from seqsweep.tracking.packaged import Package
from seqsweep.training.fit import Fit
from seqsweep.training.predict import Member


@dataclass(frozen=True, eq=False)
class Trained:
    """A sweep's winner with what it was trained from."""

    sweep: Sweep
    frame: pd.DataFrame
    prepared: tuple[Prepared, ...]
    package: Package


def forecasting_frame(rows: int = 240) -> pd.DataFrame:
    """Two hourly series with a day's rhythm, holidays known ahead, a region, whole numbers in one of them."""
    random = np.random.default_rng(0)
    frames = []
    for level, name in ((100, "007"), (20, "north")):
        hour = np.arange(rows)
        load = level + 5 * np.sin(hour * 2 * np.pi / 24) + random.normal(0, 0.5, rows)
        frames.append(pd.DataFrame({
            "id": name, "ds": pd.date_range("2024-01-01", periods=rows, freq="h"), "load": np.round(load, 2),
            "holiday": (hour // 24 % 7 == 6).astype(int), "region": "coast" if name == "007" else "hills"}))
    return pd.concat(frames, ignore_index=True)


def classification_frame(sequences: int = 60) -> pd.DataFrame:
    """Sequences of 3 to 8 rows whose level says their class."""
    random = np.random.default_rng(0)
    frames = []
    for number in range(sequences):
        length, label = int(random.integers(3, 9)), number % 2
        frames.append(pd.DataFrame({"id": number, "label": ("low", "high")[label],
                                    "a": random.normal(label, 0.2, length), "b": random.integers(0, 9, length)}))
    return pd.concat(frames, ignore_index=True)


def spec_of(kind: str, path: Path) -> dict[str, Any]:
    if kind == "forecasting":
        return {"name": "demo", "task": {"type": "forecasting", "target": "load", "horizon": 6, "context": 24,
                                         "known": ["holiday"], "static": ["region"], "quantiles": [0.1, 0.5, 0.9]},
                "data": {"path": str(path), "time": "ds", "series": "id"}, "prepare": {"calendar": ["hour"]},
                "split": {"by": "time", "val": "10%", "test": "20%"}, "metric": {"name": "mae"},
                "parameters": {"hidden_size": {"value": 4}}, "budget": {"max_trials": 1}}
    return {"name": "demo", "task": {"type": "classification"}, "data": {"path": str(path), "series": "id"},
            "split": {"by": "random", "val": "20%", "test": "20%"}, "metric": {"name": "accuracy"},
            "parameters": {"hidden_size": {"value": 4}}, "budget": {"max_trials": 1}}


def train(folder: Path, kind: str, frame: pd.DataFrame | None = None, **changes: Any) -> Trained:
    """Write the frame into the folder and train one trial for one epoch; `changes` replace keys of the sweep."""
    torch.set_num_threads(1)
    if frame is None:
        frame = forecasting_frame() if kind == "forecasting" else classification_frame()
    path = folder / f"{kind}.csv"
    frame.to_csv(path, index=False)
    sweep = load_sweep(spec_of(kind, path) | changes)
    prepared = prepare(sweep)
    config = fit_config(sweep, {"hidden_size": 4, "epochs": 1, "learning_rate": 0.01}, seed=1)
    fit = Fit(config, prepared)
    fit.advance()
    package = Package.of(sweep=sweep.name, members=[Member(3, config, fit.best_weights())], data=sweep.data,
                         prepare=sweep.prepare, prepared=prepared, figures={"test_mae": 0.5})
    return Trained(sweep, frame, prepared, package)


def loaded(folder: Path) -> Any:
    """What MLflow makes of it, without leaving the package's code first on this process's path."""
    import mlflow

    path = list(sys.path)
    try:
        return mlflow.pyfunc.load_model(str(folder))
    finally:
        sys.path[:] = path
