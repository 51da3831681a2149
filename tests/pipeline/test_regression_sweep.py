"""Sweeps of a regression, and of rows at irregular times, from file to prediction, each in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_sweeps import settings_in

import seqsweep


def machines(path: Path, count: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    lives = draw.integers(6, 25, count)
    frame = pd.concat([pd.DataFrame({"machine": number, "hour": np.arange(life),
                                     "wear": np.exp(-np.arange(life)[::-1] / 6) + draw.normal(0, 0.05, life),
                                     "heat": draw.normal(size=life)}) for number, life in enumerate(lives)])
    frame.to_csv(path, index=False)
    return frame


def test_a_sweep_tells_what_remains_and_predicts_from_new_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = machines(tmp_path / "machines.csv")
    sweep: dict[str, Any] = {
        "name": "life", "task": {"type": "regression", "target": "remaining", "context": 6, "cap": 15.0},
        "data": {"path": "machines.csv", "series": "machine", "time": "hour"},
        "split": {"by": "random", "val": "20%", "test": "20%"}, "metric": {"name": "rmse"}, "method": "random",
        "parameters": {"learning_rate": {"min": 1e-2, "max": 3e-2}, "hidden_size": {"value": 8},
                       "epochs": {"value": 6}},
        "budget": {"max_trials": 2}, "early_terminate": {"type": "none"},
        "resources": {"workers": 0, "kernel": "torch"}, "promote": {"to": "champion", "require": ["beats_champion"]}}
    result = seqsweep.submit(sweep, settings_in(tmp_path))
    board = result.leaderboard()
    assert {"training mean", "ridge on statistics"} <= set(board["name"])
    assert {"mae", "rmse", "mse", "r2", "loss"} <= {str(name).removeprefix("test_") for name in board.columns}
    told = result.predict(frame.query("machine < 3"))
    assert list(told.columns) == ["series", "time", "prediction"]
    assert len(told) == 3 and told["prediction"].max() < 8  # they end here
    early = result.predict(frame.query("machine < 3 and hour < 3"))
    assert early["prediction"].min() > told["prediction"].max()


def visits(path: Path, count: int = 90) -> pd.DataFrame:
    """Patients whose class is how far apart their visits lie, and nothing else."""
    draw, frames = np.random.default_rng(0), []
    for number in range(count):
        steps, often = int(draw.integers(3, 7)), number % 2
        lab = np.where(draw.random(steps) < 0.3, np.nan, draw.normal(size=steps))
        frames.append(pd.DataFrame({"patient": number, "day": np.cumsum(draw.integers(1, 20, steps) + 40 * often),
                                    "lab": lab, "outcome": ("well", "ill")[often]}))
    frame = pd.concat(frames, ignore_index=True)
    frame.to_csv(path, index=False)
    return frame


def test_a_sweep_of_cells_for_irregular_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = visits(tmp_path / "visits.csv")
    sweep: dict[str, Any] = {
        "name": "visits", "task": {"type": "classification", "label": "outcome"},
        "data": {"path": "visits.csv", "series": "patient", "time": "day"},
        "prepare": {"fill": "forward", "indicator": True, "elapsed": True},
        "split": {"by": "random", "val": "20%", "test": "20%"}, "metric": {"name": "auc"}, "method": "grid",
        "parameters": {"cell": {"values": ["gru_d", "ode_rnn"]}, "learning_rate": {"value": 3e-2},
                       "hidden_size": {"value": 6}, "epochs": {"value": 8}, "batch_size": {"value": 16}},
        "budget": {"max_trials": 2}, "early_terminate": {"type": "none"}, "resources": {"workers": 0}}
    result = seqsweep.submit(sweep, settings_in(tmp_path))
    assert (result.trials["value"] > 0.9).all()
    told = result.predict(frame)
    truth = frame.groupby("patient", sort=False)["outcome"].first()
    assert (told["class"].to_numpy() == truth.to_numpy()).mean() > 0.8
