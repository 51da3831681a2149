"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGE = -1, -3, 1 << 30


def keep_pages() -> bool:
    """Keep freed memory for the next step; return whether the C library can be told to.

    glibc maps large tensors anew at every step and gives them back, so that each of their pages faults again (measured
    in processor time, batch and hidden size: `nn.LSTM` 64, 128: 36 ms a step, then 21; 8 GRUs in step 128, 20: halved).
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_TRIM_THRESHOLD, _LARGE) and mallopt(_MMAP_THRESHOLD, _LARGE))
