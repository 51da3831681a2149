"""Regression: read a sample, tell the number at its last row. Shapes: B samples, C statics, H units of the state."""

from __future__ import annotations

import torch
from torch import Tensor

from seqsweep.config.models import ModelConfig
from seqsweep.config.tasks import RegressionConfig
from seqsweep.data.batch import DataInfo
from seqsweep.models.encoder import build_encoder
from seqsweep.models.linear import Linear
from seqsweep.models.timed import Clock
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecast_metrics import point_loss
from seqsweep.tasks.learner import Learner, Sums
from seqsweep.tasks.regression_metrics import regression_metrics, regression_sums


class Regressor(Learner):
    """The pooled state and the series' static features, mapped to one number."""

    def __init__(self, task: RegressionConfig, model: ModelConfig, info: DataInfo) -> None:
        super().__init__()
        self.task = task
        self.encoder = build_encoder(model, len(info.features), Clock.of(info))
        self.head = Linear(self.encoder.output_size + len(info.static_features), 1)

    def forward(self, batch: Batch) -> Tensor:
        """Return numbers `(B,)` in scaled units."""
        state_BH = self.encoder(batch.x_BLF, batch.length_B, batch.key, batch.first)
        static = batch.static
        number_B1: Tensor = self.head(state_BH if static is None else torch.cat([state_BH, static], dim=1))
        return number_B1.squeeze(1)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss in scaled units, and the number of samples."""
        mean = point_loss(self.task.loss, batch.target_B - output).mean()
        return mean, torch.full_like(mean, len(output))

    def predict(self, output: Tensor, batch: Batch) -> Tensor:
        """Return numbers `(B,)` in data units, float64, none above the cap."""
        shift_B, scale_B = _scaling(batch)
        number_B = output.double() * scale_B + shift_B
        return number_B if self.task.cap is None else number_B.clamp(max=self.task.cap)

    def sums(self, prediction: Tensor, batch: Batch) -> Sums:
        """Compare with the truth, in data units."""
        shift_B, scale_B = _scaling(batch)
        deviation_B = batch.target_B.double() * scale_B
        return regression_sums(self.task, deviation_B + shift_B - prediction, deviation_B, scale_B)

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Return the metrics; see `regression_metrics`."""
        return regression_metrics(sums)


def _scaling(batch: Batch) -> tuple[Tensor, Tensor]:
    shift_BD, scale_BD = (each.index_select(0, batch.series_B).double()
                          for each in (batch.arrays.shift_SD, batch.arrays.scale_SD))
    return shift_BD[:, 0], scale_BD[:, 0]
