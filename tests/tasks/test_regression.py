"""The regressor's loss and metrics, against scikit-learn; its baselines; its figures in the gate."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.tasks import METRICS, RegressionConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples, Scaling
from seqsweep.evaluation.baselines import baselines
from seqsweep.evaluation.terms import terms_of
from seqsweep.tasks.metrics import metrics_from_predictions, sample_losses, truth_of
from seqsweep.tasks.regression import Regressor
from seqsweep.training.batches import Loader, arrays_on

SHIFT, SCALE, CAP = 40.0, 8.0, 36.0


def sums(rows: int = 90, seed: int = 0) -> Prepared:
    """Sequences of 3 to 6 steps of two channels; the number to tell is what the first adds up to, and a static one."""
    draw = np.random.default_rng(seed)
    length_N = draw.integers(3, 7, rows)
    start_N = np.concatenate([[0], np.cumsum(length_N)[:-1]])
    values_TF, static_SC = draw.normal(size=(int(length_N.sum()), 2)), draw.normal(size=(rows, 1))
    target_N = np.add.reduceat(values_TF[:, 0], start_N) + static_SC[:, 0]
    parts = {}
    for part, these in (("train", slice(0, 50)), ("val", slice(50, 70)), ("test", slice(70, rows))):
        parts[part] = Samples(start_N[these], length_N[these], np.arange(rows)[these], np.zeros(0, np.int64),
                              np.arange(rows)[these].astype(np.uint64), target_N[these].astype(np.float32))
    info = DataInfo(features=("a", "b"), columns=("a", "b"), static_features=("age",), data_hash="sums",
                    target_scaling=Scaling(shift=(SHIFT,), scale=(SCALE,)))
    one = np.ones((rows, 1), np.float32)
    return Prepared(values_TF.astype(np.float32), static_SC.astype(np.float32), SHIFT * one, SCALE * one, None, parts,
                    {}, info)


def task(**fields: Any) -> RegressionConfig:
    return RegressionConfig(target="y", **fields)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_metrics_are_scikit_learns(loss: Any) -> None:
    truth, draw = truth_of(task(), sums(), "test"), np.random.default_rng(1)
    guess = truth.y + draw.normal(0, 12, len(truth.y))
    scaled = np.abs(truth.y - guess) / SCALE
    expected = {"mae": mean_absolute_error(truth.y, guess), "mse": mean_squared_error(truth.y, guess),
                "rmse": mean_squared_error(truth.y, guess) ** 0.5, "r2": r2_score(truth.y, guess),
                "loss": {"mse": scaled ** 2, "mae": scaled,
                         "huber": np.where(scaled < 1, scaled ** 2 / 2, scaled - 0.5)}[loss].mean()}
    assert metrics_from_predictions(task(loss=loss), guess, truth) == pytest.approx(expected)
    assert set(expected) == set(METRICS["regression"])


def test_nothing_is_explained_of_a_truth_that_does_not_vary() -> None:
    data = sums()
    same = truth_of(task(), data, "test")
    same.y[:] = 3.0
    assert np.isnan(metrics_from_predictions(task(), same.y + 1, same)["r2"])


@pytest.mark.parametrize("metric", METRICS["regression"])
def test_sample_losses_and_terms_give_the_metric(metric: str) -> None:
    truth, draw = truth_of(task(), sums(), "test"), np.random.default_rng(1)
    guess = truth.y + draw.normal(0, 12, len(truth.y))
    whole = metrics_from_predictions(task(), guess, truth)
    assert terms_of(task(), metric, guess, truth).value() == pytest.approx(whole[metric])
    mean = sample_losses(task(), metric, guess, truth).mean()
    assert mean == pytest.approx({"rmse": whole["mse"], "r2": 1 - whole["r2"]}.get(metric, whole[metric]))


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_training_loss_is_the_validation_loss(loss: Any) -> None:
    data, config = sums(), task(loss=loss)
    torch.manual_seed(2)
    learner = Regressor(config, RecurrentConfig(hidden_size=4), data.info).eval()
    loader = Loader(arrays_on(data, torch.device("cpu")), data.parts["val"], 7)
    total, weight, guess = 0.0, 0.0, []
    found: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for batch in loader.in_order():
            output = learner(batch)
            mean, count = learner.loss(output, batch)
            total, weight = total + float(mean) * float(count), weight + float(count)
            guess.append(learner.predict(output, batch))
            for name, value in learner.sums(guess[-1], batch).items():
                found[name] = found[name] + value if name in found else value
    metrics = learner.metrics(found)
    assert total / weight == pytest.approx(metrics["loss"], rel=1e-5)
    truth = truth_of(config, data, "val")
    assert metrics_from_predictions(config, torch.cat(guess).numpy(), truth) == pytest.approx(metrics, rel=1e-5)
    assert weight == 20


def test_the_static_feature_is_read_and_no_prediction_is_above_the_cap() -> None:
    data = sums()
    torch.manual_seed(2)
    learner = Regressor(task(cap=CAP), RecurrentConfig(hidden_size=4), data.info).eval()
    batch = next(Loader(arrays_on(data, torch.device("cpu")), data.parts["train"], 50).in_order())
    free = Regressor(task(), RecurrentConfig(hidden_size=4), data.info).eval()
    free.load_state_dict(learner.state_dict())
    output = learner(batch)
    capped, uncapped = (each.predict(output.detach(), batch).max() for each in (learner, free))
    assert float(capped) == CAP < float(uncapped)
    learner.head.weight.data[:, -1] += 1
    static = batch.static
    assert static is not None
    assert torch.allclose(learner(batch) - output, static[:, 0], atol=1e-6)


def test_baselines_are_the_mean_and_a_ridge_that_finds_what_is_linear_in_statistics() -> None:
    data = sums(rows=400)
    found = baselines(task(), data)
    truth = truth_of(task(), data, "test")
    assert set(found) == {"training mean", "ridge on statistics"}
    train = truth_of(task(), data, "train").y
    assert found["training mean"] == pytest.approx(np.full(len(truth.y), train.mean()))
    scores = {name: metrics_from_predictions(task(), each, truth)["r2"] for name, each in found.items()}
    assert scores["ridge on statistics"] > 0.9 > 0.1 > scores["training mean"]
    assert max(baselines(task(cap=35.0), data)["ridge on statistics"]) == 35.0
