"""Picks by hand: which trials, how often, in what order, and when one alone is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from seqsweep.config.sweep import MetricConfig
from seqsweep.config.tasks import ClassificationConfig, RegressionConfig
from seqsweep.evaluation import ensemble
from seqsweep.evaluation.ensemble import Selection, _Fold, _pick, select
from seqsweep.records import model_name
from seqsweep.tasks.metrics import Truth
from seqsweep.training.predict import Member, mean_of

NONE = np.empty((0,))
NUMBER = RegressionConfig(target="y")


def number_fold(predictions: Mapping[int, list[float]], metric: str = "mae") -> _Fold:
    """The truth is 0 everywhere."""
    each = {number: np.array(values) for number, values in predictions.items()}
    count = len(next(iter(each.values())))
    truth = Truth(np.zeros(count), None, np.ones((count, 1)), NONE, NONE)
    return _Fold(NUMBER, MetricConfig(name=metric), 1, truth, each)


def test_the_best_alone_comes_first_and_each_pick_betters_the_mean_most() -> None:
    """1 alone errs by 1.0; with 2 by |1 - 1.2| / 2; a third pick is worse, a fourth (2 x 1, 2 x 2) no better."""
    fold = number_fold({7: [3.0], 1: [1.0], 2: [-1.2]})
    assert _pick([fold], 5) == [1, 2]
    assert _pick([fold], 1) == [1]


def test_a_trial_may_count_several_times() -> None:
    fold = number_fold({1: [1.0], 2: [-2.0]})
    assert _pick([fold], 3) == [1, 2, 1]
    assert fold.loss({1: 2, 2: 1}) == 0.0


def test_of_equals_the_earlier_is_picked_and_nothing_is_gained_by_repeating() -> None:
    assert _pick([number_fold({4: [1.0, 2.0], 2: [1.0, 2.0]})], 5) == [4]


def test_what_has_no_value_is_never_picked() -> None:
    assert _pick([number_fold({3: [float("nan")], 4: [5.0]})], 3) == [4]


def test_more_is_better_where_the_metric_says_so() -> None:
    """Two that are each wrong once are right together."""
    truth = Truth(np.array([0, 1, 1]), None, NONE, NONE, np.ones(2))
    sure, unsure, wrong = [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]
    one, other = np.array([sure, sure[::-1], unsure]), np.array([wrong, unsure, sure[::-1]])
    fold = _Fold(ClassificationConfig(), MetricConfig(name="accuracy"), -1, truth, {5: one, 6: other})
    assert (fold.loss({5: 1}), fold.loss({6: 1}), fold.loss({5: 1, 6: 1})) == (-2 / 3, -1 / 3, -1.0)
    assert _pick([fold], 4) == [5, 6]


def chosen(folds: list[_Fold], size: int, monkeypatch: pytest.MonkeyPatch) -> Selection:
    """What `select` makes of candidates that told these predictions; each is asked once."""
    asked: list[int] = []

    def told(fit: Any, weights: bytes, *_: Any) -> list[Any]:
        asked.append(int(weights))
        return [fold.predictions[int(weights)] for fold in folds]

    truths = iter(fold.truth for fold in folds)
    monkeypatch.setattr(ensemble, "predict_folds", told)
    monkeypatch.setattr(ensemble, "truth_of", lambda *_: next(truths))
    nothing: Any = None
    members = [Member(number, nothing, str(number).encode()) for number in folds[0].predictions]
    data: tuple[Any, ...] = tuple(folds)
    found = select(NUMBER, MetricConfig(name="mae"), size, members, data)
    assert asked == list(folds[0].predictions)
    return found


def test_on_one_validation_part_it_says_that_the_figures_flatter(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen([number_fold({1: [1.0], 2: [-1.2]})], 5, monkeypatch)
    assert (found.picks, found.seen, found.better) == ({1: 1, 2: 1}, True, True)
    assert [found.validation, found.alone] == pytest.approx([0.1, 1.0])
    assert str(found) == ("1 + 2 has 0.1 on the validation part, the best trial alone 1 (picked and scored on the same "
                          "rows, so that both look better than they are)")


def test_on_folds_a_mean_that_does_not_hold_elsewhere_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """1 + 1 + 2 is better on both folds together; what is picked on the first is worse than 1 alone on the second."""
    folds = [number_fold({1: [1.0], 2: [-1.2]}), number_fold({1: [1.0], 2: [3.0]})]
    found = chosen(folds, 3, monkeypatch)
    assert found.picks == {1: 2, 2: 1}
    assert not found.better
    assert [found.validation, found.alone] == pytest.approx([1.5, 1.0])
    assert "1 x2 + 2 is not taken: it has 1.5" in str(found)
    same = chosen([number_fold({1: [1.0], 2: [-1.2]}), number_fold({1: [1.1], 2: [-1.2]})], 4, monkeypatch)
    assert same.better
    assert not same.seen
    assert [same.validation, same.alone] == pytest.approx([(0.1 + 0.05) / 2, 1.05])


def test_one_that_stays_alone_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen([number_fold({3: [1.0], 4: [2.0]})], 5, monkeypatch)
    assert (found.picks, found.better) == ({3: 1}, False)
    assert str(found) == "none: no mean of several trials is better than trial 3 alone"


def test_quantiles_stay_in_order() -> None:
    draw = np.random.default_rng(0)
    each = [np.sort(draw.normal(size=(500, 3, 1, 5)) * 10.0 ** draw.integers(-3, 3), axis=-1) for _ in range(4)]
    mean = mean_of(each, [3, 1, 7, 2])
    assert (np.diff(mean, axis=-1) >= 0).all()
    np.testing.assert_allclose(mean, np.average(each, axis=0, weights=[3, 1, 7, 2]), rtol=1e-12, atol=1e-12)
    assert each[0].max() > 0
    np.testing.assert_array_equal(mean_of(each[:1], [1]), each[0])


def test_names() -> None:
    assert model_name({18: 1}) == "trial 18"
    assert model_name({18: 3, 4: 1, 7: 2}) == "ensemble 18 x3 + 4 + 7 x2"
