"""Dropout's masks: the right share, no pattern, and a function of key and place alone."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from seqsweep.models.dropout import dropout


def masks(rate: float, keys: range, units: int = 65_536, place: int = 1) -> Tensor:
    ones = torch.ones(units // 512, 512)
    return torch.stack([dropout(ones, torch.tensor(rate), torch.tensor(key, dtype=torch.int32), place).flatten() > 0
                        for key in keys]).double()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_the_share_and_no_pattern(rate: float) -> None:
    kept = masks(rate, range(32))
    spread = math.sqrt(rate * (1 - rate))
    assert kept.mean().item() == pytest.approx(1 - rate, abs=5 * spread / math.sqrt(kept.numel()))
    assert kept.mean(1).std().item() == pytest.approx(spread / 256, rel=0.5)
    centred = (kept - (1 - rate)) / spread
    limit = 5 / math.sqrt(kept.numel())
    for lag in (1, 2, 3, 16, 32, 64, 96, 1024):
        assert abs((centred[:, lag:] * centred[:, :-lag]).mean().item()) < limit, lag
    between = torch.corrcoef(kept).fill_diagonal_(0)
    assert between.abs().max().item() < 6 / 256


def test_layers_that_share_a_key_differ() -> None:
    both = torch.stack([masks(0.5, range(8), place=place).flatten() for place in range(5)])
    assert torch.corrcoef(both).fill_diagonal_(0).abs().max().item() < 0.01


def test_what_is_kept_is_scaled_up_and_a_rate_of_zero_changes_nothing() -> None:
    x, key = torch.randn(50, 7, dtype=torch.float64), torch.tensor(3, dtype=torch.int32)
    dropped = dropout(x, torch.tensor(0.75), key, 0)
    assert torch.equal(dropped[dropped != 0], (x * 4)[dropped != 0])
    assert torch.equal(dropout(x, torch.tensor(0.0), key, 0), x)


def test_trials_side_by_side_draw_what_each_draws_alone() -> None:
    x_KN, rate_K = torch.randn(4, 30, 10), torch.tensor([0.1, 0.5, 0.0, 0.9])
    key_K = torch.tensor([5, -7, 2 ** 31 - 1, -2 ** 31], dtype=torch.int32)
    together = vmap(lambda x, rate, key: dropout(x, rate, key, 2))(x_KN, rate_K, key_K)
    alone = [dropout(*each, 2) for each in zip(x_KN, rate_K, key_K, strict=True)]
    assert torch.equal(together, torch.stack(alone))


def test_a_longer_padding_changes_no_mask() -> None:
    key, rate, x_BTH = torch.tensor(9, dtype=torch.int32), torch.tensor(0.4), torch.randn(6, 9, 5)
    padded = dropout(torch.nn.functional.pad(x_BTH, (0, 0, 0, 4)), rate, key, 3)
    assert torch.equal(padded[:, :9], dropout(x_BTH, rate, key, 3))
