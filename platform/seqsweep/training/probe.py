"""How trials of a shape are best computed on this device: measured on the trial's own data, in whole steps."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

import torch
from torch import Tensor, cuda

from seqsweep.config.models import TIMED, OwnModelConfig
from seqsweep.config.sweep import FitConfig
from seqsweep.config.tasks import own_learner
from seqsweep.config.training import Choice, Kernel, ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.models.kernels import available
from seqsweep.models.memory import out_of_memory
from seqsweep.models.subnormal import without_subnormals
from seqsweep.tasks.batch import Batch
from seqsweep.training.engine import Engine, Together
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.recorded import can_record

_log = logging.getLogger(__name__)
_STEPS, _ROUNDS = 2, 3
_HOPELESS = 2.0
"""Times the fastest after the first round, and a program is measured no further."""
_WORTH = {"torch": 1.0, "other": 0.97, "packed": 0.67}
"""What a program may cost, as a share of torch's own: packs ask the search for trials of one shape."""
_PACKS: dict[str, tuple[int, ...]] = {"cpu": (4,), "cuda": (8, 32)}
"""How many trials in step are tried."""
_SHORT = 2e-3
"""Seconds of a step on a CPU above which a pack has too little beside the kernel to share."""
_TRIED, _RATE, _ALIKE = 12, 1e-3, 1e-4
"""Steps and rate at which replayed steps must give the figures of steps as they are, and the relative tolerance."""


@without_subnormals()
def choose(config: FitConfig, data: tuple[Prepared, ...], device: str, pack: int | None,
           kernel: Kernel | None = None, *, timed: bool = True) -> Choice:
    """Time a few optimiser steps of each program that could train this shape, in turns, and take the fastest.

    One layer in one direction stands for all: kernels differ in cell, sizes and device. What runs out of memory is not
    chosen unless it is all there is. `pack`, `kernel` and `timed`: see `Probe`. Raises InvalidSweep where the kernel
    cannot run here.
    """
    if isinstance(config.model, OwnModelConfig) or config.model.cell in TIMED:
        return Choice(ProgramConfig(), 1, {})  # no kernel knows what a user wrote, or happens between two rows
    own = own_learner(config.task) is not None
    if own:
        pack = 1
    if kernel is not None and not available(kernel, device):
        raise InvalidSweep(Problem("resources.kernel", f"{kernel} cannot run on {device} here", "auto, or torch"))
    place = "cuda" if device.startswith("cuda") else "cpu"
    if not timed and kernel is None:
        return Choice(ProgramConfig(kernel="compiled" if available("compiled", device) else "torch"), 1, {})
    config = config.model_copy(update={"early_stopping": None, "model": config.model.model_copy(
        update={"num_layers": 1, "bidirectional": False, "dropout": 0.0})})
    alone, packed = _programs(place, pack, kernel)
    if own:
        alone = [each for each in alone if not each[0].packed]
    found: dict[tuple[ProgramConfig, int], float] = {}
    if not (pack and packed):
        if len(alone) == 1 and not packed:
            return Choice(*alone[0], {})
        found |= _measure(config, data, device, alone, kernel)
    if pack or place == "cuda" or min(found.values(), default=math.inf) < _SHORT:
        found |= _measure(config, data, device, packed, kernel)
    if not found:
        return Choice(*(alone or packed)[0], {})  # training will say that there is too little memory
    best = min(found, key=lambda each: found[each] / _worth(*each))
    return Choice(*best, {f"{program.kernel}{f' x{size}' * program.packed}{' graph' * program.recorded}": seconds
                          for (program, size), seconds in found.items()})


