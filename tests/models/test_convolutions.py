"""Convolutions and batch norm against torch's own, which know no padding and no packs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from seqsweep.models.convolutions import BatchNorm, Convolution, FullyConvolutional


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(("width", "before"), [(3, 2), (5, 2), (8, 3)])
def test_a_convolution_is_torchs(width: int, before: int, aligned: bool) -> None:
    torch.manual_seed(1)
    layer = Convolution(3, 4, width, before)
    layer.aligned = aligned
    own = nn.Conv1d(3, 4, width)
    with torch.no_grad():
        own.weight.copy_(layer.weight.view(4, 3, width))
        assert own.bias is not None
        own.bias.copy_(layer.bias)
    x_BTC = torch.randn(2, 9, 3)
    expected = own(functional.pad(x_BTC.transpose(1, 2), (before, width - 1 - before))).transpose(1, 2)
    torch.testing.assert_close(layer(x_BTC), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("padded", [False, True])
def test_batch_norm_is_torchs_over_the_steps_that_are_no_padding(padded: bool) -> None:
    torch.manual_seed(1)
    ours, torchs = BatchNorm(3), nn.BatchNorm1d(3)
    for _ in range(3):
        x_BTC = torch.randn(4, 6, 3) * 2 + 5
        inside_BT1 = torch.arange(6).view(1, -1, 1) < torch.tensor([6, 1, 3, 2]).view(-1, 1, 1) if padded else None
        kept = x_BTC.flatten(0, 1) if inside_BT1 is None else x_BTC[inside_BT1.squeeze(-1)]
        out = ours(x_BTC, inside_BT1)
        torch.testing.assert_close(out.flatten(0, 1) if inside_BT1 is None else out[inside_BT1.squeeze(-1)],
                                   torchs(kept), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.running_mean, torchs.running_mean)
    torch.testing.assert_close(ours.running_var, torchs.running_var)
    ours.eval()
    torchs.eval()
    before = ours.running_mean.clone()
    torch.testing.assert_close(ours(x_BTC, None).flatten(0, 1), torchs(x_BTC.flatten(0, 1)), atol=1e-5, rtol=0)
    assert torch.equal(ours.running_mean, before)


def test_the_branch_is_the_papers() -> None:
    """Karim et al. (2018): 128, 256 and 128 filters of 8, 5 and 3 steps, batch norm after each."""
    branch = FullyConvolutional(2, 128)
    shapes = [tuple(each.shape) for each in branch.parameters() if each.ndim == 2]
    assert shapes == [(128, 2 * 8), (256, 128 * 5), (128, 256 * 3)]
    assert len([each for each in branch.modules() if isinstance(each, BatchNorm)]) == 3
    assert branch(torch.randn(3, 1, 2), None).shape == (3, 128)
