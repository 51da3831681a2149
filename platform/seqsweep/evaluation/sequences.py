"""Naive classifiers of whole sequences. Shapes: N sequences, L rows, F features, C classes, K statistics."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from seqsweep.data.batch import Ints, Prepared, Samples

Floats64 = npt.NDArray[np.float64]
MAJORITY, LOGISTIC = "majority class", "logistic on statistics"
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)


def naive_classifications(data: Prepared, part: str) -> dict[str, Floats64]:
    """Return the probabilities `(N, C)` of the class shares in the training part, and of a logistic regression.

    The regression reads `statistics` of each sequence, standardised; its strength is chosen by the log loss on the
    validation part. It is left out where the training part has one class only.
    """
    train, samples = data.parts["train"], data.parts[part]
    count_C = np.bincount(train.label_N, minlength=len(data.info.classes)).astype(np.float64)
    probabilities = {MAJORITY: np.tile(count_C / count_C.sum(), (len(samples), 1))}
    if np.count_nonzero(count_C) > 1 and len(samples):
        probabilities[LOGISTIC] = _logistic(data, train, samples)
    return probabilities


def statistics(data: Prepared, samples: Samples) -> Floats64:
    """Return `(N, 7F + C)`: mean, deviation, minimum, maximum, first, last value and slope of each feature, and the
    static features.
    """
    seven_NK = np.zeros((len(samples), 7 * data.values_TF.shape[1]))
    for length in np.unique(samples.length_N):  # sequences of one length at a time: no padding, no loop over rows
        of_length = np.flatnonzero(samples.length_N == length)
        rows_NL = samples.start_N[of_length, None] + np.arange(length)
        seven_NK[of_length] = _of_equal_length(data.values_TF[rows_NL].astype(np.float64))
    return np.hstack([seven_NK, data.static_SC[samples.series_N].astype(np.float64)])


def _of_equal_length(x_NLF: Floats64) -> Floats64:
    time_L = np.linspace(-1.0, 1.0, x_NLF.shape[1]) if x_NLF.shape[1] > 1 else np.zeros(1)
    slope_NF = np.einsum("l,nlf->nf", time_L, x_NLF) / max(1.0, float(time_L @ time_L))
    return np.hstack([x_NLF.mean(1), x_NLF.std(1), x_NLF.min(1), x_NLF.max(1), x_NLF[:, 0], x_NLF[:, -1], slope_NF])


def _logistic(data: Prepared, train: Samples, samples: Samples) -> Floats64:
    scaler = StandardScaler().fit(statistics(data, train))
    x_NK = scaler.transform(statistics(data, train))
    fitted = [_fit(x_NK, train.label_N, strength) for strength in _strengths(data)]
    if len(fitted) > 1:
        val = data.parts["val"]
        x_val = scaler.transform(statistics(data, val))
        fitted.sort(key=lambda model: _log_loss(_probabilities(model, data, x_val), val.label_N))  # stable
    return _probabilities(fitted[0], data, scaler.transform(statistics(data, samples)))


def _strengths(data: Prepared) -> tuple[float, ...]:
    return _STRENGTHS if "val" in data.parts and len(data.parts["val"]) else (1.0,)


def _fit(x_NK: Floats64, label_N: Ints, strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline not quite at its optimum is one still
        return LogisticRegression(C=strength, max_iter=500).fit(x_NK, label_N)


def _probabilities(model: LogisticRegression, data: Prepared, x_NK: Floats64) -> Floats64:
    """Return `(N, C)`, with 0 for classes that the training part does not have."""
    probability_NC = np.zeros((len(x_NK), len(data.info.classes)))
    probability_NC[:, model.classes_] = model.predict_proba(x_NK)
    return probability_NC


def _log_loss(probability_NC: Floats64, label_N: Ints) -> float:
    return float(-np.log(probability_NC[np.arange(len(label_N)), label_N].clip(1e-7)).mean())
