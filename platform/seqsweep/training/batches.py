"""Samples of a part as batches on one device: in order, or shuffled by a seed; of one trial, or of K side by side.

Shapes: K trials or none, B samples, L rows of the longest, F features, S steps of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from seqsweep.data.batch import Ints, Prepared, Samples
from seqsweep.tasks.batch import Arrays, Batch, borrow
from seqsweep.tasks.metrics import naive_error

_POOL = 16
"""Batches whose samples are sorted by length together: less padding, and still nearly as random."""
_STRETCH = 256
"""Steps that are cut at once."""

_on_device: WeakKeyDictionary[Prepared, dict[tuple[torch.device, torch.dtype], Arrays]] = WeakKeyDictionary()


def arrays_on(data: Prepared, device: torch.device, dtype: torch.dtype = torch.float32) -> Arrays:
    """Return the arrays as tensors on a device; all trials of a process share one copy."""
    known = _on_device.setdefault(data, {})
    if (device, dtype) not in known:
        known[device, dtype] = Arrays.of(data, naive_error(data), device, dtype)
    return known[device, dtype]


class Loader:
    """Cuts a part's samples from the flat arrays. On a GPU no step waits for the host: all that a batch's shape
    depends on is known there before.
    """

    def __init__(self, arrays: Arrays, samples: Samples, batch_size: int) -> None:
        self.arrays, self.samples, self.batch_size = arrays, samples, batch_size
        self.device = arrays.values_TF.device
        self.longest = int(samples.length_N.max(initial=0))
        self.equal = bool((samples.length_N == self.longest).all())
        if self.equal and len(samples):
            self.windows_NLF = _windows(arrays.values_TF, self.longest)
            observed = arrays.observed_TD
            self.observed_NLD = None if observed is None else _windows(observed, self.longest)

    @property
    def steps(self) -> int:
        """Batches of one pass, the last one may be smaller."""
        return -(-len(self.samples) // self.batch_size)

    def in_order(self) -> Iterator[Batch]:
        """Give every sample once, in the part's order."""
        return self.batches(np.arange(len(self.samples)))

    def shuffle(self, rng: np.random.Generator) -> Ints:
        """Return all samples in an order `(N,)` that depends on `rng` only; alike lengths share a batch.

        A smaller batch is the last: trials that are trained together take equal steps.
        """
        order_N = rng.permutation(len(self.samples))
        if self.equal:
            return order_N
        pool = _POOL * self.batch_size
        for first in range(0, len(order_N), pool):
            part = order_N[first:first + pool]
            order_N[first:first + pool] = part[np.argsort(self.samples.length_N[part], kind="stable")]
        full = len(order_N) // self.batch_size
        head, tail = order_N[:full * self.batch_size], order_N[full * self.batch_size:]
        return np.concatenate([head.reshape(full, self.batch_size)[rng.permutation(full)].ravel(), tail])

    def batches(self, order: Ints, keys: Ints | None = None) -> Iterator[Batch]:
        """Cut the samples of `order` `(N,)`, or of K orders `(K, N)` into batches with K in front.

        `keys` `(S,)` or `(K, S)`: what each step's dropout depends on, int32. The sequences of K trials are padded to
        the part's longest, those of one to the batch's: what a trial computes must not depend on its neighbours.
        """
        samples = self.samples
        start, length, series, label, target = (
            borrow(column[order] if len(column) else column).to(self.device)
            for column in (samples.start_N, samples.length_N, samples.series_N, samples.label_N, samples.target_N))
        target = target.to(self.arrays.values_TF.dtype)
        key = None if keys is None else torch.from_numpy(keys).to(self.device)
        columns = (self._by_step(each) for each in (start, length, series, label, target))
        for step, (rows, length_B, series_B, label_B, target_B) in enumerate(zip(*columns, strict=True)):
            if self.equal:
                x_BLF, lengths = _cut(self.windows_NLF, rows), None
                observed = None if self.observed_NLD is None else _cut(self.observed_NLD, rows)
            else:
                these = order[..., step * self.batch_size:(step + 1) * self.batch_size]
                longest = self.longest if order.ndim > 1 else int(samples.length_N[these].max())
                x_BLF, lengths, observed = _padded(self.arrays.values_TF, rows, length_B, longest), length_B, None
            yield Batch(self.arrays, x_BLF, lengths, series_B, label_B, observed,
                        None if key is None else key[..., step], start_B=rows, target_B=target_B)

    def _by_step(self, column: Tensor) -> Iterator[Tensor]:
        """Cut a column, many steps at a time: cheaper than one by one, where all at once would take memory."""
        if not len(column):  # of another task
            yield from repeat(column, self.steps)
            return
        stretch = _STRETCH * self.batch_size
        for first in range(0, column.shape[-1], stretch):
            yield from torch.split(column[..., first:first + stretch], self.batch_size, -1)


def _windows(values_TX: Tensor, length: int) -> Tensor:
    """View `(T, X)` as all its windows `(T - length + 1, length, X)`; index_select copies one in a single stretch."""
    rows, width = values_TX.shape
    return values_TX.as_strided((rows - length + 1, length, width), (width, width, 1))


def _cut(windows_NLX: Tensor, rows: Tensor) -> Tensor:
    return windows_NLX.index_select(0, rows.reshape(-1)).view(*rows.shape, *windows_NLX.shape[1:])


def _padded(values_TF: Tensor, start_B: Tensor, length_B: Tensor, longest: int) -> Tensor:
    step_L = torch.arange(longest, device=values_TF.device)
    inside_BL = step_L < length_B.unsqueeze(-1)
    rows_BL = torch.where(inside_BL, start_B.unsqueeze(-1) + step_L, start_B.unsqueeze(-1))
    x_BLF = values_TF.index_select(0, rows_BL.view(-1)).view(*rows_BL.shape, -1)
    return x_BLF * inside_BL.unsqueeze(-1)
