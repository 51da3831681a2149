"""A deterministic sweep on two workers of Ray: the same table again, also after a kill of the controller."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from shell import SEQSWEEP, answer, environment, seqsweep, until
from small_sweeps import forecasting, settings_in, table, write_series

from seqsweep.store.records import Store

TRIALS = 12


def write_sweep(folder: Path) -> Path:
    write_series(folder / "load.csv")
    parameters = {"cell": {"values": ["elman", "lstm"]}, "hidden_size": {"values": [4, 16, 48]},
                  "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "epochs": {"value": 18},
                  "batch_size": {"values": [16, 32]}}
    (folder / "load.yaml").write_text(yaml.safe_dump(forecasting(
        Path("load.csv"), deterministic=True, method="tpe", early_terminate={"type": "asha"}, parameters=parameters,
        budget={"max_trials": TRIALS}, resources={"workers": 2, "kernel": "auto"}, early_stopping={"patience": 4},
        evaluate={"baselines": "none"}, register=None)))
    return folder


def found(folder: Path) -> list[Any]:
    """Everything but times: a curve with a NaN equals itself."""
    return [repr(row) for row in table(settings_in(folder), "load")]


def ended(folder: Path) -> int:
    if not (folder / "seqsweep.db").exists():
        return 0
    with Store.open(settings_in(folder).store) as store:
        if "load" not in {record.name for record in store.sweeps()}:
            return 0
        return sum(record.outcome is not None for record in store.trials("load", curves=False))


@pytest.mark.slow
def test_two_workers_of_ray_give_one_table_also_after_a_kill(tmp_path: Path) -> None:
    folders = []
    for name in ("first", "again", "killed"):
        (tmp_path / name).mkdir()
        folders.append(write_sweep(tmp_path / name))
    first, again, killed = folders
    said = seqsweep(first, "submit", "load.yaml").stderr
    assert "one table of trials for 2 workers" in said
    assert "waiting in order cost" in said
    assert answer(first, "status", "load")["order"].startswith("of 2 logical workers; waiting in order cost")
    seqsweep(again, "submit", "load.yaml")
    for least in (2, 6):
        process = subprocess.Popen([SEQSWEEP, "submit", "load.yaml"], cwd=killed, env=environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda least=least: ended(killed) >= least, every=0.02)
        process.kill()
        process.wait()
        assert ended(killed) < TRIALS
    seqsweep(killed, "submit", "load.yaml")
    assert len(found(first)) == TRIALS
    assert found(again) == found(first)
    assert found(killed) == found(first)
