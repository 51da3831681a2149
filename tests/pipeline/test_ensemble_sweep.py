"""Ensembles from a sweep to a registered model that predicts in another process, whoever is killed on the way."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sealing import seal_all
from shell import environment, seqsweep
from small_sweeps import anomaly, classification, forecasting, settings_in, table, write_classes, write_series

import seqsweep as package
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import FitConfig, fit_config
from seqsweep.data.prepare import prepare
from seqsweep.doctor.examination import examine
from seqsweep.errors import InvalidSweep, Refused
from seqsweep.evaluation import ensemble
from seqsweep.promotion import promote
from seqsweep.result import SweepResult
from seqsweep.serving import export_file, fetch
from seqsweep.store.records import Store
from seqsweep.submission import identity, specification
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of
from seqsweep.tracking.client import connect
from seqsweep.tracking.registry import Registry
from seqsweep.training.predict import Member, predict, predict_folds, predict_together

WEAK = {"learning_rate": {"min": 3e-3, "max": 3e-2, "log": True}, "hidden_size": {"values": [4, 8]},
        "epochs": {"value": 3}, "batch_size": {"value": 32}}
"""Trials that err in different ways."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensembles")
    write_series(folder / "load.csv")
    write_classes(folder / "trend.csv")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def sweep(path: Path, name: str = "several", **keys: Any) -> dict[str, Any]:
    return forecasting(path, name, **{"parameters": WEAK, "budget": {"max_trials": 6}, "ensemble": {"size": 5},
                                      "promote": {"to": "champion", "require": ["beats_champion"]}} | keys)


@pytest.fixture(scope="module")
def finished(place: Path, settings: Settings) -> SweepResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return package.submit(sweep(place / "load.csv"), settings)


def members_of(result: SweepResult, settings: Settings) -> tuple[Member, ...]:
    with Store.open(settings.store) as store:
        trials = {record.number: record.trial for record in store.trials(result.name)}
        return tuple(Member(number, fit_config(result.sweep, trials[number].params, trials[number].seed),
                            store.best_weights(result.name, number) or b"", count)
                     for number, count in result.ensemble.items())


def copied(settings: Settings, folder: Path) -> Settings:
    """Copies of its store and its MLflow, to be spoilt."""
    folder.mkdir(exist_ok=True)
    for url in (settings.store, settings.tracking_uri):
        file = Path(url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(file)) as whole, closing(sqlite3.connect(folder / file.name)) as copy:
            whole.backup(copy)
    return settings_in(folder)


