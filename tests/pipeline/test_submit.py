"""The whole run from Python: prepare, search, evaluate, register, promote, and again."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shell import until
from small_sweeps import classification, forecasting, settings_in, table, write_classes, write_series

import seqsweep
from seqsweep import pipeline
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.errors import Conflict, InvalidData, InvalidSweep, NotFound, Refused
from seqsweep.promotion import promote
from seqsweep.result import sweep_rows
from seqsweep.serving import predict
from seqsweep.store.records import Store, SweepState
from seqsweep.submission import enter, stored_sweep
from seqsweep.tracking.client import connect
from seqsweep.tracking.registry import Registry
from seqsweep.tracking.runs import find_run

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole file, since MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("submit")
    write_series(folder / "load.csv")
    write_classes(folder / "trend.csv")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


@pytest.fixture(scope="module")
def finished(place: Path, settings: Settings) -> seqsweep.SweepResult:
    return seqsweep.submit(forecasting(place / "load.csv"), settings)


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


# -- the result


def test_the_trials_come_as_a_table(finished: seqsweep.SweepResult) -> None:
    trials = finished.trials
    assert list(trials.index) == [0, 1, 2, 3]
    assert set(trials["state"]) == {"complete"}
    assert list(trials["epochs"]) == [3] * 4
    assert (trials["seconds"] > 0).all()
    assert trials["learning_rate"].between(1e-2, 1e-1).all()
    assert set(trials["hidden_size"]) <= {4, 8}


def test_the_best_trial_has_the_least_value(finished: seqsweep.SweepResult) -> None:
    best = finished.best
    assert best.value == finished.trials["value"].min()
    assert best.number == finished.trials["value"].idxmin()
    assert best.params == {"learning_rate": finished.trials["learning_rate"][best.number],
                           "hidden_size": finished.trials["hidden_size"][best.number], "epochs": 3, "batch_size": 32}
    assert 1 <= best.epoch <= 3


def test_the_leaderboard_has_the_winner_and_every_baseline(finished: seqsweep.SweepResult) -> None:
    board = finished.leaderboard()
    assert list(board["kind"]).count("winner") == 1
    assert (board["kind"] == "baseline").sum() >= 3
    assert board[board["kind"] == "winner"]["name"].item() == f"trial {finished.best.number}"
    scored = board[board["kind"] != "trial"]
    assert scored["test_mae"].notna().all()
    assert set(board[board["kind"] != "baseline"]["name"]) == {f"trial {number}" for number in range(4)}


def test_the_summary_and_status_tell_the_same(finished: seqsweep.SweepResult) -> None:
    summary, status = finished.summary(), finished.status()
    assert summary["state"] == status["state"] == finished.state == "finished"
    assert summary["best"]["number"] == finished.best.number
    assert summary["headline"] == status["headline"] == finished.headline
    assert summary["model"] == status["model"] == finished.model == "load/1"
    assert status["trials"] == {"complete": 4}
    assert status["controller"] is None
    assert status["failures"] == []
    assert finished.headline in repr(finished)


def test_a_finished_sweep_is_found_again_by_name(finished: seqsweep.SweepResult, settings: Settings) -> None:
    found = seqsweep.open_sweep("load", settings)
    assert found.best == finished.best
    with pytest.raises(NotFound, match=r"no sweep named laod .*did you mean load\?"):
        seqsweep.open_sweep("laod", settings)


def test_the_registered_model_predicts_what_comes_next(finished: seqsweep.SweepResult, place: Path) -> None:
    frame = pd.read_csv(place / "load.csv")
    frame.loc[397:, "load"] = np.nan  # the promotions of the last three hours are known, the load is to be forecast
    predicted = finished.predict(frame)
    assert list(predicted["ahead"]) == [1, 2, 3]
    assert list(predicted["time"].astype(str)) == list(frame["time"][397:])
    assert np.isfinite(predicted["prediction"]).all()


# -- twice, more, and otherwise


def test_submitting_again_trains_nothing_and_says_so(finished: seqsweep.SweepResult, place: Path, settings: Settings,
                                                     capsys: Said) -> None:
    before = table(settings, "load", times=True)
    with Store.open(settings.store) as store:
        uses, stages = store.test_uses(store.sweep("load").data_hash or ""), store.stages("load")
    capsys.readouterr()
    again = seqsweep.submit(forecasting(place / "load.csv"), settings)
    said = capsys.readouterr().err
    assert "nothing to train: all 4 trials are there" in said
    assert "unchanged: load/1" in said
    assert table(settings, "load", times=True) == before
    assert again.model == "load/1"
    assert len(Registry(settings.tracking_uri).versions("load")) == 1
    with Store.open(settings.store) as store:
        assert (store.test_uses(store.sweep("load").data_hash or ""), store.stages("load")) == (uses, stages)
    assert len(runs_of(settings, "load")) == 5


def runs_of(settings: Settings, name: str) -> list[Any]:
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_a_path_a_dict_and_a_sweep_are_the_same_sweep(finished: seqsweep.SweepResult, place: Path, settings: Settings,
                                                      capsys: Said) -> None:
    import yaml

    document = forecasting(place / "load.csv")
    (place / "load.yaml").write_text(yaml.safe_dump(document))
    for source in (place / "load.yaml", str(place / "load.yaml"), load_sweep(document)):
        assert seqsweep.submit(source, settings).model == "load/1"
        assert "nothing to train" in capsys.readouterr().err
    with pytest.raises(InvalidSweep, match="metrik"):
        seqsweep.submit(document | {"metrik": 1}, settings)


def test_a_larger_budget_goes_on_where_the_smaller_ended(place: Path, settings: Settings) -> None:
    small = forecasting(place / "load.csv", "grown", budget={"max_trials": 2}, register=None)
    seqsweep.submit(small, settings)
    first = table(settings, "grown", times=True)
    grown = seqsweep.submit(small | {"budget": {"max_trials": 4}}, settings)
    assert table(settings, "grown", times=True)[:2] == first
    assert len(grown.trials) == 4
    assert grown.model is None


def test_a_smaller_budget_trains_nothing_more(place: Path, settings: Settings,
                                              finished: seqsweep.SweepResult) -> None:
    before = table(settings, "load", times=True)
    again = seqsweep.submit(forecasting(place / "load.csv", budget={"max_trials": 3}), settings)
    assert again.state == "finished"
    assert table(settings, "load", times=True) == before
    assert seqsweep.submit(forecasting(place / "load.csv"), settings).model == "load/1"


def test_another_sweep_under_a_known_name_is_refused_with_what_changed(
        place: Path, settings: Settings, finished: seqsweep.SweepResult) -> None:
    document = forecasting(place / "load.csv", seed=4)
    document["task"] = document["task"] | {"context": 24}
    with pytest.raises(Conflict, match=r"load: differs .*:\n    task.context: 12 -> 24\n    seed: 3 -> 4\n") as found:
        seqsweep.submit(document, settings)
    assert "`--fork NAME`" in str(found.value)
    assert finished.state == "finished"


def test_changed_data_are_refused(place: Path, settings: Settings) -> None:
    write_series(place / "moving.csv")
    document = forecasting(place / "moving.csv", "moving", budget={"max_trials": 1}, register=None)
    seqsweep.submit(document, settings)
    before = table(settings, "moving", times=True)
    write_series(place / "moving.csv", seed=1)
    with pytest.raises(Conflict, match=r"the data, or .*, have changed .*:\n.*moving\.csv: columns with other "
                       r"values: load, promo; the first change is in rows 2 to 3\n"
                       r".*`--fork NAME`.*, whose search starts anew"):
        seqsweep.submit(document | {"budget": {"max_trials": 2}}, settings)
    assert table(settings, "moving", times=True) == before
    assert seqsweep.open_sweep("moving", settings).state == "finished"
    (place / "moving.csv").unlink()
    with pytest.raises(InvalidData, match="moving"):
        seqsweep.submit(document, settings)
    refused = seqsweep.open_sweep("moving", settings)
    assert (refused.state, refused.message) == ("finished", "")
    write_series(place / "moving.csv")
    assert len(seqsweep.submit(document | {"budget": {"max_trials": 2}}, settings).trials) == 2


def test_a_sweep_over_bad_data_can_be_submitted_again_once_they_are_mended(place: Path, settings: Settings) -> None:
    frame = write_series(place / "bad.csv")
    frame.assign(load=frame["load"].astype(object).where(frame.index != 17, "n/a?")).to_csv(place / "bad.csv",
                                                                                           index=False)
    document = forecasting(place / "bad.csv", "mended", budget={"max_trials": 1}, register=None)
    with pytest.raises(InvalidData, match=r"row 19.*load"):
        seqsweep.submit(document, settings)
    with pytest.raises(NotFound, match="no sweep named mended"):
        seqsweep.open_sweep("mended", settings)
    write_series(place / "bad.csv")
    assert seqsweep.submit(document, settings).state == "finished"


@pytest.mark.parametrize("wrong", ["a column", "a file", "the first row"])
def test_a_new_sweep_whose_data_are_refused_is_nowhere(place: Path, tmp_path: Path, wrong: str) -> None:
    """Neither in the store, nor in an MLflow that would be made for it."""
    alone = settings_in(tmp_path)
    frame = write_series(tmp_path / "load.csv")
    document = forecasting(tmp_path / ("none.csv" if wrong == "a file" else "load.csv"))
    if wrong == "a column":
        document["task"] = document["task"] | {"target": "lod"}
    if wrong == "the first row":
        frame.assign(load="x").to_csv(tmp_path / "load.csv", index=False)
    for _ in range(2):
        with pytest.raises(InvalidData):
            seqsweep.submit(document, alone)
        assert sweep_rows(alone) == []
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("began", ["once", "with trials"])
def test_a_sweep_that_was_begun_before_is_kept_though_its_data_are_gone(place: Path, settings: Settings,
                                                                        began: str) -> None:
    name = f"begun-{began[-1]}"
    path = place / f"{name}.csv"
    write_series(path)
    document = forecasting(path, name, budget={"max_trials": 1}, register=None)
    if began == "with trials":
        seqsweep.submit(document, settings)
    else:
        with Store.open(settings.store) as store:
            enter(store, load_sweep(document), "")
            with store.acquire(name) as lease:
                store.update_sweep(lease, state=SweepState.RUNNING)
    path.unlink()
    with pytest.raises(InvalidData, match="there is no such file"):
        seqsweep.submit(document, settings)
    kept = seqsweep.open_sweep(name, settings)
    trained = began == "with trials"
    assert (kept.state, len(kept.trials)) == ("finished" if trained else "failed", int(trained))
    assert ("there is no such file" in kept.message) is not trained  # one that had ended is what it was


def test_a_sweep_that_trained_nothing_does_not_keep_its_name(place: Path, settings: Settings) -> None:
    write_series(place / "first.csv")
    right = forecasting(place / "first.csv", "mistyped", budget={"max_trials": 1}, register=None)
    with pytest.raises(InvalidData, match=r"nowhere\.csv: there is no such file"):
        seqsweep.submit(right | {"data": right["data"] | {"path": str(place / "nowhere.csv")}}, settings)
    mended = seqsweep.submit(right, settings)
    assert (mended.state, len(mended.trials)) == ("finished", 1)
    assert seqsweep.submit(right, settings).state == "finished"  # what is stored is what was trained
    with Store.open(settings.store) as store:
        run = find_run(settings.tracking_uri, store.sweep("mistyped"))
    assert run is not None
    assert connect(settings.tracking_uri).get_run(run).data.params["data.path"] == str(place / "first.csv")
    said = right | {"data": right["data"] | {"source": "the meter in the cellar"}}  # tells people, decides nothing
    again = seqsweep.submit(said, settings)
    assert (again.state, again.sweep.data.source, len(again.trials)) == ("finished", "the meter in the cellar", 1)
    with pytest.raises(Conflict, match="seed: 3 -> 4") as refused:
        seqsweep.submit(right | {"seed": 4}, settings)
    assert "data.source" not in str(refused.value)


@pytest.mark.slow
def test_an_mlflow_that_is_down_costs_no_trial(place: Path, settings: Settings, capsys: Said,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_PROJECTION_GRACE", 10.0)
    down = replace(settings, tracking_uri="http://127.0.0.1:1")
    result = seqsweep.submit(forecasting(place / "load.csv", "offline", budget={"max_trials": 1}, register=None), down)
    said = capsys.readouterr().err
    assert "MLflow does not answer" in said
    assert "`seqsweep project offline` brings the runs later" in said
    assert result.state == "finished"
    assert pipeline.project("offline", settings) == 2
    assert len(runs_of(settings, "offline")) == 2


@pytest.mark.slow
def test_a_registry_made_anew_gets_the_model_and_its_alias_again(place: Path, settings: Settings) -> None:
    sweep = forecasting(place / "load.csv", name="anew", promote={"to": "champion", "require": []})
    first = seqsweep.submit(sweep, settings)
    other = replace(settings, tracking_uri=f"sqlite:///{place / 'other.db'}")
    again = seqsweep.submit(sweep, other)
    version = Registry(other.tracking_uri).resolve("anew@champion")
    assert (str(version), again.model) == ("anew/1", first.model)
    assert len(again.trials) == 4


@pytest.mark.slow
def test_an_interrupt_in_a_notebook_stops_the_sweep_which_then_goes_on(place: Path, settings: Settings) -> None:
    endless = forecasting(place / "load.csv", "interrupted", register=None, budget={"max_trials": 1},
                          parameters={"epochs": {"value": 100_000}, "hidden_size": {"values": [4, 8]}})

    def interrupt() -> None:
        until(lambda: "interrupted" in {row["sweep"] for row in sweep_rows(settings) if row["trials"]})
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        seqsweep.submit(endless, settings)
    thread.join()
    stopped = seqsweep.open_sweep("interrupted", settings)
    assert (stopped.state, stopped.message) == ("stopped", "interrupted before its budget was spent")
    assert stopped.status()["controller"] is None
    result = seqsweep.submit(endless | {"budget": {"max_trials": 1, "max_time": "3s"}}, settings)
    assert result.state == "finished"
    assert list(result.trials["reason"]) == ["time up"]


# -- the same to the bit


WAITS_FOR_TWO = """import os, pathlib, time
import numpy as np

