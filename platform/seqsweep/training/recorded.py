"""A training step that a GPU is given once, as a CUDA graph, and that one launch then repeats.

A step of a small recurrent network is hundreds of short kernels, and giving them out one by one takes longer than they
do. K trials in step have one graph: what differs from step to step is copied into the places that it reads.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from seqsweep.tasks.batch import Batch

_BEFORE = 3
"""Steps that are taken as they are: kernels are compiled, libraries choose theirs and take their memory."""

Step = Callable[[Batch, Tensor], Tensor]
"""Takes a step of all trials at their rates `(K,)`; returns losses, their weights and the gradients' norms `(3, K)`."""


def can_record(device: torch.device) -> bool:
    """Whether a device has graphs."""
    return device.type == "cuda"


class Recorder:
    """Takes steps, by replaying the first of them where the batch has its shapes; the last of an epoch may be smaller.

    The step must change nothing but tensors that stay where they are. Where it cannot be recorded, it is taken as is.
    """

    def __init__(self, trials: int, like: Tensor) -> None:
        """`like`: a weight, for the type of the rates and the device."""
        self._device = like.device
        self._rate_K = like.new_zeros(trials)
        self._figures_3K = like.new_zeros(3, trials)
        self._rates: tuple[float, ...] = ()
        self._batch: Batch | None = None
        self._taken = 0
        self._replay: Callable[[], None] | None = None

    @property
    def recorded(self) -> bool:
        """Whether there is something to replay."""
        return self._replay is not None

    def step(self, step: Step, batch: Batch, rates: Sequence[float]) -> Tensor:
        """Take one; returns figures as `Step`, not fetched. The step must be the same one each time."""
        self._set(tuple(rates))
        with _aside(self._device):
            if self._batch is None:
                self._batch = batch.copy()
            if not self._batch.fill(batch):
                self._figures_3K.copy_(step(batch, self._rate_K))
            elif self._replay is not None:
                self._replay()
            else:
                self._figures_3K.copy_(step(self._batch, self._rate_K))
                self._taken += 1
                if self._taken == _BEFORE:
                    self._record(step, self._batch)
        return self._figures_3K.clone()

    def _set(self, rates: tuple[float, ...]) -> None:
        if rates != self._rates:
            self._rates = rates
            self._rate_K.copy_(torch.tensor(rates, dtype=self._rate_K.dtype), non_blocking=True)

    def _record(self, step: Step, batch: Batch) -> None:
        def all_of_it() -> None:
            self._figures_3K.copy_(step(batch, self._rate_K))

        with contextlib.suppress(RuntimeError):  # steps go on one kernel at a time, with the same figures
            self._replay = record(all_of_it)


def record(function: Callable[[], None]) -> Callable[[], None]:
    """Return what repeats the GPU's work of a function on the current stream; the function's own is not done."""
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    stream, collects = torch.cuda.current_stream(), gc.isenabled()
    gc.disable()  # what it would free may be another graph
    try:
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            function()
    except RuntimeError:
        with contextlib.suppress(Exception):  # torch 2.11 does not end it, and then frees no memory any more
            torch._C._cuda_endAllocateToPool(stream.device_index, pool)
        raise
    finally:
        if collects:
            gc.enable()
    replay: Callable[[], None] = graph.replay
    return replay


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """Work on a stream of its own, in order with the current one: the default stream cannot be recorded."""
    if device.type != "cuda":
        yield
        return
    side, current = _side(device), torch.cuda.current_stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)


@functools.cache
def _side(device: torch.device) -> Any:
    """One for all: each new stream costs libraries a workspace."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
