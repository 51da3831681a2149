"""A stack of recurrent layers that reads a batch of sequences and gives one state each.

Shapes: B sequences, T steps (padded to the longest), F features, H hidden units of all directions together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.training import Kernel
from seqsweep.models.cells import build_cell
from seqsweep.models.convolutions import ConvolutionsBefore, FullyConvolutional
from seqsweep.models.dropout import dropout
from seqsweep.models.kernels import cell_kind, run_cell
from seqsweep.models.padding import reverse
from seqsweep.models.pooling import build_pooling
from seqsweep.models.timed import TIMED_CELLS, Clock, Timer


class Carried(NamedTuple):
    """What causal layers go on with."""

    inputs: list[Tensor]
    """The last inputs of each convolution."""
    states: list[Any]
    """Each recurrent layer's state, as its cell wants it."""


class Recurrent(nn.Module):
    """Recurrent layers in one or both directions, pooled to one state per sequence, and convolutions before and beside.

    A padded sequence gives what it gives alone: a forward layer cannot see the padding behind it, a backward layer
    reads each sequence reversed by its own length, and pooling leaves the padding out.
    """

    dropout_rate: Tensor
    variational_rate: Tensor

    def __init__(self, config: RecurrentConfig, input_size: int, clock: Clock | None = None) -> None:
        """`clock`: where among the features times stand, for cells that read them."""
        super().__init__()
        self.config = config
        self.kernel: Kernel = "torch"
        width = config.hidden_size * (2 if config.bidirectional else 1)
        self.output_size = width + config.fcn_channels
        first = config.conv_channels if config.conv_layers else input_size
        sizes = [first] + [width] * (config.num_layers - 1)
        self.before = ConvolutionsBefore(config, input_size) if config.conv_layers else None
        self.timer = Timer(config, clock) if config.cell in TIMED_CELLS else None
        times = self.timer.width if self.timer else 0
        self.forwards = nn.ModuleList(build_cell(config, size, times) for size in sizes)
        self.backwards = nn.ModuleList(build_cell(config, size, times, True) for size in sizes if config.bidirectional)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in sizes if config.layer_norm)
        self.pooling = build_pooling(config, width)
        self.beside = FullyConvolutional(input_size, config.fcn_channels) if config.fcn_channels else None
        # Rates are buffers: those of trials that are trained together differ.
        self.register_buffer("dropout_rate", torch.tensor(config.dropout), persistent=False)
        self.register_buffer("variational_rate", torch.tensor(config.variational_dropout), persistent=False)

    def forward(self, x_BTF: Tensor, length_B: Tensor | None = None, key: Tensor | None = None, first: int = 0
                ) -> Tensor:
        """Read sequences and return their states `(B, output_size)`; `length_B=None` says that all fill T.

        `key`: an int32 scalar that the masks of dropout depend on; None where nothing is dropped. `first`: where in its
        batch the first of these sequences is, which the masks depend on too.
        """
        state_BH: Tensor = self.pooling(self.outputs(x_BTF, length_B, key, first), length_B)
        if key is not None and self.config.variational_dropout:
            state_BH = dropout(state_BH, self.variational_rate, key, 2 * self.config.num_layers, first=first)
        return state_BH if self.beside is None else torch.cat([state_BH, self.beside(x_BTF, length_B)], dim=1)

    def outputs(self, x_BTF: Tensor, length_B: Tensor | None = None, key: Tensor | None = None, first: int = 0
                ) -> Tensor:
        """Return what the last layer gives at every step, `(B, T, H)`; what lies in the padding has no meaning."""
        layers = self.config.num_layers
        x_BTF, time_BTX = (x_BTF, None) if self.timer is None else self.timer(x_BTF)
        out_BTH = x_BTF if self.before is None else self.before(x_BTF, length_B)
        for layer in range(layers):
            if layer and key is not None and self.config.dropout:
                out_BTH = dropout(out_BTH, self.dropout_rate, key, layer, first=first)
            new_BTH = self._layer(layer, self._same_mask(out_BTH, key, layers + layer, first), length_B, time_BTX)
            out_BTH = self._joined(layer, new_BTH, out_BTH)
        return out_BTH

    @property
    def causal(self) -> bool:
        """Whether an output depends on its own step and earlier ones only."""
        return not self.config.bidirectional

    def resume(self, x_BTF: Tensor, carried: Carried | None = None) -> tuple[Tensor, Carried]:
        """Return the outputs `(B, T, H)` of a stretch of longer sequences, and what the next stretch goes on with.

        Stretch by stretch gives what one pass gives. Only for causal layers, by torch's own, without dropout.
        """
        if not self.causal:
            raise ValueError("a backward layer reads the end first: it has no state to go on with")
        x_BTF, time_BTX = (x_BTF, None) if self.timer is None else self.timer(x_BTF)
        inputs: list[Tensor] = []
        if self.before is not None:
            x_BTF, inputs = self.before.resume(x_BTF, carried.inputs if carried else None)
        states = []
        for layer, cell in enumerate(self.forwards):
            zeros = x_BTF.new_zeros(1, len(x_BTF), self.config.hidden_size)
            start = (zeros, zeros) if self.config.cell in ("lstm", "peephole") else zeros
            new_BTH, state = cell(_with(x_BTF, time_BTX), carried.states[layer] if carried else start)
            states.append(state)
            x_BTF = self._joined(layer, new_BTH, x_BTF)
        return x_BTF, Carried(inputs, states)

    def _layer(self, layer: int, x_BTF: Tensor, length_B: Tensor | None, time_BTX: Tensor | None) -> Tensor:
        x_BTF = _with(x_BTF, time_BTX)
        out_BTH = self._run(self.forwards[layer], x_BTF)
        if not self.config.bidirectional:
            return out_BTH
        back_BTH = self._run(self.backwards[layer], reverse(x_BTF, length_B))
        return torch.cat([out_BTH, reverse(back_BTH, length_B)], dim=-1)

    def _joined(self, layer: int, out_BTH: Tensor, x_BTF: Tensor) -> Tensor:
        """Add a layer's input to its output and normalise, as the config says."""
        if self.config.residual and layer:
            out_BTH = out_BTH + x_BTF
        return self.norms[layer](out_BTH) if self.config.layer_norm else out_BTH

    def _run(self, cell: nn.Module, x_BTF: Tensor) -> Tensor:
        return run_cell(self.kernel, cell_kind(self.config), cell, x_BTF)

    def _same_mask(self, x_BTF: Tensor, key: Tensor | None, place: int, first: int) -> Tensor:
        """Drop the same units at all steps (Gal & Ghahramani, 2016)."""
        if key is None or not self.config.variational_dropout:
            return x_BTF
        return dropout(x_BTF, self.variational_rate, key, place, x_BTF[:, :1].shape, first)


def _with(x_BTF: Tensor, time_BTX: Tensor | None) -> Tensor:
    """Put the times behind a layer's input."""
    return x_BTF if time_BTX is None else torch.cat([x_BTF, time_BTX], -1)
