"""How failures look to a user: `status`, `leaderboard`, MLflow's tags, and `verify`."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from shell import answer, seqsweep, until
from small_sweeps import forecasting, settings_in, write_series
from test_interrupt import Controller

import seqsweep as package
from seqsweep import outage
from seqsweep.config.settings import Settings
from seqsweep.errors import SearchFailed
from seqsweep.store.records import Store
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tracking.client import connect
from seqsweep.verification import verify_trial

WILD = {"cell": {"value": "elman"}, "nonlinearity": {"value": "relu"}, "optimizer": {"value": "sgd"},
        "learning_rate": {"values": [1e-6, 10.0]}, "clip_norm": {"value": 0.0}, "momentum": {"value": 0.99},
        "hidden_size": {"value": 32}, "epochs": {"value": 5}, "batch_size": {"value": 32}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("failures")
    write_series(path / "load.csv")
    return path


def trial_tags(settings: Settings, name: str) -> dict[int, dict[str, str]]:
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return {int(run.data.tags["seqsweep.trial"].rpartition("/")[2]): dict(run.data.tags)
            for run in runs if "seqsweep.trial" in run.data.tags}


def limit(monkeypatch: pytest.MonkeyPatch, broken: Callable[[Batch], Exception | None]) -> None:
    """The model's code raises what this says of a step's samples."""
    forward = Forecaster.forward

    def limited(self: Forecaster, batch: Batch) -> torch.Tensor:
        if self.training and (error := broken(batch)):
            raise error
        return forward(self, batch)

    monkeypatch.setattr(Forecaster, "forward", limited)


def test_divergence_is_shown_with_epoch_and_gradient_wherever_trials_are(folder: Path) -> None:
    settings = settings_in(folder)
    package.submit(forecasting(folder / "load.csv", name="wild", parameters=WILD, register=None, method="grid",
                               budget={"max_trials": 2, "max_failed_trials": 0}), settings)
    status, board = answer(folder, "status", "wild"), answer(folder, "leaderboard", "wild")
    assert status["trials"] == {"complete": 1, "failed": 1}
    assert board["failures"] == status["failures"]
    for failure in status["failures"]:
        assert failure["reason"] == "diverged"
        assert "was no finite number in epoch " in failure["message"]
        assert "gradient norm " in failure["message"]
        tags = trial_tags(settings, "wild")[failure["trial"]]
        assert (tags["seqsweep.reason"], tags["seqsweep.message"]) == ("diverged", failure["message"])
    assert "gradient norm" in seqsweep(folder, "status", "wild").stdout
    assert "failed: 1 diverged; `seqsweep status wild` says" in seqsweep(folder, "leaderboard", "wild").stdout


def test_micro_batches_are_told_and_verified(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(folder)
    limit(monkeypatch, lambda batch: torch.OutOfMemoryError("CUDA out of memory") if len(batch.x_BLF) > 16 else None)
    package.submit(forecasting(folder / "load.csv", name="tight", register=None, budget={"max_trials": 2},
                               evaluate={"baselines": "none"}), settings)
    with Store.open(settings.store) as store:
        assert [record.extra["micro_batch"] for record in store.trials("tight")] == [4, 4]
    tags = trial_tags(settings, "tight")
    assert [tags[number]["seqsweep.micro_batch"] for number in (0, 1)] == ["4", "4"]
    assert answer(folder, "status", "tight")["retried"] == "2 trials after a breakdown, 2 in micro-batches"
    found = verify_trial("tight", 0, settings)
    assert found.program == "torch, micro-batches of 4"
    assert found.evidence.problems == []
    monkeypatch.undo()  # with memory enough it is what it was
    assert verify_trial("tight", 1, settings).evidence.differs_at is None


def test_an_error_in_code_stops_the_sweep_and_status_shows_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, steps = settings_in(folder), [0]

    def broken(batch: Batch) -> Exception | None:
        steps[0] += 1
        return ValueError("expected [batch, time], got [/x]") if steps[0] == 40 else None

    limit(monkeypatch, broken)
    document: dict[str, Any] = forecasting(folder / "load.csv", name="faulty", register=None)
    with pytest.raises(SearchFailed, match="the sweep stops") as stopped:
        package.submit(document, settings)
    assert stopped.value.exit_code == 8
    assert "got [/x]" in seqsweep(folder, "status", "faulty").stdout.split("Trace on the worker")[-1]
    status = answer(folder, "status", "faulty")
    assert status["state"] == "failed"
    assert f'File "{__file__}", line ' in status["message"]
    assert status["message"].rstrip().endswith("ValueError: expected [batch, time], got [/x]")
    assert "unfinished" in status["trials"]
    monkeypatch.undo()
    package.submit(document, settings)
    assert answer(folder, "status", "faulty")["trials"] == {"complete": 4}


def test_a_kernel_that_cannot_run_is_refused_before_the_first_trial(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("triton runs on this machine's GPU")
    document = forecasting(Path("load.csv"), name="nowhere", register=None, resources={"kernel": "triton"})
    (folder / "nowhere.yaml").write_text(yaml.safe_dump(document))
    said = seqsweep(folder, "submit", "nowhere.yaml", exit_code=3).stderr
    assert "error: resources.kernel: triton cannot run on" in said
    assert answer(folder, "status", "nowhere")["trials"] == {}


@pytest.mark.slow
def test_a_frozen_worker_is_killed_and_its_trial_ends_elsewhere(tmp_path: Path) -> None:
    write_series(tmp_path / "load.csv")
    parameters = {"learning_rate": {"min": 1e-3, "max": 1e-1}, "epochs": {"value": 1500}, "batch_size": {"value": 32},
                  "hidden_size": {"value": 4}}
    document = forecasting(Path("load.csv"), register=None, parameters=parameters, budget={"max_trials": 2},
                           resources={"workers": 2, "timeout": "4s"})
    (tmp_path / "load.yaml").write_text(yaml.safe_dump(document))
    controller = Controller(tmp_path)
    try:
        until(lambda: len(controller.training()) == 2)
        time.sleep(5.0)  # each has given a sign of life: from now on the limit is the sweep's own
        controller.training()[0].send_signal(signal.SIGSTOP)
        code, _, err = controller.end(120)
    finally:
        controller.process.kill()
    assert code == 0, err
    assert "hung and goes on from epoch " in err
    assert "no step for 4s (resources.timeout)" in err
    with Store.open(settings_in(tmp_path).store) as store:
        records = store.trials("load")
    assert [str(record.state) for record in records] == ["complete", "complete"]
    assert sorted(record.attempts for record in records) == [0, 1]
    assert sorted(int(record.extra.get("hangs", 0)) for record in records) == [0, 1]


def test_that_mlflow_is_back_is_told_though_the_search_had_ended_before(
        folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(outage, "_SPEAK_AFTER", 0.0)
    monkeypatch.setattr("seqsweep.pipeline._Run._mlflow_problem", lambda run: "MLflow does not answer")
    package.submit(forecasting(folder / "load.csv", name="back", register=None, budget={"max_trials": 1}),
                   settings_in(folder))
    said = capsys.readouterr().err
    assert "MLflow does not answer, for" in said
    assert said.count("MLflow is back after") == 1