def change(settings: Settings, statement: str) -> None:
    """Change the rows of `several` as a faulty writer would: every row well sealed."""
    with closing(sqlite3.connect(settings.store.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(statement).rowcount, statement
    with Store.open(settings.store) as store, store._database.write() as transaction:
        seal_all(transaction)


OF_SEVERAL = "sweep_id = (SELECT id FROM seqsweep_sweeps WHERE name = 'several')"
OF_TRIAL = f"trial_id = (SELECT id FROM seqsweep_trials WHERE {OF_SEVERAL} AND number = %d)"


def stage(settings: Settings, name: str, which: str) -> Mapping[str, Any]:
    with Store.open(settings.store) as store:
        return store.stages(name)[which].value


# -- what is picked


def test_its_figures_are_those_of_the_mean_of_its_members(finished: SweepResult, settings: Settings) -> None:
    members, data = members_of(finished, settings), prepare(finished.sweep)
    task, board = finished.sweep.task, finished.leaderboard_rows()
    assert len(members) > 1
    assert sum(member.picks for member in members) <= 5
    by_hand = {part: np.average([predict(member.fit, member.weights, data, part) for member in members], axis=0,
                                weights=[member.picks for member in members]) for part in ("val", "test")}
    figures = {part: metrics_from_predictions(task, by_hand[part], truth_of(task, data[0], part))["mae"]
               for part in by_hand}
    assert board[0]["kind"] == "winner"
    assert board[0]["name"].startswith("ensemble ")
    assert board[0]["val_mae"] == pytest.approx(figures["val"], rel=1e-9)
    assert board[0]["test_mae"] == pytest.approx(figures["test"], rel=1e-9)
    assert figures["val"] < finished.best.value
    assert re.match(rf"{re.escape(board[0]['name'])} (wins|leads, not beyond chance): mae ", finished.headline)
    assert finished.summary()["ensemble"] == {member.trial: member.picks for member in members}


def test_the_test_part_is_opened_for_it_and_for_no_trial(finished: SweepResult, settings: Settings) -> None:
    board = finished.leaderboard_rows()
    tested = [row["kind"] for row in board if "test_mae" in row]
    assert tested.count("winner") == 1
    assert set(tested) == {"winner", "baseline"}
    assert next(row["name"] for row in board if row["kind"] == "trial") == f"trial {finished.best.number}"
    assert stage(settings, "several", "evaluate")["test_uses"] == 1
    client = connect(settings.tracking_uri)
    runs = client.search_runs([client.get_experiment_by_name("several").experiment_id])  # type: ignore[union-attr]
    assert [run.info.run_name for run in runs if "test_mae" in run.data.metrics] == ["several"]
    parent = next(run for run in runs if run.info.run_name == "several")
    assert Registry(settings.tracking_uri).resolve("several/1").run_id == parent.info.run_id
    assert " parts)" in parent.data.tags["mlflow.note.content"]


def test_the_same_sweep_picks_the_same_and_asks_each_trial_once(
        finished: SweepResult, place: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[FitConfig] = []

    def counted(config: FitConfig, *words: Any) -> Any:
        asked.append(config)
        return predict_folds(config, *words)

    monkeypatch.setattr(ensemble, "predict_folds", counted)
    again = package.submit(sweep(place / "load.csv", "again", register=None, promote=None), settings)
    assert len(asked) == len({config.seed for config in asked}) == 5  # keep.checkpoints
    assert again.ensemble == finished.ensemble
    assert stage(settings, "again", "ensemble") == stage(settings, "several", "ensemble")
    assert again.leaderboard_rows() == finished.leaderboard_rows()


def test_folds_are_scored_with_what_was_picked_on_the_others(place: Path, settings: Settings) -> None:
    document = sweep(place / "load.csv", "folds", budget={"max_trials": 3}, promote=None,
                     split={"by": "time", "val": "10%", "test": "20%", "folds": 3})
    result = package.submit(document, settings)
    found = stage(settings, "folds", "ensemble")
    assert "each fold scored with what was picked on the others" in found["said"]
    assert found["better"] == (found["validation"] < found["alone"])
    assert found["alone"] >= result.best.value * (1 - 1e-4)  # the best of the other folds need not be the best here
    assert bool(result.ensemble) == found["better"]
    assert examine("folds", settings) == []


def test_probabilities_are_averaged(place: Path, settings: Settings) -> None:
    document = classification(place / "trend.csv", budget={"max_trials": 3}, ensemble={"size": 4}, parameters={
        "learning_rate": {"min": 1e-3, "max": 5e-3}, "hidden_size": {"values": [4, 8]}, "epochs": {"value": 2},
        "batch_size": {"value": 16}})
    result = package.submit(document, settings)
    assert result.model == "trend/1"
    rows = pd.read_csv(place / "trend.csv").drop(columns="label")
    found = result.predict(rows)
    np.testing.assert_allclose(found[["p:down", "p:up"]].sum(axis=1), 1.0, atol=1e-6)
    if result.ensemble:
        loaded = fetch("trend/1", settings)[1]
        each = [predict(m.fit, m.weights, loaded.transform(rows), "predict") for m in loaded.members]
        np.testing.assert_allclose(found["p:up"], np.average(each, axis=0, weights=[
            m.picks for m in loaded.members])[:, 1], rtol=1e-9)


# -- what is registered


FRESH = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
import seqsweep
found = model.predict(pd.read_csv("ahead.csv"))
print(json.dumps({"code": seqsweep.__file__, "prediction": found["prediction"].tolist()}))
"""


def test_its_package_predicts_in_a_fresh_process_with_the_code_it_carries(
        finished: SweepResult, place: Path, settings: Settings, tmp_path: Path) -> None:
    rows = pd.read_csv(place / "load.csv")
    rows.loc[397:, "load"] = np.nan
    rows.to_csv(tmp_path / "ahead.csv", index=False)
    registry = Registry(settings.tracking_uri)
    folder = registry.download(registry.resolve("several@champion"), tmp_path / "model")
    environ = environment() | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run([sys.executable, "-c", FRESH, str(folder)], capture_output=True, text=True, cwd=tmp_path,
                          env={key: value for key, value in environ.items() if key != "PYTHONPATH"}, check=True)
    told = json.loads(done.stdout)
    assert Path(told["code"]).is_relative_to(folder)
    np.testing.assert_allclose(told["prediction"], finished.predict(rows)["prediction"], rtol=1e-9)
    loaded = fetch("several@champion", settings)[1]
    assert {member.trial: member.picks for member in loaded.members} == finished.ensemble
    each = [predict(member.fit, member.weights, loaded.transform(rows), "predict") for member in loaded.members]
    np.testing.assert_allclose(told["prediction"], np.average(each, axis=0, weights=[
        member.picks for member in loaded.members]).ravel(), rtol=1e-9)


def test_of_one_member_it_is_that_member_to_the_bit(finished: SweepResult, settings: Settings) -> None:
    data = prepare(finished.sweep)
    for member in members_of(finished, settings):
        alone = dataclasses.replace(member, picks=1)
        np.testing.assert_array_equal(predict_together((alone,), data, "test"),
                                      predict(member.fit, member.weights, data, "test"))


def test_it_is_no_program(finished: SweepResult, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"several/1: it is the mean of \d trials' models"):
        export_file("several@champion", tmp_path / "model.pt2", settings)
    assert not list(tmp_path.iterdir())


def test_it_is_a_champion_that_others_must_beat(finished: SweepResult, place: Path, settings: Settings) -> None:
    document = sweep(place / "load.csv", "rival", ensemble=None, register={"model": "several"},
                     budget={"max_trials": 1}, split={"by": "time", "val": "15%", "test": "20%"})
    result = package.submit(document, settings)
    assert "stays a candidate" in result.gate
    assert "of several/1" in result.gate
    assert promote("several/1", settings).reasons == ("it is champion already",)
    Registry(settings.tracking_uri).promote("several", 2, "champion", by="me", why="a test", figures={})
    assert str(Registry(settings.tracking_uri).rollback("several", "champion", by="me", why="")) == "several/1"


@pytest.mark.slow
def test_it_may_be_asked_for_once_the_trials_are_there(place: Path, settings: Settings,
                                                       finished: SweepResult) -> None:
    plain = sweep(place / "load.csv", "later", ensemble=None, promote=None)
    assert package.submit(plain, settings).model == "later/1"
    before = table(settings, "later", times=True)
    result = package.submit(plain | {"ensemble": {"size": 5}}, settings)
    assert table(settings, "later", times=True) == before
    assert result.model == "later/2"
    assert result.ensemble == finished.ensemble
    assert stage(settings, "later", "evaluate")["test_uses"] > 1  # it is a second look, and counted
    assert examine("later", settings) == []
    alone = package.submit(plain, settings)
    assert (alone.model, alone.ensemble) == ("later/1", {})
    assert alone.headline.startswith(f"trial {alone.best.number} ")
    assert examine("later", settings) == []


def test_without_it_a_sweep_is_what_it_was(place: Path) -> None:
    spec = specification(load_sweep(sweep(place / "load.csv", ensemble=None)))
    assert identity(spec) == identity({key: value for key, value in spec.items() if key != "ensemble"})
    assert identity(spec) == identity(specification(load_sweep(sweep(place / "load.csv"))))


# -- what is refused, and what the doctor sees


@pytest.mark.parametrize(("keys", "says"), [
    ({"keep": {"checkpoints": 1}}, "the weights of one trial are kept"),
    ({"budget": {"max_trials": 1}}, "there is one trial"), ({"ensemble": {"size": 1}}, "ensemble.size")])
def test_an_ensemble_that_cannot_be_is_refused(keys: dict[str, Any], says: str, place: Path) -> None:
    with pytest.raises(InvalidSweep, match=says):
        load_sweep(sweep(place / "load.csv", **keys))


def test_detectors_have_no_mean(place: Path) -> None:
    with pytest.raises(InvalidSweep, match="several detectors have no mean"):
        load_sweep(anomaly(place / "sensor.csv", ensemble={"size": 3}))


def test_the_doctor_knows_it(finished: SweepResult, settings: Settings, tmp_path: Path) -> None:
    assert examine("several", settings) == []
    first, *others = finished.ensemble
    of_stage = f"stage = 'ensemble' AND {OF_SEVERAL}"

    def replaced(was: str, now: str) -> str:
        return f"UPDATE seqsweep_stages SET value = replace(value, '{was}', '{now}') WHERE {of_stage}"

    spoilt = {
        replaced('"better": true', '"better": false'):
            f"contradicting: stage evaluate: its row of the winner is not that of trial {first}",
        replaced(f"[{others[0]}, ", "[77, "): "contradicting: stage ensemble: it picked trial 77, which has no value",
        replaced(f"[{first}, ", f"[{first}, 7"): "contradicting: stage ensemble: it picked 7",
        f"DELETE FROM seqsweep_stages WHERE {of_stage}": "lost: several: it is finished, and its stage ensemble",
        f"DELETE FROM seqsweep_checkpoints WHERE {OF_TRIAL % others[0]}":
            f"lost: trial {others[0]}: it is in the ensemble, and its weights",
        "DELETE FROM seqsweep_test_uses": "lost: stage evaluate: that the test part judged ensemble"}
    for number, (statement, expected) in enumerate(spoilt.items()):
        copy = copied(settings, tmp_path / str(number))
        change(copy, statement)
        found = [f"{each.kind}: {each.where}: {each.what}" for each in examine("several", copy) if each.is_fault]
        assert any(line.startswith(expected) for line in found), (statement, found)


def test_a_member_whose_weights_are_gone_is_replaced(finished: SweepResult, place: Path, settings: Settings,
                                                     tmp_path: Path) -> None:
    copy = copied(settings, tmp_path)
    gone = list(finished.ensemble)[-1]
    change(copy, f"DELETE FROM seqsweep_checkpoints WHERE {OF_TRIAL % gone}")
    again = package.submit(sweep(place / "load.csv"), copy)
    assert gone not in again.ensemble
    assert again.state == "finished"
    assert not [each for each in examine("several", copy) if each.is_fault]


# -- killed


KILLED = """
import sys, os
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/chaos"]
from faults import Fault, kill, watch
watch(Fault(sys.argv[2], sys.argv[3], kill))
import seqsweep
seqsweep.submit("load.yaml")
"""


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["before", "within", "after"])
@pytest.mark.parametrize("point", ["put_stage.ensemble", "touch_test", "put_stage.evaluate", "put_stage.register"])
def test_killed_between_its_stages_it_goes_on(point: str, phase: str, tmp_path: Path, finished: SweepResult,
                                              settings: Settings) -> None:
    write_series(tmp_path / "load.csv")
    (tmp_path / "load.yaml").write_text(yaml.safe_dump(sweep(Path("load.csv")), sort_keys=False))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), point, phase],
                            capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert killed.returncode == -9, killed.stderr
    seqsweep(tmp_path, "submit", "load.yaml")
    own = settings_in(tmp_path)
    assert stage(own, "several", "ensemble") == stage(settings, "several", "ensemble")
    assert stage(own, "several", "evaluate")["rows"] == stage(settings, "several", "evaluate")["rows"]
    assert stage(own, "several", "evaluate")["test_uses"] == 1
    assert [str(each) for each in Registry(own.tracking_uri).versions("several")] == ["several/1"]
    assert examine("several", own) == []
