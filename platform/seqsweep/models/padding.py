"""Sequences of different lengths in one batch. Shapes: B sequences, T steps (padded to the longest), F features."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor


@overload
def inside(length_B: Tensor, steps: int) -> Tensor: ...


@overload
def inside(length_B: None, steps: int) -> None: ...


@overload
def inside(length_B: Tensor | None, steps: int) -> Tensor | None: ...


def inside(length_B: Tensor | None, steps: int) -> Tensor | None:
    """Return `(B, T, 1)`: true where a step is part of its sequence, false in the padding; None where there is none."""
    if length_B is None:
        return None
    return (torch.arange(steps, device=length_B.device) < length_B.unsqueeze(-1)).unsqueeze(-1)


def last(x_BTF: Tensor, length_B: Tensor | None) -> Tensor:
    """Return each sequence's last step `(B, F)`."""
    if length_B is None:
        return x_BTF[:, -1]
    place_B1F = (length_B - 1).view(-1, 1, 1).expand(-1, 1, x_BTF.shape[2])
    return x_BTF.gather(1, place_B1F).squeeze(1)


def reverse(x_BTF: Tensor, length_B: Tensor | None) -> Tensor:
    """Turn each sequence round within its own length; the padding stays behind it."""
    if length_B is None:
        return x_BTF.flip(1)
    step_T = torch.arange(x_BTF.shape[1], device=x_BTF.device)
    last_B1 = length_B.unsqueeze(-1) - 1
    from_BT = torch.where(step_T <= last_B1, last_B1 - step_T, step_T)
    return x_BTF.gather(1, from_BT.unsqueeze(-1).expand_as(x_BTF))
