"""A trial from start to end: what it reports, keeps, and when it stops."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.models import AroundConfig, RecurrentConfig
from seqsweep.config.sweep import FitConfig
from seqsweep.config.tasks import METRICS
from seqsweep.config.training import EarlyStoppingConfig, TrainingConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import Conflict, InvalidData, NotFound
from seqsweep.records import Reason, Report
from seqsweep.training.engine import Alone, Steps, validate
from seqsweep.training.engine import train as train_epoch
from seqsweep.training.fit import Fit


def train(config: FitConfig, *data: Prepared) -> tuple[Fit, list[Report]]:
    fit, reports = Fit(config, data), []
    while fit.done is None:
        reports.append(fit.advance())
    return fit, reports


def curve(reports: list[Report]) -> list[dict[str, float]]:
    return [{name: value for name, value in report.metrics.items() if name != "seconds"} for report in reports]


def figures_of(steps: Steps) -> dict[str, float]:
    """The figures of the one trial, once all steps are taken."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return dict(end.value[0])


COMMON = {"train_loss", "val_loss", "grad_norm", "grad_norm_max", "learning_rate", "seconds"}


def test_forecasting_reports_every_metric_and_learns() -> None:
    fit, reports = train(wave_config(epochs=15), wave())
    assert set(reports[0].metrics) == COMMON | {f"val_{name}" for name in METRICS["forecasting"]}
    assert [report.epoch for report in reports] == list(range(1, 16))
    assert fit.done is Reason.FINISHED
    assert reports[-1].metrics["val_mae"] < 0.35 * reports[0].metrics["val_mae"]
    assert reports[-1].metrics["train_loss"] < 0.35 * reports[0].metrics["train_loss"]
    assert all(report.metrics["grad_norm_max"] >= report.metrics["grad_norm"] > 0 for report in reports)
    assert all(report.metrics["seconds"] > 0 for report in reports)


def test_classification_reports_every_metric_and_learns() -> None:
    fit, reports = train(tones_config(epochs=8, cell="gru", hidden_size=12, learning_rate=3e-2), tones(300))
    assert set(reports[0].metrics) == COMMON | {f"val_{name}" for name in METRICS["classification"]}
    assert fit.best is not None
    assert fit.best[1] > 0.95
    assert fit.best[1] == max(report.metrics["val_accuracy"] for report in reports)


def test_quantiles_report_their_coverage() -> None:
    _, reports = train(wave_config(task={"quantiles": (0.1, 0.5, 0.9)}), wave(gaps=True))
    assert 0 <= reports[-1].metrics["val_coverage"] <= 1


def test_best_is_the_best_epoch_and_keeps_its_weights() -> None:
    config = wave_config(epochs=8, learning_rate=0.1)
    fit, reports = train(config, wave())
    values = [report.metrics["val_mae"] for report in reports]
    assert fit.best == (1 + int(np.argmin(values)), min(values))
    again = Fit(config, (wave(),))
    for _ in range(fit.best[0]):
        again.advance()
    assert again.best_weights() == fit.best_weights()


def test_num_weights_counts_trainable_numbers() -> None:
    fit = Fit(wave_config(cell="elman", hidden_size=6), (wave(),))
    assert fit.num_weights == 6 * 2 + 6 * 6 + 2 * 6 + (6 + 3) * 3 + 3


def test_seed_decides_everything_and_nothing_else_does() -> None:
    config, data = wave_config(dropout=0.3, num_layers=2, variational_dropout=0.1), wave()
    _, alone = train(config, data)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = Fit(config, (data,)), Fit(wave_config(seed=1, dropout=0.3, num_layers=2), (data,))
    mixed = []
    while first.done is None:
        mixed.append(first.advance())
        second.advance()
        torch.rand(3)
    assert curve(mixed) == curve(alone)
    torch.random.set_rng_state(before)
    expected = torch.rand(3)
    torch.random.set_rng_state(before)
    Fit(config, (data,)).advance()
    assert torch.equal(torch.rand(3), expected)  # the process's own random numbers are left alone
    _, other = train(wave_config(seed=1, dropout=0.3, num_layers=2, variational_dropout=0.1), data)
    assert curve(other) != curve(alone)


def test_epochs_differ_in_their_shuffle_and_dropout() -> None:
    fold = Fit(wave_config(), (wave(),)).folds[0]
    assert fold.order(1).tolist() == fold.order(1).tolist() != fold.order(2).tolist()
    assert fold.keys(1).tolist() == fold.keys(1).tolist() != fold.keys(2).tolist()
    assert len(set(fold.keys(1).tolist())) == fold.train_loader.steps


def test_data_are_never_written_to() -> None:
    data = wave(gaps=True)
    before = {name: array.copy() for name, array in data.arrays().items()}
    train(wave_config(window_norm="standard", naive_season=12), data)
    for name, array in data.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("patience", "min_delta"), [(2, 0.0), (3, 0.05)])
