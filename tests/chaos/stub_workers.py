"""Workers that have always just finished: the controller, store and MLflow around them are the real ones.

A stub's figures are a function of parameters and epoch, its checkpoint says whose and of which epoch it is, and what it
trained is written down where no controller can take it back. So a curve that was mixed up, a trial that went on from
the wrong place and work that was done twice are seen afterwards.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqsweep.cluster.messages import Advance, Advanced, Event, Probe
from seqsweep.data.batch import Prepared
from seqsweep.records import Reason, Report, Scalar
from seqsweep.training.fit import Fit


class Witness:
    """Lines that survive a kill: each is handed to the system whole before the next thing happens."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, *words: object) -> None:
        """Write one line, after the process that does."""
        os.write(self._file, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())


def testimony(path: Path, kind: str) -> Iterator[list[str]]:
    """The lines of one kind: process, then what was noted."""
    for line in path.read_text().splitlines() if path.exists() else ():
        process, found, *words = line.split()
        if found == kind:
            yield [process, *words]


def figures(params: Mapping[str, Scalar], epoch: int) -> dict[str, float]:
    """What an epoch of a trial gives, whoever trains it and however often."""
    floor = (math.log10(float(params["learning_rate"])) + 3) ** 2 + (float(params["weight_decay"]) - 0.3) ** 2
    return {"train_loss": floor, "val_loss": floor, "val_mae": floor + math.exp(-epoch), "grad_norm": 1.0}


class StubPool:
    """Two workers in this process that sleep `pace` seconds an epoch."""

    size = 2

    def __init__(self, data: tuple[Prepared, ...], pace: float, witness: Witness) -> None:
        self._data, self._pace, self._witness = data, pace, witness
        self._work: dict[int, tuple[Advance | Probe, ...]] = {}
        self._held: dict[int, tuple[int, int, int]] = {}
        self._weights = b""

    def idle(self) -> list[int]:
        """Those without work."""
        return [worker for worker in range(self.size) if worker not in self._work]

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        """Keep it until `wait`."""
        self._work[worker] = work

    def wait(self, timeout: float) -> list[Event]:
        """Do everything in hand."""
        events = [Event(worker, self._advance(worker, each)) for worker, work in sorted(self._work.items())
                  for each in work if isinstance(each, Advance)]
        self._work.clear()
        return events

    def kill(self, worker: int) -> None:
        """Forget its work."""
        self._work.pop(worker, None)

    def close(self) -> None:
        """Nothing to let go of."""

    def _advance(self, worker: int, work: Advance) -> Advanced:
        if work.from_epoch and self._held.get(worker) != (work.trial, work.attempt, work.from_epoch):
            if work.checkpoint is None:
                return Advanced(work.trial, work.attempt, work.from_epoch, need_checkpoint=True, worker="stub")
            stored = json.loads(work.checkpoint)
            assert stored == [work.trial, work.from_epoch], f"{stored} sent for {work.trial}, {work.from_epoch}"
        epoch, reports, began = work.from_epoch, [], time.monotonic()
        params = {"learning_rate": work.config.training.learning_rate,
                  "weight_decay": work.config.training.weight_decay}
        while epoch < work.to_epoch:
            epoch += 1
            time.sleep(self._pace)
            self._witness.note("trained", work.trial, epoch)
            reports.append(Report(epoch, figures(params, epoch) | {
                "learning_rate": work.config.training.learning_rate, "seconds": self._pace}))
            if time.monotonic() - began >= work.slice_s:
                break
        self._held[worker] = (work.trial, work.attempt, epoch)
        stops = epoch >= work.config.training.epochs
        return Advanced(work.trial, work.attempt, epoch, tuple(reports), Reason.FINISHED if stops else None,
                        last=json.dumps([work.trial, epoch]).encode() if work.want_checkpoint and not stops else None,
                        best=self._best(work) if stops or epoch >= work.to_epoch else None, num_weights=1,
                        worker=f"stub {worker}")

    def _best(self, work: Advance) -> bytes:
        """Weights that the winner's evaluation and its package can use: those of one real epoch."""
        if not self._weights:
            fit = Fit(work.config, self._data)
            fit.advance()
            self._weights = fit.best_weights()
        return self._weights
