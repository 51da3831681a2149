"""A table of a row a series and intervals that are calibrated, from the sweep to predictions of new rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from small_sweeps import settings_in

import seqsweep
from seqsweep.config.tasks import ForecastingConfig
from seqsweep.serving import predict_file


def write_wide(path: Path, first: int, steps: int, series: int = 6, seed: int = 0) -> pd.DataFrame:
    """Waves of 12 steps and of every size, from step `first` on; noise of each step is its own."""
    t = np.arange(first, first + steps)
    noise = np.random.default_rng(seed).normal(0, 0.2, (series, 400))[:, first:first + steps]
    waves = np.array([10.0 ** s * (2 + np.sin((t + s) * np.pi / 6)) for s in range(series)])
    values = waves * (1 + 0.05 * noise)
    frame = pd.DataFrame({"id": [f"H{s}" for s in range(series)]} | {f"V{i + 2}": values[:, i] for i in range(steps)})
    frame.to_csv(path, index=False)
    return frame


def test_a_row_a_series_from_the_sweep_to_predictions(tmp_path: Path) -> None:
    write_wide(tmp_path / "train.csv", 0, 120)
    write_wide(tmp_path / "test.csv", 120, 6)
    task = {"type": "forecasting", "target": "value", "horizon": 6, "context": 24, "stride": 4,
            "quantiles": [0.1, 0.5, 0.9], "calibration": "conformal"}
    result = seqsweep.submit({
        "name": "wide", "task": task, "metric": {"name": "mase", "season": 12}, "split": {"by": "time", "val": 12},
        "data": {"path": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv"), "layout": "wide",
                 "series": "id"},
        "method": "random", "early_terminate": {"type": "none"}, "budget": {"max_trials": 2}, "seed": 3,
        "parameters": {"hidden_size": {"values": [4, 8]}, "naive_season": {"value": 12}, "epochs": {"value": 2}},
        "promote": {"require": []}, "resources": {"workers": 0, "kernel": "torch"}}, settings_in(tmp_path))
    assert result.state == "finished"
    board = result.leaderboard()
    assert {"winner", "baseline"} <= set(board["kind"])
    assert np.isfinite(board["test_coverage"].dropna()).all()

    rows = write_wide(tmp_path / "new.csv", 0, 126)
    from_file = predict_file("wide@champion", tmp_path / "new.csv", settings_in(tmp_path))
    from_frame = result.predict(rows)
    pd.testing.assert_frame_equal(from_file, from_frame)
    long = rows.melt(id_vars="id", value_name="value").drop(columns="variable")
    pd.testing.assert_frame_equal(result.predict(long.sort_values("id", kind="stable")), from_frame)
    assert len(from_frame) == 6 * 6 and set(from_frame["series"]) == set(rows["id"])
    assert (from_frame["q0.1"] <= from_frame["q0.5"]).all() and (from_frame["q0.5"] <= from_frame["q0.9"]).all()
    true = write_wide(tmp_path / "later.csv", 126, 6).set_index("id")
    error = [abs(row["q0.5"] - true.loc[row["series"], f"V{row['ahead'] + 1}"]) / 10.0 ** int(row["series"][1:])
             for _, row in from_frame.iterrows()]
    assert np.mean(error) < 0.2  # a tenth of each series' level: what the season before tells


def test_the_packaged_model_is_the_calibrated_one(tmp_path: Path) -> None:
    """Its quantiles are those that were judged: registered weights hold by how much each is moved."""
    from seqsweep.serving import fetch
    from seqsweep.training.state import unpack

    write_wide(tmp_path / "train.csv", 0, 150, series=2)
    result = seqsweep.submit({
        "name": "calm", "metric": {"name": "pinball"}, "split": {"by": "time", "val": 24, "test": 24},
        "task": {"type": "forecasting", "target": "value", "horizon": 6, "context": 12, "quantiles": [0.2, 0.5, 0.8],
                 "calibration": "conformal"},
        "data": {"path": str(tmp_path / "train.csv"), "layout": "wide", "series": "id"},
        "parameters": {"hidden_size": {"value": 4}, "epochs": {"value": 1}}, "budget": {"max_trials": 1},
        "early_terminate": {"type": "none"}, "resources": {"workers": 0, "kernel": "torch"}}, settings_in(tmp_path))
    _, package = fetch("calm@challenger", settings_in(tmp_path))
    assert isinstance(package.facts.fit.task, ForecastingConfig)
    offset_DQ = unpack(package.weights)[0]["calibration/0"]
    assert offset_DQ.shape == (1, 3) and offset_DQ[0, 1] == 0 and offset_DQ[0, 0] != 0
    winner = result.leaderboard().query("kind == 'winner'").iloc[0]
    assert np.isfinite(winner["test_coverage"])
