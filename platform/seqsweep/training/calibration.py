"""Conformal calibration of forecast quantiles on the validation part.

Shapes: N windows, H steps of the horizon, D targets, Q quantiles, M points of one target that were observed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import Prepared
from seqsweep.tasks.metrics import truth_of
from seqsweep.training.predict import CALIBRATION, Member, mean_of, predict_folds
from seqsweep.training.state import pack, scoped, unpack

Floats64 = npt.NDArray[np.float64]


def calibrated(members: Sequence[Member], data: tuple[Prepared, ...]) -> tuple[Member, ...]:
    """Put into the weights by how much each quantile is moved, where `task.calibration` asks for it.

    Conformalized quantile regression (Romano, Patterson & Candes, 2019), its form that treats each tail by itself: the
    quantile q of target d is moved by the q-quantile, with the correction for a finite sample, of truth less forecast
    over all windows and steps of the validation part, in scaled units. The median stays. Each fold has its own. Of
    several members their mean is calibrated: each is moved by the same.
    Windows of one series are not exchangeable, nor are two parts of a series in time: the coverage is no promise.
    """
    task = members[0].fit.task
    if not isinstance(task, ForecastingConfig) or task.calibration == "none":
        return tuple(members)
    each = [predict_folds(member.fit, member.weights, data, "val") for member in members]
    means = [mean_of(fold, [member.picks for member in members]) for fold in zip(*each, strict=True)]
    offsets = {str(number): offsets_of(task, fold, mean) for number, (fold, mean)
               in enumerate(zip(data, means, strict=True))}
    return tuple(replace(member, weights=_moved_by(member.weights, offsets)) for member in members)


def _moved_by(weights: bytes, offsets: Mapping[str, Floats64]) -> bytes:
    arrays, meta = unpack(weights)
    return pack(arrays | scoped(CALIBRATION, offsets), meta)


def offsets_of(task: ForecastingConfig, data: Prepared, prediction_NHDQ: npt.NDArray[Any]) -> Floats64:
    """Return `(D, Q)`: what is added to each quantile, in scaled units."""
    truth = truth_of(task, data, "val")
    error_NHDQ = (truth.y[..., None] - prediction_NHDQ) / truth.scale_ND[:, None, :, None]
    offset_DQ = np.zeros(error_NHDQ.shape[2:])
    known_NHD = np.ones(error_NHDQ.shape[:3], dtype=bool) if truth.observed_NHD is None else truth.observed_NHD
    for d in range(len(offset_DQ)):
        error_MQ = error_NHDQ[:, :, d][known_NHD[:, :, d]]
        for q, quantile in enumerate(task.quantiles):
            if quantile != 0.5 and len(error_MQ):
                offset_DQ[d, q] = conformal_quantile(error_MQ[:, q], quantile)
    return offset_DQ


def conformal_quantile(error_M: Floats64, quantile: float) -> float:
    """Return the error that a new one stays below with the probability `quantile` at least, or above with the rest.

    Above the median it is the ceil((M + 1) q)-th smallest, below it the floor((M + 1) q)-th; the outermost where there
    are too few for that.
    """
    position = (len(error_M) + 1) * quantile
    rank = math.ceil(position) if quantile > 0.5 else math.floor(position)
    return float(np.sort(error_M)[min(max(rank, 1), len(error_M)) - 1])
