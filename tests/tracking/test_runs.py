"""MLflow as a projection of the store: complete, idempotent, rebuilt at will."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from seqsweep.errors import Unavailable
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.store.records import Lease, Store, SweepState
from seqsweep.tracking import runs as projection
from seqsweep.tracking.client import pages
from seqsweep.tracking.notes import VIEW_TAG, VIEWS, view_tag
from seqsweep.tracking.runs import Runs, find_run, project

SPEC = {"version": 1, "name": "wind", "experiment": "energy", "method": "tpe", "data": {"path": "a.csv", "time": None},
        "metric": {"name": "mae", "goal": "minimize"}, "budget": {"max_trials": 4},
        "parameters": {"cell": {"values": ["gru", "lstm"]}}}
DOCUMENT = "version: 1\nname: wind\n"


def report(epoch: int, mae: float) -> Report:
    return Report(epoch, {"train_loss": 2.0, "val_mae": mae, "grad_norm": 1.0, "learning_rate": 1e-3, "seconds": 0.5})


def fill(store: Store) -> Lease:
    """Four trials: complete, pruned, diverged, and one under way."""
    facts = {"code_version": "0.1.0", "hardware": {"cpus": 2}}
    store.create_sweep("wind", DOCUMENT, json.dumps(SPEC), "hash", facts)
    lease = store.acquire("wind")
    store.update_sweep(lease, state=SweepState.RUNNING, data_hash="d1")
    ends = [(Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.2, 2), [0.3, 0.2, 0.25]),
            (Outcome(TrialState.PRUNED, Reason.PRUNED, 0.9, 1), [0.9]),
            (Outcome(TrialState.FAILED, Reason.DIVERGED, None, None, "loss is NaN"), [math.nan])]
    for number, (outcome, curve) in enumerate(ends):
        params: dict[str, str | float] = {"cell": "gru", "lr": 1e-3 * number}
        store.start_trial(lease, Trial(number, params, 40 + number, '{"cell":"gru"}'), "w1")
        reports = [report(epoch, mae) for epoch, mae in enumerate(curve, 1)]
        store.close_trial(lease, number, outcome, reports, best=None, keep=1, sign=1,
                          extra={"num_weights": 12, "kernel": "fused"})
    store.start_trial(lease, Trial(3, {"cell": "lstm", "num_layers": 2}, 43))
    store.save_progress(lease, 3, [report(1, 0.5), report(2, 0.4), report(3, 0.3)], last=b"l", best=None, epoch=2)
    return lease


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/seqsweep.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to create its tables."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").get_experiment_by_name("energy")
    return path


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def runs_of(uri: str, client: MlflowClient | None = None) -> dict[str, Run]:
    client = client or MlflowClient(uri)
    experiment = client.get_experiment_by_name("energy")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    named = {str(run.info.run_name): run for run in runs}
    assert len(named) == len(runs), "a run is there twice"
    return named


def history(uri: str, run: Run) -> dict[str, list[tuple[int, int, str]]]:
    client = MlflowClient(uri)
    return {name: [(point.step, point.timestamp, repr(point.value))
                   for point in client.get_metric_history(run.info.run_id, name)] for name in sorted(run.data.metrics)}


def everything(uri: str) -> dict[str, object]:
    """All that MLflow shows, without the ids it gives itself."""
    return {name: (run.info.status, run.info.start_time, run.info.end_time, run.data.params, history(uri, run),
                   {key: value for key, value in run.data.tags.items() if key != "mlflow.parentRunId"})
            for name, run in runs_of(uri).items()}


def test_a_sweep_is_a_parent_run_and_a_trial_its_child(store: Store, uri: str) -> None:
    fill(store)
    project(store, "wind", uri)
    runs = runs_of(uri)
    assert {name: run.info.status for name, run in runs.items()} == {
        "wind": "RUNNING", "wind-0": "FINISHED", "wind-1": "KILLED", "wind-2": "FAILED", "wind-3": "RUNNING"}
    parent, first = runs["wind"], runs["wind-0"]
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items() if name != "wind"} == {
        parent.info.run_id}
    assert first.data.params == {"cell": "gru", "lr": "0.0"}
    assert runs["wind-3"].data.params == {"cell": "lstm", "num_layers": "2"}
    sweep, record = store.sweep("wind"), store.trials("wind")[0]
    expected = {"sweep": "wind", "trial": f"{sweep.uid}/0", "state": "complete", "reason": "finished", "seed": "40",
                "data_hash": "d1", "code_version": "0.1.0", "hardware": '{"cpus": 2}', "worker": "w1",
                "grid_cell": '{"cell":"gru"}', "kernel": "fused"}
    assert expected.items() <= {key.removeprefix("seqsweep."): value for key, value in first.data.tags.items()}.items()
    assert runs["wind-2"].data.tags["seqsweep.message"] == "loss is NaN"

    assert record.ended is not None
    assert (first.info.start_time, first.info.end_time) == (round(record.started * 1000), round(record.ended * 1000))
    points = zip((1, 2, 3), [round(time * 1000) for time in record.times], ("0.3", "0.2", "0.25"), strict=True)
    assert history(uri, first)["val_mae"] == list(points)
    metrics = first.data.metrics
    assert (metrics["best_val_mae"], metrics["best_epoch"], metrics["num_weights"]) == (0.2, 2, 12)
    assert "best_val_mae" not in runs["wind-2"].data.metrics
    assert math.isnan(runs["wind-2"].data.metrics["val_mae"])


def test_the_parent_tells_the_sweep(store: Store, uri: str, tmp_path: Path) -> None:
    lease = fill(store)
    store.update_sweep(lease, state=SweepState.FINISHED)
    project(store, "wind", uri)
    parent = runs_of(uri)["wind"]
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {
        "version": "1", "name": "wind", "experiment": "energy", "method": "tpe", "data.path": "a.csv",
        "metric.name": "mae", "metric.goal": "minimize", "budget.max_trials": "4",
        "parameters.cell": '{"values": ["gru", "lstm"]}'}
    assert [point[::2] for point in history(uri, parent)["best_val_mae"]] == [(0, "0.2")]
    assert parent.data.tags["seqsweep.state"] == "finished"
    artifacts = Path(str(parent.info.artifact_uri).removeprefix("file://"))
    assert artifacts.is_relative_to(tmp_path / "mlruns" / "energy")
    assert (artifacts / "sweep.yaml").read_text() == DOCUMENT
    rows = list(csv.DictReader(io.StringIO((artifacts / "leaderboard.csv").read_text())))
    assert [(row["number"], row["state"], row["value"], row["lr"]) for row in rows] == [
        ("0", "complete", "0.2", "0.0"), ("1", "pruned", "0.9", "0.001"), ("2", "failed", "", "0.002")]


def evaluate(store: Store, lease: Lease, key: str, headline: str) -> None:
    rows = [{"kind": "winner", "name": "trial 0", "validation": 0.2, "test": {"mae": 0.25, "mase": math.inf},
             "params": {"cell": "gru", "lr": 0.0123456}},
            {"kind": "baseline", "name": "repeat last", "validation": None, "test": {"mae": 0.5, "mase": 2e4},
             "params": {}}]
    store.put_stage(lease, "evaluate", key, {"headline": headline, "winner": 0, "rows": rows, "test_uses": 1})


def test_an_evaluated_sweep_shows_test_figures_and_says_who_won(store: Store, uri: str) -> None:
    lease = fill(store)
    project(store, "wind", uri)
    assert "mlflow.note.content" not in runs_of(uri)["wind"].data.tags
    evaluate(store, lease, "k1", "trial 0 wins: mae 0.25")
    project(store, "wind", uri)
    runs = runs_of(uri)
    ended = store.trials("wind")[0].ended
    assert ended is not None
    for name in ("wind", "wind-0"):
        assert history(uri, runs[name])["test_mae"] == [(2, round(ended * 1000), "0.25")]
        assert "test_mase" not in runs[name].data.metrics  # not finite
    assert "test_mae" not in runs["wind-1"].data.metrics
    note = runs["wind"].data.tags["mlflow.note.content"]
    assert note.startswith("**trial 0 wins: mae 0.25**")
    assert "| **trial 0** | 0.2 | 0.25 | inf |\n| repeat last |  | 0.5 | 20,000 |" in note.replace("&emsp;", "")
    assert "Parameters of trial 0: `cell` gru, `lr` 0.01235" in note


def test_what_a_person_wrote_over_the_description_stays_until_another_evaluation(store: Store, uri: str) -> None:
    lease = fill(store)
    evaluate(store, lease, "k1", "trial 0 wins")
    project(store, "wind", uri)
    client, parent = MlflowClient(uri), find_run(uri, store.sweep("wind"))
    assert parent is not None
    client.set_tag(parent, "mlflow.note.content", "ours, keep")
    project(store, "wind", uri)
    assert runs_of(uri)["wind"].data.tags["mlflow.note.content"] == "ours, keep"
    evaluate(store, lease, "k2", "trial 0 wins again")
    project(store, "wind", uri)
    assert runs_of(uri)["wind"].data.tags["mlflow.note.content"].startswith("**trial 0 wins again**")


def test_the_data_show_as_the_dataset_of_every_run(store: Store, uri: str) -> None:
    fill(store)
    project(store, "wind", uri)
    project(store, "wind", uri)
    for run in runs_of(uri).values():
        assert run.inputs is not None
        given = [(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs]
        assert given == [("a.csv", "d1")]


def test_a_view_of_the_trials_is_saved_once_and_old_ones_make_way(store: Store, uri: str) -> None:
    client = MlflowClient(uri)
    experiment = client.create_experiment("energy")
    for number in range(VIEWS):
        client.set_experiment_tag(experiment, f"{VIEW_TAG}seqsweep-{number}", json.dumps({"createdAt": 100 + number}))
    client.set_experiment_tag(experiment, f"{VIEW_TAG}a-persons-own", "deflate;x")
    fill(store)
    project(store, "wind", uri)
    tag, parent = view_tag(store.sweep("wind").uid), find_run(uri, store.sweep("wind"))
    tags = client.get_experiment(experiment).tags
    assert f"{VIEW_TAG}seqsweep-0" not in tags
    assert {f"{VIEW_TAG}seqsweep-1", f"{VIEW_TAG}a-persons-own", tag} <= set(tags)
    view = json.loads(tags[tag])
    state = json.loads(view["state"])
    assert view["name"] == "wind: trials, best first"
    assert state["searchFilter"] == f"tags.mlflow.parentRunId = '{parent}'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_mae`", True)
    assert state["selectedColumns"][-1] == "params.`cell`"

    client.set_experiment_tag(experiment, tag, tags[tag].replace("best first", "changed"))
    project(store, "wind", uri)
    assert json.loads(client.get_experiment(experiment).tags[tag])["name"] == "wind: trials, changed"


def test_mlflow_sends_no_telemetry_and_keeps_quiet() -> None:
    code = ("import logging, seqsweep.tracking.runs, mlflow.telemetry\n"
            "print(mlflow.telemetry.get_telemetry_client(), logging.getLogger('mlflow').getEffectiveLevel())")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=environment,
                          capture_output=True, text=True)
    assert told.stdout.split() == ["None", "40"]


def test_projecting_again_doubles_nothing(store: Store, uri: str) -> None:
    lease = fill(store)
    evaluate(store, lease, "k1", "trial 0 wins")
    project(store, "wind", uri)
    before = everything(uri)
    project(store, "wind", uri)
    assert everything(uri) == before
    store.save_progress(lease, 3, [report(4, 0.2)], last=b"l", best=None, epoch=4)
    project(store, "wind", uri)
    steps = [point[0] for point in history(uri, runs_of(uri)["wind-3"])["val_mae"]]
    assert steps == [1, 2, 3, 4]


def test_epochs_that_a_resume_may_take_back_are_not_shown_yet(store: Store, uri: str) -> None:
    lease = fill(store)
    project(store, "wind", uri)
    assert [point[0] for point in history(uri, runs_of(uri)["wind-3"])["seconds"]] == [1, 2]
    time.sleep(0.01)
    again = Report(3, {**report(3, 0.3).metrics, "seconds": 0.7})  # the worker was lost, epoch 3 trained anew
    store.save_progress(lease, 3, [again], last=b"l", best=None, epoch=3, attempts=1)
    outcome = Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.3, 3)
    store.close_trial(lease, 3, outcome, [], best=None, keep=1, sign=1, extra={})
    project(store, "wind", uri)
    run = runs_of(uri)["wind-3"]
    assert [(point[0], point[2]) for point in history(uri, run)["seconds"]] == [(1, "0.5"), (2, "0.5"), (3, "0.7")]
    assert run.info.status == "FINISHED"


def test_a_run_whose_answer_was_lost_is_found_again(store: Store, uri: str) -> None:
    fill(store)
    project(store, "wind", uri)
    before = everything(uri)
    client, sweep = MlflowClient(uri), store.sweep("wind")
    parent, child = find_run(uri, sweep), find_run(uri, sweep, 1)
    assert parent is not None
    assert child is not None
    assert find_run(uri, sweep, 9) is None
    experiment = client.get_run(parent).info.experiment_id
    for tags in (client.get_run(parent).data.tags, client.get_run(child).data.tags):  # creations asked twice
        keys = ("seqsweep.uid", "seqsweep.trial", "mlflow.parentRunId")
        client.create_run(experiment, start_time=1, tags={key: tags[key] for key in keys if key in tags})
    project(store, "wind", uri)
    runs = runs_of(uri)
    assert len(runs) == 5
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()
            if "seqsweep.trial" in run.data.tags} == {find_run(uri, sweep)}
    for name in ("wind-0", "wind-2", "wind-3"):
        assert everything(uri)[name] == before[name]
    project(store, "wind", uri)
    assert set(runs_of(uri)) == set(runs)


def test_of_two_runs_every_process_keeps_the_same(store: Store, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order each is told of them, so that two at once do not delete both."""
    fill(store)
    project(store, "wind", uri)
    client, child = MlflowClient(uri), find_run(uri, store.sweep("wind"), 1)
    assert child is not None
    run = client.get_run(child)
    client.create_run(run.info.experiment_id, start_time=1, tags={
        key: run.data.tags[key] for key in ("seqsweep.uid", "seqsweep.trial", "mlflow.parentRunId")})
    deleted = list[str]()
    monkeypatch.setattr(MlflowClient, "delete_run", lambda self, run_id: deleted.append(run_id))
    search = pages
    for order in (list, lambda found: list(found)[::-1]):
        monkeypatch.setattr(projection, "pages", lambda *words, order=order: iter(order(search(*words))))
        Runs(store, "wind", uri)
    assert len(deleted) == 2
    assert len(set(deleted)) == 1


