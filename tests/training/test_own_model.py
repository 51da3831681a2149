"""A user's own model, learner and metric as the training loop has them."""

from __future__ import annotations

import re
import sys
import traceback
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.models import OwnModelConfig
from seqsweep.config.own import Own
from seqsweep.config.sweep import FitConfig, MetricConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep
from seqsweep.models.own import OwnEncoder
from seqsweep.own import load
from seqsweep.tasks.metrics import truth_of
from seqsweep.tasks.own import OwnMetric
from seqsweep.training import contract
from seqsweep.training.export import export
from seqsweep.training.fit import Fit

CODE = '''
import torch
from torch import nn
from seqsweep.tasks.forecasting import Forecaster

class Tiny(nn.Module):
    def __init__(self, input_size: int, width: int = 4, rate: float = 0.3):
        super().__init__()
        self.rnn = nn.GRU(input_size, width, batch_first=True)
        self.drop = nn.Dropout(rate)

    def forward(self, x):
        return self.drop(self.rnn(x)[0])

class Pooled(Tiny):
    def forward(self, x, lengths):
        inside = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)
        return (self.rnn(x)[0] * inside.unsqueeze(2)).sum(1) / lengths.unsqueeze(1)

class Blind(Tiny):
    def forward(self, x):
        return self.rnn(x)[0].mean(1)

class Few(Tiny):
    def forward(self, x):
        return self.rnn(x)[0][:, :2]

class Pair(Tiny):
    def forward(self, x):
        return self.rnn(x)

class Nan(Tiny):
    def forward(self, x):
        return self.rnn(x)[0] / 0

class Raises(Tiny):
    def forward(self, x):
        return self.no_such(x)      # the line a user looks for

class Late(Tiny):
    def forward(self, x):
        if self.training:
            raise KeyError("only in training")
        return self.rnn(x)[0]

class Single(Tiny):
    def forward(self, x):
        state = self.rnn(x)[1][-1]
        return state if len(x) == 2 else state[:1]

class Exits(Tiny):
    def forward(self, x):
        if len(x) != 2:
            raise SystemExit(0)
        return self.rnn(x)[0]

class Unused(Tiny):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.spare = nn.Linear(2, 2)

class Frozen(Unused):
    def __init__(self, input_size: int):
        super().__init__(input_size)
        self.spare.requires_grad_(False)

class NoModule:
    def __init__(self, input_size: int): ...

class Remembers(Tiny):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return self.rnn(x)[0] * (1 + 0.01 * self.calls)

class Detached(Tiny):
    def forward(self, x):
        out = self.rnn(x)[0]
        return out * out.detach()

class Asymmetric(Forecaster):
    def __init__(self, task, model, data, weight=9.0):
        super().__init__(task, model, data)
        self.weight = weight

    def loss(self, output, batch):
        error = self._future(batch).unsqueeze(-1) - output
        mean = torch.maximum(self.weight * error, -error).mean()
        return mean, torch.full_like(mean, error.numel())

def wape(y_true, y_pred):
    return abs(y_true - y_pred).sum() / abs(y_true).sum()

def array(y_true, y_pred):
    return abs(y_true - y_pred)

def spoils(y_true, y_pred):
    y_true[0] = 0
    return 0.0
'''


def line_of(text: str) -> int:
    """The line of CODE that holds a text."""
    return CODE[:CODE.index(text)].count("\n") + 1


def own(name: str, code: str = CODE, **arguments: Any) -> OwnModelConfig:
    return OwnModelConfig(entry=f"mine.py:{name}", code=code, arguments=arguments)


def classifying(name: str, **fields: Any) -> tuple[FitConfig, Prepared]:
    return tones_config(**fields).model_copy(update={"model": own(name)}), tones(48)


def forecasting(name: str, **fields: Any) -> tuple[FitConfig, Prepared]:
    return wave_config(**fields).model_copy(update={"model": own(name)}), wave(90)


@pytest.mark.parametrize("name", ["Tiny", "Pooled", "Frozen"])
@pytest.mark.parametrize("make", [classifying, forecasting])
def test_it_keeps_the_contract(name: str, make: Any) -> None:
    config, data = make(name, epochs=4)
    encoder = contract.encoder_of(config, data)
    features = len(data.info.features)
    assert not contract.one_state_each(encoder, features)
    assert not contract.padded_is_alone(encoder, features)
    assert not contract.padding_teaches_nothing(encoder, features)
    assert not contract.gradients(encoder, features)
    assert contract.is_causal(encoder, features) is (None if name == "Pooled" else True)
    for clause in (contract.saved_is_loaded, contract.again_is_the_same, contract.resumed_is_whole):
        assert not clause(config, data)


