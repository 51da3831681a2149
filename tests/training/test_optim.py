"""Clipping, learning rates, and what the gradient's norm shows."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_toys import seal, tones, tones_config, wave, wave_config

from seqsweep.config.training import TrainingConfig
from seqsweep.data.batch import Prepared
from seqsweep.training.fit import Fit
from seqsweep.training.optim import Plateau, clip, learning_rate
from seqsweep.training.rules import Stack, build_rule


@pytest.mark.parametrize("largest", [0.0, 0.5, 1e6])
def test_clip_is_torchs(largest: float) -> None:
    torch.manual_seed(0)
    own = [nn.Parameter(torch.zeros(3, 4)), nn.Parameter(torch.zeros(5))]
    for parameter in own:
        parameter.grad = torch.randn_like(parameter)
    mine = [parameter.grad.clone() for parameter in own if parameter.grad is not None]
    norm = clip(mine, largest)
    expected = nn.utils.clip_grad_norm_(own, largest or math.inf)
    torch.testing.assert_close(norm, expected)
    for gradient, parameter in zip(mine, own, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_stacked_rules_are_each_one_by_itself(name: str) -> None:
    torch.manual_seed(0)
    rates, clips = (0.1, 0.02, 0.3), (0.0, 0.5, 2.0)
    configs = [TrainingConfig.model_validate({"optimizer": name, "weight_decay": decay}
                                             | ({"momentum": momentum} if name == "sgd" else {}))
               for decay, momentum in ((0.0, 0.9), (0.01, 0.0), (0.2, 0.5))]
    starts = [torch.randn(3, *shape, dtype=torch.float64) for shape in ((4, 2), (5,), ())]
    own = [[nn.Parameter(start[k].clone()) for start in starts] for k in range(3)]
    alone = [build_rule(config, parameters) for config, parameters in zip(configs, own, strict=True)]
    stacks = [start.clone() for start in starts]
    members = [build_rule(config, [nn.Parameter(stack[k]) for stack in stacks]) for k, config in enumerate(configs)]
    stack = Stack(members, stacks, clips)
    for step in range(20):
        gradients = [torch.randn_like(start) * 10 ** (step % 3 - 1) for start in starts]
        norms = []
        for k, (rule, rate) in enumerate(zip(alone, rates, strict=True)):
            mine = [gradient[k].clone() for gradient in gradients]
            norms.append(clip(mine, clips[k]))
            rule.step(mine, rate)
        torch.testing.assert_close(stack.step(gradients, torch.tensor(rates, dtype=torch.float64)),
                                   torch.stack(norms))
        for k in range(3):
            for weight, expected in zip(stacks, own[k], strict=True):
                torch.testing.assert_close(weight[k], expected.detach(), rtol=1e-9, atol=1e-9)
    for member, rule in zip(members, alone, strict=True):
        for kind, expected in rule.state().items() if name != "sgd" or rule.momentum else ():
            np.testing.assert_allclose(member.state()[kind], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "expected"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW),
                                                ("rmsprop", torch.optim.RMSprop), ("sgd", torch.optim.SGD)])
def test_update_rules_are_torchs_plain_ones(name: str, expected: type[torch.optim.Optimizer]) -> None:
    config = TrainingConfig.model_validate({"optimizer": name, "learning_rate": 0.1, "weight_decay": 0.01})
    weights = [nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))]
    extra: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    ours = build_rule(config, weights[:1])
    theirs = expected([weights[1]], lr=0.1, weight_decay=0.01, foreach=False, **extra)  # type: ignore[call-arg]
    for step in range(5):
        weights[1].grad = torch.tensor([1.0, -0.5, 0.1, 0.0]) * (step + 1)
        ours.step([weights[1].grad.clone()], 0.1)
        theirs.step()
    torch.testing.assert_close(weights[0], weights[1])


def test_warm_up_rises_step_by_step_and_cosine_falls_to_zero() -> None:
    config = TrainingConfig(learning_rate=0.5, warmup_epochs=2, epochs=6, schedule="cosine")
    rates = [learning_rate(config, step, 5) for step in range(30)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert rates[10] == 0.5
    assert rates[20] == pytest.approx(0.25)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[29] < 0.01


def test_constant_stays_after_its_warm_up() -> None:
    config = TrainingConfig(learning_rate=0.5, warmup_epochs=1, epochs=3)
    assert [learning_rate(config, step, 2) for step in range(6)] == [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_plateau_halves_after_three_epochs_without_a_better_one() -> None:
    plateau, factors = Plateau(), []
    for loss in (3.0, 2.0, 2.0, 2.5, 2.1, 2.0, 2.0, 1.9, 1.9, 1.9, 1.9):
        plateau.see(loss)
        factors.append(plateau.factor)
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_reported_rate_is_that_of_the_last_step() -> None:
    fit = Fit(wave_config(schedule="cosine", warmup_epochs=1, epochs=3), (wave(),))
    steps = fit.folds[0].train_loader.steps
    for epoch in range(3):
        expected = learning_rate(fit.config.training, (epoch + 1) * steps - 1, steps)
        assert fit.advance().metrics["learning_rate"] == expected


def recall(steps: int) -> Prepared:
    """The class is told by the first step; what follows is zero."""
    data = tones(90, steps, steps)
    values_TF = data.values_TF.copy().reshape(90, steps, 2)
    labels = np.concatenate([data.parts[part].label_N for part in ("train", "val")])
    values_TF[:] = 0
    values_TF[:, 0, 0] = labels - 1.0
    return seal(Prepared(**(vars(data) | {"values_TF": values_TF.reshape(-1, 2)})))


def test_vanishing_gradients_show() -> None:
    """Once the class shares are learnt, an Elman cell over a long gap has no gradient left (Bengio et al., 1994)."""
    norms = {}
    for steps in (3, 150):
        config = tones_config(cell="elman", epochs=40, batch_size=60, optimizer="sgd", learning_rate=0.5, momentum=0.0)
        fit = Fit(config, (recall(steps),))
        norms[steps] = [fit.advance().metrics["grad_norm"] for _ in range(40)]
    assert max(norms[3][20:]) > 1e-2
    assert max(norms[150][-5:]) < 1e-3


def test_exploding_gradients_show() -> None:
    """The same weights over a long sequence: the norm before clipping grows with its length."""
    largest = {}
    for steps in (3, 150):
        config = tones_config(cell="elman", nonlinearity="relu", init="he", hidden_size=64, epochs=1, seed=3,
                              learning_rate=1e-6)
        largest[steps] = Fit(config, (tones(60, steps, steps),)).advance().metrics["grad_norm_max"]
    assert largest[150] > 30 * largest[3]
