"""A champion on another sweep's test part: the same windows, prepared its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from winners import Trained, classification_frame, forecasting_frame, train

from seqsweep.evaluation.gate import Champion
from seqsweep.tracking.contest import champion_on
from seqsweep.training.predict import predict_together

TASK = {"type": "forecasting", "target": "load", "horizon": 6, "context": 24, "known": ["holiday"],
        "static": ["region"], "quantiles": [0.1, 0.5, 0.9]}
DATA = {"time": "ds", "series": "id"}


def contest(champion: Trained, candidate: Trained) -> Champion:
    return champion_on("demo/1", champion.package, candidate.sweep.task, candidate.sweep.data, candidate.prepared[0])


def own(trained: Trained) -> Any:
    return predict_together(trained.package.members, trained.prepared, "test")


@pytest.mark.parametrize("kind", ["forecasting", "classification"])
def test_on_its_own_test_part_it_predicts_as_ever(kind: str, tmp_path: Path) -> None:
    trained = train(tmp_path, kind)
    found = contest(trained, trained)
    assert found.prediction is not None
    np.testing.assert_allclose(found.prediction, own(trained), rtol=1e-5)
    keys = trained.package.row_keys
    np.testing.assert_array_equal(found.seen_keys, np.union1d(keys["train"], keys["val"]))


def test_folds_are_each_prepared_their_own_way(tmp_path: Path) -> None:
    trained = train(tmp_path, "forecasting", split={"by": "time", "val": "10%", "test": "20%", "folds": 2})
    found = contest(trained, trained)
    assert found.prediction is not None
    np.testing.assert_allclose(found.prediction, own(trained), rtol=1e-5)


def test_a_champion_with_another_context_and_preparation_meets_the_same_windows(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = train(tmp_path / "old", "forecasting", forecasting_frame(200), task=TASK | {"context": 12, "known": []},
                prepare={"lags": [24], "scale": "robust"})
    new = train(tmp_path, "forecasting")
    found = contest(old, new)
    assert found.prediction is not None
    assert found.prediction.shape == own(new).shape
    north = new.prepared[0].parts["test"].series_N == 1
    assert abs(np.median(found.prediction[north]) - 20) < 6  # in the units of the second series, not of the first
    assert abs(np.median(found.prediction[~north]) - 100) < 6


def test_rows_it_was_trained_on_are_known_by_their_keys(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    long, short = train(tmp_path / "old", "forecasting", forecasting_frame(400)), train(tmp_path, "forecasting")
    seen = np.intersect1d(contest(long, short).seen_keys, short.prepared[0].row_keys["test"])
    assert seen.size == short.prepared[0].row_keys["test"].size
    assert not np.intersect1d(contest(short, short).seen_keys, short.prepared[0].row_keys["test"]).size


@pytest.mark.parametrize(("change", "comparable", "quantiles"), [
    ({"horizon": 5}, False, 0), ({"quantiles": []}, True, 1), ({"quantiles": [0.1, 0.25, 0.5, 0.75, 0.9]}, True, 3),
    ({"quantiles": [0.25, 0.5, 0.75]}, True, 1)])
def test_only_the_same_forecast_can_be_compared(change: dict[str, Any], comparable: bool, quantiles: int,
                                                tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    found = contest(train(tmp_path / "old", "forecasting", task=TASK | change), train(tmp_path, "forecasting"))
    assert (found.prediction is not None) is comparable
    if found.prediction is not None:
        assert found.prediction.shape[1:] == (6, 1, quantiles)


def test_a_column_that_is_gone_leaves_nothing_to_compare(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = train(tmp_path / "old", "forecasting")
    frame = forecasting_frame().drop(columns="holiday")
    new = train(tmp_path, "forecasting", frame, task=TASK | {"known": []})
    found = contest(old, new)
    assert found.prediction is None
    assert "there is no column 'holiday'" in found.problem


@pytest.mark.parametrize("champions", ["%Y-%m-%d %H:%M", "%m/%d/%Y %H:%M"])
def test_times_between_slashes_are_read_as_the_candidate_reads_them(champions: str, tmp_path: Path) -> None:
    """Whatever the champion's own file wrote; the first nine days of a month do not decide."""
    (tmp_path / "old").mkdir()
    frame = forecasting_frame(200)
    old = train(tmp_path / "old", "forecasting", frame.assign(ds=frame["ds"].dt.strftime(champions)),
                data=DATA | {"path": str(tmp_path / "old" / "forecasting.csv")} |
                ({"dates": "month_first"} if "/" in champions else {}))
    new = train(tmp_path, "forecasting", frame.assign(ds=frame["ds"].dt.strftime("%d/%m/%Y %H:%M")),
                data=DATA | {"path": str(tmp_path / "forecasting.csv"), "dates": "day_first"})
    assert (old.prepared[0].info.dates, new.prepared[0].info.dates) == (
        "month_first" if "/" in champions else "", "day_first")
    found = contest(old, new)
    assert found.prediction is not None, found.problem
    np.testing.assert_allclose(found.prediction, own(old), rtol=1e-5)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = train(tmp_path / "old", "classification")
    frame = classification_frame()
    frame["label"] = frame["label"].replace({"low": "zero"})
    new = train(tmp_path, "classification", frame)
    found = contest(old, new)
    assert found.prediction is not None
    assert new.prepared[0].info.classes == ("high", "zero")
    np.testing.assert_allclose(found.prediction[:, 0], own(old)[:, 0], rtol=1e-5)
    assert (found.prediction[:, 1] == 0).all()
