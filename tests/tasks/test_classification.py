"""The classifier's loss and metrics, against scikit-learn."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.tasks import METRICS, ClassificationConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.tasks.batch import Arrays, Batch
from seqsweep.tasks.classification import Classifier, class_weights
from seqsweep.tasks.classification_metrics import classification_metrics, classification_sums
from seqsweep.tasks.metrics import Truth, metrics_from_predictions, sample_losses, truth_of

BALANCED = ClassificationConfig(class_weights="balanced")


def sequences(labels: list[int], classes: int = 4) -> Prepared:
    draw = np.random.default_rng(1)
    n = len(labels)
    samples = Samples(np.arange(n) * 5, np.full(n, 5), np.arange(n), np.array(labels), np.arange(n).astype(np.uint64))
    info = DataInfo(features=("a", "b"), columns=("a", "b"), classes=tuple("pqrs"[:classes]), static_features=("age",),
                    data_hash="sequences")
    none = np.zeros((n, 0), np.float32)
    return Prepared(draw.normal(size=(5 * n, 2)).astype(np.float32), draw.normal(size=(n, 1)).astype(np.float32),
                    none, none, None, {"train": samples, "val": samples}, {}, info)


def guesses(n: int, classes: int = 4, seed: int = 0) -> Any:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), n)


LABELS = [0, 0, 0, 1, 2, 2, 0, 1, 0, 2, 2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learns(seed: int) -> None:
    data = sequences(LABELS)
    truth, probability = truth_of(BALANCED, data, "val"), guesses(len(LABELS), seed=seed)
    guess = probability.argmax(1)
    weights = truth.weight_C[truth.y]
    expected = {
        "accuracy": accuracy_score(truth.y, guess),
        "balanced_accuracy": np.mean([(guess[truth.y == c] == c).mean() for c in range(3)]),
        "f1": f1_score(truth.y, guess, average="macro"),
        "auc": np.mean([roc_auc_score(truth.y == c, probability[:, c]) for c in range(3)]),
        "log_loss": log_loss(truth.y, probability, labels=range(4)),
        "loss": log_loss(truth.y, probability, labels=range(4), sample_weight=weights),
    }
    assert metrics_from_predictions(BALANCED, probability, truth) == pytest.approx(expected, rel=1e-6)
    assert set(expected) == set(METRICS["classification"])


def test_balanced_accuracy_is_scikit_learns_where_only_true_classes_are_guessed() -> None:
    data = sequences(LABELS, classes=3)
    truth, probability = truth_of(BALANCED, data, "val"), guesses(len(LABELS), 3)
    assert metrics_from_predictions(BALANCED, probability, truth)["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(truth.y, probability.argmax(1)))


def test_the_area_under_the_curve_counts_ties_half_and_is_that_of_the_second_of_two_classes() -> None:
    data = sequences([0, 1, 1, 0, 1, 0, 0, 1], classes=2)
    truth, second = truth_of(BALANCED, data, "val"), np.array([0.1, 0.4, 0.7, 0.4, 0.4, 0.2, 0.9, 0.7], np.float32)
    area = metrics_from_predictions(BALANCED, np.stack([1 - second, second], 1), truth)["auc"]
    assert area == pytest.approx(roc_auc_score(truth.y, second))
    assert area != 0.5


def test_the_area_under_the_curve_is_unknown_where_there_is_one_class() -> None:
    data = sequences([1, 1, 1], classes=2)
    assert np.isnan(metrics_from_predictions(BALANCED, guesses(3, 2), truth_of(BALANCED, data, "val"))["auc"])


def test_the_area_under_the_curve_is_that_of_all_rows_whatever_the_batches() -> None:
    label_N, probability = torch.tensor(LABELS), torch.tensor(guesses(len(LABELS)))
    weight_C = torch.ones(4)
    halves = [classification_sums(probability[rows], label_N[rows], weight_C) for rows in (slice(5), slice(5, None))]
    both = {name: halves[0][name] + halves[1][name] for name in halves[0]}
    whole = classification_metrics(classification_sums(probability, label_N, weight_C))
    assert classification_metrics(both) == pytest.approx(whole)


def test_certain_and_wrong_stays_finite() -> None:
    data = sequences([0, 1])
    metrics = metrics_from_predictions(BALANCED, np.eye(4)[[1, 0]].astype(np.float32), truth_of(BALANCED, data, "val"))
    assert metrics["log_loss"] == pytest.approx(-np.log(np.finfo(np.float32).eps))
    assert metrics["accuracy"] == metrics["f1"] == 0


@pytest.mark.parametrize("metric", METRICS["classification"])
def test_sample_losses_give_the_metric(metric: str) -> None:
    data = sequences(LABELS)
    truth, probability = truth_of(BALANCED, data, "val"), guesses(len(LABELS))
    mean = sample_losses(BALANCED, metric, probability, truth).mean()
    metrics = metrics_from_predictions(BALANCED, probability, truth)
    stand_in = {"accuracy": 1 - metrics["accuracy"], "balanced_accuracy": 1 - metrics["balanced_accuracy"],
                "f1": 1 - metrics["balanced_accuracy"], "auc": metrics["log_loss"]}
    assert mean == pytest.approx(stand_in.get(metric, metrics[metric]))


def test_balanced_weights_are_scikit_learns_and_zero_for_absent_classes() -> None:
    weights = class_weights(BALANCED, sequences(LABELS)).tolist()
    assert weights[:3] == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=np.array(LABELS)))
    assert weights[3] == 0
    assert class_weights(ClassificationConfig(), sequences(LABELS)).tolist() == [1.0] * 4


@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_training_loss_is_the_validation_loss(kind: Literal["none", "balanced"]) -> None:
    data, task = sequences(LABELS), ClassificationConfig(class_weights=kind)
    torch.manual_seed(2)
    learner = Classifier(task, RecurrentConfig(hidden_size=4), data).eval()
    samples = data.parts["val"]
    x_BLF = torch.tensor(data.values_TF).view(len(LABELS), 5, 2)
    arrays = Arrays.of(data, np.zeros((len(LABELS), 0)), torch.device("cpu"))
    batch = Batch(arrays, x_BLF, None, torch.tensor(samples.series_N), torch.tensor(LABELS), None)
    with torch.inference_mode():
        logits = learner(batch)
        mean, weight = learner.loss(logits, batch)
        probability = learner.predict(logits, batch)
        metrics = learner.metrics(learner.sums(probability, batch))
        moved = learner(Batch(arrays, x_BLF, None, torch.tensor(samples.series_N).flip(0), batch.label_B, None))
    assert float(mean) == pytest.approx(metrics["loss"], rel=1e-5)
    assert float(weight) == pytest.approx(len(LABELS))
    assert not torch.equal(moved, logits)  # the static feature is read
    truth: Truth = truth_of(task, data, "val")
    assert metrics_from_predictions(task, probability.numpy(), truth) == pytest.approx(metrics, rel=1e-12)
