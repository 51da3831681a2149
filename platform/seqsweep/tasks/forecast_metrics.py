"""Forecasting's metrics, in data units, as weighted means of one value per point.

Shapes: N samples, H steps of the horizon, D targets, Q quantiles (1: a point forecast).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from seqsweep.config.tasks import ForecastingConfig


@dataclass(frozen=True, eq=False)
class ForecastTruth:
    """What came true for N samples."""

    y_NHD: Tensor
    """In data units, float64."""
    observed_NHD: Tensor | None
    """False where the truth is unknown; None: all known."""
    scale_ND: Tensor
    """Data units of one scaled unit: what the loss is measured in."""
    mase_ND: Tensor
    """In-sample error of the seasonal naive forecast; nan where there is none, and no point counts."""


def pointwise_loss(task: ForecastingConfig, error: Tensor) -> Tensor:
    """Return the training loss of each point from `error = truth - prediction` `(..., Q)` in scaled units."""
    if task.quantiles:
        return pinball(error, task.quantiles)
    return point_loss(task.loss, error.squeeze(-1))


def point_loss(kind: Literal["mse", "mae", "huber"], error: Tensor) -> Tensor:
    """Return the loss of each error, of any shape."""
    if kind == "mse":
        return error.square()
    if kind == "mae":
        return error.abs()
    return functional.huber_loss(error, torch.zeros_like(error), reduction="none")


def pinball(error: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    """Return the quantile loss of `error = truth - prediction` `(..., Q)`, a mean over Q (Koenker & Bassett, 1978)."""
    loss = torch.zeros_like(error[..., 0])
    for place, quantile in enumerate(quantiles):
        e = error[..., place if error.shape[-1] > 1 else 0]  # a point forecast stands for every quantile
        loss = loss + torch.maximum(quantile * e, (quantile - 1) * e)
    return loss / len(quantiles)


def forecast_terms(task: ForecastingConfig, prediction_NHDQ: Tensor,
                   truth: ForecastTruth) -> dict[str, tuple[Tensor, Tensor]]:
    """Return every metric's value and weight of each point, float64; a metric is their weighted mean.

    `rmse` is the root of its mean. `scaled_mse` measures each target in units of its scale in the training part, as
    figures on standardised values are published (Zhou et al., 2021). `mape` leaves out truths of 0; `smape` is M4's,
    0 to 200 %, and 0 where truth and prediction are both 0 (Makridakis et al., 2020); `mase` is scaled by the training
    part's seasonal naive forecast (Hyndman & Koehler, 2006); `coverage` is the share of truths between the outermost
    quantiles.
    """
    prediction, y = prediction_NHDQ.double(), truth.y_NHD
    weight = torch.ones_like(y) if truth.observed_NHD is None else truth.observed_NHD.double()
    middle = task.quantiles.index(0.5) if prediction.shape[-1] > 1 else 0
    point = prediction[..., middle]
    error = (y - point).abs()
    spread = error / truth.mase_ND.unsqueeze(1)
    scaled = (y.unsqueeze(-1) - prediction) / truth.scale_ND[:, None, :, None]
    values = {
        "mae": (error, weight),
        "mse": (error.square(), weight),
        "rmse": (error.square(), weight),
        "scaled_mse": ((error / truth.scale_ND[:, None, :]).square(), weight),
        "mape": (100 * error / y.abs(), weight * (y != 0)),
        "smape": (200 * error / (y.abs() + point.abs()).clamp(min=torch.finfo(y.dtype).tiny), weight),
        "mase": (spread, weight * spread.isfinite()),
        "pinball": (pinball(y.unsqueeze(-1) - prediction, task.quantiles or (0.5,)), weight),
        "loss": (pointwise_loss(task, scaled), weight),
    }
    if prediction.shape[-1] > 1:
        within = (prediction[..., 0] <= y) & (y <= prediction[..., -1])
        values["coverage"] = (within.double(), weight)
    return {name: (torch.where(kept > 0, value, 0.0), kept) for name, (value, kept) in values.items()}


def forecast_sums(task: ForecastingConfig, prediction_NHDQ: Tensor, truth: ForecastTruth) -> dict[str, Tensor]:
    """Return each metric's (weighted sum, weight) over the samples given."""
    terms = forecast_terms(task, prediction_NHDQ, truth)
    return {name: torch.stack([(value * weight).sum(), weight.sum()]) for name, (value, weight) in terms.items()}


def forecast_metrics(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the metrics; nan where no point counts."""
    table = torch.stack(list(sums.values())).tolist()  # one transfer for all
    means = {name: total / weight if weight else torch.nan for name, (total, weight) in zip(sums, table, strict=True)}
    return means | {"rmse": means["rmse"] ** 0.5}


def forecast_losses(task: ForecastingConfig, metric: str, prediction_NHDQ: Tensor, truth: ForecastTruth) -> Tensor:
    """Return one figure per sample `(N,)` whose mean is the metric (for `rmse`: its square)."""
    value, weight = forecast_terms(task, prediction_NHDQ, truth)[metric]
    return (value * weight).sum(dim=(1, 2)) * (len(value) / weight.sum())
