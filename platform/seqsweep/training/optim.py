"""Clipping and learning rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqsweep.config.training import TrainingConfig

_PLATEAU_PATIENCE = 3


def clip(gradients: list[Tensor], largest: float) -> Tensor:
    """Scale gradients so that their whole norm is at most `largest` (0: leave them); return the norm before.

    Nothing is read back, so a GPU is not waited for (Pascanu et al., 2013).
    """
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if largest:
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
    return norm


def learning_rate(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """Return the rate of a step, counted from 0: a linear warm-up, then the schedule; plateau's factor is apart."""
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule != "cosine":
        return config.learning_rate
    progress = (step - warmup) / max(1, config.epochs * steps_per_epoch - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class Plateau:
    """Halves the learning rate after 3 epochs without a better validation loss."""

    def __init__(self) -> None:
        self.factor, self.lowest, self.waited = 1.0, math.inf, 0

    def see(self, loss: float) -> None:
        """Take note of one epoch's validation loss."""
        if loss < self.lowest:
            self.lowest, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited == _PLATEAU_PATIENCE:
            self.factor, self.waited = self.factor / 2, 0
