"""One model on one fold: an epoch of training, and a look at the validation part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqsweep.config.sweep import FitConfig
from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidData, Problem
from seqsweep.tasks.batch import Arrays, Batch
from seqsweep.tasks.classification import Classifier
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tasks.learner import Learner
from seqsweep.tasks.metrics import naive_error
from seqsweep.training.batches import Loader
from seqsweep.training.optim import build_optimizer, clip, learning_rate, load_optimizer, optimizer_arrays
from seqsweep.training.state import scoped, within

EVALUATION_ROWS = 65_536
"""Rows of all samples in one forward pass without gradients."""


def build_learner(config: FitConfig, data: Prepared) -> Learner:
    """Return the task's model with the start that the seed gives, on the CPU."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(_mix(config.seed))
        if isinstance(config.task, ForecastingConfig):
            return Forecaster(config.task, config.model, data.info)
        return Classifier(config.task, config.model, data)


class Fold:
    """One fold's model, optimiser and data."""

    def __init__(self, config: FitConfig, data: Prepared, number: int, device: torch.device) -> None:
        for part in ("train", "val"):
            if part not in data.parts or not len(data.parts[part]):
                raise InvalidData(Problem("", f"the {part} part of fold {number} has no sample"))
        self.config, self.number, self.device = config, number, device
        self.learner = build_learner(config, data).to(device)
        self.parameters = list(self.learner.parameters())
        self.optimizer = build_optimizer(config.training, self.parameters)
        arrays = Arrays.of(data, naive_error(data), device)
        self.train_loader = Loader(arrays, data.parts["train"], config.training.batch_size)
        self.val_loader = Loader(arrays, data.parts["val"], evaluation_batch(data, "val"))
        self.mixed = config.training.precision == "mixed" and device.type == "cuda"

    def train(self, epoch: int, factor: float) -> dict[str, float]:
        """Take one pass over the training part and return its figures; a train_loss of nan or inf ended it."""
        self.learner.train()
        on_gpu = self.device.type == "cuda"
        with torch.random.fork_rng(devices=[self.device] if on_gpu else ()):
            seed = _mix(self.config.seed, epoch, self.number)
            torch.default_generator.manual_seed(seed)
            if on_gpu:
                torch.cuda.default_generators[self.device.index].manual_seed(seed)
            return self._pass(epoch, factor)

    def _pass(self, epoch: int, factor: float) -> dict[str, float]:
        """Figures stay on the device until the epoch's end; a CPU has nothing to wait for and looks at each step."""
        rng = np.random.default_rng([self.config.seed, epoch, self.number])
        steps, rate = self.train_loader.steps, 0.0
        figures: list[tuple[Tensor, Tensor | float, Tensor]] = []
        for number, batch in enumerate(self.train_loader.shuffled(rng), start=(epoch - 1) * steps):
            rate = factor * learning_rate(self.config.training, number, steps)
            loss, weight, norm = self.step(batch, rate)
            figures.append((loss, weight, norm))
            if self.device.type == "cpu" and not (math.isfinite(loss) and math.isfinite(norm)):
                break
        return _summary(figures) | {"learning_rate": rate}

    def step(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor | float, Tensor]:
        """Update the weights once; return the loss, its weight and the gradient's norm before clipping, not fetched."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.mixed):
            output = self.learner(batch)
        loss, weight = self.learner.loss(output.float(), batch)
        torch.autograd.backward(loss)
        norm = clip([p.grad for p in self.parameters if p.grad is not None], self.config.training.clip_norm)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach(), weight, norm

    def validate(self) -> dict[str, float]:
        """Return val_loss and every metric of the task as `val_<name>`."""
        metrics = evaluate(self.learner, self.val_loader, self.mixed)
        return {f"val_{name}": value for name, value in metrics.items()}

    def weights(self) -> dict[str, Any]:
        """Return copies of the weights as numpy arrays."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.learner.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Return weights and the optimiser's memory."""
        return scoped("weights", self.weights()) | scoped("optimizer", optimizer_arrays(self.optimizer))

    def load(self, arrays: dict[str, Any]) -> None:
        """Put back what `state` gave."""
        load_weights(self.learner, within("weights", arrays))
        load_optimizer(self.optimizer, within("optimizer", arrays))


def evaluate(learner: Learner, loader: Loader, mixed: bool) -> dict[str, float]:
    """Return the task's metrics over a part; batch by batch, and the same whatever the batches."""
    learner.eval()
    totals: dict[str, Tensor] = {}
    with torch.inference_mode():
        for batch in loader.in_order():
            with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
                output = learner(batch)
            for name, value in learner.sums(learner.predict(output.float(), batch), batch).items():
                totals[name] = totals[name] + value if name in totals else value
    return learner.metrics(totals)


def evaluation_batch(data: Prepared, part: str) -> int:
    """Return how many samples a pass without gradients takes at once."""
    return max(1, EVALUATION_ROWS // int(data.parts[part].length_N.max(initial=1)))


def load_weights(learner: Learner, arrays: dict[str, Any]) -> None:
    """Put weights into a model of the same shape."""
    learner.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def _summary(figures: list[tuple[Tensor, Tensor | float, Tensor]]) -> dict[str, float]:
    """Fetch an epoch's figures at once."""
    losses, weights, norms = zip(*figures, strict=True)
    if isinstance(weights[0], Tensor):
        weight = torch.stack(weights).double()
    else:
        weight = torch.tensor(weights, dtype=torch.float64, device=losses[0].device)
    loss, norm = torch.stack(losses).double(), torch.stack(norms).double()
    mean = (loss * weight).sum() / weight.sum()
    train_loss, grad_norm, largest = torch.stack([mean, norm.mean(), norm.max()]).tolist()
    if not math.isfinite(grad_norm):
        train_loss = math.nan
    return {"train_loss": train_loss, "grad_norm": grad_norm, "grad_norm_max": largest}


def _mix(*numbers: int) -> int:
    """Return one 64-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
