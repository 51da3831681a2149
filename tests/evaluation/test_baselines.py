"""Baselines: figures that can be computed by hand, and the known ones of public data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import prepare_sequences, prepare_windows
from statsmodels.tsa.forecasting.theta import ThetaModel

from seqsweep.config.tasks import ClassificationConfig, ForecastingConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.evaluation import sequences
from seqsweep.evaluation.autoregression import Autoregression
from seqsweep.evaluation.baselines import baselines
from seqsweep.evaluation.sequences import LOGISTIC, MAJORITY, NEAREST, statistics
from seqsweep.evaluation.theta import Theta
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def forecasting(horizon: int, context: int, quantiles: tuple[float, ...] = ()) -> ForecastingConfig:
    return ForecastingConfig(target="y", horizon=horizon, context=context, quantiles=quantiles)


def test_naive_forecasts_repeat_the_past() -> None:
    y_T = np.arange(100.0)
    data = prepare_windows(y_T, context=6, horizon=5, seasons=(3,))
    forecasts = baselines(forecasting(5, 6), data)
    origin = int(data.parts["test"].start_N[0]) + 6
    assert list(forecasts) == ["repeat last", "seasonal naive (3)", "seasonal mean (3 x 4)", "theta (3)",
                               "linear AR (6)"]
    expected: dict[str, list[float]] = {
        "repeat last": [origin - 1] * 5,
        "seasonal naive (3)": [origin - 3, origin - 2, origin - 1, origin - 3, origin - 2],
        "seasonal mean (3 x 4)": [origin - 7.5, origin - 6.5, origin - 5.5, origin - 7.5, origin - 6.5]}
    for name, values in expected.items():
        assert forecasts[name].shape == (len(data.parts["test"]), 5, 1, 1)
        np.testing.assert_allclose(forecasts[name][0, :, 0, 0], values, rtol=1e-5)


def test_a_perfect_season_is_forecast_without_error() -> None:
    y_T = np.tile([1.0, 4.0, 2.0, 8.0], 30)
    data = prepare_windows(y_T, context=2, horizon=6, seasons=(4,))
    task = forecasting(6, 2)
    naive = metrics_from_predictions(task, baselines(task, data)["seasonal naive (4)"], truth_of(task, data, "test"))
    assert naive["mae"] < 1e-6


def test_a_season_longer_than_the_history_is_left_out() -> None:
    data = prepare_windows(np.arange(100.0), context=4, horizon=4, seasons=(7, 81))
    assert list(baselines(forecasting(4, 4), data)) == ["repeat last", "seasonal naive (7)", "seasonal mean (7 x 4)",
                                                        "theta (7)", "linear AR (4)"]
    assert list(baselines(forecasting(4, 4), data, "train")) == ["repeat last", "linear AR (4)"]


def test_no_window_reads_the_series_before_its_own() -> None:
    one = prepare_windows(np.arange(50.0), context=5, horizon=5, seasons=(12,))
    test = one.parts["test"]
    second = Samples(test.start_N + 50, test.length_N, test.series_N + 1, test.label_N, test.key_N)
    both = replace(one, values_TF=np.concatenate([one.values_TF, -one.values_TF]), parts={"test": second},
                   shift_SD=np.repeat(one.shift_SD, 2, 0), scale_SD=np.repeat(one.scale_SD, 2, 0),
                   first_S=np.array([0, 50 + int(test.start_N[0]) - 5]))
    assert list(baselines(forecasting(5, 5), both)) == ["repeat last", "theta"]
    assert "seasonal naive (12)" in baselines(forecasting(5, 5), replace(both, first_S=np.array([0, 50])))


def test_theta_follows_a_season_and_half_of_a_line() -> None:
    y_T = np.tile([0.0, 6.0, -2.0, -4.0], 60) + 0.5 * np.arange(240.0)
    data = prepare_windows(y_T, context=8, horizon=4, seasons=(4,))
    task = forecasting(4, 8)
    forecast_NHD = baselines(task, data)["theta (4)"][..., 0]
    truth = truth_of(task, data, "test").y
    # level at the last row exactly (strength 1), then half the slope for each step: 0.25 short a step
    np.testing.assert_allclose(truth - forecast_NHD, np.tile(0.25 * np.arange(1, 5)[:, None], (len(truth), 1, 1)),
                               atol=1e-3)


def test_theta_is_simple_exponential_smoothing_without_trend_and_season() -> None:
    theta = Theta.of((), 30)
    assert theta is not None and (theta.season, theta.rows, theta.name) == (1, 30, "theta")
    assert Theta.of((), 9) is None
    y_T = np.random.default_rng(0).normal(size=30)
    y_T -= np.polyval(np.polyfit(np.arange(30), y_T, 1), np.arange(30))  # no drift is left
    forecast_H = theta.forecast(y_T[:, None].astype(np.float32), np.array([30]), 3)[0, :, 0]

    def smoothed(strength: float) -> tuple[float, float]:
        level, squares = y_T[0], 0.0
        for y in y_T[1:]:
            squares += (y - level) ** 2
            level += strength * (y - level)
        return squares, level

    best = min(smoothed(strength) for strength in (0.02, 0.05, *np.arange(1, 11) / 10))
    np.testing.assert_allclose(forecast_H, best[1], atol=1e-5)


@pytest.mark.parametrize(("season", "cycles"), [(1, 0), (4, 4), (7, 4), (24, 4)])
def test_theta_is_that_of_statsmodels(season: int, cycles: int) -> None:
    random = np.random.default_rng(season)
    rows = cycles * season if season > 1 else 100
    y_T = 50 + np.cumsum(random.normal(0.1, 1, rows)) + 5 * np.tile(random.normal(size=season), rows // season)
    y_T = y_T.astype(np.float32).astype(np.float64)
    theta = Theta.of((season,), rows)
    assert theta == Theta(season, rows)
    forecast_H = theta.forecast(y_T[:, None].astype(np.float32), np.array([rows]), 12)[0, :, 0]
    known = ThetaModel(y_T, period=season, deseasonalize=season > 1, use_test=False, method="additive").fit()
    # strengths are those of a grid here: nearly the same level
    np.testing.assert_allclose(forecast_H, known.forecast(12), rtol=2e-3)


def test_a_linear_autoregression_is_found_again() -> None:
    random = np.random.default_rng(1)
    y_T = np.zeros(3000)
    for t in range(2, 3000):
        y_T[t] = 1.2 * y_T[t - 1] - 0.7 * y_T[t - 2] + random.normal(scale=0.1)
    data = prepare_windows(y_T, context=4, horizon=3)
    task = forecasting(3, 4)
    naive = baselines(task, data)
    error = {name: metrics_from_predictions(task, each, truth_of(task, data, "test"))["rmse"]
             for name, each in naive.items()}
    one_step = (truth_of(task, data, "test").y - naive["linear AR (4)"][..., 0])[:, 0]
    assert 0.09 < np.sqrt(np.square(one_step).mean()) < 0.115  # the noise itself
    assert error["linear AR (4)"] < 0.8 * error["repeat last"]


def test_an_autoregression_learns_from_whole_windows_alone() -> None:
    y_T = np.tile([1.0, 4.0, 2.0, 8.0], 60)
    data = prepare_windows(y_T, context=4, horizon=4)
    observed_TD = np.ones((len(data.values_TF), 1), dtype=bool)
    train = data.parts["train"]
    observed_TD[train.start_N[0] + 20] = False
    spoilt = data.values_TF.copy()
    spoilt[train.start_N[0] + 20] = 1e6  # what was filled in must not be learnt
    task = forecasting(4, 4)
    fitted = Autoregression.fit(task, replace(data, values_TF=spoilt, observed_TD=observed_TD), spoilt[:, :1])
    assert fitted is not None
    clean = Autoregression.fit(task, data, data.values_TF[:, :1])
    assert clean is not None and np.abs(clean.weights_DPH).max() < 10
    observed_TD[:] = False
    assert Autoregression.fit(task, replace(data, observed_TD=observed_TD), data.values_TF[:, :1]) is None


def test_quantiles_widen_around_the_naive_forecast() -> None:
    random = np.random.default_rng(3)
    y_T = np.cumsum(random.normal(size=3000))
    data = prepare_windows(y_T, context=8, horizon=4)
    task, point = forecasting(4, 8, (0.1, 0.5, 0.9)), forecasting(4, 8)
    forecast = baselines(task, data)["repeat last"]
    np.testing.assert_allclose(forecast[..., 1], baselines(point, data)["repeat last"][..., 0])
    width_H = (forecast[..., 2] - forecast[..., 0])[0, :, 0]
    assert (np.diff(width_H) > 0).all()
    coverage = metrics_from_predictions(task, forecast, truth_of(task, data, "test"))["coverage"]
    assert 0.72 < coverage < 0.88


def test_unobserved_rows_do_not_count_in_the_spread() -> None:
    random = np.random.default_rng(3)
    y_T = random.normal(size=500)
    wild_T = y_T.copy()
    wild_T[100] = 1e6
    observed_T = np.arange(500) != 100
    task = forecasting(2, 3, (0.25, 0.5, 0.75))
    data = prepare_windows(y_T, context=3, horizon=2, observed_T=observed_T)
    wild = replace(data, values_TF=((wild_T - data.shift_SD[0]) / data.scale_SD[0]).astype(np.float32)[:, None])
    calm, other = (baselines(task, each)["repeat last"] for each in (data, wild))
    np.testing.assert_allclose(calm, other, atol=0.02)


def test_classes_by_share_and_by_statistics() -> None:
    data = prepare_sequences()
    probabilities = baselines(ClassificationConfig(), data)
    truth = truth_of(ClassificationConfig(), data, "test")
    np.testing.assert_allclose(probabilities[MAJORITY], np.full((12, 3), 1 / 3))
    assert metrics_from_predictions(ClassificationConfig(), probabilities[LOGISTIC], truth)["accuracy"] == 1.0
    np.testing.assert_allclose(probabilities[LOGISTIC].sum(1), 1.0)
    np.testing.assert_array_equal(probabilities[LOGISTIC], baselines(ClassificationConfig(), data)[LOGISTIC])


def test_statistics_are_those_of_each_sequence() -> None:
    data = prepare_sequences()
    samples = data.parts["test"]
    for place, row_K in enumerate(statistics(data, samples)):
        start, length = samples.start_N[place], samples.length_N[place]
        x_LF = data.values_TF[start:start + length].astype(np.float64)
        six = np.concatenate([x_LF.mean(0), x_LF.std(0), x_LF.min(0), x_LF.max(0), x_LF[0], x_LF[-1]])
        np.testing.assert_allclose(row_K[:12], six)
        if length > 1:
            np.testing.assert_allclose(row_K[12:], np.polyfit(np.linspace(-1, 1, length), x_LF, 1)[0], atol=1e-9)


def test_classes_missing_from_training_get_no_probability() -> None:
    data = prepare_sequences()
    more = replace(data, info=data.info.model_copy(update={"classes": ("p", "q", "r", "never")}))
    for probability_NC in baselines(ClassificationConfig(), more).values():
        assert probability_NC.shape == (12, 4)
        assert (probability_NC[:, 3] == 0).all()
    train = data.parts["train"]
    one = replace(data, parts=data.parts | {"train": replace(train, label_N=np.zeros_like(train.label_N))})
    assert list(baselines(ClassificationConfig(), one)) == [MAJORITY]


def ucr(name: str) -> Prepared:
    """A data set of the archive as it is, with its official parts."""
    folder = SHARED / "ucr_uea"
    files = [folder / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
    if not all(file.exists() for file in files):
        pytest.skip(f"{name} is not in {folder}")
    values, labels, lengths, sizes = [], [], [], []
    for file in files:
        rows = [line.strip() for line in file.read_text().splitlines() if line.strip() and line[0] not in "#@"]
        sizes.append(len(rows))
        for row in rows:
            *channels, label = row.split(":")
            x_LF = np.array([[float(v) for v in channel.split(",")] for channel in channels]).T
            values.append(x_LF)
            labels.append(label)
            lengths.append(len(x_LF))
    classes = tuple(sorted(set(labels)))
    label_N, length_N = np.array([classes.index(label) for label in labels]), np.array(lengths)
    start_N = np.concatenate([[0], np.cumsum(length_N)[:-1]])
    parts = {part: Samples(start_N[mine], length_N[mine], np.zeros(len(label_N[mine]), np.int64), label_N[mine],
                           start_N[mine].astype(np.uint64))
             for part, mine in (("train", slice(0, sizes[0])), ("test", slice(sizes[0], None)))}
    none, names = np.zeros((1, 0), np.float32), tuple("abcdefghijkl"[:values[0].shape[1]])
    info = DataInfo(features=names, columns=names, classes=classes, data_hash="none")
    return Prepared(np.concatenate(values).astype(np.float32), none, none, none, None, parts, {}, info)


def test_japanese_vowels() -> None:
    data = ucr("JapaneseVowels")
    found = baselines(ClassificationConfig(), data)
    assert list(found) == [MAJORITY, LOGISTIC]  # sequences of different lengths have no nearest one
    assert (found[LOGISTIC].argmax(1) == data.parts["test"].label_N).mean() > 0.98


@pytest.mark.parametrize(("name", "published"), [("GunPoint", 0.9133), ("ItalyPowerDemand", 0.9553),
                                                 ("ArrowHead", 0.8)])
def test_the_nearest_neighbour_is_that_of_the_ucr_archive(name: str, published: float) -> None:
    data = ucr(name)
    probability_NC = baselines(ClassificationConfig(), data)[NEAREST]
    accuracy = float((probability_NC.argmax(1) == data.parts["test"].label_N).mean())
    assert accuracy == pytest.approx(published, abs=1e-4)
    np.testing.assert_allclose(probability_NC.sum(1), 1.0)


def test_the_nearest_neighbour_is_as_sure_as_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepare_sequences(lengths=(6, 6))
    found, train = baselines(ClassificationConfig(), data)[NEAREST], data.parts["train"]
    x_NK = np.stack([data.values_TF[start:start + 6].ravel() for start in train.start_N])
    far_NN = np.square(x_NK[:, None] - x_NK).sum(-1)
    np.fill_diagonal(far_NN, np.inf)
    right = (train.label_N[far_NN.argmin(1)] == train.label_N).sum()
    np.testing.assert_allclose(found.max(1), (right + 1) / (len(train) + 3))
    monkeypatch.setattr(sequences, "_MOST", 10)
    assert NEAREST not in baselines(ClassificationConfig(), data)
