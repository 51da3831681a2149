"""One trial's model on one fold: its weights, its update rule, and the data it sees in what order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqsweep.config.sweep import FitConfig
from seqsweep.config.tasks import AnomalyConfig, ForecastingConfig, RegressionConfig, own_learner
from seqsweep.data.batch import Ints, Prepared
from seqsweep.errors import InvalidData, InvalidSweep, Problem
from seqsweep.models.kernels import substitute
from seqsweep.models.recurrent import Recurrent
from seqsweep.tasks.anomaly import build_detector
from seqsweep.tasks.batch import Arrays
from seqsweep.tasks.classification import Classifier
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tasks.learner import Learner
from seqsweep.tasks.metrics import truth_of
from seqsweep.tasks.own import OwnMetric, build_own
from seqsweep.tasks.regression import Regressor
from seqsweep.training.batches import Loader
from seqsweep.training.optim import clip, learning_rate
from seqsweep.training.rules import build_rule
from seqsweep.training.state import scoped, within

EVALUATION_ROWS = 65_536
"""Rows of all samples in one forward pass without gradients."""


def build_learner(config: FitConfig, data: Prepared) -> Learner:
    """Return the task's model with the start that the seed gives, on the CPU."""
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(_mix(config.seed))
        if own_learner(config.task):
            return build_own(config, data)
        if isinstance(config.task, ForecastingConfig):
            return Forecaster(config.task, config.model, data.info)
        if isinstance(config.task, RegressionConfig):
            return Regressor(config.task, config.model, data.info)
        if isinstance(config.task, AnomalyConfig):
            return build_detector(config.task, config.model, data)
        return Classifier(config.task, config.model, data)


class Fold:
    """One fold's model, optimiser and data; `arrays` are the data on the device."""

    def __init__(self, config: FitConfig, data: Prepared, number: int, arrays: Arrays) -> None:
        for part in ("train", "val"):
            if part not in data.parts or not len(data.parts[part]):
                raise InvalidData(Problem("", f"the {part} part of fold {number} has no sample"))
        self.config, self.number = config, number
        self.device = arrays.values_TF.device
        self.learner = build_learner(config, data).to(self.device, arrays.values_TF.dtype)
        for module in self.learner.modules():
            if isinstance(module, Recurrent):
                module.kernel = substitute(config.program.kernel, self.device)
        self.parameters = [each for each in self.learner.parameters() if each.requires_grad]
        self.rule = build_rule(config.training, self.parameters)
        self.train_loader = Loader(arrays, data.parts["train"], config.training.batch_size)
        self.val_loader = Loader(arrays, data.parts["val"], evaluation_batch(data, "val"))
        own = config.metric.own
        self.metric = OwnMetric(own, config.task, truth_of(config.task, data, "val")) if own else None
        self.mixed = config.training.precision == "mixed" and self.device.type == "cuda"

    def evaluation_piece(self, micro: int) -> int:
        """Return how many samples validation takes at once where training takes `micro` of a batch."""
        return max(1, self.val_loader.batch_size * micro // self.config.training.batch_size)

    def order(self, epoch: int) -> Ints:
        """Return an epoch's order `(N,)` of the training samples."""
        return self.train_loader.shuffle(np.random.default_rng([self.config.seed, epoch, self.number]))

    def keys(self, epoch: int) -> Ints:
        """Return what the dropout of each of an epoch's steps depends on, int32 `(S,)`."""
        rng = np.random.default_rng([self.config.seed, epoch, self.number, 1])
        return rng.integers(-2 ** 31, 2 ** 31, self.train_loader.steps, dtype=np.int32)

    def rate(self, epoch: int, step: int, factor: float) -> float:
        """Return the learning rate of a step; `factor` is the plateau schedule's."""
        steps = self.train_loader.steps
        return factor * learning_rate(self.config.training, (epoch - 1) * steps + step, steps)

    def update(self, rate: float) -> Tensor:
        """Clip the gradients and change the weights; return the gradient's norm before, not fetched."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if len(gradients) < len(self.parameters):
            unused = [name for name, p in self.learner.named_parameters() if p.requires_grad and p.grad is None]
            raise InvalidSweep(Problem(", ".join(unused[:5]), "the loss does not depend on these weights",
                                       "a forward pass that uses every weight, or requires_grad = False"))
        norm = clip(gradients, self.config.training.clip_norm)
        self.rule.step(gradients, rate)
        return norm

    def weights(self) -> dict[str, Any]:
        """Return the weights as numpy copies."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.learner.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """Return all that training goes on from: weights, and the optimiser's memory."""
        return scoped("weights", self.weights()) | scoped("optimizer", self.rule.state())

    def load(self, arrays: dict[str, Any]) -> None:
        """Put a state back."""
        load_weights(self.learner, within("weights", arrays))
        self.rule.load(within("optimizer", arrays))


def evaluation_batch(data: Prepared, part: str) -> int:
    """Return how many samples a pass without gradients takes at once."""
    return max(1, EVALUATION_ROWS // int(data.parts[part].length_N.max(initial=1)))


def load_weights(learner: Learner, arrays: dict[str, Any]) -> None:
    """Put weights into a model of the same shape."""
    learner.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def _mix(*numbers: int) -> int:
    """Return one 64-bit seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
