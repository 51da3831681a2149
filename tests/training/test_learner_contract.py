"""What a user's own learner promises: each broken promise is one error, with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from small_sweeps import HORIZON, classification, forecasting, write_classes, write_series
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.loader import load_sweep
from seqsweep.contract import Clause, examine
from seqsweep.errors import InvalidSweep
from seqsweep.training import contract
from seqsweep.training.export import export_member, sketch
from seqsweep.training.fit import Fit
from seqsweep.training.fold import build_learner, load_weights
from seqsweep.training.predict import Member

HEAD = """import torch
from torch.nn import functional
from seqsweep.tasks.classification import Classifier
from seqsweep.tasks.forecasting import Forecaster

"""
SAME = "functional.cross_entropy(output, batch.label_B)"
COUNT = "torch.full_like(mean, len(output))"
WEIGHTS = "1.0 + torch.bincount(torch.tensor(data.parts['train'].label_N), minlength=len(data.info.classes))"


def losing(body: str, above: str = "Classifier") -> str:
    return f"{HEAD}class Mine({above}):\n    def loss(self, output, batch):\n        {body}\n"


def making(body: str, above: str = "Classifier", more: str = "") -> str:
    return (f"{HEAD}class Mine({above}):\n    def __init__(self, task, model, data, w: float = 0.1):\n"
            f"        {body}\n{more}")


def scaled(weights: str) -> str:
    """A learner whose forward pass uses what was counted in the training part."""
    return making(f"super().__init__(task, model, data)\n        {weights}",
                  more="    def forward(self, batch):\n        return super().forward(batch) * self.weight\n")


BUFFER = scaled(f"self.register_buffer('weight', {WEIGHTS} if 'train' in data.parts else "
                "torch.ones(len(data.info.classes)))")
LINE = HEAD.count("\n") + 2
"""Of a method's `def`."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def classes(folder: Path, code: str) -> tuple[Clause, ...]:
    (folder / "mine.py").write_text(code)
    write_classes(folder / "trend.csv", sequences=40)
    task = {"type": "classification", "entry": "mine.py:Mine", "features": ["a", "b"]}
    return examine(load_sweep(classification(Path("trend.csv"), task=task, parameters={
        "hidden_size": {"value": 4}, "epochs": {"value": 2}})))


def series(folder: Path, code: str, **parameters: Any) -> tuple[Clause, ...]:
    (folder / "mine.py").write_text(code)
    write_series(folder / "load.csv", rows=240)
    task = forecasting(Path("load.csv"))["task"] | {"entry": "mine.py:Mine"}
    return examine(load_sweep(forecasting(Path("load.csv"), task=task, parameters={
        "hidden_size": {"value": 4}, "epochs": {"value": 2}} | parameters)))


def broken(clauses: tuple[Clause, ...]) -> Clause:
    """The only one that is."""
    (found,) = (clause for clause in clauses if not clause.kept)
    return found


@pytest.mark.parametrize(("body", "line", "says", "right"), [
    ("return functional.cross_entropy(output, batch.y), 1", LINE + 1, "no attribute 'y'", r"batch\.label_B"),
    (f"return {SAME}", LINE, "returns one scalar tensor", "return mean, torch.full_like"),
    (f"return {SAME[:-1]}, reduction='none'), torch.tensor(8.0)", LINE, r"mean .* a tensor \(8,\)", "scalar"),
    (f"mean = {SAME}.detach(); return mean, {COUNT}", LINE, "no gradient", "detach"),
    (f"mean = {SAME}; return mean, 8.0", LINE, r"the count that loss returns is 8\.0", "torch.full_like"),
    (f"mean = {SAME}; return mean, mean * 8", LINE, "the count", "without gradient"),
    (f"mean = 0 * {SAME}; return mean, {COUNT}", LINE, "zero for all weights of the encoder", "changes with output"),
    (f"mean = {SAME} / 0; return mean, {COUNT}", LINE, "has learnt nothing is inf", "finite"),
    (f"mean = self.head.bias.square().sum(); return mean, {COUNT}", LINE, r"does not depend on encoder\.", "output"),
    (f"batch.arrays.values_TF.mul_(1); mean = {SAME}; return mean, {COUNT}", LINE, r"arrays\.values_TF", "clone"),
])
def test_a_loss_that_teaches_nothing_is_told_once_with_its_line(body: str, line: int, says: str, right: str,
                                                                folder: Path) -> None:
    found = broken(classes(folder, losing(body)))
    assert (found.name, found.where) == ("loss", f"mine.py:{line}"), found
    assert re.search(says, found.says), found.says
    assert re.search(right, found.right), found.right


