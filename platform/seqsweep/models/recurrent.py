"""A stack of recurrent layers that reads a batch of sequences and gives one state each.

Shapes: B sequences, T steps (padded to the longest), F features, H hidden units of all directions together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.training import Kernel
from seqsweep.models.cells import build_cell
from seqsweep.models.dropout import dropout
from seqsweep.models.kernels import cell_kind, run_cell


class Recurrent(nn.Module):
    """Elman, LSTM or GRU layers, in one or both directions, pooled to one state per sequence.

    A padded sequence gives what it gives alone: a forward layer cannot see the padding behind it, a backward layer
    reads each sequence reversed by its own length, and pooling leaves the padding out.
    """

    dropout_rate: Tensor
    variational_rate: Tensor

    def __init__(self, config: RecurrentConfig, input_size: int) -> None:
        super().__init__()
        self.config = config
        self.kernel: Kernel = "torch"
        self.output_size = config.hidden_size * (2 if config.bidirectional else 1)
        sizes = [input_size] + [self.output_size] * (config.num_layers - 1)
        self.forwards = nn.ModuleList(build_cell(config, size) for size in sizes)
        self.backwards = nn.ModuleList(build_cell(config, size) for size in sizes if config.bidirectional)
        self.norms = nn.ModuleList(nn.LayerNorm(self.output_size) for _ in sizes if config.layer_norm)
        # Rates are buffers: those of trials that are trained together differ.
        self.register_buffer("dropout_rate", torch.tensor(config.dropout), persistent=False)
        self.register_buffer("variational_rate", torch.tensor(config.variational_dropout), persistent=False)

    def forward(self, x_BTF: Tensor, length_B: Tensor | None = None, key: Tensor | None = None, first: int = 0
                ) -> Tensor:
        """Read sequences and return their states `(B, H)`; `length_B=None` says that all fill T.

        `key`: an int32 scalar that the masks of dropout depend on; None where nothing is dropped. `first`: where in its
        batch the first of these sequences is, which the masks depend on too.
        """
        out_BTH, layers = x_BTF, self.config.num_layers
        for layer in range(layers):
            if layer and key is not None and self.config.dropout:
                out_BTH = dropout(out_BTH, self.dropout_rate, key, layer, first=first)
            out_BTH = self._layer(layer, self._same_mask(out_BTH, key, layers + layer, first), length_B)
        pooled_BH = self._pool(out_BTH, length_B)
        if key is None or not self.config.variational_dropout:
            return pooled_BH
        return dropout(pooled_BH, self.variational_rate, key, 2 * layers, first=first)

    def _layer(self, layer: int, x_BTF: Tensor, length_B: Tensor | None) -> Tensor:
        out_BTH = self._run(self.forwards[layer], x_BTF)
        if self.config.bidirectional:
            back_BTH = self._run(self.backwards[layer], reverse(x_BTF, length_B))
            out_BTH = torch.cat([out_BTH, reverse(back_BTH, length_B)], dim=-1)
        if self.config.layer_norm:
            out_BTH = self.norms[layer](out_BTH)
        return out_BTH

    def _run(self, cell: nn.Module, x_BTF: Tensor) -> Tensor:
        return run_cell(self.kernel, cell_kind(self.config), cell, x_BTF)

    def _same_mask(self, x_BTF: Tensor, key: Tensor | None, place: int, first: int) -> Tensor:
        """Drop the same units at all steps (Gal & Ghahramani, 2016)."""
        if key is None or not self.config.variational_dropout:
            return x_BTF
        return dropout(x_BTF, self.variational_rate, key, place, x_BTF[:, :1].shape, first)

    def _pool(self, out_BTH: Tensor, length_B: Tensor | None) -> Tensor:
        if self.config.pooling == "last":
            return self._last(out_BTH, length_B)
        if length_B is None:
            return out_BTH.mean(dim=1) if self.config.pooling == "mean" else out_BTH.amax(dim=1)
        inside_BT1 = inside(length_B, out_BTH.shape[1]).unsqueeze(-1)
        if self.config.pooling == "mean":
            return (out_BTH * inside_BT1).sum(dim=1) / length_B.unsqueeze(-1)
        return out_BTH.masked_fill(~inside_BT1, -torch.inf).amax(dim=1)

    def _last(self, out_BTH: Tensor, length_B: Tensor | None) -> Tensor:
        """Return what each direction gave after its last step; the backward one ends at the first row."""
        if length_B is None:
            last_BH = out_BTH[:, -1]
        else:
            place_B1H = (length_B - 1).view(-1, 1, 1).expand(-1, 1, out_BTH.shape[2])
            last_BH = out_BTH.gather(1, place_B1H).squeeze(1)
        if not self.config.bidirectional:
            return last_BH
        half = self.config.hidden_size
        return torch.cat([last_BH[:, :half], out_BTH[:, 0, half:]], dim=-1)


def inside(length_B: Tensor, steps: int) -> Tensor:
    """Return `(B, T)`: true where a step is part of its sequence, false in the padding."""
    return torch.arange(steps, device=length_B.device) < length_B.unsqueeze(-1)


def reverse(x_BTF: Tensor, length_B: Tensor | None) -> Tensor:
    """Turn each sequence round within its own length; the padding stays behind it."""
    if length_B is None:
        return x_BTF.flip(1)
    step_T = torch.arange(x_BTF.shape[1], device=x_BTF.device)
    last_B1 = length_B.unsqueeze(-1) - 1
    from_BT = torch.where(step_T <= last_B1, last_B1 - step_T, step_T)
    return x_BTF.gather(1, from_BT.unsqueeze(-1).expand_as(x_BTF))