def test_half_a_projection_is_completed(store: Store, uri: str) -> None:
    fill(store)
    project(store, "wind", uri)
    before, client = everything(uri), MlflowClient(uri)
    runs = runs_of(uri)
    client.update_run(runs["wind-0"].info.run_id, status="RUNNING")  # points were written, the end was not
    for tag in ("seqsweep.revision", "seqsweep.epoch"):  # nor the tags that say how far a running trial is
        client.delete_tag(runs["wind-3"].info.run_id, tag)
    project(store, "wind", uri)
    assert everything(uri) == before


@pytest.mark.parametrize("call", ["log_inputs", "log_batch", "set_terminated"])
@pytest.mark.parametrize("trial", [0, 3])
def test_a_projection_cut_short_is_completed(store: Store, uri: str, monkeypatch: pytest.MonkeyPatch, call: str,
                                             trial: int, tmp_path: Path) -> None:
    """Killed between any two calls, a closed and a running trial come out as if nothing had been."""
    fill(store)
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "whole.db")
    project(store, "wind", f"sqlite:///{tmp_path}/whole.db")
    real = getattr(MlflowClient, call)

    def failing(self: MlflowClient, run_id: str, *rest: object, **more: object) -> object:
        if self.get_run(run_id).data.tags.get("seqsweep.trial", "").endswith(f"/{trial}"):
            raise ConnectionError("gone")
        return real(self, run_id, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, failing)
        if (call, trial) != ("set_terminated", 3):  # which still runs
            with pytest.raises(Unavailable, match="gone"):
                project(store, "wind", uri)
    project(store, "wind", uri)
    assert everything(uri) == everything(f"sqlite:///{tmp_path}/whole.db")


