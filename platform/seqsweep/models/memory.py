"""How this process asks the system for memory, and how it is told that there is none."""

from __future__ import annotations

import ctypes
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGE = -1, -3, 1 << 30
_NONE_LEFT = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "alloc_failed",
              "allocation_failed")
"""What torch's allocators, oneDNN and CUDA's libraries say in a RuntimeError."""


def keep_pages() -> bool:
    """Keep freed memory for the next step; return whether the C library can be told to.

    glibc maps large tensors anew at every step and gives them back, so that each of their pages faults again (measured
    in processor time, batch and hidden size: `nn.LSTM` 64, 128: 36 ms a step, then 21; 8 GRUs in step 128, 20: halved).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_TRIM_THRESHOLD, _LARGE) and mallopt(_MMAP_THRESHOLD, _LARGE))


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that there was no memory left, on the CPU or a GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(word in str(error).lower() for word in _NONE_LEFT)
