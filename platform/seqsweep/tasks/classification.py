"""Classification: read a whole sequence, tell its class. Shapes: B sequences, C classes (or statics)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqsweep.config.models import ModelConfig
from seqsweep.config.tasks import ClassificationConfig
from seqsweep.data.batch import Prepared
from seqsweep.models.encoder import build_encoder
from seqsweep.models.linear import Linear
from seqsweep.models.timed import Clock
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.classification_metrics import classification_metrics, classification_sums
from seqsweep.tasks.learner import Learner, Sums


class Classifier(Learner):
    """The pooled state and the sequence's static features, mapped to one logit per class."""

    weight_C: Tensor

    def __init__(self, task: ClassificationConfig, model: ModelConfig, data: Prepared) -> None:
        super().__init__()
        self.register_buffer("weight_C", class_weights(task, data), persistent=False)
        self.encoder = build_encoder(model, len(data.info.features), Clock.of(data.info))
        joined = self.encoder.output_size + len(data.info.static_features)
        self.head = Linear(joined, len(data.info.classes))

    def forward(self, batch: Batch) -> Tensor:
        """Return logits `(B, C)`."""
        state_BH = self.encoder(batch.x_BLF, batch.length_B, batch.key, batch.first)
        static = batch.static
        logits_BC: Tensor = self.head(state_BH if static is None else torch.cat([state_BH, static], dim=1))
        return logits_BC

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the weighted mean cross-entropy and the sum of the weights."""
        weight = self.weight_C.index_select(0, batch.label_B).sum()
        return functional.cross_entropy(output, batch.label_B, weight=self.weight_C), weight

    def predict(self, output: Tensor, batch: Batch) -> Tensor:
        """Return probabilities `(B, C)`."""
        return output.softmax(dim=1)

    def sums(self, prediction: Tensor, batch: Batch) -> Sums:
        """Compare with the labels."""
        return classification_sums(prediction, batch.label_B, self.weight_C)

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Return the metrics; see `classification_metrics`."""
        return classification_metrics(sums)


def class_weights(task: ClassificationConfig, data: Prepared) -> Tensor:
    """Return `(C,)`: 1, or rows / (classes present x rows of the class) of the training part, 0 for absent classes."""
    classes = len(data.info.classes)
    if task.class_weights == "none" or "train" not in data.parts:
        return torch.ones(classes)
    count_C = torch.bincount(torch.tensor(data.parts["train"].label_N), minlength=classes)
    return torch.where(count_C > 0, count_C.sum() / ((count_C > 0).sum() * count_C.clamp(min=1)), 0.0)
