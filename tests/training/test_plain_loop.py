"""A whole epoch against a loop written with nothing but PyTorch: same start, same order, same digits."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_toys import CONTEXT, tones, tones_config, wave, wave_config

from seqsweep.training.fit import Fit


class Plain(nn.Module):
    """An LSTM under a linear layer, as anyone would write it."""

    def __init__(self, features: int, hidden: int, joined: int, outputs: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.linear = nn.Linear(hidden + joined, outputs)

    def copy_of(self, fit: Fit) -> "Plain":
        ours = fit.folds[0].learner.state_dict()
        for name, parameter in self.lstm.named_parameters():
            parameter.data.copy_(ours[f"encoder.forwards.0.{name}"])
        for name, parameter in self.linear.named_parameters():
            parameter.data.copy_(ours[f"head.linear.{name}" if f"head.linear.{name}" in ours else f"head.{name}"])
        return self


def order_of(fit: Fit, epoch: int) -> Tensor:
    rng = np.random.default_rng([fit.config.seed, epoch, 0])
    return torch.tensor(rng.permutation(len(fit.folds[0].train_loader.samples)))


def step(optimizer: torch.optim.Optimizer, model: Plain, loss: Tensor) -> float:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(norm)


def test_forecasting() -> None:
    data = wave()
    fit = Fit(wave_config(epochs=2, task={"loss": "mse"}), (data,))
    model = Plain(2, 6, 3, 3).copy_of(fit)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    samples = data.parts["train"]
    x = torch.tensor(np.stack([data.values_TF[s:s + 15] for s in samples.start_N]))
    for epoch in (1, 2):
        losses, norms = [], []
        for rows in torch.split(order_of(fit, epoch), 16):
            out = model.lstm(x[rows, :CONTEXT])[0][:, -1]
            output = model.linear(torch.cat([out, x[rows, CONTEXT:, 1]], dim=1))
            loss = nn.functional.mse_loss(output, x[rows, CONTEXT:, 0])
            norms.append(step(optimizer, model, loss))
            losses += [loss.item()] * len(rows)
        metrics = fit.advance().metrics
        assert metrics["train_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
        assert metrics["grad_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
        assert metrics["grad_norm_max"] == pytest.approx(max(norms), rel=1e-5)
    for name, value in model.lstm.named_parameters():
        ours = fit.folds[0].learner.state_dict()[f"encoder.forwards.0.{name}"]
        torch.testing.assert_close(ours, value.detach(), atol=1e-6, rtol=0)


def test_classification() -> None:
    data = tones(60, 9, 9)
    fit = Fit(tones_config(epochs=1), (data,))
    model = Plain(2, 6, 0, 3).copy_of(fit)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, y = torch.tensor(data.values_TF).view(60, 9, 2), torch.tensor(data.parts["train"].label_N)
    losses: list[float] = []
    for rows in torch.split(order_of(fit, 1), 16):
        loss = nn.functional.cross_entropy(model.linear(model.lstm(x[rows])[0][:, -1]), y[rows])
        step(optimizer, model, loss)
        losses += [loss.item()] * len(rows)
    metrics = fit.advance().metrics
    assert metrics["train_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    with torch.inference_mode():
        logits, truth = model.linear(model.lstm(x[40:])[0][:, -1]), torch.tensor(data.parts["val"].label_N)
        assert metrics["val_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, truth)), rel=1e-5)
        assert metrics["val_accuracy"] == pytest.approx(float((logits.argmax(1) == truth).double().mean()))
