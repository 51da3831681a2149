"""Sweeps with a user's own code, from the file beside the YAML to predictions in another process without the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from shell import environment, refusal, seqsweep
from small_sweeps import HORIZON, classification, forecasting, settings_in, table, write_classes, write_series

import seqsweep as package
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.contract import examine
from seqsweep.data.prepare import prepare
from seqsweep.errors import Conflict, InvalidData, InvalidSweep, Refused, SearchFailed
from seqsweep.pipeline import submit
from seqsweep.serving import export_file, fetch
from seqsweep.store.records import Store
from seqsweep.submission import stored_sweep
from seqsweep.verification import verify_trial

GUIDE = (Path(__file__).parents[2] / "docs" / "own-code.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    """A file of the guide."""
    found = re.search(rf"```\w+\n# {re.escape(name)}\n(.*?)```", GUIDE, re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for all, since MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("own")
    write_series(folder / "load.csv", rows=240)
    write_classes(folder / "trend.csv", sequences=60)
    return folder


@pytest.fixture
def settings(home: Path) -> Settings:
    return settings_in(home)


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (home / "mine.py").write_text(example("mine.py"))
    monkeypatch.chdir(home)
    yield home
    (home / "mine.py").unlink(missing_ok=True)


def rows(folder: Path) -> pd.DataFrame:
    """The last rows before a forecast."""
    return pd.read_csv(folder / "load.csv").tail(60)


def test_the_example_of_the_readme(folder: Path, settings: Settings) -> None:
    """Submitted, and used in other processes once the file is gone: by `predict`, and by MLflow's own loader."""
    sweep = yaml.safe_load(example("mine.yaml")) | {"resources": {"workers": 0}, "promote": {"to": "champion"}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    assert all(clause.kept for clause in examine(load_sweep("mine.yaml")))
    result = package.submit("mine.yaml", settings)
    board = result.leaderboard_rows()
    assert {"width", "dropout", "test_wape", "val_wape"} <= set(next(row for row in board if row["kind"] == "winner"))
    (folder / "mine.py").unlink()
    rows(folder).to_csv(folder / "new.csv", index=False)
    done = seqsweep(folder, "predict", "mine", "--data", "new.csv", "--out", "told.csv")
    assert "mine/1 runs code of its own, as the sweep mine has it: mine.py (sha256" in done.stderr
    told = pd.read_csv(folder / "told.csv")
    assert len(told) == HORIZON
    code = ("import mlflow, pandas as pd; mlflow.set_tracking_uri('sqlite:///mlflow.db'); "
            "model = mlflow.pyfunc.load_model('models:/mine/1'); "
            "print(model.predict(pd.read_csv('new.csv')).to_csv(index=False))")
    served = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(PYTHONPATH=""), text=True,
                            capture_output=True, check=True).stdout
    assert [float(line.rpartition(",")[2]) for line in served.strip().splitlines()[-HORIZON:]] == list(
        told["prediction"])
    assert verify_trial("mine", 0, settings).evidence.problems == []


def test_the_learner_of_the_readme(folder: Path, settings: Settings) -> None:
    """Exactly as printed, from the contract to a program, beside which its arguments are told."""
    whole = pd.read_csv("trend.csv").groupby("id").head(5).drop(columns="speaker")
    (folder / "learner").mkdir()
    whole.to_csv(folder / "learner" / "trend.csv", index=False)
    for name in ("smooth.py", "smooth.yaml"):
        (folder / "learner" / name).write_text(example(name))
    with contextlib.chdir(folder / "learner"):
        said = seqsweep(folder / "learner", "validate", "--contract", "smooth.yaml").stdout
        assert {"task", "predictions", "loss", "serving"} <= {
            line.split()[1] for line in said.splitlines() if line.startswith("kept")}
        assert "broken" not in said
        result = package.submit("smooth.yaml", settings)
        told = result.predict(whole.drop(columns="label").head(10))
    assert set(told["class"]) <= {"up", "down"}
    export_file("smooth", folder / "smooth.pt2", settings)
    beside = json.loads((folder / "smooth.pt2.json").read_text())
    assert beside["learner"] == {"smoothing": pytest.approx(result.best.params["smoothing"])}


def own_sweep(name: str, **keys: Any) -> dict[str, Any]:
    # In the order of the alphabet, as the store gives them back: what is drawn depends on it.
    parameters = {"epochs": {"value": 2}, "learning_rate": {"min": 0.01, "max": 0.05}, "width": {"values": [4, 8]}}
    return forecasting(Path("load.csv"), name, **{"model": {"entry": "mine.py:TinyRNN"}, "register": None,
                                                  "parameters": parameters, "budget": {"max_trials": 3}} | keys)


