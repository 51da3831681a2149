"""One trial from its first epoch to its last, epoch by epoch, and its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from typing import Any

import torch

from seqsweep.config.shapes import shape_key
from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import Conflict, NotFound, Problem
from seqsweep.models.subnormal import without_subnormals
from seqsweep.records import Reason, Report
from seqsweep.training.batches import arrays_on
from seqsweep.training.engine import Alone, Engine, Together, train, validate
from seqsweep.training.fold import Fold
from seqsweep.training.optim import Plateau
from seqsweep.training.state import pack, scoped, unpack, within


class Fit:
    """One model per fold, advanced together; metrics are means over folds.

    The start depends on the seed alone and an epoch's shuffle and dropout on (seed, epoch): going on from a checkpoint
    gives the same bits as never having stopped, on the same machine.
    """

    def __init__(self, config: FitConfig, data: tuple[Prepared, ...], device: str = "cpu",
                 dtype: torch.dtype = torch.float32) -> None:
        self.config, self.data_hashes = config, [fold.info.data_hash for fold in data]
        place = _whole(device)
        self.folds = [Fold(config, fold, number, arrays_on(fold, place, dtype)) for number, fold in enumerate(data)]
        self.epoch = 0
        self.done: Reason | None = None
        self.best: tuple[int, float] | None = None
        self._best_weights: dict[str, Any] = {}
        self._notes: dict[str, float] = {}
        self.plateau = Plateau()
        self._reference = math.inf
        self._waited = 0

    @property
    def num_weights(self) -> int:
        """Trainable numbers of one fold's model."""
        return sum(parameter.numel() for parameter in self.folds[0].parameters)

    def advance(self) -> Report:
        """Train and validate one more epoch; `done` says afterwards whether and why it was the last.

        After a nan or inf in a loss or gradient all validation figures are nan.
        """
        return Pack([self]).advance()[0]

    def begin(self) -> int:
        """Return the next epoch; raises Conflict where the trial has ended."""
        if self.done is not None:
            raise Conflict(Problem("", f"the trial ended after epoch {self.epoch}: {self.done}"))
        return self.epoch + 1

    def finish(self, figures: list[dict[str, float]], seconds: float) -> Report:
        """Take the next epoch's figures of each fold, and decide whether it was the last."""
        self.epoch += 1
        if not all(math.isfinite(each["train_loss"]) for each in figures):
            figures = [{name: math.nan if name.startswith("val_") else value for name, value in each.items()}
                       for each in figures]
        metrics = {name: sum(each[name] for each in figures) / len(figures) for name in figures[0]}
        self._judge(metrics)
        return Report(self.epoch, metrics | {"seconds": seconds})

    def _judge(self, metrics: dict[str, float]) -> None:
        """Keep the best weights, move the schedule, and decide whether to stop."""
        if not (math.isfinite(metrics["train_loss"]) and math.isfinite(metrics["val_loss"])):
            self.done = Reason.DIVERGED
            return
        if self.config.training.schedule == "plateau":
            self.plateau.see(metrics["val_loss"])
        value = metrics[f"val_{self.config.metric.name}"]
        if self.best is None or self._cost(value) < self._cost(self.best[1]):
            self._keep(value, metrics)
        if self.epoch >= self.config.training.epochs:
            self.done = Reason.FINISHED
        elif self._is_stale(value):
            self.done = Reason.EARLY_STOPPED

    def _cost(self, value: float) -> float:
        return -value if self.config.metric.goal == "maximize" else value

    def _keep(self, value: float, metrics: dict[str, float]) -> None:
        if math.isfinite(value):
            self.best = (self.epoch, value)
            self._notes = {name: metrics[f"val_{name}"] for name in self.folds[0].learner.notes}
            self._best_weights = self._by_fold([fold.weights() for fold in self.folds])

    def _is_stale(self, value: float) -> bool:
        """Count epochs without an improvement of more than min_delta over the last that was one."""
        stopping, cost = self.config.early_stopping, self._cost(value)
        if stopping is None:
            return False
        if cost < self._reference - stopping.min_delta:
            self._reference, self._waited = cost, 0
        else:
            self._waited += 1
        return self._waited >= stopping.patience

    def best_weights(self) -> bytes:
        """Return the best epoch's weights of all folds for `predict`; raises NotFound before there is one."""
        if self.best is None:
            raise NotFound("the trial has no weights: no epoch gave a finite value")
        return pack(self._best_weights, {"folds": len(self.folds), "epoch": self.best[0]}
                    | ({"notes": self._notes} if self._notes else {}))

    def checkpoint(self) -> bytes:
        """Return everything needed to go on, bit by bit as if never stopped."""
        arrays = scoped("now", self._by_fold([fold.state() for fold in self.folds]))
        meta = {"trial": self._identity(), "epoch": self.epoch, "done": self.done, "best": self.best,
                "notes": self._notes,
                "reference": self._reference, "waited": self._waited, "plateau": vars(self.plateau)}
        return pack(arrays | scoped("best", self._best_weights), meta)

    def restore(self, blob: bytes) -> None:
        """Go on from a checkpoint; raises Conflict where it is another trial's, InvalidData where it is damaged."""
        arrays, meta = unpack(blob)
        if meta.get("trial") != self._identity():
            raise Conflict("the checkpoint belongs to another trial: parameters, seed or data differ")
        for number, fold in enumerate(self.folds):
            fold.load(within(f"now/{number}", arrays))
        self._best_weights = within("best", arrays)
        self.epoch, self.done = meta["epoch"], Reason(meta["done"]) if meta["done"] else None
        self.best, self._notes = tuple(meta["best"]) if meta["best"] else None, meta.get("notes", {})
        self._reference, self._waited = meta["reference"], meta["waited"]
        vars(self.plateau).update(meta["plateau"])

    def _identity(self) -> dict[str, Any]:
        pieces = {"program": {"micro_batch", "whole_epochs", "recorded"}}  # what is trained is the same
        return {"config": self.config.model_dump(mode="json", exclude=pieces), "data": self.data_hashes}

    @staticmethod
    def _by_fold(folds: list[dict[str, Any]]) -> dict[str, Any]:
        return {f"{number}/{name}": array for number, arrays in enumerate(folds) for name, array in arrays.items()}


