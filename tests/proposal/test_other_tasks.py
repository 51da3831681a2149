"""What is proposed where the task is said: numbers to tell, life that remains, rows that do not follow."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_sweeps import settings_in
from strangers import FILES, wave
from test_proposal import Silent, shortened

from seqsweep.config.loader import load_sweep
from seqsweep.pipeline import submit
from seqsweep.proposal.propose import Proposal, propose


def engines(folder: Path) -> Path:
    """Machines that ran until they failed."""
    frames = [pd.DataFrame({"engine": number, "cycle": np.arange(1, 60 + 7 * (number % 9)), "constant": 1.0,
                            "heat": wave(59 + 7 * (number % 9), 9, number) + np.linspace(0, 3, 59 + 7 * (number % 9))})
              for number in range(30)]
    pd.concat(frames).to_csv(folder / "engines.csv", index=False)
    return folder / "engines.csv"


def strengths(folder: Path) -> Path:
    """A number a recording."""
    frames = [pd.DataFrame({"recording": number, "t": np.arange(20), "pull": wave(20, 9, number) * number,
                            "maker": "ab"[number % 2], "strength": number * 1.5 + 0.1}) for number in range(60)]
    pd.concat(frames).to_csv(folder / "strengths.csv", index=False)
    return folder / "strengths.csv"


def faults(folder: Path) -> Path:
    """A sensor, and where it was at fault."""
    values, fault = wave(1000, 24), np.zeros(1000, dtype=int)
    fault[[*range(500, 515), *range(650, 660), *range(900, 905)]] = 1
    frame = pd.DataFrame({"ts": pd.date_range("2024-01-01", periods=1000, freq="h"), "temp": values + 20 * fault,
                          "sensor": "s1", "fault": fault})
    frame.to_csv(folder / "faults.csv", index=False)
    return folder / "faults.csv"


def settings_of(found: Proposal) -> dict[str, Any]:
    return found.sweep.task.model_dump()


def test_life_that_remains(tmp_path: Path) -> None:
    found = propose(str(engines(tmp_path)), "regression")
    task = settings_of(found)
    assert (task["target"], task["context"], task["features"]) == ("remaining", 20, ("heat",))
    assert found.sweep.data.series == "engine"


def test_a_number_a_sequence(tmp_path: Path) -> None:
    found = propose(str(strengths(tmp_path)), "regression")
    task = settings_of(found)
    assert (task["target"], task["context"], task["static"]) == ("strength", None, ("maker",))


def test_rows_that_do_not_follow(tmp_path: Path) -> None:
    found = propose(str(faults(tmp_path)), "anomaly")
    task = settings_of(found)
    assert (task["features"], task["label"], found.sweep.metric.name) == (("temp",), "fault", "f1")
    assert "sensor: is the same in every row" in found.document


def test_anomalies_without_a_label(tmp_path: Path) -> None:
    found = propose(str(FILES["missing_rows"][0](tmp_path)), "anomaly")
    assert (settings_of(found)["label"], found.sweep.metric.name) == (None, "loss")
    assert found.sweep.data.time == "timestamp"  # gaps do no harm


def test_anomalies_where_the_clock_was_set_back(tmp_path: Path) -> None:
    frame = pd.read_csv(faults(tmp_path))
    frame["ts"] = frame["ts"].where(frame.index != 50, frame["ts"].shift())
    frame.to_csv(tmp_path / "clock.csv", index=False)
    found = propose(str(tmp_path / "clock.csv"), "anomaly")
    assert (found.sweep.data.time, found.sweep.data.series) == ("ts", None)


@pytest.mark.parametrize(("maker", "task"), [(engines, "regression"), (strengths, "regression"), (faults, "anomaly")])
def test_they_run(maker: Any, task: str, tmp_path: Path) -> None:
    found = propose(str(maker(tmp_path)), task)
    result = submit(load_sweep(shortened(found)), found.document, settings_in(tmp_path), Silent(), threading.Event())
    assert result.state == "finished"
