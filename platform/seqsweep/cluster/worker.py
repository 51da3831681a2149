"""A worker: holds the prepared data and the trial in hand, trains, and writes nothing."""

from __future__ import annotations

import os
import socket
import time
import traceback

import torch

from seqsweep.cluster.messages import Advance, Advanced, Failure
from seqsweep.data.batch import Prepared
from seqsweep.records import Reason, Report
from seqsweep.training.fit import Fit

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


class Worker:
    """Trains trials on one device with a fixed number of threads.

    `data`: one Prepared per fold, read-only and possibly shared with other workers.
    `device`: `cpu`, `cuda`, or `auto` for the GPU this process was given, if any.
    """

    def __init__(self, data: tuple[Prepared, ...], threads: int = 1, device: str = "auto") -> None:
        torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._data = data
        self._device = device
        self.name = f"{socket.gethostname()} {_device_name(device)} pid {os.getpid()}"
        self._held: tuple[int, int] | None = None
        self._fit: Fit | None = None
        self._sent_best = 0

    def ready(self) -> str:
        """Answer once the constructor has run: host, device and process."""
        return self.name

    def advance(self, work: Advance) -> Advanced:
        """Train on until the step, the end of the trial, or the first epoch after the slice."""
        try:
            fit = self._take(work)
            if fit is None:
                return Advanced(work.trial, work.attempt, work.from_epoch, need_checkpoint=True, worker=self.name)
            return self._train(work, fit)
        except Exception as error:
            self._held = self._fit = None
            return Advanced(work.trial, work.attempt, work.from_epoch, worker=self.name, failure=_failure(error))

    def _take(self, work: Advance) -> Fit | None:
        """The trial asked for; None where a checkpoint is needed for it."""
        if self._fit and self._held == (work.trial, work.attempt) and self._fit.epoch == work.from_epoch:
            return self._fit
        if work.from_epoch and work.checkpoint is None:
            return None
        self._fit = None  # the trial before gives its memory back first
        fit = Fit(work.config, self._data, device=self._device)
        if work.checkpoint is not None:
            fit.restore(work.checkpoint)
        self._fit, self._held, self._sent_best = fit, (work.trial, work.attempt), 0
        return fit

    def _train(self, work: Advance, fit: Fit) -> Advanced:
        reports = list[Report]()
        began = time.monotonic()
        while fit.epoch < work.to_epoch and fit.done is None:
            reports.append(fit.advance())
            if time.monotonic() - began >= work.slice_s:
                break
        stops = fit.done is not None
        decides = stops or fit.epoch >= work.to_epoch
        return Advanced(
            work.trial, work.attempt, fit.epoch, tuple(reports), fit.done,
            last=fit.checkpoint() if work.want_checkpoint and not stops else None,
            best=self._new_best(fit) if decides or work.want_checkpoint else None,
            num_weights=fit.num_weights, worker=self.name)

    def _new_best(self, fit: Fit) -> bytes | None:
        epoch = fit.best[0] if fit.best else 0
        if epoch == self._sent_best:
            return None
        self._sent_best = epoch
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
    return Failure(Reason.USER_ERROR, traceback.format_exc())