class Pack:
    """Trials that are trained in step: one alone, or those of one shape whose program is packed.

    Each keeps its own rates, seed, order of samples, early stopping and epoch; one may go and another come between
    two epochs. The steps of all are the same, since they see the same data in batches of one size.
    """

    def __init__(self, fits: Sequence[Fit]) -> None:
        self.fits = list(fits)
        program = self.fits[0].config.program
        together = program.packed
        alike = len({shape_key(fit.config) for fit in fits}) == 1
        if len(fits) > 1 and not (together and alike and program.micro_batch is None):
            raise Conflict(Problem("", f"{len(fits)} trials of different shapes or programs cannot be trained in step"))
        self._micro, self._whole_epochs = program.micro_batch, program.whole_epochs
        self.engines: list[Engine] = [
            Together([fit.folds[number] for fit in self.fits]) if together else Alone(self.fits[0].folds[number])
            for number in range(len(self.fits[0].folds))]
        self._epoch: Generator[None, None, list[list[dict[str, float]]]] | None = None
        self._seconds = 0.0

    def advance(self) -> list[Report]:
        """Train and validate one more epoch of each; `done` of each says afterwards whether and why it was the last."""
        while (reports := self.go_on(math.inf)) is None:
            pass
        return reports

    def go_on(self, seconds: float) -> list[Report] | None:
        """Train to the end of the epoch, or until a step ends after so many seconds: None then; call it again.

        What is trained does not depend on where it is interrupted.
        """
        with without_subnormals():
            return self._go_on(seconds)

    def _go_on(self, seconds: float) -> list[Report] | None:
        begun = time.perf_counter()
        if self._epoch is None:
            self._epoch, self._seconds = self._steps([fit.begin() for fit in self.fits]), 0.0
        try:
            while True:
                next(self._epoch)
                spent = time.perf_counter() - begun
                if spent >= seconds:
                    self._seconds += spent
                    return None
        except StopIteration as end:
            self._epoch = None
            share = (self._seconds + time.perf_counter() - begun) / len(self.fits)
            return [fit.finish(each, share) for fit, each in zip(self.fits, end.value, strict=True)]

    def _steps(self, epochs: list[int]) -> Generator[None, None, list[list[dict[str, float]]]]:
        """One epoch of each, step by step; returns the figures of each one's folds."""
        micro = None if epochs[0] <= self._whole_epochs else self._micro
        factors = [fit.plateau.factor for fit in self.fits]
        figures: list[list[dict[str, float]]] = [[] for _ in self.fits]
        for engine in self.engines:
            trained = yield from train(engine, epochs, factors, micro)
            validated = yield from validate(engine, micro)
            for each, of_training, of_validation in zip(figures, trained, validated, strict=True):
                each.append(of_training | of_validation)
        return figures


def _whole(device: str) -> torch.device:
    """Return the device with its index."""
    named = torch.device(device)
    return torch.device("cuda", torch.cuda.current_device()) if named.type == "cuda" and named.index is None else named
