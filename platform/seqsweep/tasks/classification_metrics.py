"""Classification's metrics from probabilities. Shapes: N sequences, C classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ranked:
    """What a metric that ranks all rows is made of; the sum of two is the rows of both."""

    probability_NC: Tensor
    label_N: Tensor

    def __add__(self, more: Ranked) -> Ranked:
        return Ranked(torch.cat([self.probability_NC, more.probability_NC]), torch.cat([self.label_N, more.label_N]))


def classification_sums(probability_NC: Tensor, label_N: Tensor, weight_C: Tensor) -> dict[str, Any]:
    """Return the confusion counts `(C, C)` (truth, guess), the sums of the log losses, and the rows to be ranked."""
    classes = probability_NC.shape[1]
    cell_N = label_N * classes + probability_NC.argmax(dim=1)
    ones_N = torch.ones_like(cell_N)
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=label_N.device).scatter_add_(0, cell_N, ones_N)
    log_loss_N, weight_N = _log_loss(probability_NC, label_N), weight_C.double().index_select(0, label_N)
    return {"confusion": confusion.view(classes, classes),
            "log_loss": torch.stack([log_loss_N.sum(), ones_N.double().sum()]),
            "loss": torch.stack([(log_loss_N * weight_N).sum(), weight_N.sum()]),
            "ranked": Ranked(probability_NC, label_N)}


def classification_metrics(sums: Mapping[str, Any]) -> dict[str, float]:
    """Return accuracy, balanced accuracy (classes without a row left out), macro F1 (of the classes that occur in
    truth or guess), area under the ROC curve and log loss, as scikit-learn defines them.
    """
    confusion = sums["confusion"].double().cpu()
    hits_C, truth_C, guess_C = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    f1_C = 2 * hits_C / (truth_C + guess_C)
    (log_total, log_weight), (total, weight) = torch.stack([sums["log_loss"], sums["loss"]]).tolist()
    return {
        "accuracy": float(hits_C.sum() / truth_C.sum()),
        "balanced_accuracy": float((hits_C / truth_C)[truth_C > 0].mean()),
        "f1": float(f1_C[truth_C + guess_C > 0].mean()),
        "auc": area_under_roc(sums["ranked"].probability_NC, sums["ranked"].label_N),
        "log_loss": log_total / log_weight,
        "loss": total / weight,
    }


def area_under_roc(probability_NC: Tensor, label_N: Tensor) -> float:
    """Return the chance that a row of a class is given a higher probability of it than a row of another, ties counting
    half (Hanley & McNeil, 1982): of two classes the second's, of more the mean over those that occur in the truth.

    nan where all rows are of one class.
    """
    areas = []
    for c in range(1 if probability_NC.shape[1] == 2 else 0, probability_NC.shape[1]):
        values, place_N = torch.unique(probability_NC[:, c], return_inverse=True)
        is_class_N = label_N == c
        hits, misses = (torch.bincount(place_N[kept], minlength=len(values)).double()
                        for kept in (is_class_N, ~is_class_N))
        if hits.sum() and misses.sum():
            below = misses.cumsum(0) - misses / 2
            areas.append(float((hits * below).sum() / (hits.sum() * misses.sum())))
    return sum(areas) / len(areas) if areas else float("nan")


def classification_losses(metric: str, probability_NC: Tensor, label_N: Tensor, weight_C: Tensor) -> Tensor:
    """Return one figure per sequence `(N,)`, lower is better.

    The mean is the metric for `log_loss` and `loss`, 1 - metric for `accuracy` and `balanced_accuracy`. F1 and the area
    under the ROC curve are no means over rows: the error balanced over classes and the log loss stand in for them.
    """
    if metric in ("log_loss", "auc"):
        return _log_loss(probability_NC, label_N)
    if metric == "loss":
        weight_N = weight_C.double().index_select(0, label_N)
        return _log_loss(probability_NC, label_N) * weight_N * (len(label_N) / weight_N.sum())
    error_N = (probability_NC.argmax(dim=1) != label_N).double()
    if metric == "accuracy":
        return error_N
    count_C = torch.bincount(label_N, minlength=probability_NC.shape[1]).double()
    return error_N * len(label_N) / ((count_C > 0).sum() * count_C.index_select(0, label_N))


def _log_loss(probability_NC: Tensor, label_N: Tensor) -> Tensor:
    """Return -log p of the true class; p is kept off 0 by float32's resolution, as scikit-learn does."""
    p_N = probability_NC.double().gather(1, label_N.unsqueeze(1)).squeeze(1)
    eps = torch.finfo(torch.float32).eps
    return -p_N.clamp(eps, 1 - eps).log()
