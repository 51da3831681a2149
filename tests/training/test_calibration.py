"""Conformal calibration: ranks by hand, coverage where it is due, and what must not change."""

from typing import Any

import numpy as np
import pytest
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import Prepared
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of
from seqsweep.training.calibration import calibrated as calibrated_together
from seqsweep.training.calibration import conformal_quantile
from seqsweep.training.fit import Fit
from seqsweep.training.predict import Member, predict, predict_together
from seqsweep.training.state import unpack

QUANTILES = (0.1, 0.5, 0.9)


def weights_of(data: Prepared, calibration: str = "conformal", **fields: Any) -> tuple[FitConfig, bytes]:
    config = wave_config(task={"quantiles": QUANTILES, "calibration": calibration}, metric="pinball", **fields)
    fit = Fit(config, (data,))
    while fit.done is None:
        fit.advance()
    return config, fit.best_weights()


def calibrated(config: FitConfig, weights: bytes, data: tuple[Prepared, ...]) -> bytes:
    (member,) = calibrated_together([Member(0, config, weights)], data)
    return member.weights


def test_ranks_are_corrected_for_a_finite_sample() -> None:
    error_M = np.array([5.0, 1, 4, 2, 3, 9, 8, 7, 6])  # 9 of them: ranks of (9 + 1) q
    assert [conformal_quantile(error_M, q) for q in (0.1, 0.25, 0.75, 0.9)] == [1, 2, 8, 9]
    assert (conformal_quantile(error_M, 0.01), conformal_quantile(error_M, 0.999)) == (1, 9)  # the outermost there is


def test_each_tail_of_the_validation_part_holds_its_share() -> None:
    data = wave(rows=600)
    config, weights = weights_of(data)
    moved = calibrated(config, weights, (data,))
    prediction, truth = predict(config, moved, data, "val"), truth_of(config.task, data, "val")
    below = [(truth.y <= prediction[..., q]).mean() for q in (0, 2)]
    points = truth.y.size
    assert below[0] == pytest.approx(np.floor((points + 1) * 0.1) / points, abs=1.5 / points)
    assert below[1] == pytest.approx(np.ceil((points + 1) * 0.9) / points, abs=1.5 / points)
    before = predict(config, weights, data, "val")
    assert not np.allclose(before[..., 0], prediction[..., 0])
    np.testing.assert_array_equal(before[..., 1], prediction[..., 1])  # the median stays
    assert (np.diff(prediction, axis=-1) >= 0).all()
    assert np.isfinite(metrics_from_predictions(config.task, prediction, truth)["coverage"])


def test_quantiles_move_in_the_units_of_each_series() -> None:
    data = wave(rows=300)
    config, weights = weights_of(data)
    moved = calibrated(config, weights, (data,))
    offset_DQ = unpack(moved)[0]["calibration/0"]
    assert offset_DQ.shape == (1, 3) and offset_DQ[0, 1] == 0
    change = predict(config, moved, data, "test") - predict(config, weights, data, "test")
    np.testing.assert_allclose(change[..., 2], 2 * offset_DQ[0, 2], rtol=1e-5)  # its scale is 2


def test_unobserved_points_do_not_count() -> None:
    data = wave(rows=300, gaps=True)
    config, weights = weights_of(data)
    moved = calibrated(config, weights, (data,))
    truth = truth_of(config.task, data, "val")
    prediction = predict(config, moved, data, "val")
    assert truth.observed_NHD is not None
    below = (truth.y <= prediction[..., 2])[truth.observed_NHD]
    assert below.mean() == pytest.approx(np.ceil((below.size + 1) * 0.9) / below.size, abs=1.5 / below.size)


def test_nothing_moves_where_nobody_asked() -> None:
    data = wave()
    config, weights = weights_of(data, calibration="none")
    assert calibrated(config, weights, (data,)) is weights
    classes = tones_config()
    assert calibrated(classes, b"whatever", (tones(),)) == b"whatever"


def test_of_several_their_mean_is_calibrated() -> None:
    """A mean of calibrated quantiles would be too wide: what the members err in, others mend."""
    data = wave(rows=600)
    members = [Member(number, *weights_of(data, seed=number), picks=number + 1) for number in range(3)]
    moved = calibrated_together(members, (data,))
    truth = truth_of(members[0].fit.task, data, "val")
    prediction = predict_together(moved, data, "val")
    below = [(truth.y <= prediction[..., q]).mean() for q in (0, 2)]
    assert below == pytest.approx([0.1, 0.9], abs=2 / truth.y.size)
    offsets = [unpack(member.weights)[0]["calibration/0"] for member in moved]
    assert all(np.array_equal(offset_DQ, offsets[0]) for offset_DQ in offsets)