def test_a_stopped_sweep_that_goes_on_runs_again(store: Store, uri: str) -> None:
    lease = fill(store)
    project(store, "wind", uri)
    longer = {**SPEC, "budget": {"max_trials": 9}}
    statuses = {SweepState.STOPPED: "KILLED", SweepState.RUNNING: "RUNNING", SweepState.FAILED: "FAILED"}
    for state, status in statuses.items():
        store.update_sweep(lease, state=state, message="why", spec=json.dumps(longer))
        project(store, "wind", uri)
        parent = runs_of(uri)["wind"]
        assert (parent.info.status, parent.data.tags["seqsweep.message"]) == (status, "why")
    assert parent.data.params["budget.max_trials"] == "4"  # MLflow's parameters never change


def test_a_sweep_of_the_same_name_in_another_store_has_runs_of_its_own(store: Store, uri: str, tmp_path: Path) -> None:
    fill(store)
    project(store, "wind", uri)
    with Store.open(f"sqlite:///{tmp_path}/other.db") as other:
        fill(other)
        project(other, "wind", uri)
        assert find_run(uri, other.sweep("wind"), 0) != find_run(uri, store.sweep("wind"), 0)


def test_a_curve_longer_than_a_request_and_infinity(store: Store, uri: str) -> None:
    lease = fill(store)
    reports = [report(epoch, math.inf if epoch == 1 else 0.1) for epoch in range(1, 501)]
    outcome = Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.1, 2)
    store.close_trial(lease, 3, outcome, reports, best=None, keep=1, sign=1, extra={})
    project(store, "wind", uri)
    points = history(uri, runs_of(uri)["wind-3"])
    assert [point[0] for point in points["val_mae"]] == list(range(1, 501))
    assert float(points["val_mae"][0][2]) > 1e308