class StopAfterTheFirst:
    def __init__(self) -> None:
        self.stop = threading.Event()

    def stage(self, name: str, detail: str = "") -> None: ...

    def progress(self, progress: Any) -> None:
        if any(number for state, number in progress.trials.items() if state != "running"):
            self.stop.set()


def test_it_goes_on_without_the_file_and_not_with_another(folder: Path, settings: Settings) -> None:
    document, watch = own_sweep("goes-on", budget={"max_trials": 4}), StopAfterTheFirst()
    submit(load_sweep(document), json.dumps(document), settings, watch, watch.stop)
    whole = own_sweep("whole", budget={"max_trials": 4})
    package.submit(whole, settings)
    (folder / "mine.py").write_text(example("mine.py") + "# another thought\n")
    with pytest.raises(Conflict, match=r"model\.entry: mine\.py has changed: sha256 \w{12} -> \w{12}"):
        package.submit(document, settings)
    (folder / "mine.py").unlink()
    with Store.open(settings.store) as store:
        stored = stored_sweep(store, "goes-on")
    submit(*stored, settings, watch, threading.Event())
    assert table(settings, "goes-on") == table(settings, "whole")
    assert len(table(settings, "goes-on")) == 4


@pytest.mark.slow
def test_a_fork_of_other_code_is_told_nothing_of_the_old(folder: Path, settings: Settings) -> None:
    package.submit(own_sweep("before"), settings)
    (folder / "mine.py").write_text(example("mine.py") + "# another thought\n")
    package.submit(own_sweep("before"), settings, fork="after")
    with Store.open(settings.store) as store:
        assert store.sweep("after").facts["forked_trials"] == 0


def test_an_error_in_own_code_stops_the_sweep_and_shows_its_line(folder: Path, settings: Settings) -> None:
    (folder / "mine.py").write_text(example("mine.py").replace(
        "return self.dropout(", "if self.training: raise KeyError('what')\n        return self.dropout("))
    with pytest.raises(SearchFailed, match=r"mended it is another one(.|\n)*mine\.py.*, line 11") as found:
        package.submit(own_sweep("raises"), settings)
    assert "if self.training: raise KeyError('what')" in str(found.value)


@pytest.mark.slow
def test_a_worker_of_ray_is_sent_the_text(folder: Path, settings: Settings) -> None:
    one, two = own_sweep("here"), own_sweep("there")
    two["resources"] = {"workers": 1, "kernel": "torch"}
    for sweep in (one, two):
        sweep["metric"] = {"entry": "mine.py:wape", "goal": "minimize"}
        package.submit(sweep, settings)
    assert table(settings, "here") == table(settings, "there")
    (folder / "mine.py").write_text(example("mine.py").replace("return self.dropout(", "return self.no_such("))
    broken = own_sweep("broken") | {"resources": {"workers": 1, "kernel": "torch"}}
    with pytest.raises(SearchFailed, match=r"mine\.py:11"):
        package.submit(broken, settings)


def test_classes_own_metric_and_a_model_that_is_told_lengths(folder: Path, settings: Settings) -> None:
    (folder / "mine.py").write_text("""
import numpy as np
import torch
from torch import nn
from seqsweep.tasks.classification import Classifier

class Mean(nn.Module):
    def __init__(self, input_size: int, width: int = 8):
        super().__init__()
        self.rnn = nn.GRU(input_size, width, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return out.sum(1) / lengths.unsqueeze(1)

def brier(y_true, y_pred):
    return np.square(y_pred - np.eye(y_pred.shape[1])[y_true]).sum(1).mean()

def steps(frame):
    assert "label" not in frame                           # no input
    return frame.assign(slope=frame["a"].diff().fillna(0.0), mean=frame["a"].mean())

class Smooth(Classifier):
    def __init__(self, task, model, data, smoothing: float = 0.1):
        super().__init__(task, model, data)
        self.smoothing = smoothing

    def loss(self, output, batch):
        mean = nn.functional.cross_entropy(output, batch.label_B, label_smoothing=self.smoothing)
        return mean, torch.full_like(mean, len(output))
""")
    sweep = classification(Path("trend.csv"), "classes", model={"entry": "mine.py:Mean"},
                           metric={"entry": "mine.py:brier", "goal": "minimize"}, prepare={"entry": "mine.py:steps"},
                           parameters={"width": {"values": [4, 8]}, "smoothing": {"min": 0.05, "max": 0.8},
                                       "epochs": {"value": 2}},
                           task={"type": "classification", "entry": "mine.py:Smooth",
                                 "features": ["a", "b", "slope", "mean"]})
    assert all(clause.kept for clause in examine(load_sweep(sweep)))
    result = package.submit(sweep, settings)
    assert result.leaderboard()["test_brier"].notna().sum() > 1
    assert result.trials["smoothing"].nunique() == 2
    told = result.predict(pd.read_csv("trend.csv").drop(columns="label").head(20))
    assert {"up", "down"} >= set(told["class"])


