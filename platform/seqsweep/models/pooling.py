"""From the outputs of all steps to one state a sequence.

Shapes: B sequences, T steps (padded to the longest), H units of all directions, N heads, D units of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.models.linear import Linear
from seqsweep.models.padding import inside, last


class Pooling(nn.Module):
    """The last state, the mean or the maximum: nothing to learn."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, out_BTH: Tensor, length_B: Tensor | None) -> Tensor:
        """Return `(B, H)`; what lies in the padding is left out."""
        if self.config.pooling == "last":
            return self.last(out_BTH, length_B)
        if length_B is None:
            return out_BTH.mean(dim=1) if self.config.pooling == "mean" else out_BTH.amax(dim=1)
        inside_BT1 = inside(length_B, out_BTH.shape[1])
        if self.config.pooling == "mean":
            return (out_BTH * inside_BT1).sum(dim=1) / length_B.unsqueeze(-1)
        return out_BTH.masked_fill(~inside_BT1, -torch.inf).amax(dim=1)

    def last(self, out_BTH: Tensor, length_B: Tensor | None) -> Tensor:
        """Return what each direction gave after its last step; the backward one ends at the first row."""
        last_BH = last(out_BTH, length_B)
        if not self.config.bidirectional:
            return last_BH
        half = self.config.hidden_size
        return torch.cat([last_BH[:, :half], out_BTH[:, 0, half:]], dim=-1)


class AdditiveAttention(Pooling):
    """A mean of the outputs, weighted by a small network's view of each (Bahdanau et al., 2015; Lin et al., 2017)."""

    def __init__(self, config: RecurrentConfig, size: int) -> None:
        super().__init__(config)
        self.view = Linear(size, size)
        self.score_H = nn.Parameter(torch.empty(size).uniform_(-(size ** -0.5), size ** -0.5))

    def forward(self, out_BTH: Tensor, length_B: Tensor | None) -> Tensor:
        """See Pooling."""
        seen_BTH = torch.tanh(_each_step(self.view, out_BTH))
        return _weighted((seen_BTH * self.score_H).sum(dim=-1, keepdim=True), out_BTH, length_B)


class MultiheadAttention(Pooling):
    """The last state asks, all outputs answer: scaled dot products of several heads (Vaswani et al., 2017)."""

    def __init__(self, config: RecurrentConfig, size: int) -> None:
        super().__init__(config)
        self.heads = (config.heads, max(1, size // config.heads))
        inner = self.heads[0] * self.heads[1]
        self.query, self.key, self.value = (Linear(size, inner) for _ in range(3))
        self.out = Linear(inner, size)

    def forward(self, out_BTH: Tensor, length_B: Tensor | None) -> Tensor:
        """See Pooling."""
        query_B1ND = self.query(self.last(out_BTH, length_B)).view(-1, 1, *self.heads)
        key_BTND, value_BTND = (_each_step(linear, out_BTH).view(*out_BTH.shape[:2], *self.heads)
                                for linear in (self.key, self.value))
        score_BTN = (query_B1ND * key_BTND).sum(dim=-1) * self.heads[1] ** -0.5
        found_BND = _weighted(score_BTN.unsqueeze(-1), value_BTND, length_B)
        found_BH: Tensor = self.out(found_BND.flatten(1))
        return found_BH


def build_pooling(config: RecurrentConfig, size: int) -> Pooling:
    """Return the pooling of a config for outputs of so many units."""
    if config.pooling == "attention":
        return AdditiveAttention(config, size)
    return MultiheadAttention(config, size) if config.pooling == "multihead" else Pooling(config)


def _each_step(linear: Linear, x_BTH: Tensor) -> Tensor:
    out_BTN: Tensor = linear(x_BTH.flatten(0, 1)).view(*x_BTH.shape[:2], -1)
    return out_BTN


def _weighted(score: Tensor, value: Tensor, length_B: Tensor | None) -> Tensor:
    """Return the mean over steps, weighted by the softmax of scores over the steps that are no padding."""
    if length_B is not None:
        padding_BT = ~inside(length_B, score.shape[1]).squeeze(-1)
        score = score.masked_fill(padding_BT.view(*padding_BT.shape, *(1,) * (score.ndim - 2)), -torch.inf)
    return (score.softmax(dim=1) * value).sum(dim=1)