def test_early_stopping_waits_for_patience(patience: int, min_delta: float) -> None:
    config = wave_config(epochs=200, learning_rate=0.1)
    config = config.model_copy(update={"early_stopping": EarlyStoppingConfig(patience=patience, min_delta=min_delta)})
    fit, reports = train(config, wave())
    values = [report.metrics["val_mae"] for report in reports]
    assert fit.done is Reason.EARLY_STOPPED
    best, waited = math.inf, 0
    for epoch, value in enumerate(values, start=1):
        best, waited = (value, 0) if value < best - min_delta else (best, waited + 1)
        assert (waited >= patience) == (epoch == len(values))


def test_maximised_metrics_stop_early_too() -> None:
    fit, _ = train(tones_config(epochs=300, patience=4, hidden_size=12, learning_rate=3e-2), tones(90))
    assert fit.done is Reason.EARLY_STOPPED
    assert fit.best is not None
    assert fit.epoch == fit.best[0] + 4


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_divergence_ends_the_trial_and_is_reported(clip_norm: float) -> None:
    config = wave_config(epochs=50, optimizer="sgd", learning_rate=10.0, momentum=0.99, clip_norm=clip_norm,
                         cell="elman", nonlinearity="relu", hidden_size=32, task={"loss": "mse"})
    if clip_norm:
        data = wave()
        values_TF = data.values_TF.copy()
        values_TF[20, 0] = 3e38  # its square is no float32
        data = Prepared(**(vars(data) | {"values_TF": values_TF}))
    else:
        data = wave()
    fit, reports = train(config, data)
    assert fit.done is Reason.DIVERGED
    last = reports[-1].metrics
    assert not math.isfinite(last["train_loss"]) or not math.isfinite(last["val_loss"])
    assert set(last) == set(reports[0].metrics)
    assert all(math.isnan(value) for name, value in last.items() if name.startswith("val_"))
    with pytest.raises(Conflict, match="diverged"):
        fit.advance()


def test_a_trial_without_a_finite_epoch_has_no_weights() -> None:
    data = wave()
    values_TF = np.full_like(data.values_TF, np.nan)
    fit, reports = train(wave_config(), Prepared(**(vars(data) | {"values_TF": values_TF})))
    assert (fit.done, fit.epoch, fit.best) == (Reason.DIVERGED, 1, None)
    assert math.isnan(reports[0].metrics["train_loss"])
    with pytest.raises(NotFound, match="no weights"):
        fit.best_weights()


def test_folds_report_their_mean() -> None:
    folds = (wave(seed=0), wave(seed=0, val_last=False))
    _, both = train(wave_config(), *folds)
    alone = Fit(wave_config(), folds[:1])
    first = alone.advance().metrics
    # the second fold alone is fold 0 of its own trial: same start, its own shuffle
    assert both[0].metrics["val_mae"] != first["val_mae"]
    fit = Fit(wave_config(), folds)
    engines = [Alone(fold) for fold in fit.folds]
    figures = [figures_of(train_epoch(each, [1], [1.0])) | figures_of(validate(each)) for each in engines]
    assert figures[0]["train_loss"] == first["train_loss"]
    for name in ("train_loss", "val_loss", "val_mae", "grad_norm"):
        assert both[0].metrics[name] == pytest.approx((figures[0][name] + figures[1][name]) / 2, rel=1e-12)


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_empty_part_is_refused(part: str) -> None:
    data = wave()
    samples = data.parts[part]
    empty = type(samples)(**{name: array[:0] for name, array in vars(samples).items()})
    with pytest.raises(InvalidData, match=f"the {part} part of fold 0 has no sample"):
        Fit(wave_config(), (Prepared(**(vars(data) | {"parts": data.parts | {part: empty}})),))


CHANGES: dict[str, Any] = {
    "batch_size": 8, "learning_rate": 2e-2, "weight_decay": 0.1, "optimizer": "sgd", "clip_norm": 0.01,
    "schedule": "cosine", "warmup_epochs": 2, "epochs": 2, "naive_season": 12, "window_norm": "last", "highway": 12}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_the_config_is_read(field: str) -> None:
    _, before = train(wave_config(), wave())
    _, after = train(wave_config(**{field: CHANGES[field]}), wave())
    assert curve(before) != curve(after)


def test_momentum_is_read_by_sgd() -> None:
    curves = [curve(train(wave_config(optimizer="sgd", momentum=momentum), wave())[1]) for momentum in (0.0, 0.5)]
    assert curves[0] != curves[1]


def test_mixed_precision_changes_nothing_on_a_cpu() -> None:
    assert curve(train(wave_config(precision="mixed"), wave())[1]) == curve(train(wave_config(), wave())[1])


def test_no_field_is_left_unread() -> None:
    around = set(AroundConfig.model_fields)
    assert set(CHANGES) | {"momentum", "precision"} == set(TrainingConfig.model_fields) | around
    assert around <= set(RecurrentConfig.model_fields)


def test_subnormal_numbers_are_zero_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqsweep.models.subnormal import flushes
    from seqsweep.training.engine import Alone

    seen, backward = list[bool](), Alone.backward

    def looked(self: Alone, *arguments: Any) -> Any:
        seen.append(flushes())
        return backward(self, *arguments)

    monkeypatch.setattr(Alone, "backward", looked)
    Fit(wave_config(), (wave(),)).advance()
    assert seen
    assert all(seen)
    assert not flushes()