@pytest.mark.parametrize(("name", "clause"), [
    ("Unused", "gradients"), ("Detached", "gradients"), ("Remembers", "resumed_is_whole"),
    ("Remembers", "saved_is_loaded"), ("Blind", "padded_is_alone")])
def test_each_broken_promise_is_found(name: str, clause: str) -> None:
    config, data = forecasting(name, epochs=4)
    check = getattr(contract, clause)
    if clause in ("gradients", "padded_is_alone"):
        encoder = contract.encoder_of(config, data)
        if name == "Blind":
            with pytest.raises(InvalidSweep, match="once it is padded"):
                check(encoder, 2)
        else:
            assert check(encoder, 2)
    else:
        assert check(config, data)


@pytest.mark.parametrize(("name", "says"), [
    ("Few", r"returns \(2, 2, 4\)"), ("Pair", "returns a tuple"), ("Nan", "not finite"), ("NoModule", "no torch.nn.M"),
    ("Raises", rf"mine\.py:{line_of('self.no_such')}: forward of sequences .* failed with AttributeError")])
def test_a_model_that_is_none_is_refused_before_training(name: str, says: str) -> None:
    with pytest.raises(InvalidSweep, match=says):
        OwnEncoder(own(name), 3)


def test_arguments_arrive_and_wrong_ones_are_told() -> None:
    assert OwnEncoder(own("Tiny", width=7), 3).output_size == 7
    with pytest.raises(InvalidSweep, match=r"Tiny\(3, width=-1\) failed with"):
        OwnEncoder(own("Tiny", width=-1), 3)


def test_a_model_that_sees_the_padding_is_refused_where_there_is_any() -> None:
    config, data = classifying("Blind")
    with pytest.raises(InvalidSweep, match="padded behind its end"):
        Fit(config, (data,)).advance()
    Fit(*forecasting("Blind")[:1], (wave(90),)).advance()  # windows have one length


def test_one_state_for_a_whole_batch_is_no_state_for_each() -> None:
    with pytest.raises(InvalidSweep, match=r"gives states \(1, 4\)"):
        Fit(forecasting("Single")[0], (wave(90),)).advance()


def test_code_that_ends_the_process_is_an_error_of_that_code() -> None:
    config, data = classifying("Exits")
    with pytest.raises(RuntimeError, match=r"Exits ends the process: SystemExit\(0\)"):
        Fit(config, (data,)).advance()


def test_a_weight_that_learns_nothing_is_told() -> None:
    config, data = classifying("Unused")
    with pytest.raises(InvalidSweep, match=r"encoder\.module\.spare\.weight"):
        Fit(config, (data,)).advance()


