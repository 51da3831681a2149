"""The prepared arrays as tensors on one device, and a batch of samples cut from them.

Shapes: B samples, L rows of the longest of them, F features, S series, C static features, D targets.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from seqsweep.data.batch import Prepared


def borrow(array: npt.NDArray[Any]) -> Tensor:
    """View an array as a tensor without a copy. It is shared with other processes: never write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


@dataclass(frozen=True, eq=False)
class Arrays:
    """What samples are cut from, once per device."""

    values_TF: Tensor
    static_SC: Tensor
    shift_SD: Tensor
    scale_SD: Tensor
    observed_TD: Tensor | None
    mase_SD: Tensor
    """In-sample mean absolute error of the seasonal naive forecast, in data units; nan where there is none."""

    @classmethod
    def of(cls, data: Prepared, mase_SD: npt.NDArray[Any], device: torch.device,
           dtype: torch.dtype = torch.float32) -> Arrays:
        """Map (CPU) or copy (GPU, or another dtype) the arrays of one fold."""
        observed = None if data.observed_TD is None else borrow(data.observed_TD).to(device)
        return cls(values_TF=borrow(data.values_TF).to(device, dtype),
                   static_SC=borrow(data.static_SC).to(device, dtype),
                   shift_SD=borrow(data.shift_SD).to(device), scale_SD=borrow(data.scale_SD).to(device),
                   observed_TD=observed, mase_SD=borrow(mase_SD).to(device))


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one optimiser step."""

    arrays: Arrays
    x_BLF: Tensor
    """Whole samples: context and horizon, or a sequence padded with zeros."""
    length_B: Tensor | None
    """Rows of each sample; None: all fill L."""
    series_B: Tensor
    label_B: Tensor
    """Class indices; empty but in classification."""
    observed_BLD: Tensor | None
    key: Tensor | None = None
    """What the step's dropout depends on, an int32 scalar; None where nothing is dropped."""
    first: int = 0
    """Where in the step's whole batch the first of these samples is."""
    start_B: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """First row of each sample in `values_TF`."""
    target_B: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Regression: the numbers to tell, scaled; else empty."""

    def pieces(self, size: int | None) -> Iterator[Batch]:
        """Give the samples in pieces of `size`, views of this batch or of K batches side by side; None: all at once."""
        whole = self.series_B.shape[-1]
        if size is None or size >= whole:
            yield self
            return
        for start in range(0, whole, size):
            rows = slice(start, start + size)
            length = None if self.length_B is None else self.length_B[..., rows]
            observed = None if self.observed_BLD is None else self.observed_BLD[..., rows, :, :]
            yield Batch(self.arrays, self.x_BLF[..., rows, :, :], length, self.series_B[..., rows],
                        self.label_B[..., rows], observed, self.key, start,
                        self.start_B[..., rows], self.target_B[..., rows])

    def copy(self) -> Batch:
        """Return a batch with memory of its own; the arrays are the same."""
        mine: dict[str, Any] = {name: each.clone() if isinstance(each, Tensor) else each
                                for name, each in vars(self).items()}
        return Batch(**mine)

    def fill(self, other: Batch) -> bool:
        """Take over another's samples where they have the shapes of these; return whether they have."""
        pairs = [(each, getattr(other, name)) for name, each in vars(self).items() if name != "arrays"]
        tensors = [(mine, new) for mine, new in pairs if isinstance(mine, Tensor) and isinstance(new, Tensor)]
        if any(mine.shape != new.shape for mine, new in tensors) or \
                any(mine != new for mine, new in pairs if not (isinstance(mine, Tensor) and isinstance(new, Tensor))):
            return False
        for mine, new in tensors:
            mine.copy_(new)
        return True

    @property
    def static(self) -> Tensor | None:
        """Static features of each sample's series; None where there are none."""
        if not self.arrays.static_SC.shape[1]:
            return None
        return self.arrays.static_SC.index_select(0, self.series_B)
