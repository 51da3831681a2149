"""Forecasting's head: from the encoder's state and what is known ahead to every step of the horizon."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqsweep.models.linear import Linear


class DirectHead(nn.Module):
    """One linear map from the state, the known-ahead features of all steps and the statics to all steps at once."""

    def __init__(self, state: int, known: int, static: int, horizon: int, targets: int,
                 quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.shape = (horizon, targets, max(1, len(quantiles)))
        self.linear = Linear(state + horizon * known + static, horizon * targets * max(1, len(quantiles)))

    def start_at_zero(self) -> None:
        """Let the first forecast be nothing but what the head is added to."""
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, state_BH: Tensor, known_BHK: Tensor | None, static_BC: Tensor | None) -> Tensor:
        """Return `(B, horizon, D, Q)`, increasing along Q; None where nothing is known ahead, or of the series."""
        parts = [state_BH, None if known_BHK is None else known_BHK.flatten(1), static_BC]
        given = [part for part in parts if part is not None]
        joined = torch.cat(given, dim=1) if len(given) > 1 else state_BH
        free_BHDQ = self.linear(joined).unflatten(1, self.shape)
        return in_order(free_BHDQ, self.quantiles.index(0.5)) if self.quantiles else free_BHDQ


def in_order(free_BHDQ: Tensor, median: int) -> Tensor:
    """Turn free outputs into quantiles that cannot cross: sums of softplus away from the median, on either side."""
    middle = free_BHDQ[..., median:median + 1]
    below = functional.softplus(free_BHDQ[..., :median]).flip(-1).cumsum(-1).flip(-1)
    above = functional.softplus(free_BHDQ[..., median + 1:]).cumsum(-1)
    return torch.cat([middle - below, middle, middle + above], dim=-1)
