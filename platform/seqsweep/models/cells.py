"""The cells: torch's own fused layers, an LSTM with peepholes, and how their weights start."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.models.peephole import Peephole
from seqsweep.models.timed import TIMED_CELLS, TimedCell

Cell = nn.RNNBase | Peephole | TimedCell
"""One layer of one direction, batch first: `cell(x_BTF, state)` gives outputs and the state after them."""
_FORGET = 1
"""Place of the forget gate among the LSTM's blocks: input, forget, cell, output."""


def build_cell(config: RecurrentConfig, input_size: int, times: int = 0, backwards: bool = False) -> Cell:
    """Return one layer of one direction, batch first, with its weights started as the config says.

    `times` and `backwards` are for cells that read times, in so many columns behind the input.
    """
    cell: Cell
    if config.cell in TIMED_CELLS:
        cell = TIMED_CELLS[config.cell](input_size, config.hidden_size, times, backwards)
    elif config.cell == "peephole":
        cell = Peephole(input_size, config.hidden_size)
    elif config.cell == "lstm":
        cell = nn.LSTM(input_size, config.hidden_size, batch_first=True)
    elif config.cell == "gru":
        cell = nn.GRU(input_size, config.hidden_size, batch_first=True)
    else:
        cell = nn.RNN(input_size, config.hidden_size, batch_first=True, nonlinearity=config.nonlinearity)
    _start(cell, config)
    return cell


@torch.no_grad()
def _start(cell: Cell, config: RecurrentConfig) -> None:
    """Fill each gate's block by itself: the fans of a block are those of one gate, not of all stacked together."""
    if config.init != "default":
        fill = _FILLS[config.init]
        for parameter in cell.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
                continue
            for block in torch.split(parameter, config.hidden_size):
                fill(block)
    if config.cell in ("lstm", "peephole"):  # where two biases are added, all goes into the first
        for name, start in (("bias_ih_l0", config.forget_bias), ("bias_hh_l0", 0.0)):
            if (bias := getattr(cell, name, None)) is not None:
                torch.split(bias, config.hidden_size)[_FORGET].fill_(start)


def _he(block: Tensor) -> Tensor:
    return nn.init.kaiming_uniform_(block, nonlinearity="relu")


_FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,
    "he": _he,
    "orthogonal": nn.init.orthogonal_,
}
