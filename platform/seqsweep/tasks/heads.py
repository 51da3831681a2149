"""Forecasting's heads: from the encoder's state and what is known ahead to every step of the horizon."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqsweep.config.models import ModelConfig, RecurrentConfig
from seqsweep.models.linear import Linear
from seqsweep.models.recurrent import Recurrent


class DirectHead(nn.Module):
    """One linear map from the state, the known-ahead features of all steps and the statics to all steps at once."""

    def __init__(self, state: int, known: int, static: int, horizon: int, targets: int,
                 quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.quantiles = quantiles
        self.shape = (horizon, targets, max(1, len(quantiles)))
        self.linear = Linear(state + horizon * known + static, horizon * targets * max(1, len(quantiles)))

    def forward(self, state_BH: Tensor, known_BHK: Tensor | None, static_BC: Tensor | None) -> Tensor:
        """Return `(B, horizon, D, Q)`, increasing along Q; None where nothing is known ahead, or of the series."""
        parts = [state_BH, None if known_BHK is None else known_BHK.flatten(1), static_BC]
        given = [part for part in parts if part is not None]
        joined = torch.cat(given, dim=1) if len(given) > 1 else state_BH
        free_BHDQ = self.linear(joined).unflatten(1, self.shape)
        return in_order(free_BHDQ, self.quantiles.index(0.5)) if self.quantiles else free_BHDQ


class Highway(nn.Module):
    """A linear map from the last steps of a target to its horizon, one for all targets (LSTNet, Lai et al., 2018)."""

    def __init__(self, steps: int, horizon: int) -> None:
        super().__init__()
        self.steps = steps
        self.linear = Linear(steps, horizon)
        nn.init.zeros_(self.linear.weight)  # the first forecast is that of the layers
        nn.init.zeros_(self.linear.bias)

    def forward(self, targets_BTD: Tensor) -> Tensor:
        """Return `(B, horizon, D)`, to be added to the head's."""
        last_BDT = targets_BTD[:, -self.steps:].transpose(1, 2)
        out_BDH: Tensor = self.linear(last_BDT.flatten(0, 1)).unflatten(0, last_BDT.shape[:2])
        return out_BDH.transpose(1, 2)


class RecurrentHead(nn.Module):
    """A recurrent layer over the horizon, which reads at each step the encoder's state, the statics and what is known
    ahead of the step, under one linear map for all steps (Cho et al., 2014).

    No target is fed back: that would be a true value in training and a forecast, errors and all, in prediction (Wen et
    al., 2017).
    """

    def __init__(self, model: RecurrentConfig, state: int, known: int, static: int, horizon: int, targets: int,
                 quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.quantiles, self.horizon = quantiles, horizon
        self.shape = (targets, max(1, len(quantiles)))
        layer = model.model_copy(update={"num_layers": 1, "bidirectional": False, "variational_dropout": 0.0,
                                         "conv_layers": 0, "fcn_channels": 0, "pooling": "last"})
        self.decoder = Recurrent(layer, state + known + static)
        self.linear = Linear(self.decoder.output_size, targets * max(1, len(quantiles)))

    def forward(self, state_BH: Tensor, known_BTK: Tensor | None, static_BC: Tensor | None) -> Tensor:
        """See DirectHead."""
        steady_BH = state_BH if static_BC is None else torch.cat([state_BH, static_BC], dim=1)
        x_BTF = steady_BH.unsqueeze(1).expand(-1, self.horizon, -1)
        if known_BTK is not None:
            x_BTF = torch.cat([x_BTF, known_BTK], dim=2)
        out_BTH = self.decoder.outputs(x_BTF)
        free_BTDQ = self.linear(out_BTH.flatten(0, 1)).view(-1, self.horizon, *self.shape)
        return in_order(free_BTDQ, self.quantiles.index(0.5)) if self.quantiles else free_BTDQ


def build_head(model: ModelConfig, state: int, known: int, static: int, horizon: int, targets: int,
               quantiles: tuple[float, ...]) -> DirectHead | RecurrentHead:
    """Return the head that the model asks for; over a model of the user's own it is the direct one."""
    sizes = (state, known, static, horizon, targets, quantiles)
    if isinstance(model, RecurrentConfig) and model.decoder == "recurrent":
        return RecurrentHead(model, *sizes)
    return DirectHead(*sizes)


def in_order(free_BHDQ: Tensor, median: int) -> Tensor:
    """Turn free outputs into quantiles that cannot cross: sums of softplus away from the median, on either side."""
    middle = free_BHDQ[..., median:median + 1]
    below = functional.softplus(free_BHDQ[..., :median]).flip(-1).cumsum(-1).flip(-1)
    above = functional.softplus(free_BHDQ[..., median + 1:]).cumsum(-1)
    return torch.cat([middle - below, middle, middle + above], dim=-1)
