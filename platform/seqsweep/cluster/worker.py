"""A worker: holds the prepared data and the trials in hand, trains, and writes nothing."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
import traceback
from dataclasses import dataclass
from typing import Literal

import torch

from seqsweep.cluster.messages import Advance, Advanced, Failure, Probe, Probed
from seqsweep.config.training import Kernel
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep
from seqsweep.models.kernels import available
from seqsweep.models.memory import keep_pages, out_of_memory
from seqsweep.records import Reason, Report
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.probe import choose

Answers = tuple[Advanced | Probed, ...] | None
"""What a pool is told; None: nothing yet, there is more to do."""


class Worker:
    """Trains trials on one device with a fixed number of threads.

    `data`: one Prepared per fold, read-only and possibly shared with other workers.
    `device`: `cpu`, `cuda`, or `auto` for the GPU this process was given, if any.
    """

    def __init__(self, data: tuple[Prepared, ...], threads: int = 1, device: str = "auto") -> None:
        torch.set_num_threads(threads)
        keep_pages()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._data = data
        self._device = device
        self.name = f"{socket.gethostname()} {_device_name(device)} pid {os.getpid()}"
        self._held: dict[tuple[int, int], Fit] = {}
        self._pack: Pack | None = None
        self._sent_best: dict[tuple[int, int], int] = {}
        self._turn: _Turn | None = None

    def refusal(self, kernel: Kernel | Literal["auto"]) -> str:
        """Why a kernel cannot run here; empty where it can."""
        return "" if kernel == "auto" or available(kernel, self._device) else f"{kernel} cannot run on {self.name}"

    def do(self, work: tuple[Advance | Probe, ...], pulse: float = math.inf) -> Answers:
        """Do what a pool was given.

        None after `pulse` seconds in the middle of an epoch, as a sign of life: `go_on` goes on.
        """
        if self._turn is not None:  # given up in the middle of an epoch
            self._forget()
        probes = [each for each in work if isinstance(each, Probe)]
        if probes:
            return tuple(map(self.probe, probes))
        works = tuple(each for each in work if isinstance(each, Advance))
        try:
            fits = [self._take(each) for each in works]
            if None in fits:
                return tuple(Advanced(each.trial, each.attempt, each.from_epoch, need_checkpoint=fit is None,
                                      worker=self.name) for each, fit in zip(works, fits, strict=True))
            self._turn = self._begin(works, [fit for fit in fits if fit is not None])
        except Exception as error:
            return self._fail(works, error)
        return self.go_on(pulse)

    def go_on(self, pulse: float = math.inf) -> Answers:
        """Go on with what `do` began; None after another `pulse`."""
        turn = self._turn
        assert turn is not None  # noqa: S101 - the pool got None, which a turn gives
        try:
            answers = self._train(turn, pulse)
        except Exception as error:
            return self._fail(turn.works, error)
        if answers is not None:
            self._turn = None
        return answers

    def probe(self, work: Probe) -> Probed:
        """Time a few steps of the programs that could train this trial's shape, and choose one."""
        try:
            choice = choose(work.config, self._data, self._device, work.pack, work.kernel, timed=work.timed)
            return Probed(work.trial, work.attempt, choice)
        except Exception as error:
            return Probed(work.trial, work.attempt, None, _failure(error))
        finally:
            if self._device.startswith("cuda"):  # what it took: others may share the card
                with contextlib.suppress(RuntimeError):
                    torch.cuda.empty_cache()

    def _take(self, work: Advance) -> Fit | None:
        """The trial asked for; None where a checkpoint is needed for it."""
        key = (work.trial, work.attempt)
        held = self._held.get(key)
        if held is not None and held.epoch == work.from_epoch:
            return held
        if work.from_epoch and work.checkpoint is None:
            return None
        fit = Fit(work.config, self._data, device=self._device)
        if work.checkpoint is not None:
            fit.restore(work.checkpoint)
        return fit

    def _begin(self, works: tuple[Advance, ...], fits: list[Fit]) -> _Turn:
        self._held = {(work.trial, work.attempt): fit for work, fit in zip(works, fits, strict=True)}
        self._sent_best = {key: epoch for key, epoch in self._sent_best.items() if key in self._held}
        if self._pack is None or [id(fit) for fit in self._pack.fits] != [id(fit) for fit in fits]:
            self._pack = Pack(fits)
        return _Turn(works, self._pack, tuple([] for _ in fits), time.monotonic())

    def _train(self, turn: _Turn, pulse: float) -> tuple[Advanced, ...] | None:
        """Train until the first of the trials is at its step or its end, or the first epoch after the slice.

        Several trials are trained in step: they have one shape, and a program that is packed.
        """
        until = time.monotonic() + pulse
        each = list(zip(turn.works, turn.pack.fits, turn.reports, strict=True))
        while all(fit.epoch < work.to_epoch and fit.done is None for work, fit, _ in each):
            new = turn.pack.go_on(until - time.monotonic())
            if new is None:
                return None
            for reports, report in zip(turn.reports, new, strict=True):
                reports.append(report)
            if time.monotonic() - turn.began >= min(work.slice_s for work in turn.works):
                break
        return tuple(self._answer(*one) for one in each)

    def _fail(self, works: tuple[Advance, ...], error: Exception) -> tuple[Advanced, ...]:
        self._forget()
        failure = _failure(error)
        return tuple(Advanced(work.trial, work.attempt, work.from_epoch, worker=self.name, failure=failure)
                     for work in works)

    def _forget(self) -> None:
        self._held, self._pack, self._turn = {}, None, None

    def _answer(self, work: Advance, fit: Fit, reports: list[Report]) -> Advanced:
        stops = fit.done is not None
        decides = stops or fit.epoch >= work.to_epoch
        return Advanced(
            work.trial, work.attempt, fit.epoch, tuple(reports), fit.done,
            last=fit.checkpoint() if work.want_checkpoint and not stops else None,
            best=self._new_best(work, fit) if decides or work.want_checkpoint else None,
            num_weights=fit.num_weights, worker=self.name)

    def _new_best(self, work: Advance, fit: Fit) -> bytes | None:
        key, epoch = (work.trial, work.attempt), fit.best[0] if fit.best else 0
        if epoch == self._sent_best.get(key, 0):
            return None
        self._sent_best[key] = epoch
        return fit.best_weights()


def settle_process() -> None:
    """Take subnormal numbers for zero in a worker's own process, before torch starts threads, which take it over."""
    torch.set_flush_denormal(True)


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    return torch.cuda.get_device_name()


@dataclass(frozen=True)
class _Turn:
    """What is being done for a pool."""

    works: tuple[Advance, ...]
    pack: Pack
    reports: tuple[list[Report], ...]
    began: float


def _failure(error: Exception) -> Failure:
    if out_of_memory(error):
        traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
        if torch.cuda.is_available():
            with contextlib.suppress(RuntimeError):  # torch 2.11 refuses once a graph could not be recorded
                torch.cuda.empty_cache()
        return Failure(Reason.OUT_OF_MEMORY, f"{type(error).__name__}: {error}".strip().split("\n", 1)[0])
    trace = traceback.format_exc().replace("Traceback (most", "Trace on the worker (most")
    return Failure(Reason.USER_ERROR, str(error) if isinstance(error, InvalidSweep) else trace)