def test_an_ensemble_is_picked_by_the_metric_of_ones_own(folder: Path, settings: Settings) -> None:
    metric = {"entry": "mine.py:wape", "goal": "minimize"}
    result = package.submit(forecasting(Path("load.csv"), "own-mean", metric=metric, ensemble={"size": 3},
                                        budget={"max_trials": 3}, register=None), settings)
    with Store.open(settings.store) as store:
        told = store.stage("own-mean", "ensemble")
    assert told is not None
    assert told.value["alone"] == pytest.approx(result.best.value, rel=1e-5)
    assert told.value["validation"] <= told.value["alone"] * (1 + 1e-9)


@pytest.mark.parametrize(("body", "says"), [
    ("return frame.assign(x=frame['load'].mean())", r"column x, row \d+, is another once later rows are known"),
    ("return frame.assign(x=frame['load'].shift(-1))", r"column x, row \d+, is another"),
    ("return frame.assign(x=frame['load'][::-1].rolling(3, min_periods=1).max())", r"column x, row \d+, is another"),
    ("y = frame['load'] * 1e-8; return frame.assign(x=y.shift(-1).fillna(y))", r"column x, row \d+, is another"),
    ("y = frame['load'].where(frame.index % 7 > 0); return frame.assign(x=y.bfill())", r"column x, row \d+, is"),
    ("return frame.dropna().head(9)", "returns 9 rows of 240"),
    ("return frame.iloc[::-1]", "rows in another order"), ("return frame['load']", "returns a Series"),
    ("return frame.assign(time=0)", "changes the column time"), ("return frame['nothing']", r"mine\.py:2: .*KeyError")])
def test_a_preparation_that_leaks_or_loses_rows_is_refused(body: str, says: str, folder: Path) -> None:
    (folder / "mine.py").write_text(f"def change(frame):\n    {body}\n")
    with pytest.raises(InvalidSweep, match=says):
        prepare(load_sweep(forecasting(Path("load.csv"), prepare={"entry": "mine.py:change"})))


def test_each_series_is_prepared_by_itself_at_training_and_at_prediction(folder: Path, settings: Settings) -> None:
    (folder / "mine.py").write_text(
        "def count(frame):\n    return frame.assign(known=range(len(frame)), top=frame['load'].cummax())\n")
    both = write_series(folder / "meters.csv", rows=120, names=("a", "b"))
    both.sample(frac=1.0, random_state=0).sort_values("time", kind="stable").to_csv("mixed.csv", index=False)
    sweep = forecasting(Path("mixed.csv"), "meters", prepare={"entry": "mine.py:count", "scale": "none"},
                        budget={"max_trials": 1})
    sweep["data"]["series"] = "meter"
    sweep["task"] |= {"known": [], "past": ["known", "top"]}
    fold = prepare(load_sweep(sweep))[0]
    counted = fold.values_TF[:, fold.info.features.index("known")]
    assert list(counted) == [*range(120), *range(120)]
    result = package.submit(sweep, settings)
    alone, together = (result.predict(each) for each in (both[both["meter"] == "b"], both))
    pd.testing.assert_frame_equal(alone, together[together["series"] == "b"].reset_index(drop=True))
    with pytest.raises(InvalidData, match="KeyError"):
        result.predict(both.drop(columns="load").assign(other=1.0))


@pytest.mark.parametrize(("metric", "says"), [
    ("abs(y_true - y_pred).max() * float('nan')", "a finite number"), ("abs(y_true - y_pred)", "an array"),
    ("-abs(y_true - y_pred).mean()", "goal: maximize"), ("y_true.no_such", r"mine\.py"),
    ("abs(y_true - y_pred)[0].mean()", "in any order")])
