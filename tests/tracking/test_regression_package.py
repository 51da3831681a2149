"""A regressor's package: new rows, MLflow's way, and another sweep's test part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from winners import Trained, loaded, train

from seqsweep.tracking.contest import champion_on
from seqsweep.tracking.package import build_package
from seqsweep.tracking.packaged import Package
from seqsweep.training.predict import predict_together

TASK = {"type": "regression", "target": "remaining", "context": 5, "features": ["wear", "heat"]}


def machines(count: int = 30, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    lives = draw.integers(4, 15, count)
    return pd.concat([pd.DataFrame({"id": number, "hour": np.arange(life), "wear": np.arange(life) / life,
                                    "heat": draw.normal(size=life)}) for number, life in enumerate(lives)],
                     ignore_index=True)


def trained(folder: Path, **changes: Any) -> Trained:
    folder.mkdir(exist_ok=True)
    keys: dict[str, Any] = {"task": TASK, "metric": {"name": "rmse"}} | changes
    path = folder / "classification.csv"
    data = {"path": str(path), "series": "id", "time": "hour"} | keys.pop("data", {})
    return train(folder, "classification", machines(), data=data, **keys)


def test_new_rows_are_told_what_the_same_rows_were_and_one_number_a_series(tmp_path: Path) -> None:
    winner = trained(tmp_path)
    package, (prepared,) = winner.package, winner.prepared
    known = predict_together(package.members, winner.prepared, "test")
    samples = prepared.parts["test"]
    ends = samples.start_N + samples.length_N - 1
    for n in (0, len(known) // 2, len(known) - 1):
        name = prepared.info.series[samples.series_N[n]]
        rows = machines().query(f"id == {name}").head(int(ends[n] - prepared.first_S[samples.series_N[n]]) + 1)  # type: ignore[index]
        told = package.predict(rows)
        assert told["prediction"].to_list() == pytest.approx([known[n]], rel=1e-5)
        assert told[["series", "time"]].to_numpy().tolist() == [[name, rows["hour"].iloc[-1]]]
    assert len(package.predict(machines())) == 30


def test_mlflow_serves_what_the_package_predicts(tmp_path: Path) -> None:
    package = trained(tmp_path).package
    folder = build_package(tmp_path / "model", package, machines().head(5))
    served = loaded(folder).predict(machines())
    pd.testing.assert_frame_equal(served, package.predict(machines()))
    assert Package.read(folder / "artifacts" / "package").facts == package.facts


def test_a_champion_with_another_context_meets_the_same_samples(tmp_path: Path) -> None:
    old, new = trained(tmp_path / "old", task=TASK | {"context": 3, "cap": 6.0}), trained(tmp_path / "new")
    candidate = new.prepared[0]
    for champion, limit in ((new, np.inf), (old, 6.0)):
        found = champion_on("demo/1", champion.package, new.sweep.task, new.sweep.data, candidate)
        assert found.prediction is not None
        assert found.prediction.shape == (len(candidate.parts["test"]),)
        assert found.prediction.max() <= limit
    own = predict_together(new.package.members, new.prepared, "test")
    again = champion_on("demo/1", new.package, new.sweep.task, new.sweep.data, candidate).prediction
    np.testing.assert_allclose(again, own, rtol=1e-5)  # type: ignore[arg-type]
    other = trained(tmp_path / "other", task=TASK | {"target": "heat", "features": ["wear"]})
    assert champion_on("demo/1", other.package, new.sweep.task, new.sweep.data, candidate).prediction is None


def test_the_champion_meets_a_second_file_whose_series_have_the_names_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    machines(6, seed=1).query("hour < 3").to_csv(folder / "cut.csv", index=False)
    (folder / "rul.txt").write_text("5\n" * 5 + "3\n")
    new = trained(folder, data={"test": str(folder / "cut.csv"), "test_target": str(folder / "rul.txt")},
                  split={"by": "random", "val": "20%"})
    found = champion_on("demo/1", new.package, new.sweep.task, new.sweep.data, new.prepared[0])
    assert found.prediction is not None
    np.testing.assert_allclose(found.prediction, predict_together(new.package.members, new.prepared,
                                                         "test"), rtol=1e-5)
    assert len(found.prediction) == 6
