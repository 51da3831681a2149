"""A linear layer whose bits do not depend on how many trials are computed side by side."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

_ALIGNED = 16


class Linear(nn.Linear):
    """torch's own; `aligned` pads rows and units with zeros to multiples of 16.

    What MKL does with a product depends on where it lies in memory: a trial's slice of a stack must begin as a tensor
    of its own does.
    """

    aligned = False

    def forward(self, input: Tensor) -> Tensor:
        """Return `(B, out)` of `(B, in)`."""
        if not self.aligned:
            return super().forward(input)
        rows, features = input.shape
        more = (-rows % _ALIGNED, -features % _ALIGNED, -self.out_features % _ALIGNED)
        x = functional.pad(input, (0, more[1], 0, more[0]))
        weight = functional.pad(self.weight, (0, more[1], 0, more[2]))
        return (x @ weight.mT)[:rows, :self.out_features] + self.bias