def test_dropout_follows_the_seed_and_leaves_the_process_alone() -> None:
    config, data = classifying("Tiny")
    config = config.model_copy(update={"model": own("Tiny", rate=0.5)})
    before = torch.random.get_rng_state()
    curves = [Fit(each, (data,)).advance().metrics["train_loss"]
              for each in (config, config, config.model_copy(update={"model": own("Tiny", rate=0.0)}))]
    assert curves[0] == curves[1] != curves[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_trace_shows_the_line_of_the_file_that_is_not_there() -> None:
    config, data = forecasting("Late")
    with pytest.raises(KeyError) as found:
        Fit(config, (data,)).advance()
    shown = "".join(traceback.format_exception(found.value))
    assert re.search(rf'File "mine\.py( \(\w{{12}}\))?", line {line_of("raise KeyError")}, in forward', shown)
    assert 'raise KeyError("only in training")' in shown


def test_two_versions_of_a_file_live_side_by_side() -> None:
    one, two = (load(Own("mine2.py:f", f"def f():\n    return {n} / 0\n")) for n in (1, 2))
    assert one is load(Own("mine2.py:f", "def f():\n    return 1 / 0\n"))
    for function, line in ((one, "return 1 / 0"), (two, "return 2 / 0")):
        with pytest.raises(ZeroDivisionError) as found:
            function()
        assert line in "".join(traceback.format_exception(found.value))


@pytest.mark.parametrize(("code", "says"), [
    ("import no_such_package_at_all\ndef f(): ...", r"m\.py:1: running it failed with ModuleNotFoundError"),
    ("x = 1\ny = x / 0\ndef f(): ...", r"m\.py:2: running it failed with ZeroDivisionError"),
    ("return 3\ndef f(): ...", r"m\.py:1: running it failed with SyntaxError"),
    ("import sys\nsys.exit()\ndef f(): ...", r"m\.py:2: running it failed with SystemExit"),
    ("def f(): ...\ndel f", "once it has run, there is no f")])
def test_a_file_that_does_not_run_is_told_with_its_line(code: str, says: str) -> None:
    modules = set(sys.modules)
    for _ in range(2):  # it is not half remembered
        with pytest.raises(InvalidSweep, match=says):
            load(Own("m.py:f", code))
    assert "del" in code or not {name for name in set(sys.modules) - modules if name.startswith("seqsweep_own")}


def metric(name: str, **task: Any) -> OwnMetric:
    config, data = wave_config(task=task), wave(90, gaps=name == "wape")
    return OwnMetric(Own(f"mine.py:{name}", CODE), config.task, truth_of(config.task, data, "val"))


def test_a_metric_is_that_of_the_whole_part() -> None:
    config = wave_config(epochs=2).model_copy(update={"metric": MetricConfig(
        entry="mine.py:wape", code=CODE, name="wape", goal="minimize")})
    data = wave(90)
    fit = Fit(config, (data,))
    report = fit.advance()
    y = truth_of(config.task, data, "val").y
    assert report.metrics["val_wape"] == pytest.approx(report.metrics["val_mae"] * y.size / np.abs(y).sum(), rel=1e-5)
    assert fit.best == (1, report.metrics["val_wape"])


def test_a_metric_sees_no_truth_that_is_not_known_and_spoils_none() -> None:
    seen = metric("wape")
    assert np.isnan(seen(np.zeros((len(seen._y), 3, 1, 1))))
    for name, says in (("array", r"an array \(\d+, 3, 1\)"),):
        with pytest.raises(InvalidSweep, match=says):
            metric(name)(np.zeros((len(seen._y), 3, 1, 1)))
    with pytest.raises(ValueError, match="read-only"):
        metric("spoils")(np.zeros((len(seen._y), 3, 1, 1)))


def test_what_is_learnt_can_be_the_users() -> None:
    config, data = wave_config(epochs=12, learning_rate=3e-2), wave(160)
    asked = config.model_copy(update={"task": config.task.model_copy(update={
        "entry": "mine.py:Asymmetric", "code": CODE})})
    bias = []
    even = asked.model_copy(update={"learner": {"weight": 1.0}})
    for each in (config, asked, even):
        fit = Fit(each, (data,))
        while fit.done is None:
            fit.advance()
        learner, batch = fit.folds[0].learner.eval(), next(fit.folds[0].val_loader.in_order())
        with torch.no_grad():
            bias.append(float((learner(batch)[..., 0] - learner._future(batch)).mean()))  # type: ignore[operator]
    assert bias[1] > max(bias[0], bias[2]) + 0.02  # too low costs nine times as much as too high, or as much
    assert not contract.tells_what_the_type_tells(asked, data)
    for clause in (contract.saved_is_loaded, contract.again_is_the_same, contract.resumed_is_whole):
        assert not clause(asked, data)


def test_a_learner_that_is_none_is_refused() -> None:
    config = wave_config()
    wrong = config.model_copy(update={"task": config.task.model_copy(update={"entry": "mine.py:Tiny", "code": CODE})})
    with pytest.raises(InvalidSweep, match=r"class Tiny\(Forecaster\)"):
        Fit(wrong, (wave(90),))


def test_it_is_exported() -> None:
    config, data = forecasting("Tiny", epochs=1)
    fit = Fit(config, (data,))
    fit.advance()
    learner = fit.folds[0].learner.eval()
    program = export(learner, data)
    batch = next(fit.folds[0].val_loader.in_order())
    with torch.no_grad():
        torch.testing.assert_close(program.module()(batch.x_BLF), learner(batch), atol=1e-6, rtol=0)
