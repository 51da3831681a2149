"""Predictions of trained weights in data units: the mean of a trial's folds, and of several trials (ensembles)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seqsweep.config.sweep import FitConfig
from seqsweep.config.tasks import AnomalyConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidData, NotFound, Problem
from seqsweep.models.own import OwnEncoder
from seqsweep.models.subnormal import without_subnormals
from seqsweep.own import told
from seqsweep.tasks.anomaly import predictions
from seqsweep.tasks.learner import Learner
from seqsweep.training.batches import Loader, arrays_on
from seqsweep.training.fold import build_learner, evaluation_batch, load_weights
from seqsweep.training.state import unpack, within

CALIBRATION = "calibration"
"""Scope of what a calibration adds to weights: of each fold `(D, Q)`, by how much quantiles move, in scaled units."""


@dataclass(frozen=True, eq=False)
class Member:
    """A trial's trained model, alone or among those whose mean is told."""

    trial: int
    fit: FitConfig
    weights: bytes
    """As `seqsweep.training.fit.Fit.best_weights` gave them."""
    picks: int = 1
    """How often it counts in the mean."""


def predict_together(members: Sequence[Member], data: tuple[Prepared, ...] | Prepared, part: str,
                     device: str = "cpu") -> npt.NDArray[np.float64]:
    """Return the mean of the members' predictions, shaped as `predict` gives them; of one member it is its own."""
    return mean_of([predict(member.fit, member.weights, data, part, device) for member in members],
                   [member.picks for member in members])


def mean_of(predictions: Sequence[npt.NDArray[np.float64]], picks: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the weighted mean of predictions of one shape.

    Quantiles are averaged one by one (Vincent, 1912; Lichtendahl et al., 2013), which leaves them in their order.
    """
    total = picks[0] * predictions[0]
    for prediction, count in zip(predictions[1:], picks[1:], strict=True):
        total += count * prediction
    mean: npt.NDArray[np.float64] = total / sum(picks)
    return mean


def predict(config: FitConfig, weights: bytes, data: tuple[Prepared, ...] | Prepared, part: str,
            device: str = "cpu") -> npt.NDArray[np.float64]:
    """Return forecasts `(N, horizon, D, Q)` in data units, Q = 1 for a point forecast, probabilities `(N, C)`, numbers
    `(N,)` in data units, or of rows that may be anomalies `(N, 3)`: score, 1 where it is an alarm, loss.

    Each fold's model reads its own fold of `data` (its scaling); a single Prepared serves all. Raises InvalidData where
    the weights do not fit the config or the folds disagree, NotFound where the part is missing.
    """
    each = predict_folds(config, weights, data, part, device)
    if len({len(prediction) for prediction in each}) > 1:
        raise InvalidData(Problem("", f"the folds' {part} parts differ in length: their mean has no meaning"))
    mean: npt.NDArray[np.float64] = np.mean(each, axis=0, dtype=np.float64)
    return mean


def predict_folds(config: FitConfig, weights: bytes, data: tuple[Prepared, ...] | Prepared, part: str,
                  device: str = "cpu") -> list[npt.NDArray[Any]]:
    """Return what each fold's model predicts; see `predict`."""
    arrays, meta = unpack(weights)
    count = meta["folds"]
    folds = (data,) * count if isinstance(data, Prepared) else data
    if len(folds) != count:
        raise InvalidData(Problem("", f"weights of {count} folds, data of {len(folds)}"))
    each = [_predict_fold(config, within(str(number), arrays), meta.get("notes", {}), fold, part, torch.device(device))
            for number, fold in enumerate(folds)]
    offsets = within(CALIBRATION, arrays)
    return [_moved(prediction, offsets.get(str(number)), fold, part) for number, (prediction, fold)
            in enumerate(zip(each, folds, strict=True))]


def _moved(prediction: npt.NDArray[Any], offset_DQ: npt.NDArray[Any] | None, data: Prepared, part: str
           ) -> npt.NDArray[Any]:
    """Move quantiles `(N, H, D, Q)` by a calibration; what crosses is put in order (Chernozhukov et al., 2010)."""
    if offset_DQ is None:
        return prediction
    scale_ND = data.scale_SD[data.parts[part].series_N].astype(np.float64)
    return np.sort(prediction + offset_DQ * scale_ND[:, None, :, None], axis=-1)


@without_subnormals()
def _predict_fold(config: FitConfig, weights: dict[str, Any], notes: Mapping[str, float], data: Prepared, part: str,
                  device: torch.device) -> npt.NDArray[Any]:
    if part not in data.parts:
        raise NotFound(f"the data have no part {part!r}, but {', '.join(sorted(data.parts))}")
    if not len(data.parts[part]):
        raise InvalidData(Problem("", f"the {part} part has no sample"))
    learner = build_learner(config, data)
    try:
        load_weights(learner, weights)
    except RuntimeError as error:
        raise InvalidData(Problem("", f"the weights do not fit the model: {error}")) from error
    learner.to(device).eval()
    if not isinstance(config.task, AnomalyConfig):
        return _outputs(learner, data, part, device)
    history = [before for before in ("val",) if part == "test" and before in data.parts]
    errors = {each: _outputs(learner, data, each, device) for each in (*history, part)}
    return predictions(config.task, notes, data, part, errors)


def _outputs(learner: Learner, data: Prepared, part: str, device: torch.device) -> npt.NDArray[Any]:
    loader = Loader(arrays_on(data, device), data.parts[part], evaluation_batch(data, part))
    with torch.inference_mode(), _told(learner):
        outputs = [learner.predict(learner(batch).float(), batch) for batch in loader.in_order()]
    return torch.cat(outputs).cpu().numpy()


def _told(learner: Learner) -> AbstractContextManager[None]:
    """Say where in a user's own model an exception comes from; there is nobody who shows a trace."""
    encoder = learner.encoder
    return told(encoder.own, f"a forward pass of {encoder.own.name}") if isinstance(encoder, OwnEncoder) else (
        nullcontext())
