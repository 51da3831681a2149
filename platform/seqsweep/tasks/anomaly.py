"""Anomaly detection: how far each row is from what a model makes of the rows before it, or of the window it ends.

Shapes: B windows, L = context + 1 rows, F features, D of them watched, N samples of a part, S series.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seqsweep.config.models import ModelConfig
from seqsweep.config.tasks import METRICS, AnomalyConfig, ForecastingConfig
from seqsweep.data.batch import Ints, Prepared
from seqsweep.models.encoder import build_encoder
from seqsweep.tasks.anomaly_scores import Calibration, detected, figures
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecasting import Forecaster, window_norm
from seqsweep.tasks.heads import build_head
from seqsweep.tasks.learner import Learner, Sums
from seqsweep.tasks.nab import Doubles, Watch, watch


class Detector(Learner):
    """What both scorers have in common: errors, their scores, and the validation part's figures."""

    notes: ClassVar[tuple[str, ...]] = tuple(Calibration().notes())
    start_N: Tensor
    watched: AnomalyConfig
    rows: Prepared

    def _remember(self, task: AnomalyConfig, data: Prepared) -> None:
        """Remember whose rows the validation part has."""
        self.watched, self.rows = task, data
        start_N = data.parts["val"].start_N if "val" in data.parts else np.zeros(0, np.int64)
        self.register_buffer("start_N", torch.tensor(start_N), persistent=False)

    @abstractmethod
    def errors(self, output: Tensor, batch: Batch) -> Tensor:
        """Return each row's root mean squared error `(B,)`, in scaled units."""

    def predict(self, output: Tensor, batch: Batch) -> Tensor:
        """Return each row's error `(B,)`, float64; `predictions` makes scores of them."""
        return self.errors(output.double(), batch)

    def sums(self, prediction: Tensor, batch: Batch) -> Sums:
        """Put each row's error in its place of the validation part: batches add up to all of them."""
        errors_N = torch.zeros(len(self.start_N), dtype=torch.float64, device=prediction.device)
        place_B = torch.searchsorted(self.start_N, batch.start_B)
        return {"error": errors_N.index_put((place_B,), prediction)}

    def metrics(self, sums: Sums) -> dict[str, float]:
        """Return the mean of Huber's loss as `loss`, and the figures at the threshold that these rows choose."""
        error_N = sums["error"].cpu().numpy()
        if not np.isfinite(error_N).all():
            return dict.fromkeys((*METRICS["anomaly"], *self.notes), float("nan"))
        part = self.rows.parts["val"]
        watched = watch_of(self.watched, self.rows, "val")
        known = Calibration.of(self.watched, error_N, part.series_N, watched)
        score_N = known.scores(self.watched, error_N, part.series_N)
        return figures(detected(score_N, error_N, known.threshold), watched) | known.notes()


class ForecastDetector(Detector, Forecaster):
    """The error of a forecast of the next row (Malhotra et al., 2015)."""

    def __init__(self, task: AnomalyConfig, model: ModelConfig, data: Prepared) -> None:
        columns = tuple(data.info.features[place] for place in data.info.targets)
        next_row = ForecastingConfig(target=columns, horizon=1, context=task.context, loss="huber")
        Forecaster.__init__(self, next_row, model, data.info)
        self._remember(task, data)

    def errors(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the error of the one row ahead."""
        return (self._future(batch).double() - output[..., 0]).square().mean(dim=(1, 2)).sqrt()


class AutoEncoder(Detector):
    """The error of a window that is put together again from the encoder's state, which is too small to hold it.

    With `decoder: recurrent` it is EncDec-AD (Malhotra et al., 2016), else the decoder is linear. Seasons have no
    meaning here.
    """

    targets_D: Tensor

    def __init__(self, task: AnomalyConfig, model: ModelConfig, data: Prepared) -> None:
        super().__init__()
        info, self.model = data.info, model
        self.register_buffer("targets_D", torch.tensor(info.targets), persistent=False)
        self.encoder = build_encoder(model, len(info.features))
        sizes = (self.encoder.output_size, 0, len(info.static_features), task.context + 1, len(info.targets), ())
        self.head = build_head(model, *sizes)
        self._remember(task, data)

    def forward(self, batch: Batch) -> Tensor:
        """Return the windows `(B, L, D)` in scaled units."""
        window_BLF = batch.x_BLF
        norm = window_norm(self.model.window_norm, window_BLF[:, :-1], self.targets_D)
        if norm:
            targets_BLD = (window_BLF.index_select(2, self.targets_D) - norm.level_B1D) / norm.spread_B1D
            window_BLF = window_BLF.index_copy(2, self.targets_D, targets_BLD)
        state_BH = self.encoder(window_BLF, key=batch.key, first=batch.first)
        output_BLD: Tensor = self.head(state_BH, None, batch.static).squeeze(-1)
        return output_BLD * norm.spread_B1D + norm.level_B1D if norm else output_BLD

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean Huber loss over all rows of the windows, and the number of values."""
        mean = functional.huber_loss(output, self._windows(batch))
        return mean, torch.full_like(mean, output.numel())

    def errors(self, output: Tensor, batch: Batch) -> Tensor:
        """Return the error of the whole window."""
        return (self._windows(batch).double() - output).square().mean(dim=(1, 2)).sqrt()

    def _windows(self, batch: Batch) -> Tensor:
        return batch.x_BLF.index_select(2, self.targets_D)


def build_detector(task: AnomalyConfig, model: ModelConfig, data: Prepared) -> Detector:
    """Return the model of the task's scorer."""
    return (AutoEncoder if task.scorer == "autoencoder" else ForecastDetector)(task, model, data)


def rows_of(task: AnomalyConfig, data: Prepared, part: str) -> Ints:
    """Return the rows `(N,)` of `values_TF` that the samples of a part judge."""
    row_N: Ints = data.parts[part].start_N + task.context
    return row_N


def watch_of(task: AnomalyConfig, data: Prepared, part: str) -> Watch | None:
    """Return what alarms are worth in a part; None where nothing is labelled."""
    if data.window_T is None or data.first_S is None:
        return None
    return watch(data.window_T, data.first_S, rows_of(task, data, part))


def predictions(task: AnomalyConfig, notes: Mapping[str, float], data: Prepared, part: str,
                errors: Mapping[str, Doubles]) -> Doubles:
    """Return `(N, 3)`, score, alarm and loss, of a part.

    `errors` by part: those before it are the history that its first rows are held against. `notes`: what the
    validation part told in training.
    """
    known = Calibration.read(notes)
    error_N = np.concatenate([errors[name] for name in errors])
    start_N = np.concatenate([data.parts[name].start_N for name in errors])
    series_N = np.concatenate([data.parts[name].series_N for name in errors])
    asked_N = np.concatenate([np.full(len(errors[name]), name == part) for name in errors])
    order_N = np.argsort(start_N, kind="stable")
    score_N = known.scores(task, error_N[order_N], series_N[order_N])[asked_N[order_N]]
    return detected(score_N, error_N[order_N][asked_N[order_N]], known.threshold)

