"""`verify`: a trial of every cell stands, packed or not; one whose stored curve was changed does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sealing import seal_all
from shell import answer, seqsweep
from small_sweeps import forecasting, settings_in, write_series
from sqlalchemy import text

import seqsweep as package
from seqsweep.config.settings import Settings
from seqsweep.errors import Conflict, NotFound
from seqsweep.models.kernels import available
from seqsweep.records import Reason
from seqsweep.store.records import Store
from seqsweep.verification import verify_trial

CELLS = ("elman", "gru", "lstm")
needs_numba = pytest.mark.skipif(not available("compiled"), reason="numba is not installed")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("verify")
    write_series(folder / "load.csv")
    return settings_in(folder)


def submitted(settings: Settings, name: str, **resources: Any) -> Settings:
    """A trial of each cell, and a second one of each that follows its shape."""
    folder = Path(settings.store.removeprefix("sqlite:///")).parent
    parameters = {"cell": {"values": list(CELLS), "search": "grid"}, "learning_rate": {"min": 1e-2, "max": 1e-1},
                  "hidden_size": {"value": 6}, "epochs": {"value": 3}, "batch_size": {"value": 32},
                  "num_layers": {"value": 2}, "dropout": {"value": 0.2}}
    package.submit(forecasting(folder / "load.csv", name=name, parameters=parameters, resources=resources,
                               register=None, budget={"max_trials": 6}), settings)
    return settings


@needs_numba
@pytest.mark.parametrize("resources", [{"kernel": "compiled", "pack": 2}, {"kernel": "compiled", "pack": "off"},
                                       {"kernel": "stacked", "pack": 2}], ids=str)
def test_a_trial_of_every_cell_stands(settings: Settings, resources: dict[str, Any]) -> None:
    name = f"{resources['kernel']}-{resources['pack']}"
    submitted(settings, name, **resources)
    with Store.open(settings.store) as store:
        records = store.trials(name)
    assert {record.trial.params["cell"] for record in records} == set(CELLS)
    for record in records:
        found = verify_trial(name, record.number, settings)
        assert found.evidence.problems == []
        assert found.evidence.differs_at is None
        assert found.evidence.epochs == len(record.reports)
        assert found.program == record.extra["kernel"]
        assert len(found.evidence.seeds) == 5


@pytest.mark.slow
@needs_numba
def test_a_changed_curve_does_not_stand(settings: Settings) -> None:
    submitted(settings, "changed", kernel="compiled", pack="off")
    with Store.open(settings.store) as store, store._database.write() as connection:
        key, stored = connection.execute(text(
            "SELECT r.trial_id, r.metrics FROM seqsweep_reports r JOIN seqsweep_trials t ON t.id = r.trial_id JOIN "
            "seqsweep_sweeps s ON s.id = t.sweep_id WHERE s.name = 'changed' AND t.number = 1 AND r.epoch = 2")).one()
        metrics = json.loads(stored)
        metrics["val_mae"] *= 1 + 1e-12
        connection.execute(text("UPDATE seqsweep_reports SET metrics = :metrics WHERE trial_id = :key AND epoch = 2"),
                           {"metrics": json.dumps(metrics), "key": key})
        seal_all(connection)
    found = verify_trial("changed", 1, settings).evidence
    assert found.differs_at == 2
    assert "differs from epoch 2 on" in found.problems[0]
    folder = Path(settings.store.removeprefix("sqlite:///")).parent
    said = seqsweep(folder, "verify", "changed", "1", exit_code=1).stdout
    assert "not verified" in said
    assert answer(folder, "verify", "changed", "0")["problems"] == []


def test_a_trial_whose_seeds_diverge_is_told_as_it_is(settings: Settings) -> None:
    folder = Path(settings.store.removeprefix("sqlite:///")).parent
    wild = {"cell": {"value": "elman"}, "nonlinearity": {"value": "relu"}, "optimizer": {"value": "sgd"},
            "learning_rate": {"values": [9.0, 10.0]}, "clip_norm": {"value": 0.0}, "momentum": {"value": 0.99},
            "hidden_size": {"value": 32}, "epochs": {"value": 5}, "batch_size": {"value": 32}}
    package.submit(forecasting(folder / "load.csv", name="wild", parameters=wild, register=None,
                               budget={"max_trials": 2}, method="grid"), settings)
    with Store.open(settings.store) as store:
        records = store.trials("wild")
    wild_ones = [record for record in records if record.outcome and record.outcome.reason is Reason.DIVERGED]
    assert wild_ones
    for record in wild_ones:
        found = answer(folder, "verify", "wild", str(record.number))
        assert found["evidence"]["differs_at"] is None
        assert len(found["evidence"]["seeds"]) < 5
        assert found["problems"] == []


def test_what_cannot_be_verified(settings: Settings) -> None:
    submitted(settings, "plain", kernel="torch")
    with pytest.raises(NotFound, match="no trial 99"):
        verify_trial("plain", 99, settings)
    folder = Path(settings.store.removeprefix("sqlite:///")).parent
    frame = pd.read_csv(folder / "load.csv")
    whole = frame.copy()
    frame["load"] = frame["load"] + 1.0
    frame.to_csv(folder / "load.csv", index=False)
    try:
        with pytest.raises(Conflict, match="not those that the trial was trained on"):
            verify_trial("plain", 0, settings)
    finally:
        whole.to_csv(folder / "load.csv", index=False)


def test_a_trial_of_a_gpu_stands_without_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel has a substitute here; bits are not promised, all else is."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    submitted(settings, "of-a-gpu", kernel="stacked", pack="off")
    with Store.open(settings.store) as store, store._database.write() as connection:
        facts, key = connection.execute(text("SELECT facts, id FROM seqsweep_sweeps WHERE name = 'of-a-gpu'")).one()
        changed = {"facts": facts.replace('"stacked"', '"triton"'), "key": key}
        assert changed["facts"] != facts
        connection.execute(text("UPDATE seqsweep_sweeps SET facts = :facts WHERE id = :key"), changed)
        connection.execute(text("UPDATE seqsweep_trials SET worker = 'far NVIDIA H200 pid 7' WHERE sweep_id = :key"),
                           {"key": key})
        seal_all(connection)
    found = verify_trial("of-a-gpu", 1, settings)
    assert found.program.startswith("triton")
    assert not found.evidence.bits
    assert found.evidence.problems == []
