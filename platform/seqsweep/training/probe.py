"""How trials of a shape are best computed on this device: measured on the trial's own data, in whole steps."""

from __future__ import annotations

import math
import time
from itertools import islice

from torch import cuda

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Choice, Kernel, ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.models.kernels import available
from seqsweep.training.fit import Fit, Pack

_STEPS, _ROUNDS = 2, 3
_WORTH = {"torch": 1.0, "other": 0.97, "packed": 0.67}
"""What a program may cost, as a share of torch's own: packs ask the search for trials of one shape."""
_CPU_PACKS: tuple[int, ...] = (4,)
_GPU_PACKS: tuple[int, ...] = (8, 32)
"""How many trials in step are tried."""


def choose(config: FitConfig, data: tuple[Prepared, ...], device: str, pack: int | None,
           kernel: Kernel | None = None) -> Choice:
    """Time a few optimiser steps of each program that could train this shape, in turns, and take the fastest.

    One layer in one direction stands for all: kernels differ in cell, sizes and device. `pack` and `kernel`: see
    `Probe`. Raises InvalidSweep where the kernel cannot run here.
    """
    config = config.model_copy(update={"early_stopping": None, "model": config.model.model_copy(
        update={"num_layers": 1, "bidirectional": False, "dropout": 0.0})})
    programs = _candidates(device, pack, kernel)
    if len(programs) == 1:
        return Choice(programs[0][0], programs[0][1], {})
    runs = [_Run(config, data, device, *each) for each in programs]
    best = [math.inf] * len(runs)
    for _ in range(_ROUNDS):
        best = [min(before, run.seconds()) for before, run in zip(best, runs, strict=True)]
    cost = [seconds / _worth(program, pack) for seconds, (program, _) in zip(best, programs, strict=True)]
    program, size = programs[cost.index(min(cost))]
    named = {f"{program.kernel}{f' x{count}' if program.packed else ''}": seconds
             for seconds, (program, count) in zip(best, programs, strict=True)}
    return Choice(program, size, named)


def _candidates(device: str, pack: int | None, kernel: Kernel | None) -> list[tuple[ProgramConfig, int]]:
    """Programs, and how many trials each trains in step."""
    if kernel is not None and not available(kernel, device):
        raise InvalidSweep(Problem("resources.kernel", f"{kernel} cannot run on {device} here", "auto, or torch"))
    kernels: tuple[Kernel, ...] = ("triton", "stacked") if device.startswith("cuda") else ("compiled",)
    sizes = _GPU_PACKS if device.startswith("cuda") else _CPU_PACKS
    if pack is not None:
        sizes = (pack,) if pack > 1 else ()
    ours: list[Kernel] = [each for each in kernels if available(each, device)] or ["stacked"]
    if kernel is not None:
        ours = [kernel]
    alone = [(ProgramConfig(kernel=each), 1) for each in ("torch", *ours) if each != "stacked"]
    if kernel is not None:
        alone = [(ProgramConfig(kernel=kernel), 1)]
    packed = [(ProgramConfig(kernel=each, packed=True), size) for each in ours for size in sizes if each != "torch"]
    return packed if pack is not None and packed else alone + packed


def _worth(program: ProgramConfig, pack: int | None) -> float:
    if program.packed and pack is None:
        return _WORTH["packed"]
    return _WORTH["torch" if program.kernel == "torch" else "other"]


class _Run:
    """A program at work on the first fold's first batches."""

    def __init__(self, config: FitConfig, data: tuple[Prepared, ...], device: str, program: ProgramConfig,
                 size: int) -> None:
        configs = [config.model_copy(update={"program": program, "seed": config.seed + k}) for k in range(size)]
        self._size, self._on_gpu = size, device.startswith("cuda")
        self._engine = Pack([Fit(each, data[:1], device) for each in configs]).engines[0]
        folds = self._engine.folds
        self._batches = list(islice(self._engine.batches([fold.order(1) for fold in folds],
                                                         [fold.keys(1) for fold in folds]), _STEPS))
        self.seconds()  # the first steps load and compile

    def seconds(self) -> float:
        """Seconds of one trial's step."""
        if self._on_gpu:
            cuda.synchronize()
        begun = time.perf_counter()
        for batch in self._batches:
            self._engine.backward(batch)
            for fold in self._engine.folds:
                fold.update(1e-4)
            self._engine.clear()
        if self._on_gpu:
            cuda.synchronize()
        return (time.perf_counter() - begun) / len(self._batches) / self._size

