"""The forecaster: what it may see, what it starts from, its losses and units."""

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from window_toys import CONTEXT, HORIZON, KNOWN, TARGETS, batch_of, forecaster, task_of, windows_of

from seqsweep.config.models import RecurrentConfig
from seqsweep.errors import InvalidSweep
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecasting import Forecaster

QUANTILES = (0.1, 0.4, 0.5, 0.9)


def changed(batch: Batch, row: int, feature: int, by: float = 5.0) -> Batch:
    x_BLF = batch.x_BLF.clone()
    x_BLF[:, row, feature] += by
    return dataclasses.replace(batch, x_BLF=x_BLF)


@pytest.mark.parametrize(("window_norm", "naive_season", "quantiles", "model"), itertools.product(
    ("none", "last", "standard"), (0, 2), ((), QUANTILES),
    ({}, {"bidirectional": True}, {"decoder": "recurrent"}, {"conv_layers": 2, "fcn_channels": 2}, {"highway": 5})))
def test_no_future_target_or_past_covariate_is_seen(window_norm: str, naive_season: int, quantiles: tuple[float, ...],
                                                    model: dict[str, Any]) -> None:
    data = windows_of()
    learner = forecaster(data, task_of(quantiles=quantiles), window_norm=window_norm, naive_season=naive_season,
                         **model)
    batch = batch_of(data)
    before = learner(batch)
    assert before.shape == (len(batch.x_BLF), HORIZON, 2, max(1, len(quantiles)))
    for row, feature in itertools.product(range(CONTEXT, CONTEXT + HORIZON), range(4)):
        moved = not torch.equal(learner(changed(batch, row, feature)), before)
        assert moved == (feature in KNOWN), (row, feature)
    for feature in range(4):
        assert not torch.equal(learner(changed(batch, CONTEXT - 1, feature)), before)


def test_a_decoder_goes_through_the_horizon_step_by_step() -> None:
    """What is known of a step changes it and later ones; a direct head lets it change all."""
    data = windows_of()
    batch = batch_of(data)
    for decoder in ("direct", "recurrent"):
        learner = forecaster(data, task_of(), decoder=decoder)
        for row in range(HORIZON):
            moved = learner(changed(batch, CONTEXT + row, KNOWN[0])) - learner(batch)
            assert [bool(moved[:, step].any()) for step in range(HORIZON)] == [
                decoder == "direct" or step >= row for step in range(HORIZON)]


@pytest.mark.parametrize("decoder", ["direct", "recurrent"])
def test_statics_are_read(decoder: str) -> None:
    data = windows_of()
    learner, batch = forecaster(data, task_of(), decoder=decoder), batch_of(data)
    other = dataclasses.replace(batch, series_B=1 - batch.series_B)
    assert not torch.equal(learner(batch), learner(other))


@pytest.mark.parametrize("season", [1, 2, 3, 5])
@pytest.mark.parametrize("window_norm", ["none", "last", "standard"])
@pytest.mark.parametrize("decoder", ["direct", "recurrent"])
def test_correction_starts_from_the_seasonal_naive_forecast(season: int, window_norm: str, decoder: str) -> None:
    data = windows_of()
    model = RecurrentConfig.model_validate({"naive_season": season, "window_norm": window_norm, "decoder": decoder})
    batch = batch_of(data)
    output_BHDQ = Forecaster(task_of(), model, data.info)(batch)
    for step in range(HORIZON):
        expected_BD = batch.x_BLF[:, CONTEXT - season + step % season][:, list(TARGETS)]
        torch.testing.assert_close(output_BHDQ[:, step, :, 0], expected_BD, atol=1e-5, rtol=0)


@pytest.mark.parametrize("field", ["naive_season", "highway"])
def test_more_steps_than_the_context_are_refused(field: str) -> None:
    with pytest.raises(InvalidSweep, match="9 steps in a context of 8"):
        Forecaster(task_of(), RecurrentConfig.model_validate({field: 9}), windows_of().info)