def test_a_long_curve_cut_short_is_completed(store: Store, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a running trial, between the requests that its points take."""
    lease, real, requests = fill(store), MlflowClient.log_batch, list[int]()
    store.save_progress(lease, 3, [report(epoch, 0.1) for epoch in range(4, 501)], last=b"l", best=None, epoch=500)

    def failing(self: MlflowClient, run_id: str, *words: Any, **named: Any) -> None:
        if len(named.get("metrics", ())) > 500:
            requests.append(1)
            if len(requests) == 2:
                raise ConnectionError("gone")
        real(self, run_id, *words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", failing)
        with pytest.raises(Unavailable, match="gone"):
            project(store, "wind", uri)
    project(store, "wind", uri)
    assert sorted(point[0] for point in history(uri, runs_of(uri)["wind-3"])["val_mae"]) == list(range(1, 501))


def test_an_experiment_that_another_sweep_made_meanwhile_is_taken(store: Store, uri: str,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    real, made = MlflowClient.get_experiment_by_name, list[str]()

    def late(self: MlflowClient, name: str) -> object:
        if not made:
            made.append(self.create_experiment(name))
            return None  # it was asked before
        return real(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    project(store, "wind", uri)
    assert len(runs_of(uri)) == 5


def test_a_deleted_experiment_is_told(store: Store, uri: str) -> None:
    fill(store)
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("energy"))
    with pytest.raises(Unavailable, match="energy was deleted; restore it"):
        project(store, "wind", uri)


def test_a_deleted_database_comes_back_complete(store: Store, uri: str, tmp_path: Path) -> None:
    fill(store)
    store_url = f"sqlite:///{tmp_path}/seqsweep.db"
    again = ("import sys; from seqsweep.store.records import Store; from seqsweep.tracking.runs import project\n"
             "project(Store.open(sys.argv[1]), 'wind', sys.argv[2])")
    other = f"sqlite:///{tmp_path}/second.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # A process of its own, since MLflow keeps a file it opened.
    subprocess.run([sys.executable, "-W", "ignore", "-c", again, store_url, other], check=True, env=environment)
    (tmp_path / "second.db").rename(tmp_path / "mlflow.db")
    project(store, "wind", other)
    assert everything(uri) == everything(other)
    assert len(everything(uri)) == 5


def test_after_a_failure_the_cursor_stands_where_it_was(store: Store, uri: str,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    runs = Runs(store, "wind", uri)
    real, calls = MlflowClient.log_batch, iter(range(100))

    def failing(self: MlflowClient, run_id: str, metrics: list[Metric] = [], **rest: object) -> None:  # noqa: B006
        if next(calls) == 2:  # after the sweep's parameters and the first trial
            raise ConnectionError("gone")
        real(self, run_id, metrics, **rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", failing)
        with pytest.raises(Unavailable, match="gone"):
            runs.project_trials()
    assert runs.project_trials() == 3
    runs.project_sweep()
    before = everything(uri)
    project(store, "wind", uri)
    assert everything(uri) == before
    assert len(before) == 5


@pytest.mark.slow
def test_the_cost_of_two_hundred_trials(store: Store, uri: str) -> None:
    store.create_sweep("wind", DOCUMENT, json.dumps(SPEC), "hash", {})
    lease = store.acquire("wind")
    for number in range(200):
        store.start_trial(lease, Trial(number, {"lr": 0.1, "cell": "gru"}, number))
        store.close_trial(lease, number, Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.5, 1),
                          [report(epoch, 0.5) for epoch in range(1, 31)], best=None, keep=1, sign=1, extra={})
    runs = Runs(store, "wind", uri)
    start = time.perf_counter()
    assert runs.project_trials() == 200
    first = time.perf_counter() - start
    start = time.perf_counter()
    project(store, "wind", uri)
    again = time.perf_counter() - start
    print(f"\nprojected: {first * 5:.1f} ms a trial of 30 epochs; again: {again * 5:.1f} ms")
    assert len(history(uri, runs_of(uri)["wind-7"])["val_mae"]) == 30
    assert again < first