def test_the_contract_of_a_metric(metric: str, says: str, folder: Path) -> None:
    (folder / "mine.py").write_text(f"def own(y_true, y_pred):\n    return {metric}\n")
    sweep = load_sweep(forecasting(Path("load.csv"), metric={"entry": "mine.py:own", "goal": "minimize"}))
    broken = [clause for clause in examine(sweep) if not clause.kept]
    assert [clause.name for clause in broken] == ["metric"]
    assert re.search(says, str(broken[0].problem))


def test_seqsweeps_own_models_keep_the_contract(folder: Path) -> None:
    sweep = load_sweep(forecasting(Path("load.csv"), search_space=["attention"], parameters={
        "hidden_size": {"value": 4}, "epochs": {"value": 1}, "batch_size": {"value": 16}}))
    assert all(clause.kept for clause in examine(sweep))


@pytest.mark.slow
def test_a_broken_promise_ends_with_the_exit_code_of_an_invalid_sweep(folder: Path) -> None:
    (folder / "broken.yaml").write_text(yaml.safe_dump(own_sweep("broken-promise")))
    said = seqsweep(folder, "validate", "--contract", "broken.yaml").stdout
    assert {"states", "gradients", "seed", "checkpoint", "weights"} <= {
        line.split()[1] for line in said.splitlines() if line.startswith("kept")}
    (folder / "mine.py").write_text(example("mine.py").replace("self.rnn(x)[0]", "self.rnn(x)[0].detach()"))
    found = refusal(folder, "validate", "--contract", "broken.yaml", exit_code=3)
    assert "gradients: the states do not depend on" in json.dumps(found)


def changed(package: Path, change: Callable[[list[Any]], object]) -> Path:
    """A package whose members are told otherwise."""
    (facts,) = package.rglob("package.json")
    known = json.loads(facts.read_text())
    change(known["members"])
    facts.write_text(json.dumps(known))
    return package


def test_a_package_runs_only_what_its_sweep_has_in_the_store(folder: Path, settings: Settings, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    package.submit(own_sweep("kept", register={"alias": "challenger"}, budget={"max_trials": 1}), settings)
    told: list[str] = []
    _, found = fetch("kept", settings, told.append)
    assert [section for section, _ in found.facts.owns] == ["model"]
    assert len(told) == 1
    with pytest.raises(Refused, match="is not in this store"):
        fetch("kept", Settings(f"sqlite:///{tmp_path}/other.db", settings.tracking_uri, "local"))
    from seqsweep.tracking.registry import Registry

    download = Registry.download

    def tampered(self: Registry, version: Any, into: Path) -> Path:
        got = download(self, version, into)
        (file,) = got.rglob("own/mine.py")
        file.write_text(file.read_text() + "import os\n")
        return got

    monkeypatch.setattr(Registry, "download", tampered)
    with pytest.raises(InvalidData, match=r"mine\.py is not the code that this package was written with"):
        fetch("kept", settings)

    def forged(self: Registry, version: Any, into: Path) -> Path:
        got = tampered(self, version, into)
        (file,) = got.rglob("own/mine.py")
        return changed(got, lambda members: members[0]["fit"]["model"].update(
            sha256=hashlib.sha256(file.read_bytes()).hexdigest()))

    monkeypatch.setattr(Registry, "download", forged)
    with pytest.raises(Refused, match="is not the code that the sweep kept has in the store"):
        fetch("kept", settings)

    def joined(self: Registry, version: Any, into: Path) -> Path:
        """A second member, whose code the sweep has never seen."""
        got = download(self, version, into)
        (file,) = got.rglob("own/mine.py")
        file.with_name("other.py").write_text(file.read_text())

        def join(members: list[Any]) -> None:
            other = json.loads(json.dumps(members[0]))
            other["fit"]["model"]["entry"] = "other.py:TinyRNN"
            members.append(other)

        return changed(got, join)

    monkeypatch.setattr(Registry, "download", joined)
    with pytest.raises(Refused, match=r"would run other\.py:TinyRNN, which is not the code that the sweep kept has"):
        fetch("kept", settings)

    def escaping(self: Registry, version: Any, into: Path) -> Path:
        got = download(self, version, into)
        shutil.copy(folder / "mine.py", got / "mine.py")
        return changed(got, lambda members: members[0]["fit"]["model"].update(entry="../../../mine.py:TinyRNN"))

    monkeypatch.setattr(Registry, "download", escaping)
    with pytest.raises(InvalidData, match="names no file"):
        fetch("kept", settings)