def _programs(place: str, pack: int | None, kernel: Kernel | None
              ) -> tuple[list[tuple[ProgramConfig, int]], list[tuple[ProgramConfig, int]]]:
    """Programs for one trial alone, and for several in step; of a kernel that is only good for packs, no other."""
    fast: tuple[Kernel, ...] = ("triton", "stacked") if place == "cuda" else ("compiled",)
    ours = [kernel] if kernel else [each for each in fast if available(each, place)] or ["stacked"]
    alone: list[Kernel] = [kernel] if kernel else ["torch", *(each for each in ours if each != "stacked")]
    sizes = _PACKS[place] if pack is None else (pack,) if pack > 1 else ()
    graphs = can_record(torch.device(place))
    programs = [(ProgramConfig(kernel=each), 1) for each in alone]
    programs += [(ProgramConfig(kernel=each, packed=True, recorded=True), 1) for each in alone
                 if graphs and each != "torch"]
    return programs, [(ProgramConfig(kernel=each, packed=True, recorded=graphs), size)
                      for each in ours if each != "torch" for size in sizes]


def _measure(config: FitConfig, data: tuple[Prepared, ...], device: str, programs: list[tuple[ProgramConfig, int]],
             kernel: Kernel | None) -> dict[tuple[ProgramConfig, int], float]:
    runs: dict[tuple[ProgramConfig, int], _Run] = {}
    for program, size in programs:
        with _fitting(spare=program.kernel == "triton" and kernel != "triton"):
            run = _run(config, data, device, program, size)
            runs[run.program, size] = run
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_ROUNDS):
        for each, run in runs.items():
            if best[each] is math.inf or best[each] < _HOPELESS * min(best.values()):
                with _fitting():
                    best[each] = min(best[each], run.seconds())
    return {each: seconds for each, seconds in best.items() if seconds < math.inf}


def _run(config: FitConfig, data: tuple[Prepared, ...], device: str, program: ProgramConfig, size: int) -> _Run:
    """Set a program to work: as steps that are not recorded, where those that are do not give the same figures."""
    run = _Run(config, data, device, program, size)
    if not program.recorded:
        return run
    plain = _Run(config, data, device, program.model_copy(update={"recorded": False}), size, run.first)
    alike = torch.allclose(run.figures, plain.figures, rtol=_ALIKE, atol=0.0, equal_nan=True)
    return run if alike and run.replays else plain


@contextmanager
def _fitting(spare: bool = False) -> Iterator[None]:
    """Leave what is inside where it runs out of memory; `spare`: where it fails at all, since others do the same.

    Triton builds its launcher by a C compiler, which a machine may lack.
    """
    try:
        yield
    except Exception as error:
        if not (spare or out_of_memory(error)):
            raise
        if spare:
            _log.warning("triton cannot run here, other kernels will: %s", str(error).strip().split("\n", 1)[0])


def _worth(program: ProgramConfig, size: int) -> float:
    return _WORTH["packed"] if size > 1 else _WORTH["torch" if program.kernel == "torch" else "other"]


class _Run:
    """A program at work on the first fold's first batches."""

    def __init__(self, config: FitConfig, data: tuple[Prepared, ...], device: str, program: ProgramConfig,
                 size: int, first: int | None = None) -> None:
        """`first`: steps to take now, which load, compile and record; what they gave are its `figures`."""
        configs = [config.model_copy(update={"program": program, "seed": config.seed + k}) for k in range(size)]
        self.program, self.first = program, first or (_TRIED if program.recorded else 1)
        self._size, self._on_gpu = size, device.startswith("cuda")
        self._engine: Engine = Pack([Fit(each, data[:1], device) for each in configs]).engines[0]
        folds = self._engine.folds
        self._batches = list(islice(self._engine.batches([fold.order(1) for fold in folds],
                                                         [fold.keys(1) for fold in folds]), _STEPS))
        self.figures = torch.stack([self._step(batch) for batch in islice(cycle(self._batches), self.first)])

    @property
    def replays(self) -> bool:
        """Whether its steps are recorded by now."""
        return isinstance(self._engine, Together) and self._engine.recorded

    def seconds(self) -> float:
        """Seconds of one trial's step."""
        self._wait()
        begun = time.perf_counter()
        for batch in self._batches:
            self._step(batch)
        self._wait()
        return (time.perf_counter() - begun) / len(self._batches) / self._size

    def _step(self, batch: Batch) -> Tensor:
        return self._engine.step(batch, [_RATE] * self._size)

    def _wait(self) -> None:
        if self._on_gpu:
            cuda.synchronize()
