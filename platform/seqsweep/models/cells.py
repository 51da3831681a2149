"""The cells: torch's own fused layers, and how their weights start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig

_FORGET = 1
"""Place of the forget gate among the LSTM's blocks: input, forget, cell, output."""


def build_cell(config: RecurrentConfig, input_size: int) -> nn.RNNBase:
    """Return one layer of one direction, batch first, with its weights started as the config says."""
    cell: nn.RNNBase
    if config.cell == "lstm":
        cell = nn.LSTM(input_size, config.hidden_size, batch_first=True)
    elif config.cell == "gru":
        cell = nn.GRU(input_size, config.hidden_size, batch_first=True)
    else:
        cell = nn.RNN(input_size, config.hidden_size, batch_first=True, nonlinearity=config.nonlinearity)
    _start(cell, config)
    return cell


@torch.no_grad()
def _start(cell: nn.RNNBase, config: RecurrentConfig) -> None:
    """Fill each gate's block by itself: the fans of a block are those of one gate, not of all stacked together."""
    if config.init != "default":
        fill = _FILLS[config.init]
        for name, parameter in cell.named_parameters():
            if name.startswith("bias"):
                parameter.zero_()
                continue
            for block in torch.split(parameter, config.hidden_size):
                fill(block)
    if config.cell == "lstm":  # two biases are added: all of the forget gate's goes into the first
        biases = dict(cell.named_parameters())
        torch.split(biases["bias_ih_l0"], config.hidden_size)[_FORGET].fill_(config.forget_bias)
        torch.split(biases["bias_hh_l0"], config.hidden_size)[_FORGET].zero_()


def _he(block: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(block, nonlinearity="relu")


_FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "he": _he,
    "orthogonal": nn.init.orthogonal_,
}