def mean_error(y_true, y_pred):
    here = pathlib.Path("{here}")
    if os.getpid() != {controller}:
        here.joinpath(str(os.getpid())).touch()
        until = time.monotonic() + 120
        while len(list(here.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
    return np.nanmean(np.abs(y_true - y_pred))
"""


def test_two_workers_and_none_give_the_same_curves_to_the_bit(place: Path, settings: Settings) -> None:
    here = place / "workers"
    here.mkdir()
    (place / "waits.py").write_text(WAITS_FOR_TWO.format(here=here, controller=os.getpid()))
    for name, workers in (("alone", 0), ("both", 2)):
        seqsweep.submit(forecasting(place / "load.csv", name, resources={"workers": workers}, register=None,
                                    metric={"entry": "waits.py:mean_error", "goal": "minimize"},
                                    budget={"max_trials": 8}), settings)
    assert table(settings, "alone") == table(settings, "both")
    with Store.open(settings.store) as store:
        assert len({record.worker for record in store.trials("both")}) == 2
    import ray

    assert not ray.is_initialized()


# -- tasks


def test_quantiles_give_intervals(place: Path, settings: Settings) -> None:
    document = forecasting(place / "load.csv", "intervals", metric={"name": "pinball"}, budget={"max_trials": 1})
    document["task"] = document["task"] | {"quantiles": [0.1, 0.5, 0.9]}
    document["parameters"] = {"learning_rate": {"value": 0.03}, "hidden_size": {"value": 8}, "epochs": {"value": 6}}
    found = seqsweep.submit(document, settings).predict(pd.read_csv(place / "load.csv").assign(
        load=lambda frame: frame["load"].where(frame.index < 397)))
    assert (found["q0.1"] <= found["q0.5"]).all()
    assert (found["q0.5"] <= found["q0.9"]).all()
    assert (found["q0.1"] < found["q0.9"]).any()


def test_folds_become_an_ensemble_that_is_registered_and_predicts(place: Path, settings: Settings) -> None:
    document = forecasting(place / "load.csv", "ensemble", budget={"max_trials": 1},
                           split={"by": "time", "val": "10%", "test": "20%", "folds": 3},
                           promote={"to": "champion", "require": ["beats_champion"]})
    result = seqsweep.submit(document, settings)
    assert result.model == "ensemble/1"
    assert "is now champion" in result.gate
    assert len(predict("ensemble@champion", pd.read_csv(place / "load.csv").assign(
        load=lambda frame: frame["load"].where(frame.index < 397)), settings)) == 3


def test_several_series_are_forecast_each(place: Path, settings: Settings) -> None:
    frame = write_series(place / "meters.csv", 300, ("north", "south", "007"))
    document = forecasting(place / "meters.csv", "meters", budget={"max_trials": 1},
                           data={"path": str(place / "meters.csv"), "time": "time", "series": "meter"})
    result = seqsweep.submit(document, settings)
    later = frame.groupby("meter").cumcount() >= 297
    found = result.predict(frame.assign(load=frame["load"].mask(later)))
    assert list(found["series"].unique()) == ["north", "south", "007"]
    assert len(found) == 9
    level = found.groupby("series")["prediction"].mean()
    assert level["north"] < level["south"] < level["007"]


def test_classes_are_told(place: Path, settings: Settings) -> None:
    result = seqsweep.submit(classification(place / "trend.csv"), settings)
    frame = pd.read_csv(place / "trend.csv")
    found = result.predict(frame.drop(columns="label"))
    assert list(found.columns) == ["series", "class", "p:down", "p:up"]
    assert np.allclose(found[["p:down", "p:up"]].sum(axis=1), 1)
    truth = frame.groupby("id", sort=False)["label"].first().to_numpy()
    assert (found["class"].to_numpy() == truth).mean() > 0.9


def test_a_group_stays_in_one_part(place: Path, settings: Settings) -> None:
    from seqsweep.data.prepare import prepare

    document = classification(place / "trend.csv", "speakers", budget={"max_trials": 1}, register=None,
                              split={"by": "group", "key": "speaker", "val": "20%", "test": "20%"})
    assert seqsweep.submit(document, settings).state == "finished"
    (data,) = prepare(load_sweep(document))
    first = pd.read_csv(place / "trend.csv").reset_index().groupby("id").first()
    part_of = {int(data.parts[part].start_N[i]): part for part in data.parts for i in range(len(data.parts[part]))}
    parts = first.assign(part=first["index"].map(part_of)).groupby("speaker")["part"].nunique()
    assert (parts == 1).all()


# -- the gate


@pytest.fixture(scope="module")
def champion(place: Path, settings: Settings) -> str:
    """A weak first champion, whom nobody was there to oppose."""
    result = seqsweep.submit(gated(place, "weak", 0.001), settings)
    assert result.model == "gated/1"
    assert "gated/1 is now champion" in result.gate
    return result.model


def gated(place: Path, name: str, learning_rate: float, **keys: Any) -> dict[str, Any]:
    return forecasting(place / "load.csv", name, budget={"max_trials": 1}, register={"model": "gated"},
                       promote={"to": "champion", "require": ["beats_champion"]},
                       parameters={"learning_rate": {"value": learning_rate}, "hidden_size": {"value": 8},
                                   "epochs": {"value": 8}, "batch_size": {"value": 32}}) | keys


def story(settings: Settings) -> dict[str, Any]:
    """Everything the registry says of the model's versions."""
    return {str(version): (version.aliases, version.tags) for version in Registry(settings.tracking_uri).versions(
        "gated")}


def test_a_worse_candidate_is_refused_and_nothing_changes(place: Path, settings: Settings, champion: str) -> None:
    before = story(settings)
    result = seqsweep.submit(gated(place, "worse", 0.0001), settings)
    assert result.state == "finished"  # a refusal fails no sweep
    assert "gated/2 stays a candidate" in result.gate
    assert "beats_champion: no" in result.gate
    with pytest.raises(Refused, match=r"beats_champion: no: mae .* of gated/1") as refusal:
        result.promote(why="because")
    assert refusal.value.exit_code == 7
    after = story(settings)
    assert after["gated/1"] == (("champion",), before["gated/1"][1])
    assert after["gated/2"][0] == ("challenger",)
    assert not [tag for tag in after["gated/2"][1] if tag.startswith("champion")]


def test_a_better_candidate_follows_and_can_be_rolled_back(place: Path, settings: Settings, champion: str) -> None:
    result = seqsweep.submit(gated(place, "better", 0.03), settings)
    assert result.model is not None
    assert f"{result.model} is now champion" in result.gate
    assert "beats_champion: yes" in result.gate
    registry = Registry(settings.tracking_uri)
    assert str(registry.holder("gated", "champion")) == result.model
    again = promote(result.model, settings)
    assert again.reasons == ("it is champion already",)
    assert str(registry.rollback("gated", "champion", by="me", why="a test")) == champion
    assert result.promote(why="forward again").candidate == result.model


def test_a_champion_that_was_trained_on_the_test_rows_is_no_rival(place: Path, settings: Settings,
                                                                  champion: str) -> None:
    holder = str(Registry(settings.tracking_uri).holder("gated", "champion"))
    before = story(settings)[holder][1]
    result = seqsweep.submit(gated(place, "wider", 0.03, split={"by": "time", "val": "15%", "test": "40%"}), settings)
    assert "stays a candidate" in result.gate
    assert "was trained or chosen on" in result.gate
    with pytest.raises(Refused, match="test on rows it has not seen"):
        result.promote()
    assert str(Registry(settings.tracking_uri).holder("gated", "champion")) == holder
    assert story(settings)[holder][1] == before


def test_uses_of_a_test_part_are_counted_and_shown(place: Path, settings: Settings, champion: str) -> None:
    with pytest.raises(Refused, match=r"this test part has judged \d+ models so far"):
        promote("gated/1", settings, to="other", require=("beats_baseline",))


@pytest.mark.slow
def test_the_order_of_parameters_is_that_of_the_first_submission(place: Path, settings: Settings,
                                                                 finished: seqsweep.SweepResult) -> None:
    """It decides what is drawn: neither the store nor a YAML that was sorted may change the trials to come."""
    first = forecasting(place / "load.csv", "in-order", budget={"max_trials": 1})
    seqsweep.submit(first, settings)
    with Store.open(settings.store) as store:
        stored = stored_sweep(store, "in-order")[0].model_dump(mode="json", by_alias=True, exclude_unset=True)
    seqsweep.submit(stored | {"budget": {"max_trials": 2}}, settings)
    turned = dict(reversed(first["parameters"].items()))
    seqsweep.submit(first | {"parameters": turned, "budget": {"max_trials": 4}}, settings)
    assert table(settings, "in-order") == table(settings, finished.name)
