"""What training asks of a task: a model with its head, a loss, predictions in data units, and sums for metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from seqsweep.models.encoder import Encoder
from seqsweep.tasks.batch import Batch

Sums = Mapping[str, Any]
"""What metrics are made of, tensors or what can be added as they can; sums of two batches added are the sums of both,
whatever the batch size."""


class Learner(nn.Module, ABC):
    """An encoder under a task's head. Constants are non-persistent buffers: they move, but are not weights."""

    encoder: Encoder
    notes: ClassVar[tuple[str, ...]] = ()
    """Figures of the validation part that predictions need: kept with the weights of their epoch."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return the head's output, in the model's own units."""

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the batch's mean loss and its weight in a mean over batches."""

    @abstractmethod
    def predict(self, output: Tensor, batch: Batch) -> Tensor:
        """Return what a user wants to see: values in data units, or probabilities."""

    @abstractmethod
    def sums(self, prediction: Tensor, batch: Batch) -> Sums:
        """Compare predictions with the truth."""

    @abstractmethod
    def metrics(self, sums: Sums) -> dict[str, float]:
        """Turn sums over a part into the task's metrics."""
