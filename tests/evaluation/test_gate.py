"""The bootstrap against known truths, and the gate's decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from by_hand import prepare_sequences, prepare_windows
from sklearn.metrics import roc_auc_score

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import FitConfig, MetricConfig, PromoteConfig
from seqsweep.config.tasks import METRICS, ClassificationConfig, ForecastingConfig
from seqsweep.config.training import TrainingConfig
from seqsweep.data.batch import Prepared, Samples
from seqsweep.evaluation import bootstrap
from seqsweep.evaluation.baselines import baselines
from seqsweep.evaluation.bootstrap import Terms, compare, units
from seqsweep.evaluation.gate import Champion, Verdict, decide
from seqsweep.evaluation.terms import terms_of
from seqsweep.tasks.metrics import Truth, metrics_from_predictions, truth_of

Predictions = npt.NDArray[Any]
FORECAST = ForecastingConfig(target="y", horizon=4, context=6)


def samples(start: npt.ArrayLike, series: npt.ArrayLike = 0) -> Samples:
    start_N = np.asarray(start, dtype=np.int64)
    return Samples(start_N, np.full_like(start_N, 10), np.broadcast_to(np.asarray(series, np.int64), start_N.shape),
                   np.zeros(0, np.int64), start_N.astype(np.uint64))


def means(losses_N: npt.NDArray[np.float64]) -> Terms:
    return Terms(np.column_stack([losses_N, np.ones(len(losses_N))]), lambda sums: sums[:, 0] / sums[:, 1])


def test_side_by_side_windows_are_drawn_one_by_one_and_overlapping_ones_in_blocks() -> None:
    assert units(samples(np.arange(0, 200, 10)), horizon=10).block == 1
    assert units(samples(np.arange(20)), horizon=10).block == 10
    assert units(samples(np.arange(0, 400, 5)), horizon=10).block == 4
    assert units(samples(np.arange(20)), horizon=1).block == 1
    several = units(samples([0, 1, 2, 3, 50, 51, 90], [0, 0, 0, 0, 1, 1, 2]), horizon=3)
    assert sorted(zip(several.first_M.tolist(), several.length_M.tolist(), strict=True)) == [
        (0, 3), (1, 3), (4, 2), (6, 1)]


def test_blocks_stay_within_a_series_whatever_the_order_of_samples() -> None:
    drawn = units(samples([51, 2, 0, 50, 1], [1, 0, 0, 1, 0]), horizon=3)
    terms_NK = np.array([[10.0], [3.0], [1.0], [20.0], [2.0]])
    assert drawn.sums(terms_NK).ravel().tolist() == [6.0, 30.0]


def test_the_interval_is_that_of_the_normal_theory_for_a_mean() -> None:
    random = np.random.default_rng(1)
    candidate_N, rival_N = random.normal(1.0, 1.0, 400), random.normal(1.2, 1.0, 400)
    comparison = compare(means(candidate_N), means(rival_N), units(samples(np.arange(400))), rival_name="rival",
                         metric="mae", goal="minimize")
    gain_N = rival_N - candidate_N
    half = 1.96 * gain_N.std() / 20
    assert comparison.difference == pytest.approx(gain_N.mean())
    assert comparison.low == pytest.approx(gain_N.mean() - half, abs=0.06 * half)
    assert comparison.high == pytest.approx(gain_N.mean() + half, abs=0.06 * half)


@pytest.mark.parametrize(("horizon", "expected"), [(1, False), (24, True)])
def test_blocks_keep_the_error_rate_where_losses_depend_on_their_neighbours(horizon: int, expected: bool) -> None:
    """Two equal models with moving-average losses: plain resampling cries wolf, blocks do so about 5% of the time."""
    random = np.random.default_rng(0)
    alarms = 0
    for seed in range(40):
        noise = random.normal(size=500 + 23)
        gain_N = np.convolve(noise, np.ones(24) / 24, "valid")
        comparison = compare(means(-gain_N), means(np.zeros(500)), units(samples(np.arange(500)), horizon),
                             rival_name="", metric="mae", goal="minimize", seed=seed)
        alarms += comparison.low > 0 or comparison.high < 0
    assert (alarms <= 10) is expected


def test_pairing_finds_a_small_but_steady_gain() -> None:
    random = np.random.default_rng(2)
    hard_N = random.lognormal(0, 2, 300)
    drawn = units(samples(np.arange(300)))
    assert compare(means(hard_N * 0.98), means(hard_N), drawn, rival_name="", metric="mae", goal="minimize").better
    shuffled_N = random.permutation(hard_N) * 0.98
    assert not compare(means(shuffled_N), means(hard_N), drawn, rival_name="", metric="mae", goal="minimize").better


def test_the_same_model_is_not_better_than_itself_unless_the_margin_lets_it() -> None:
    losses = means(np.random.default_rng(0).random(50))
    drawn = units(samples(np.arange(50)))
    for margin, better in ((0.0, False), (0.1, False), (-0.1, True)):
        result = compare(losses, losses, drawn, rival_name="", metric="mae", goal="minimize", margin=margin)
        assert (result.difference, result.better) == (0.0, better)


def test_more_is_better_where_the_goal_says_so() -> None:
    random = np.random.default_rng(0)
    rival = means(random.random(200))
    candidate = Terms(rival.terms_NK + np.array([0.3, 0.0]), rival.figure)
    outcome: dict[Literal["minimize", "maximize"], bool] = {"maximize": True, "minimize": False}
    for goal, better in outcome.items():
        result = compare(candidate, rival, units(samples(np.arange(200))), rival_name="", metric="accuracy", goal=goal)
        assert result.better is better
        assert result.difference == pytest.approx(0.3 if better else -0.3)


@pytest.mark.parametrize("metric", METRICS["forecasting"])
def test_terms_add_up_to_the_forecasting_metric(metric: str) -> None:
    random = np.random.default_rng(0)
    data = prepare_windows(random.normal(5, 1, 200), 6, 4, (3,), observed_T=random.random(200) > 0.2)
    prediction = baselines(FORECAST, data)["seasonal naive (3)"]
    truth = truth_of(FORECAST, data, "test")
    whole = metrics_from_predictions(FORECAST, prediction, truth)
    assert terms_of(FORECAST, metric, prediction, truth).value() == pytest.approx(whole[metric])


@pytest.mark.parametrize("metric", METRICS["classification"])
def test_terms_add_up_to_the_classification_metric(metric: str) -> None:
    task = ClassificationConfig(class_weights="balanced")
    data = prepare_sequences(classes=4, rows=83)
    probability_NC = np.random.default_rng(0).dirichlet(np.ones(4), len(data.parts["test"]))
    truth = truth_of(task, data, "test")
    whole = metrics_from_predictions(task, probability_NC, truth)
    assert terms_of(task, metric, probability_NC, truth).value() == pytest.approx(whole[metric])


def test_the_area_under_the_curve_of_a_resample_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    data = prepare_sequences(classes=2, rows=83)
    probability_NC = random.dirichlet(np.ones(2), len(data.parts["test"])).round(1)
    truth = truth_of(ClassificationConfig(), data, "test")
    terms = terms_of(ClassificationConfig(), "auc", probability_NC, truth)
    drawn = random.integers(len(truth.y), size=(20, len(truth.y)))
    areas = terms.figure(terms.terms_NK[drawn].sum(1))
    assert areas == pytest.approx([roc_auc_score(truth.y[rows], probability_NC[rows, 1]) for rows in drawn])


def test_many_different_probabilities_share_ranks() -> None:
    random = np.random.default_rng(0)
    label_N = random.integers(2, size=3000)
    second_N = np.clip(0.5 + 0.2 * (label_N - 0.5) + random.normal(0, 0.2, 3000), 0, 1)
    truth = Truth(label_N, None, np.empty(0), np.empty(0), np.ones(2))
    terms = terms_of(ClassificationConfig(), "auc", np.stack([1 - second_N, second_N], 1), truth)
    assert terms.terms_NK.shape[1] == 1024
    assert terms.value() == pytest.approx(roc_auc_score(label_N, second_N), abs=2e-3)


def config_of(metric: str = "mae") -> FitConfig:
    return FitConfig(task=FORECAST, model=RecurrentConfig(), training=TrainingConfig(), early_stopping=None,
                     metric=MetricConfig(name=metric, goal="minimize"), seed=0)


@pytest.fixture
def data() -> Prepared:
    return prepare_windows(np.random.default_rng(0).normal(5, 1, 800), 6, 4)


def noisy(data: Prepared, level: float, seed: int = 1) -> Predictions:
    y_NHD = truth_of(FORECAST, data, "test").y
    return (y_NHD + np.random.default_rng(seed).normal(0, level, y_NHD.shape))[..., None]


def champion(prediction: Predictions | None, keys: npt.ArrayLike = ()) -> Champion:
    return Champion("electricity/3", prediction, np.asarray(keys, dtype=np.uint64))


def judged(data: Prepared, candidate: Predictions, rival: Champion | None, margin: float = 0.0,
           naive: Mapping[str, Predictions] | None = None) -> Verdict:
    naive = baselines(FORECAST, data) if naive is None else naive
    return decide(PromoteConfig(margin=margin), config_of(), data, candidate, naive, rival)


def test_a_better_candidate_passes_with_figures(data: Prepared) -> None:
    verdict = judged(data, noisy(data, 0.1), champion(noisy(data, 0.3, 2)))
    assert verdict.passed
    assert verdict.reasons[0].startswith("beats_champion: yes: mae 0.0")
    assert "of electricity/3: better by" in verdict.reasons[0]
    assert "theta, the best of 3 baselines here" in verdict.reasons[1]
    assert "40 samples" in verdict.reasons[0]
    assert verdict.figures["mae vs electricity/3: low"] > 0


def test_equal_and_worse_candidates_are_refused(data: Prepared) -> None:
    same = judged(data, noisy(data, 0.2), champion(noisy(data, 0.2)))
    assert not same.passed
    assert same.comparisons[1].better
    assert judged(data, noisy(data, 0.2), champion(noisy(data, 0.2)), margin=-0.05).passed
    worse = judged(data, noisy(data, 0.3), champion(noisy(data, 0.1)))
    assert "beats_champion: no" in worse.reasons[0]
    assert "worse by" in worse.reasons[0]
    assert not judged(data, noisy(data, 0.3), champion(noisy(data, 0.1)), margin=-0.05).passed


def test_a_margin_asks_for_more(data: Prepared) -> None:
    candidate, rival = noisy(data, 0.27), champion(noisy(data, 0.3))
    assert judged(data, candidate, rival).passed
    assert not judged(data, candidate, rival, margin=0.2).passed


def test_a_better_baseline_refuses(data: Prepared) -> None:
    naive = {"weak": noisy(data, 3.0), "strong": noisy(data, 0.01)}
    verdict = judged(data, noisy(data, 0.2), None, naive=naive)
    assert not verdict.passed
    assert "there is no champion yet" in verdict.reasons[0]
    assert "strong, the best of 2 baselines" in verdict.reasons[1]
    assert not judged(data, noisy(data, 0.2), None, naive={}).passed


def test_a_champion_that_saw_the_test_rows_is_no_judge(data: Prepared) -> None:
    seen = judged(data, noisy(data, 0.1), champion(noisy(data, 0.3), [5, 700, 701]))
    assert not seen.passed
    assert "trained or chosen on 2 rows (1.25%) of this test part" in seen.reasons[0]
    assert judged(data, noisy(data, 0.1), champion(noisy(data, 0.3), [5, 6])).passed


@pytest.mark.parametrize("shape", [None, (40, 3, 1, 1), (40, 4, 1, 3), (12, 4, 1, 1)])
def test_a_champion_of_another_task_cannot_be_compared(data: Prepared, shape: tuple[int, ...] | None) -> None:
    verdict = judged(data, noisy(data, 0.1), champion(None if shape is None else np.zeros(shape)))
    assert not verdict.passed
    assert "another task" in verdict.reasons[0]


def test_few_windows_are_named() -> None:
    data = prepare_windows(np.random.default_rng(0).normal(5, 1, 100), 6, 4)
    assert "only 5 samples, so the interval is wide" in judged(data, noisy(data, 0.1), None).reasons[1]


def test_a_nan_forecast_never_passes(data: Prepared) -> None:
    candidate = noisy(data, 0.01)
    candidate[3, 0] = np.nan
    assert not judged(data, candidate, None).passed


def test_nothing_required_passes(data: Prepared) -> None:
    verdict = decide(PromoteConfig(require=()), config_of(), data, noisy(data, 9.0), {}, None)
    assert verdict.passed
    assert verdict.reasons == ("nothing is required",)


def test_many_blocks_are_drawn_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(blocks: int) -> int:
        return sum(len(sums) for sums in bootstrap._resampled(np.ones((blocks, 1)), blocks, seed=0))

    assert drawn(50) == bootstrap.RESAMPLES
    monkeypatch.setattr(bootstrap, "_DRAWS", 40_000)
    assert (drawn(4), drawn(40), drawn(400)) == (10_000, 1_000, 500)