@pytest.mark.parametrize("parameters", [{}, {"naive_season": {"value": 12}, "highway": {"value": 6}}])
def test_a_sound_loss_is_kept_where_the_head_starts_at_zero_too(parameters: dict[str, Any], folder: Path) -> None:
    code = losing("mean = (self._future(batch).unsqueeze(-1) - output).square().mean(); "
                  "return mean, torch.full_like(mean, output.numel())", "Forecaster")
    clauses = series(folder, code, **parameters)
    assert all(clause.kept for clause in clauses), clauses
    assert {"task", "predictions", "loss", "serving"} <= {clause.name for clause in clauses}
    (packs,) = (clause.says for clause in clauses if clause.name == "packs")
    assert "resources.kernel" in packs  # the layers are seqsweep's, which may be compiled


@pytest.mark.parametrize(("code", "line", "says", "right"), [
    (making("self.w = w"), LINE, "without an encoder", r"super\(\).__init__\(task, model, data\)"),
    (making("super().__init__(task, model, data)", "Forecaster"), LINE - 1, "made from Forecaster, which is not of cl",
     r"class Mine\(Classifier\): from seqsweep\.tasks\.classification import Classifier")])
def test_a_learner_that_is_not_made_as_its_type_is(code: str, line: int, says: str, right: str, folder: Path) -> None:
    clauses = classes(folder, code)
    found = broken(clauses)
    assert [clause.name for clause in clauses] == ["task"]
    assert found.where == f"mine.py:{line}"
    assert re.search(says, found.says)
    assert re.search(right, found.right)


@pytest.mark.parametrize(("code", "where", "says"), [
    (scaled(f"self.weight = {WEIGHTS}"), f"mine.py:{LINE + 2}", "KeyError: 'train'"),
    (scaled(f"self.weight = {WEIGHTS} if 'train' in data.parts else 1.0"), "mine.py:Mine", "predicts something else"),
    (making("super().__init__(task, model, data)\n        if 'train' in data.parts: "
            "self.register_buffer('weight', torch.ones(2))"), f"mine.py:{LINE}", "another shape: .*weight"),
    (f"{HEAD}class Mine(Classifier):\n    def predict(self, output, batch):\n"
     "        return output.softmax(1) + batch.label_B[:, None]\n", "mine.py:Mine", "predicts something else")])
def test_what_cannot_be_served_is_told_before_any_trial(code: str, where: str, says: str, folder: Path) -> None:
    found = broken(classes(folder, code))
    assert (found.name, found.where) == ("serving", where)
    assert re.search(says, found.says)
    assert "register_buffer" in found.right


def test_a_forecast_that_reads_the_future_is_none_once_it_is_served(folder: Path) -> None:
    code = HEAD + ("class Mine(Forecaster):\n    def forward(self, batch):\n"
                   "        return super().forward(batch) + self._future(batch).unsqueeze(-1)\n")
    assert broken(series(folder, code)).name == "serving"


def test_what_is_counted_in_the_training_part_is_served_from_a_buffer(folder: Path) -> None:
    assert all(clause.kept for clause in classes(folder, BUFFER))
    config, data = tones_config(), tones(48)
    config = config.model_copy(update={"task": config.task.model_copy(update={"entry": "m.py:Mine", "code": BUFFER})})
    fit = Fit(config, (data,))
    fit.advance()
    served = build_learner(config, sketch(data.info, (4, 14)))
    assert torch.equal(served.weight, torch.ones(3))  # type: ignore[arg-type]
    load_weights(served, fit.folds[0].weights())
    counted = 1.0 + torch.bincount(torch.tensor(data.parts["train"].label_N), minlength=3)
    assert torch.equal(served.weight, counted)  # type: ignore[arg-type]
    assert not contract.is_served(config, data)


def test_a_predict_of_its_own_is_no_part_of_a_program() -> None:
    config, data = wave_config(epochs=1), wave(90)
    kept = losing("return super().loss(output, batch)", "Forecaster")
    other = kept + "\n    def predict(self, output, batch):\n        return super().predict(output, batch) * 0.0\n"
    members = []
    for code in (kept, other):
        task = config.task.model_copy(update={"entry": "m.py:Mine", "code": code})
        fit = Fit(config.model_copy(update={"task": task}), (data,))
        fit.advance()
        members.append(Member(0, fit.config, fit.best_weights()))
    program = export_member(members[0], data.info, (15, 15)).module()
    assert program(torch.zeros(4, 15, 2)).shape == (4, HORIZON, 1, 1)
    with pytest.raises(InvalidSweep, match=r"task\.entry: Mine has a predict of its own"):
        export_member(members[1], data.info, (15, 15))
