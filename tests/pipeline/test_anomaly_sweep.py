"""Anomaly sweeps from the file to a champion that tells when to look: with labels, and without any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_sweeps import anomaly, settings_in, write_sensor

import seqsweep
from seqsweep.config.settings import Settings
from seqsweep.errors import InvalidData
from seqsweep.promotion import promote
from seqsweep.serving import predict


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole file, since MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("anomaly")
    write_sensor(folder / "sensor.csv")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


@pytest.fixture(scope="module")
def finished(place: Path, settings: Settings) -> seqsweep.SweepResult:
    return seqsweep.submit(anomaly(place / "sensor.csv", promote={"to": "champion", "require": ["beats_champion"]}),
                           settings)


def test_the_leaderboard_has_the_naive_detectors_and_says_who_wins(finished: seqsweep.SweepResult) -> None:
    board = finished.leaderboard()
    nab: dict[str, float] = dict(zip(board["name"], board["test_nab"], strict=True))
    best: dict[str, float] = dict(zip(board["name"], board["test_nab_best"], strict=True))
    assert {"windowed Gaussian", "random", "null"} <= set(nab)
    winner = f"trial {finished.best.number}"
    assert nab["null"] == 0.0
    assert 50 < nab[winner] <= best[winner] + 1e-9
    assert finished.headline.startswith(max(nab, key=lambda name: nab[name]))


def test_the_champion_tells_score_and_alarm_of_every_row_it_can_judge(
        finished: seqsweep.SweepResult, place: Path, settings: Settings) -> None:
    assert finished.model == "sensor/1"
    frame = pd.read_csv(place / "sensor.csv").drop(columns="odd")
    told = predict("sensor@champion", frame, settings)
    assert list(told.columns) == ["series", "time", "score", "is_anomaly"]
    assert len(told) == 3 * (500 - 12)
    assert told["is_anomaly"].dtype == bool
    assert told["score"].between(0, 1).all()
    truth = pd.read_csv(place / "sensor.csv", parse_dates=["time"])
    hits = told.merge(truth, left_on=["series", "time"], right_on=["machine", "time"])
    found = hits[hits["is_anomaly"] & (hits["odd"] == 1)]
    assert len(found) == 6  # each event once
    assert told["is_anomaly"].mean() < 0.03
    earlier = predict("sensor@champion", frame.groupby("machine").head(300), settings)
    both = told.merge(earlier, on=["series", "time"])
    assert len(both) == len(earlier) == 3 * (300 - 12)
    pd.testing.assert_series_equal(both["score_x"], both["score_y"], check_names=False, rtol=1e-5)


def test_a_machine_it_never_saw_is_judged_by_its_own_first_rows(
        finished: seqsweep.SweepResult, place: Path, settings: Settings) -> None:
    frame = pd.read_csv(place / "sensor.csv").query("machine == 'm0'").drop(columns=["machine", "odd"])
    told = predict("sensor@champion", frame.assign(heat=1000 + 3 * frame["heat"], machine="new"), settings)
    assert set(told[told["is_anomaly"]]["time"].dt.strftime("%m-%d")) & {"01-13", "01-17"}


def test_the_gate_holds_a_second_version_against_the_first(
        finished: seqsweep.SweepResult, place: Path, settings: Settings) -> None:
    worse = anomaly(place / "sensor.csv", "again", register={"model": "sensor"}, budget={"max_trials": 1}, seed=11)
    seqsweep.submit(worse, settings)
    said = promote("sensor/2", settings, require=(), to="second")
    assert "nothing is required" in said.reasons
    with pytest.raises(seqsweep.errors.Refused, match=r"beats_champion: no"):
        promote("sensor/2", settings, require=("beats_champion",))


@pytest.mark.parametrize("scorer", ["forecast", "autoencoder"])
def test_a_file_without_labels_is_searched_by_the_loss(place: Path, settings: Settings, scorer: str) -> None:
    frame = pd.read_csv(place / "sensor.csv").query("machine == 'm0'").drop(columns=["machine", "odd"])
    frame.to_csv(place / "plain.csv", index=False)
    document: dict[str, Any] = anomaly(
        place / "plain.csv", f"plain-{scorer}", metric={"name": "loss"}, budget={"max_trials": 1},
        task={"type": "anomaly", "context": 12, "scorer": scorer, "alarm_rate": 0.01},
        data={"path": str(place / "plain.csv"), "time": "time"})
    result = seqsweep.submit(document, settings)
    board = result.leaderboard()
    assert (board["test_loss"].dropna() > 0).all()
    told = result.predict(frame)
    assert told["is_anomaly"].any()
    assert told["is_anomaly"].mean() < 0.1


def test_labels_that_are_asked_for_must_be_there(place: Path, settings: Settings) -> None:
    document = anomaly(place / "sensor.csv", "none", split={"by": "time", "val": "5%", "test": "10%"})
    with pytest.raises(InvalidData, match="nab counts labelled anomalies, and the validation part has none"):
        seqsweep.submit(document, settings)
