"""The time between rows, and since a column was last seen, as features; one class against all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import classify, refusal

from seqsweep.config.loader import load_sweep
from seqsweep.data.batch import Prepared
from seqsweep.data.predict import transform
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidSweep

PREPARED = {"fill": "forward", "indicator": True, "elapsed": True}


def visits(count: int = 60, unit: float = 1.0) -> pd.DataFrame:
    """Patients of two rows or more; b is missing now and then."""
    draw, frames = np.random.default_rng(0), []
    for number in range(count):
        steps = int(draw.integers(2, 7))
        b = np.where(draw.random(steps) < 0.4, np.nan, draw.normal(size=steps))
        frames.append(pd.DataFrame({"id": f"p{number}", "day": unit * np.cumsum(draw.integers(1, 50, steps)),
                                    "a": draw.normal(size=steps), "b": b, "label": number % 3}))
    return pd.concat(frames, ignore_index=True)


def prepared(folder: Path, frame: pd.DataFrame, **sections: Any) -> tuple[Prepared, Any]:
    path = folder / "visits.csv"
    frame.to_csv(path, index=False)
    sweep = classify(path, **({"data": {"time": "day"}, "prepare": PREPARED} | sections))
    return prepare(sweep)[0], sweep


def by_hand(frame: pd.DataFrame, scale: float) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"time:elapsed": [], "since:b": []}
    for _, rows in frame.groupby("id", sort=False):
        before, since = None, 0.0
        for day, missing in zip(rows["day"], rows["b"].isna(), strict=True):
            gap = 0.0 if before is None else day - before[0]
            since = gap if before is None or not before[1] else since + gap
            found["time:elapsed"].append(np.log1p(gap / scale))
            found["since:b"].append(np.log1p(since / scale))
            before = (day, missing)
    return found


@pytest.mark.parametrize("unit", [1.0, 0.25])
def test_times_are_those_of_the_paper(tmp_path: Path, unit: float) -> None:
    frame = visits(unit=unit)
    data, _ = prepared(tmp_path, frame)
    assert data.info.features == ("a", "b", "missing:b", "time:elapsed", "since:b")
    train = set(data.parts["train"].series_N.tolist())
    inside = frame[frame["id"].isin([data.info.series[s] for s in train])]
    scale = float(inside.groupby("id")["day"].diff().mean())
    assert data.info.elapsed_scale == pytest.approx(scale)
    for name, expected in by_hand(frame, scale).items():
        assert data.values_TF[:, data.info.features.index(name)] == pytest.approx(np.array(expected), abs=1e-5)


def test_timestamps_are_times_too(tmp_path: Path) -> None:
    frame = visits()
    stamped = frame.assign(day=pd.Timestamp("2020-01-01") + pd.to_timedelta(frame["day"], unit="D"))
    (numbers, _), (stamps, _) = prepared(tmp_path, frame), prepared(tmp_path, stamped)
    np.testing.assert_allclose(stamps.values_TF, numbers.values_TF, atol=1e-5)


def test_new_rows_are_divided_by_the_training_times(tmp_path: Path) -> None:
    frame = visits()
    data, sweep = prepared(tmp_path, frame)
    few = frame[frame["id"].isin(["p1", "p2"])]
    new = transform(few, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info)
    np.testing.assert_array_equal(new.values_TF, data.values_TF[few.index])


def test_without_missing_values_there_is_the_elapsed_time_alone(tmp_path: Path) -> None:
    data, _ = prepared(tmp_path, visits().fillna(0.0))
    assert data.info.features == ("a", "b", "time:elapsed")


def test_one_class_against_all_others(tmp_path: Path) -> None:
    frame = visits()
    data, sweep = prepared(tmp_path, frame, task={"positive": 2})
    assert data.info.classes == ("2", "not 2")
    first = frame.groupby("id", sort=False)["label"].first()
    for samples in data.parts.values():
        held = first.to_numpy()[samples.series_N]
        assert samples.label_N.tolist() == [0 if label == 2 else 1 for label in held]
    healthy = frame[frame["label"] == 0]
    new = transform(healthy, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info)
    assert set(new.parts["predict"].label_N.tolist()) == {1}


def test_a_class_that_nobody_has_is_refused(tmp_path: Path) -> None:
    visits().to_csv(tmp_path / "visits.csv", index=False)
    said = refusal(classify(tmp_path / "visits.csv", task={"positive": "dead"}, prepare=PREPARED, data={"time": "day"}))
    assert "no sequence is of class dead" in said and "classes: 0, 1, 2" in said


BASE: dict[str, Any] = {
    "name": "t", "task": {"type": "classification"}, "data": {"path": "v.csv", "series": "id", "time": "day"},
    "prepare": PREPARED, "metric": {"name": "auc"}, "split": {"by": "random"},
    "parameters": {"cell": {"values": ["gru", "gru_d"]}}}


@pytest.mark.parametrize(("change", "said"), [
    ({"data": {"path": "v.csv", "series": "id"}}, "time that has elapsed needs the time of each row"),
    ({"prepare": {"fill": "forward"}}, "gru_d reads the time between rows"),
    ({"prepare": PREPARED | {"fill": "mean"}}, "fill: mean hides it"),
    ({"resources": {"pack": 4, "workers": 0}}, "gru_d is computed by torch alone"),
    ({"task": {"type": "forecasting", "target": "a", "horizon": 1, "context": 2}, "metric": {"name": "mae"},
      "split": {"by": "time"}}, "forecasting takes the steps of a series for equal"),
    ({"task": {"type": "anomaly", "context": 2}, "metric": {"name": "loss"}, "split": {"by": "time"}},
     "anomaly takes the steps of a series for equal")])
def test_what_does_not_fit_is_refused_before_any_data_are_read(change: dict[str, Any], said: str) -> None:
    load_sweep(BASE)
    with pytest.raises(InvalidSweep) as caught:
        load_sweep(BASE | change)
    assert said in str(caught.value)
