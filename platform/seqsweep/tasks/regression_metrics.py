"""Regression's metrics, in data units. Shapes: N samples."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seqsweep.config.tasks import RegressionConfig
from seqsweep.tasks.forecast_metrics import point_loss


def regression_sums(task: RegressionConfig, error_N: Tensor, deviation_N: Tensor, scale_N: Tensor) -> dict[str, Tensor]:
    """Return sums over samples, float64, of `error = truth - prediction` and of the truths.

    `deviation_N`: the truths less some number that is the same for all samples of a part; `scale_N`: data units of one
    scaled unit.
    """
    error_N, deviation_N = error_N.double(), deviation_N.double()
    figures = (torch.ones_like(error_N), error_N.abs(), error_N.square(), point_loss(task.loss, error_N / scale_N),
               deviation_N, deviation_N.square())
    return {"sums": torch.stack([figure.sum() for figure in figures])}


def regression_metrics(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Return mean absolute, root mean squared and mean squared error, the coefficient of determination (nan where the
    truth does not vary), and the training loss.
    """
    count, absolute, squared, loss, total, squares = sums["sums"].tolist()
    spread = squares - total * total / count
    return {"mae": absolute / count, "rmse": (squared / count) ** 0.5, "mse": squared / count,
            "r2": 1 - squared / spread if spread > 0 else float("nan"), "loss": loss / count}


def regression_losses(task: RegressionConfig, metric: str, error_N: Tensor, deviation_N: Tensor,
                      scale_N: Tensor) -> Tensor:
    """Return one figure per sample `(N,)`, lower is better, whose mean is the metric; for `rmse` its square, for `r2`
    1 - r2.
    """
    if metric == "mae":
        return error_N.abs()
    if metric == "loss":
        return point_loss(task.loss, error_N / scale_N)
    spread = (deviation_N - deviation_N.mean()).square().mean() if metric == "r2" else 1.0
    return error_N.square() / spread
