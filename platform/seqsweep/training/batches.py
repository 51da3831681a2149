"""Samples of a part as batches on one device: in order, or shuffled by a seed.

Shapes: B samples, L rows of the longest, F features.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from seqsweep.data.batch import Ints, Samples
from seqsweep.tasks.batch import Arrays, Batch, borrow

_POOL = 16
"""Batches whose samples are sorted by length together: less padding, and still nearly as random."""


class Loader:
    """Cuts a part's samples from the flat arrays. On a GPU no step waits for the host: all that a batch's shape
    depends on is known there before.
    """

    def __init__(self, arrays: Arrays, samples: Samples, batch_size: int) -> None:
        self.arrays, self.samples, self.batch_size = arrays, samples, batch_size
        self.device = arrays.values_TF.device
        self.equal = bool((samples.length_N == samples.length_N[0]).all()) if len(samples) else True
        if self.equal and len(samples):
            self.windows_NLF = _windows(arrays.values_TF, int(samples.length_N[0]))
            observed = arrays.observed_TD
            self.observed_NLD = None if observed is None else _windows(observed, int(samples.length_N[0]))

    @property
    def steps(self) -> int:
        """Batches of one pass, the last one may be smaller."""
        return -(-len(self.samples) // self.batch_size)

    def in_order(self) -> Iterator[Batch]:
        """Give every sample once, in the part's order."""
        return self._batches(np.arange(len(self.samples)), np.arange(self.steps))

    def shuffled(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Give every sample once, in an order that depends on `rng` only; alike lengths share a batch."""
        order_N = rng.permutation(len(self.samples))
        if self.equal:
            return self._batches(order_N, np.arange(self.steps))
        pool = _POOL * self.batch_size
        for first in range(0, len(order_N), pool):
            part = order_N[first:first + pool]
            order_N[first:first + pool] = part[np.argsort(self.samples.length_N[part], kind="stable")]
        return self._batches(order_N, rng.permutation(self.steps))

    def _batches(self, order_N: Ints, turns: Ints) -> Iterator[Batch]:
        samples = self.samples
        start_N, length_N, series_N, label_N = (
            borrow(column[order_N] if len(column) else column).to(self.device)
            for column in (samples.start_N, samples.length_N, samples.series_N, samples.label_N))
        for turn in turns.tolist():
            these = slice(turn * self.batch_size, (turn + 1) * self.batch_size)
            if self.equal:
                x_BLF, length_B = self.windows_NLF.index_select(0, start_N[these]), None
                observed = None if self.observed_NLD is None else self.observed_NLD.index_select(0, start_N[these])
            else:
                longest = int(samples.length_N[order_N[these]].max())
                length_B, observed = length_N[these], None
                x_BLF = _padded(self.arrays.values_TF, start_N[these], length_B, longest)
            yield Batch(self.arrays, x_BLF, length_B, series_N[these], label_N[these], observed)


def _windows(values_TX: Tensor, length: int) -> Tensor:
    """View `(T, X)` as all its windows `(T - length + 1, length, X)`; index_select copies one in a single stretch."""
    rows, width = values_TX.shape
    return values_TX.as_strided((rows - length + 1, length, width), (width, width, 1))


def _padded(values_TF: Tensor, start_B: Tensor, length_B: Tensor, longest: int) -> Tensor:
    step_L = torch.arange(longest, device=values_TF.device)
    inside_BL = step_L < length_B.unsqueeze(1)
    rows_BL = torch.where(inside_BL, start_B.unsqueeze(1) + step_L, start_B.unsqueeze(1))
    x_BLF = values_TF.index_select(0, rows_BL.view(-1)).view(*rows_BL.shape, -1)
    return x_BLF * inside_BL.unsqueeze(-1)
