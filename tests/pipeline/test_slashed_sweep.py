"""From a file with 12/31/2024 to a forecast of its next days, from rows that tell nothing of the order themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from shell import answer, seqsweep

FORM = "%m/%d/%Y %I:%M %p"


@pytest.mark.slow
def test_from_a_file_to_a_forecast(tmp_path: Path) -> None:
    hour = np.arange(24 * 70)
    load = 10 + 3 * np.sin(hour * np.pi / 12) + np.random.default_rng(0).normal(0, 0.2, len(hour))
    times = pd.date_range("2024-12-20", periods=len(hour), freq="h")
    table = pd.DataFrame({"time": times.strftime(FORM), "load": load.round(3)})
    first = times < pd.Timestamp("2025-02-05")
    table[first].to_csv(tmp_path / "load.csv", index=False)
    written = answer(tmp_path, "init", "--data", "load.csv")
    page = (tmp_path / written["file"]).read_text()
    assert "read with the month first (12/20/2024 12:00 AM in row 2)" in " ".join(page.replace("#", "").split())
    tree = yaml.safe_load(page)
    assert tree["data"] == {"path": "load.csv", "time": "time"}
    tree |= {"budget": {"max_trials": 1}, "resources": {"workers": 0, "kernel": "torch"},
             "early_terminate": {"type": "none"}}
    tree["parameters"] |= {"epochs": {"value": 2}, "hidden_size": {"value": 4}}
    (tmp_path / "load.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    assert answer(tmp_path, "submit", "load.yaml")["model"] == "load/1"

    later = (times >= pd.Timestamp("2025-02-05")) & (times < pd.Timestamp("2025-02-09"))
    table[later].to_csv(tmp_path / "new.csv", index=False)
    seqsweep(tmp_path, "predict", "load/1", "--data", "new.csv", "--out", "out.csv")
    ahead = pd.read_csv(tmp_path / "out.csv", parse_dates=["time"])
    assert list(ahead["time"]) == list(pd.date_range("2025-02-09", periods=len(ahead), freq="h"))
    iso = table[later].assign(time=times[later])
    iso.to_csv(tmp_path / "iso.csv", index=False)
    seqsweep(tmp_path, "predict", "load/1", "--data", "iso.csv", "--out", "iso_out.csv")
    assert (tmp_path / "iso_out.csv").read_text() == (tmp_path / "out.csv").read_text()

    last = times >= pd.Timestamp("2025-02-20")
    other = table[last].assign(time=times[last].strftime("%d/%m/%Y %H:%M"))
    other.to_csv(tmp_path / "other.csv", index=False)
    told = seqsweep(tmp_path, "predict", "load/1", "--data", "other.csv", exit_code=4).stderr
    assert "'20/02/2025 00:00' has 20 in the month's place" in " ".join(told.split())
    assert "the month first, as in the training data" in " ".join(told.split())

    tree["data"]["dates"] = "month_first"
    (tmp_path / "key.yaml").write_text(yaml.safe_dump(tree | {"name": "key"}, sort_keys=False))
    told = seqsweep(tmp_path, "submit", "key.yaml").stderr
    assert "data.dates is not needed: 12/20/2024 12:00 AM in load.csv, row 2, says the month first" in " ".join(
        told.split())
