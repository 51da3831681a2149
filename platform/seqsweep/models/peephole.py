"""An LSTM whose gates see the cells: input and forget gate the last one, the output gate the new one.

Shapes: B sequences, T steps, F features, H hidden units, G = 4 * H in torch's order: input, forget, candidate, output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqsweep.models.stacked import run_stack

State = tuple[Tensor, Tensor]


class Peephole(nn.Module):
    """One layer of one direction (Gers & Schmidhuber, 2000), named and started like `nn.LSTM`, with one bias."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        bound = hidden_size ** -0.5
        self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.peephole_l0 = (
            nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            for shape in ((4 * hidden_size, input_size), (4 * hidden_size, hidden_size), (4 * hidden_size,),
                          (3 * hidden_size,)))

    def forward(self, x_BTF: Tensor, state: State | None = None) -> tuple[Tensor, State | None]:
        """Return the outputs `(B, T, H)`, and where a state `(1, B, H)` of outputs and cells was given, the one after.

        From no state on, which is zeros, the gradients' graph stays out of the loop over time.
        """
        if state is not None:
            return self._resume(x_BTF, state)
        enter, forget, leave = self.peephole_l0.chunk(3)
        sight_G = torch.cat([enter, forget, torch.zeros_like(leave), leave])
        stack = (each.unsqueeze(0) for each in (x_BTF, self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, sight_G))
        return run_stack("peephole", *stack).squeeze(0), None

    def _resume(self, x_BTF: Tensor, state: State) -> tuple[Tensor, State]:
        out_BH, cell_BH = (each.squeeze(0) for each in state)
        by_enter, by_forget, by_leave = self.peephole_l0.chunk(3)
        outputs = []
        for x_BG in (x_BTF @ self.weight_ih_l0.mT + self.bias_ih_l0).unbind(1):
            enter, forget, fresh, leave = (x_BG + out_BH @ self.weight_hh_l0.mT).chunk(4, -1)
            enter, forget = torch.sigmoid(enter + by_enter * cell_BH), torch.sigmoid(forget + by_forget * cell_BH)
            cell_BH = forget * cell_BH + enter * torch.tanh(fresh)
            out_BH = torch.sigmoid(leave + by_leave * cell_BH) * torch.tanh(cell_BH)
            outputs.append(out_BH)
        return torch.stack(outputs, 1), (out_BH.unsqueeze(0), cell_BH.unsqueeze(0))
