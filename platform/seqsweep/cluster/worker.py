"""A worker: holds the prepared data and the trials in hand, trains, and writes nothing."""

from __future__ import annotations

import os
import socket
import time
import traceback

import torch

from seqsweep.cluster.messages import Advance, Advanced, Failure, Probe, Probed
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep
from seqsweep.models.memory import keep_pages
from seqsweep.records import Reason, Report
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.probe import choose

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


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

    def ready(self) -> str:
        """Answer once the constructor has run: host, device and process."""
        return self.name

    def do(self, work: tuple[Advance | Probe, ...]) -> tuple[Advanced | Probed, ...]:
        """Do what a pool was given."""
        probes = [each for each in work if isinstance(each, Probe)]
        return tuple(map(self.probe, probes)) if probes else self.advance(
            *(each for each in work if isinstance(each, Advance)))

    def probe(self, work: Probe) -> Probed:
        """Time a few steps of the programs that could train this trial's shape, and choose one."""
        try:
            choice = choose(work.config, self._data, self._device, work.pack, work.kernel, timed=work.timed)
            return Probed(work.trial, work.attempt, choice)
        except Exception as error:
            return Probed(work.trial, work.attempt, None, _failure(error))

    def advance(self, *works: Advance) -> tuple[Advanced, ...]:
        """Train on until the first of the trials is at its step or its end, or the first epoch after the slice.

        Several trials are trained in step: they have one shape, and a program that is packed.
        """
        try:
            fits = [self._take(work) for work in works]
            if None in fits:
                return tuple(Advanced(work.trial, work.attempt, work.from_epoch, need_checkpoint=fit is None,
                                      worker=self.name) for work, fit in zip(works, fits, strict=True))
            return self._train(works, [fit for fit in fits if fit is not None])
        except Exception as error:
            self._held, self._pack = {}, None
            failure = _failure(error)
            return tuple(Advanced(work.trial, work.attempt, work.from_epoch, worker=self.name, failure=failure)
                         for work in works)

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

    def _train(self, works: tuple[Advance, ...], fits: list[Fit]) -> tuple[Advanced, ...]:
        self._held = {(work.trial, work.attempt): fit for work, fit in zip(works, fits, strict=True)}
        self._sent_best = {key: epoch for key, epoch in self._sent_best.items() if key in self._held}
        if self._pack is None or [id(fit) for fit in self._pack.fits] != [id(fit) for fit in fits]:
            self._pack = Pack(fits)
        reports: list[list[Report]] = [[] for _ in fits]
        began = time.monotonic()
        while all(fit.epoch < work.to_epoch and fit.done is None for work, fit in zip(works, fits, strict=True)):
            for each, report in zip(reports, self._pack.advance(), strict=True):
                each.append(report)
            if time.monotonic() - began >= min(work.slice_s for work in works):
                break
        return tuple(self._answer(*each) for each in zip(works, fits, reports, strict=True))

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


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    return torch.cuda.get_device_name()


def _failure(error: Exception) -> Failure:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(m in text.lower() for m in _OUT_OF_MEMORY):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return Failure(Reason.OUT_OF_MEMORY, text)
    return Failure(Reason.USER_ERROR, str(error) if isinstance(error, InvalidSweep) else traceback.format_exc())
