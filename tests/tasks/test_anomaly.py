"""Detectors: errors, scores that never look ahead, thresholds, and what predictions become."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import FitConfig, MetricConfig
from seqsweep.config.tasks import AnomalyConfig
from seqsweep.config.training import ProgramConfig, TrainingConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.tasks.anomaly import build_detector, watch_of
from seqsweep.tasks.anomaly_scores import Calibration, choose_threshold, figures
from seqsweep.tasks.nab import nab_score
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.predict import predict

torch.set_num_threads(1)
CONTEXT, ROWS = 12, 300
SPIKES = (230, 520)
SCORERS = ("forecast", "autoencoder")


def sensor(labels: bool = True, seed: int = 0) -> Prepared:
    """Two series, a wave of period 12 in two columns each; late in each of them one row is far off."""
    draw = np.random.default_rng(seed)
    t = np.arange(ROWS)
    one = np.stack([np.sin(t * np.pi / 6), np.cos(t * np.pi / 6)], axis=1)
    values_TF = np.concatenate([one, one[::-1]]) + draw.normal(0, 0.1, (2 * ROWS, 2))
    values_TF[list(SPIKES), 0] += 4.0
    window_T = np.zeros(2 * ROWS, np.int64)
    for number, row in enumerate(SPIKES, start=1):
        window_T[row - 2:row + 3] = number
    parts = {}
    for part, first, last in (("train", 0, 120), ("val", 120 - CONTEXT, 180), ("test", 180 - CONTEXT, ROWS)):
        start_N = np.concatenate([np.arange(first, last - CONTEXT) + s * ROWS for s in range(2)])
        parts[part] = Samples(start_N, np.full_like(start_N, CONTEXT + 1), start_N // ROWS, np.zeros(0, np.int64),
                              start_N.astype(np.uint64))
    info = DataInfo(features=("a", "b"), targets=(0, 1), columns=("a", "b"), series=("x", "y"), data_hash="sensor")
    ones = np.ones((2, 2), np.float32)
    return Prepared(values_TF.astype(np.float32), np.zeros((2, 0), np.float32), 0 * ones, ones, None, parts, {}, info,
                    first_S=np.array([0, ROWS]), window_T=window_T if labels else None)


def task_of(**fields: Any) -> AnomalyConfig:
    return AnomalyConfig.model_validate({"features": ("a", "b"), "context": CONTEXT, "alarm_rate": 0.01} | fields)


def config_of(scorer: str = "forecast", seed: int = 1, model: dict[str, Any] | None = None,
              **training: Any) -> FitConfig:
    return FitConfig(
        task=task_of(scorer=scorer), model=RecurrentConfig.model_validate({"hidden_size": 8, "cell": "gru"}
                                                                         | (model or {})),
        training=TrainingConfig.model_validate({"epochs": 6, "learning_rate": 0.02, "batch_size": 32} | training),
        early_stopping=None, metric=MetricConfig(name="loss", goal="minimize"), seed=seed)


def trained(config: FitConfig, data: Prepared) -> Fit:
    fit = Fit(config, (data,))
    while fit.done is None:
        fit.advance()
    return fit


@pytest.mark.parametrize("decoder", ["direct", "recurrent"])
@pytest.mark.parametrize("scorer", SCORERS)
def test_a_spike_is_found_and_little_else(scorer: str, decoder: str) -> None:
    data, config = sensor(labels=False), config_of(scorer, model={"decoder": decoder})
    found = predict(config, trained(config, data).best_weights(), data, "test")
    rows = data.parts["test"].start_N + CONTEXT
    assert found.shape == (len(rows), 3)
    assert ((found[:, 0] >= 0) & (found[:, 0] <= 1)).all()
    alarms = rows[found[:, 1] == 1]
    assert set(SPIKES) <= set(alarms.tolist())
    assert len(alarms) <= 12
    labelled = replace(data, window_T=sensor().window_T)
    assert figures(found, watch_of(config.task, labelled, "test"))["windows_found"] == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("norm", ["none", "last", "standard"])
def test_rows_that_come_later_change_no_earlier_score(scorer: str, norm: str) -> None:
    data, config = sensor(), config_of(scorer, model={"window_norm": norm}, epochs=1)
    weights, cut = trained(config, data).best_weights(), 250
    later = data.values_TF.copy()
    later[cut:ROWS] += 50.0
    rows = data.parts["test"].start_N + CONTEXT
    before, after = (predict(config, weights, each, "test") for each in (data, replace(data, values_TF=later)))
    same = (rows < cut) | (rows >= ROWS)  # the other series, too
    np.testing.assert_array_equal(before[same], after[same])
    assert (before[~same] != after[~same]).any()


def test_the_future_of_a_series_that_is_not_there_yet_changes_nothing() -> None:
    """Online: what a longer file gives for its first rows is what the shorter file gave."""
    draw = np.random.default_rng(0)
    error_N = draw.exponential(size=3000)
    known, series_N = Calibration(1.0, 1.0, 0.9), np.zeros(3000, np.int64)
    whole = known.scores(task_of(), error_N, series_N)
    for rows in (1, 13, 999, 1500):
        np.testing.assert_allclose(known.scores(task_of(), error_N[:rows], series_N[:rows]), whole[:rows])


def test_a_score_is_the_bound_of_a_tail_probability() -> None:
    """Two series of errors of mean 1 and spread 1: ten spreads above the mean give 100 / 101."""
    error_N = np.tile([0.0, 2.0], 500)
    error_N[900], series_N = 11.0, np.zeros(1000, np.int64)
    score_N = Calibration(1.0, 1.0).scores(task_of(), error_N, series_N)
    assert score_N[900] == pytest.approx(100 / 101, rel=1e-3)
    assert (score_N[901:901 + CONTEXT] == 0).all()  # less than the one before: the same event
    assert (score_N[902 + CONTEXT:] < 0.6).all()


def test_scores_are_held_against_the_last_thousand_errors_of_their_own_series() -> None:
    calm, wild = np.tile([0.0, 2.0], 1500), np.tile([0.0, 200.0], 1500)
    error_N, series_N = np.concatenate([calm, wild]), np.repeat([0, 1], 3000)
    together = Calibration(1.0, 1.0).scores(task_of(), error_N, series_N)
    np.testing.assert_array_equal(together[:3000], Calibration(1.0, 1.0).scores(task_of(), calm, series_N[:3000]))
    assert together[3000:3010].max() > 0.99
    assert together[-100:].max() < 0.6  # used to it by now


def test_the_threshold_without_labels_lets_a_share_of_the_rows_alarm() -> None:
    score_N = np.random.default_rng(1).permutation(np.arange(1000) / 1000)
    for rate, alarms in ((0.01, 10), (0.1, 100), (0.0005, 1)):
        threshold = choose_threshold(task_of(alarm_rate=rate), score_N, None)
        assert (score_N >= threshold).sum() == alarms


def test_the_threshold_is_the_highest_score_where_too_many_have_it() -> None:
    assert choose_threshold(task_of(), np.ones(100), None) == 1.0
    assert choose_threshold(task_of(), np.zeros(100), None) == 0.5


def test_the_threshold_with_labels_has_the_best_nab_score() -> None:
    data, task = sensor(), task_of()
    watched = watch_of(task, data, "test")
    assert watched
    score_N = np.random.default_rng(3).random(len(watched.gain_N))
    threshold = choose_threshold(task, score_N, watched)
    best = max(nab_score(score_N >= each, watched) for each in score_N)
    assert nab_score(score_N >= threshold, watched) == pytest.approx(best)


def test_training_tells_what_predictions_use() -> None:
    data, config = sensor(), config_of(epochs=2)
    fit = Fit(config, (data,))
    reports = [fit.advance() for _ in range(2)]
    for report in reports:
        assert {"val_loss", "val_nab", "val_f1", "val_threshold", "val_error_level"} <= set(report.metrics)
        assert np.isnan(report.metrics["val_nab"])  # the validation part has no labelled row
    again = Fit(config, (data,))
    again.restore(fit.checkpoint())
    assert again.best_weights() == fit.best_weights()


@pytest.mark.parametrize("scorer", SCORERS)
def test_trials_in_step_are_what_they_are_alone(scorer: str) -> None:
    data = sensor()
    program = ProgramConfig(kernel="stacked", packed=True)
    configs = [config_of(scorer, seed, epochs=2, learning_rate=rate).model_copy(update={"program": program})
               for seed, rate in ((1, 0.01), (2, 0.03))]
    alone = []
    for config in configs:
        fit = Fit(config, (data,))
        alone.append([fit.advance().metrics["val_loss"] for _ in range(2)])
    together = Pack([Fit(config, (data,)) for config in configs])
    reports = [together.advance() for _ in range(2)]
    for number, losses in enumerate(alone):
        assert [step[number].metrics["val_loss"] for step in reports] == pytest.approx(losses, rel=1e-5)


def test_the_auto_encoder_sees_the_row_it_judges_and_the_forecaster_does_not() -> None:
    data = sensor()
    for scorer, sees in (("forecast", False), ("autoencoder", True)):
        config = config_of(scorer)
        learner = build_detector(task_of(scorer=scorer), config.model, data).eval()
        fold = Fit(config, (data,)).folds[0]
        batch = next(fold.val_loader.in_order())
        changed = batch.x_BLF.clone()
        changed[:, -1] += 1.0
        with torch.no_grad():
            differs = not torch.equal(learner(batch), learner(replace(batch, x_BLF=changed)))
        assert differs is sees
