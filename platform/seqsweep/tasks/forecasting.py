"""Forecasting: read `context` rows, predict the targets of the next `horizon` rows.

Shapes: B windows, L = context + horizon rows, F features, K of them known ahead, D targets, Q quantiles, C statics.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqsweep.config.models import ModelConfig
from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import DataInfo
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.models.encoder import build_encoder
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecast_metrics import ForecastTruth, forecast_metrics, forecast_sums, pointwise_loss
from seqsweep.tasks.heads import Highway, build_head
from seqsweep.tasks.learner import Learner, Sums


class Forecaster(Learner):
    """Of a window it reads the context, and of the horizon the known-ahead features: never a future target."""

    targets_D: Tensor
    known_K: Tensor

    def __init__(self, task: ForecastingConfig, model: ModelConfig, info: DataInfo) -> None:
        super().__init__()
        _check(task, model)
        self.task, self.model = task, model
        self.register_buffer("targets_D", torch.tensor(info.targets), persistent=False)
        first, last = info.targets[0], info.targets[-1]
        self._together = slice(first, last + 1) if info.targets == tuple(range(first, last + 1)) else None
        self.register_buffer("known_K", torch.tensor(info.known, dtype=torch.int64), persistent=False)
        self.encoder = build_encoder(model, len(info.features))
        sizes = (self.encoder.output_size, len(info.known), len(info.static_features), task.horizon,
                 len(info.targets), task.quantiles)
        self.head = build_head(model, *sizes)
        self.highway = Highway(model.highway, task.horizon) if model.highway else None
        if model.naive_season:  # the first forecast is nothing but what the head is added to
            nn.init.zeros_(self.head.linear.weight)
            nn.init.zeros_(self.head.linear.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return forecasts `(B, horizon, D, Q)` in scaled units."""
        past_BTF, known_BHK = self._past(batch), self._known(batch)
        norm = window_norm(self.model.window_norm, past_BTF, self.targets_D)
        if norm:
            targets_BTD = (past_BTF.index_select(2, self.targets_D) - norm.level_B1D) / norm.spread_B1D
            past_BTF = past_BTF.index_copy(2, self.targets_D, targets_BTD)
        state_BH = self.encoder(past_BTF, key=batch.key, first=batch.first)
        output_BHDQ: Tensor = self.head(state_BH, known_BHK, batch.static)
        if self.model.naive_season:
            output_BHDQ = output_BHDQ + self._naive(past_BTF).unsqueeze(-1)
        if self.highway is not None:
            output_BHDQ = output_BHDQ + self.highway(past_BTF.index_select(2, self.targets_D)).unsqueeze(-1)
        if norm:
            output_BHDQ = output_BHDQ * norm.spread_B1D.unsqueeze(-1) + norm.level_B1D.unsqueeze(-1)
        return output_BHDQ

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss over observed points, in scaled units, and their number."""
        loss_BHD = pointwise_loss(self.task, self._future(batch).unsqueeze(-1) - output)
        observed_BHD = self._observed(batch)
        if observed_BHD is None:
            mean = loss_BHD.mean()
            return mean, torch.full_like(mean, loss_BHD.numel())
        count = observed_BHD.sum()
        return (loss_BHD * observed_BHD).sum() / count.clamp(min=1), count

    def predict(self, output: Tensor, batch: Batch) -> Tensor:
        """Return forecasts `(B, horizon, D, Q)` in data units, float64."""
        shift_BD, scale_BD = self._scaling(batch)
        return output.double() * scale_BD[:, None, :, None] + shift_BD[:, None, :, None]

    def sums(self, prediction: Tensor, batch: Batch) -> Sums:
        """Compare with the truth, in data units."""
        shift_BD, scale_BD = self._scaling(batch)
        y_BHD = self._future(batch).double() * scale_BD.unsqueeze(1) + shift_BD.unsqueeze(1)
        mase_BD = batch.arrays.mase_SD.index_select(0, batch.series_B)
        return forecast_sums(self.task, prediction, ForecastTruth(y_BHD, self._observed(batch), scale_BD, mase_BD))

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Return the metrics; see `forecast_terms`."""
        return forecast_metrics(sums)

    def _past(self, batch: Batch) -> Tensor:
        return batch.x_BLF[:, :self.task.context]

    def _known(self, batch: Batch) -> Tensor | None:
        if not len(self.known_K):
            return None
        return batch.x_BLF[:, self.task.context:].index_select(2, self.known_K)

    def _future(self, batch: Batch) -> Tensor:
        future_BHF = batch.x_BLF[:, self.task.context:]
        if self._together:  # a view costs nothing; the gather was a quarter of the loss
            return future_BHF[..., self._together]
        return future_BHF.index_select(2, self.targets_D)

    def _observed(self, batch: Batch) -> Tensor | None:
        return None if batch.observed_BLD is None else batch.observed_BLD[:, self.task.context:]

    def _scaling(self, batch: Batch) -> tuple[Tensor, Tensor]:
        arrays = batch.arrays
        return (arrays.shift_SD.index_select(0, batch.series_B).double(),
                arrays.scale_SD.index_select(0, batch.series_B).double())

    def _naive(self, past_BTF: Tensor) -> Tensor:
        """Return the season before the horizon, repeated over it."""
        season_BSD = past_BTF[:, -self.model.naive_season:].index_select(2, self.targets_D)
        repeats = -(-self.task.horizon // self.model.naive_season)
        return season_BSD.repeat(1, repeats, 1)[:, :self.task.horizon]


class WindowNorm(NamedTuple):
    """What is taken out of a window's targets before the model and put back after (Kim et al., 2022)."""

    level_B1D: Tensor
    spread_B1D: Tensor


def window_norm(kind: Literal["none", "last", "standard"], past_BTF: Tensor, targets_D: Tensor) -> WindowNorm | None:
    """Return what to take out of the targets of windows with these rows before them."""
    if kind == "none":
        return None
    targets_BTD = past_BTF.index_select(2, targets_D)
    if kind == "last":
        return WindowNorm(targets_BTD[:, -1:], torch.ones_like(targets_BTD[:, -1:]))
    variance_B1D, mean_B1D = torch.var_mean(targets_BTD, dim=1, keepdim=True, correction=0)
    return WindowNorm(mean_B1D, (variance_B1D + 1e-5).sqrt())


def _check(task: ForecastingConfig, model: ModelConfig) -> None:
    for name in ("naive_season", "highway"):
        if (steps := getattr(model, name)) > task.context:
            raise InvalidSweep(Problem(name, f"{steps} steps in a context of {task.context}",
                                       f"make task.context at least {steps}"))
