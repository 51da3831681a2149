"""Predictions from bytes: the figures of training, ensembles over folds, and refusals."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from training_toys import HORIZON, tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidData, NotFound
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of
from seqsweep.training.fit import Fit
from seqsweep.training.predict import predict
from seqsweep.training.state import pack


def trained(config: FitConfig, *data: Prepared) -> Fit:
    fit = Fit(config, data)
    while fit.done is None:
        fit.advance()
    return fit


@pytest.mark.parametrize(("config", "data"), [
    (wave_config(window_norm="standard"), wave(gaps=True)),
    (wave_config(task={"quantiles": (0.2, 0.5, 0.9)}, metric="pinball", naive_season=12), wave()),
    (wave_config(metric="loss", task={"loss": "huber"}), wave()),
    (tones_config(metric="log_loss", goal="minimize", bidirectional=True), tones()),
    (tones_config(metric="loss", goal="minimize", task={"class_weights": "balanced"}), tones()),
], ids=["gaps", "quantiles", "huber", "sequences", "balanced"])
def test_metrics_of_predictions_are_those_of_training(config: FitConfig, data: Prepared) -> None:
    fit = trained(config, data)
    prediction = predict(config, fit.best_weights(), data, "val")
    metrics = metrics_from_predictions(config.task, prediction, truth_of(config.task, data, "val"))
    assert fit.best is not None
    assert metrics[config.metric.name] == pytest.approx(fit.best[1], rel=1e-6)


@pytest.mark.parametrize(("quantiles", "width"), [((), 1), ((0.1, 0.5, 0.9), 3)])
def test_shape(quantiles: tuple[float, ...], width: int) -> None:
    config = wave_config(task={"quantiles": quantiles})
    prediction = predict(config, trained(config, wave()).best_weights(), wave(), "test")
    assert prediction.shape == (len(wave().parts["test"]), HORIZON, 1, width)
    assert prediction.dtype == np.float64
    assert (np.diff(prediction, axis=-1) >= 0).all()


def test_probabilities_sum_to_one() -> None:
    config = tones_config()
    probability = predict(config, trained(config, tones()).best_weights(), tones(), "val")
    assert probability.shape == (20, 3)
    assert probability.sum(1) == pytest.approx(np.ones(20))


def test_folds_are_averaged_each_with_its_own_scaling() -> None:
    first = wave()
    second = dataclasses.replace(first, shift_SD=first.shift_SD + 100)
    config = wave_config()
    fit = trained(config, first, second)
    from seqsweep.training.state import unpack, within

    arrays, meta = unpack(fit.best_weights())
    assert meta == {"folds": 2, "epoch": fit.best[0] if fit.best else None}
    each = [predict(config, pack({f"0/{name}": a for name, a in within(str(k), arrays).items()}, {"folds": 1}), data,
                    "test") for k, data in enumerate((first, second))]
    assert each[1].mean() > each[0].mean() + 50
    both = predict(config, fit.best_weights(), (first, second), "test")
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2)
    assert predict(config, fit.best_weights(), first, "test").mean() < each[0].mean() + 50


def test_refusals_say_what_is_wrong() -> None:
    config, data = wave_config(), wave()
    weights = trained(config, data).best_weights()
    with pytest.raises(NotFound, match="no part 'predict', but test, train, val"):
        predict(config, weights, data, "predict")
    with pytest.raises(InvalidData, match="weights of 1 folds, data of 2"):
        predict(config, weights, (data, data), "test")
    with pytest.raises(InvalidData, match="do not fit the model"):
        predict(wave_config(hidden_size=7), weights, data, "test")
    with pytest.raises(InvalidData, match="no packed weights"):
        predict(config, b"PK", data, "test")
    samples = data.parts["test"]
    empty: Any = type(samples)(**{name: array[:0] for name, array in vars(samples).items()})
    with pytest.raises(InvalidData, match="the test part has no sample"):
        predict(config, weights, dataclasses.replace(data, parts={"test": empty}), "test")


def test_a_part_alone_is_enough_to_predict() -> None:
    config, data = tones_config(task={"class_weights": "balanced"}), tones()
    weights = trained(config, data).best_weights()
    alone = dataclasses.replace(data, parts={"predict": data.parts["val"]})
    np.testing.assert_array_equal(predict(config, weights, alone, "predict"), predict(config, weights, data, "val"))
