"""Naive classifiers of whole sequences. Shapes: N sequences, L rows, F features, C classes, K statistics."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from seqsweep.data.batch import Ints, Prepared, Samples

Floats64 = npt.NDArray[np.float64]
MAJORITY, LOGISTIC, NEAREST = "majority class", "logistic on statistics", "nearest neighbour"
_MOST = 10_000_000_000
"""Beyond so many differences of two numbers, some seconds, no neighbours are looked for."""
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)


def naive_classifications(data: Prepared, part: str) -> dict[str, Floats64]:
    """Return the probabilities `(N, C)` of the class shares in the training part, of a logistic regression, and of the
    nearest training sequence.

    The regression reads `statistics` of each sequence, standardised; its strength is chosen by the log loss on the
    validation part. It is left out where the training part has one class only; the nearest neighbour (Euclidean, the
    UCR archive's first baseline: Dau et al., 2019) also where sequences differ in length or are too many.
    """
    train, samples = data.parts["train"], data.parts[part]
    count_C = np.bincount(train.label_N, minlength=len(data.info.classes)).astype(np.float64)
    probabilities = {MAJORITY: np.tile(count_C / count_C.sum(), (len(samples), 1))}
    if np.count_nonzero(count_C) > 1 and len(samples):
        probabilities[LOGISTIC] = _logistic(data, train, samples)
        if _comparable(data, train, samples):
            probabilities[NEAREST] = _nearest(data, train, samples)
    return probabilities


def _comparable(data: Prepared, train: Samples, samples: Samples) -> bool:
    lengths = {int(length) for each in (*data.parts.values(), samples) for length in np.unique(each.length_N)}
    pairs = len(train) * max(len(train), len(samples))
    return len(lengths) == 1 and pairs * max(lengths) * data.values_TF.shape[1] <= _MOST


def _nearest(data: Prepared, train: Samples, samples: Samples) -> Floats64:
    """The nearest one's class is as likely as that is right within the training part (Laplace's rule)."""
    neighbour = KNeighborsClassifier(1).fit(_flat(data, train), train.label_N)
    known, nearest_N = neighbour.classes_, neighbour.kneighbors(return_distance=False)[:, 0]  # itself left out
    right = int((train.label_N[nearest_N] == train.label_N).sum())
    share = max((right + 1) / (len(train) + len(known)), 1.01 / len(known))  # of two it is still the likelier
    probability_NC = np.zeros((len(samples), len(data.info.classes)))
    probability_NC[:, known] = (1 - share) / (len(known) - 1)
    probability_NC[np.arange(len(samples)), neighbour.predict(_flat(data, samples))] = share
    return probability_NC


def _flat(data: Prepared, samples: Samples) -> npt.NDArray[np.float32]:
    """All values `(N, L F)` of sequences of one length."""
    rows_NL = samples.start_N[:, None] + np.arange(samples.length_N[0])
    x_NLF: npt.NDArray[np.float32] = data.values_TF[rows_NL]
    return x_NLF.reshape(len(samples), -1)


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