def test_a_highway_adds_one_linear_map_of_the_last_steps_of_each_target() -> None:
    data = windows_of()
    learner, batch = forecaster(data, task_of(quantiles=QUANTILES), highway=3), batch_of(data)
    assert learner.highway is not None
    linear = learner.highway.linear
    plain = learner(batch)
    with torch.no_grad():
        torch.nn.init.normal_(linear.weight)
        linear.bias.fill_(0.5)
    last_BDT = batch.x_BLF[:, CONTEXT - 3:CONTEXT, list(TARGETS)].transpose(1, 2)
    added_BHD = (last_BDT @ linear.weight.mT + linear.bias).transpose(1, 2)
    torch.testing.assert_close(learner(batch) - plain, added_BHD.unsqueeze(-1).expand_as(plain))


@pytest.mark.parametrize(("window_norm", "factor"), [("last", 1.0), ("standard", 3.0)])
def test_window_norm_follows_level_and_spread(window_norm: str, factor: float) -> None:
    data = windows_of()
    learner, batch = forecaster(data, task_of(), window_norm=window_norm), batch_of(data)
    x_BLF = batch.x_BLF.clone()
    x_BLF[..., list(TARGETS)] = x_BLF[..., list(TARGETS)] * factor + 7
    moved = learner(dataclasses.replace(batch, x_BLF=x_BLF))
    torch.testing.assert_close(moved, learner(batch) * factor + 7, atol=2e-4, rtol=0)


def test_quantiles_do_not_cross_and_keep_the_median_free() -> None:
    data = windows_of()
    learner, batch = forecaster(data, task_of(quantiles=QUANTILES)), batch_of(data)
    for parameter in learner.parameters():
        torch.nn.init.normal_(parameter, std=3.0)
    output = learner(batch)
    assert (output.diff(dim=-1) >= 0).all()
    assert (output[..., 2] < 0).any()
    assert (output[..., 2] > 0).any()


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "pinball"])
def test_loss_counts_observed_points_only(loss: str, gaps: bool) -> None:
    data = windows_of(gaps=gaps)
    extra: dict[str, Any] = {"quantiles": QUANTILES} if loss == "pinball" else {"loss": loss}
    learner, batch = forecaster(data, task_of(**extra)), batch_of(data)
    output, y_BHD = learner(batch), batch.x_BLF[:, CONTEXT:, list(TARGETS)]
    seen = torch.ones_like(y_BHD, dtype=torch.bool) if batch.observed_BLD is None else batch.observed_BLD[:, CONTEXT:]
    mean, weight = learner.loss(output, batch)
    point, y = output[..., 0][seen], y_BHD[seen]
    expected = {"mse": functional.mse_loss(point, y), "mae": functional.l1_loss(point, y),
                "huber": functional.huber_loss(point, y), "pinball": _pinball(output[seen], y)}
    torch.testing.assert_close(mean, expected[loss])
    assert float(weight) == int(seen.sum())


def _pinball(prediction_NQ: Tensor, y_N: Tensor) -> Tensor:
    levels = torch.tensor(QUANTILES[:prediction_NQ.shape[1]])
    over = prediction_NQ > y_N.unsqueeze(1)
    return ((over.float() - levels) * (prediction_NQ - y_N.unsqueeze(1))).mean()


def test_a_batch_without_any_truth_teaches_nothing() -> None:
    data = windows_of()
    batch = batch_of(data)
    learner = forecaster(data, task_of())
    blind = dataclasses.replace(batch, observed_BLD=torch.zeros(*batch.x_BLF.shape[:2], 2, dtype=torch.bool))
    mean, weight = learner.loss(learner(blind), blind)
    torch.autograd.backward(mean)
    assert (float(mean.detach()), float(weight)) == (0.0, 0.0)
    assert not any(p.grad.any() for p in learner.parameters() if p.grad is not None)


def test_predictions_are_in_data_units() -> None:
    data = windows_of()
    learner, batch = forecaster(data, task_of()), batch_of(data)
    output = learner(batch)
    series = data.parts["val"].series_N
    expected = output.double() * torch.tensor(data.scale_SD[series]).double()[:, None, :, None]
    expected = expected + torch.tensor(data.shift_SD[series]).double()[:, None, :, None]
    torch.testing.assert_close(learner.predict(output, batch), expected)
