"""The leaderboard: what stands first, what the headline says, and which test figures exist at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from by_hand import prepare_sequences, prepare_windows

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import FitConfig, MetricConfig
from seqsweep.config.tasks import ClassificationConfig, ForecastingConfig
from seqsweep.config.training import TrainingConfig
from seqsweep.evaluation.baselines import baselines
from seqsweep.evaluation.leaderboard import Evaluation, Scored, _told_apart, evaluate, leaderboard
from seqsweep.records import Outcome, Reason, Trial, TrialRecord, TrialState
from seqsweep.tasks.metrics import truth_of
from seqsweep.training.fit import Fit
from seqsweep.training.predict import Member, predict

MAPE = MetricConfig(name="mape", goal="minimize")
ACCURACY = MetricConfig(name="accuracy", goal="maximize")
FORECAST = ForecastingConfig(target="y", horizon=4, context=6)


def trial(number: int, value: float | None) -> TrialRecord:
    outcome = Outcome(TrialState.COMPLETE, Reason.FINISHED, value, 1)
    return TrialRecord(Trial(number, {"hidden_size": 8 + number}, 0), TrialState.COMPLETE, 0.0, outcome=outcome)


def scored(validation: float | None, metric: str, test: float) -> Scored:
    return Scored(validation, {metric: test}, None)


TRIALS = [trial(3, 2.0), trial(17, 1.1), trial(4, None), trial(5, 1.5)]


def test_a_winning_trial_is_told_with_its_distance() -> None:
    naive = {"repeat last": scored(9.0, "mape", 23.4), "seasonal naive (336)": scored(2.0, "mape", 1.99)}
    board = leaderboard(MAPE, FORECAST, 17, TRIALS, Evaluation(scored(None, "mape", 1.21), naive))
    assert board.headline == ("trial 17 wins: mape 1.21 on the test part, 39.2% below the best baseline, "
                              "seasonal naive (336) (1.99)")
    assert [row.name for row in board.rows] == ["trial 17", "trial 5", "trial 3", "seasonal naive (336)", "repeat last"]


def test_a_winning_baseline_is_told_first() -> None:
    naive = {"repeat last": scored(9.0, "mape", 23.4), "seasonal naive (336)": scored(2.0, "mape", 1.0)}
    board = leaderboard(MAPE, FORECAST, 17, TRIALS, Evaluation(scored(None, "mape", 1.21), naive))
    assert board.headline.startswith("seasonal naive (336) wins: mape 1 on the test part; the best trial (trial 17) "
                                     "has 1.21, 21% above")
    assert [row.kind for row in board.rows] == ["baseline", "winner", "trial", "trial", "baseline"]


def test_a_lead_that_may_be_chance_is_no_win() -> None:
    for mape, name in ((1.9, "trial 17"), (2.1, "seasonal naive (336)")):
        evaluation = Evaluation(scored(None, "mape", mape), {"seasonal naive (336)": scored(2.0, "mape", 2.0)}, False)
        assert leaderboard(MAPE, FORECAST, 17, TRIALS, evaluation).headline.startswith(
            f"{name} leads, not beyond chance: mape {min(mape, 2.0):g} on the test part")


@pytest.mark.parametrize(("slope", "told"), [(50.0, True), (0.0, False)])
def test_whether_two_are_told_apart_is_the_gate_s_bootstrap(slope: float, told: bool) -> None:
    random = np.random.default_rng(0)
    y_T = slope * np.arange(200.0) + random.normal(size=200)  # repeating the last row is bad on a slope alone
    data = prepare_windows(y_T, context=6, horizon=4)
    truth = truth_of(FORECAST, data, "test").y[..., None]
    naive = baselines(FORECAST, data)
    last = naive["repeat last"]
    near = truth + random.normal(size=truth.shape) * 0.5 if slope else last + 0.01 * random.normal(size=last.shape)
    config = FitConfig(task=FORECAST, model=RecurrentConfig(), training=TrainingConfig(), metric=MAPE,
                       early_stopping=None, seed=0)
    assert _told_apart(config, data, near, {"repeat last": last}) is told


@pytest.mark.parametrize(("ours", "first"), [(0.99, "trial 17"), (0.98, "logistic"), (0.9, "logistic"),
                                             (float("nan"), "logistic")])
def test_more_can_be_better_and_a_tie_goes_to_the_simpler_model(ours: float, first: str) -> None:
    naive = {"logistic": scored(0.9, "accuracy", 0.98)}
    trials = [trial(17, 0.95), trial(18, 0.9)]
    board = leaderboard(ACCURACY, ClassificationConfig(), 17, trials, Evaluation(scored(None, "accuracy", ours), naive))
    assert board.rows[0].name == first
    if ours == 0.99:
        assert "0.01 above the best baseline, logistic (0.98)" in board.headline
    assert [row.name for row in board.rows if row.kind == "trial"] == ["trial 18"]


def test_without_a_test_part_or_baselines_or_trials_the_headline_says_so() -> None:
    board = leaderboard(MAPE, FORECAST, 17, TRIALS, Evaluation(Scored(None, {}, None), {}))
    assert board.headline == "trial 17 wins on the validation part: mape 1.1; no test part"
    board = leaderboard(MAPE, FORECAST, 17, TRIALS, Evaluation(scored(None, "mape", 1.2), {}))
    assert board.headline == "trial 17 wins: mape 1.2 on the test part"
    assert leaderboard(MAPE, FORECAST, 4, [], Evaluation(Scored(None, {}, None), {})).rows == ()


def test_only_the_winner_and_baselines_have_test_figures() -> None:
    naive = {"repeat last": scored(9.0, "mape", 23.4)}
    board = leaderboard(MAPE, FORECAST, 17, TRIALS, Evaluation(scored(None, "mape", 1.21), naive), top=2)
    assert [row.name for row in board.rows] == ["trial 17", "trial 5", "repeat last"]
    assert [set(row.test) for row in board.rows] == [{"mape"}, set(), {"mape"}]


def test_evaluation_opens_the_test_part_for_winner_and_baselines() -> None:
    torch.set_num_threads(1)
    windows = prepare_windows(np.sin(np.arange(300) / 3), 6, 4, (19,))
    for task, metric, data in ((FORECAST, "mae", windows), (ClassificationConfig(), "accuracy", prepare_sequences())):
        config = FitConfig(task=task, model=RecurrentConfig(hidden_size=4), training=TrainingConfig(epochs=1),
                           early_stopping=None, metric=MetricConfig(name=metric, goal=None), seed=0)
        fit = Fit(config, (data,))
        fit.advance()
        evaluation = evaluate([Member(0, config, fit.best_weights())], (data,))
        assert evaluation.winner.prediction is not None
        np.testing.assert_array_equal(evaluation.winner.prediction, predict(config, fit.best_weights(), data, "test"))
        assert np.isfinite(evaluation.winner.test[metric])
        assert len(evaluation.baselines) >= 2
        for each in evaluation.baselines.values():
            assert each.validation is not None
            assert set(each.test) >= set(evaluation.winner.test)
        assert not evaluate([Member(0, config, fit.best_weights())], (data,), with_baselines=False).baselines
