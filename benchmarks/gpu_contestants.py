"""Who is compared in `gpu_pack.py`: ways to train trials of one shape on one card, a step of all at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # else the streams of 32 trials share 8 queues
import torch

from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.tasks.batch import Batch
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.fold import Fold
from seqsweep.training.optim import clip

HORIZON, WINDOWS, EPOCHS = 24, 8_000, 10
RATE, CLIP = 1e-3, 1.0


@dataclass(frozen=True)
class Case:
    """One shape of trials, and where they are trained."""

    cell: str
    hidden: int
    context: int
    batch: int = 64
    trials: int = 32
    precision: str = "float32"
    device: str = "cuda"
    windows: int = WINDOWS

    @property
    def trial_steps(self) -> int:
        """Optimiser steps of a trial of 10 epochs."""
        return EPOCHS * (self.windows // self.batch)


class Contestant(Protocol):
    """Trials that take a training step at a time."""

    trials: int

    def steps(self, count: int) -> None:
        """Take so many steps of every trial; may return before they are done."""
        ...

    def losses(self) -> list[float]:
        """Return each trial's loss of the last step."""
        ...


def waves(case: Case) -> Prepared:
    """An hourly series with its phase of the day and the week, cut into windows."""
    rows = case.windows + case.context + HORIZON + 100
    t, draw = np.arange(rows), np.random.default_rng(0)
    y_T = np.sin(t * 2 * np.pi / 24) + 0.3 * np.sin(t * 2 * np.pi / 168) + draw.normal(0, 0.1, rows)
    values_TF = np.stack([y_T, *(f(t * 2 * np.pi / p) for f in (np.sin, np.cos) for p in (24, 168))], axis=1)
    parts = {}
    for part, start_N in (("train", np.arange(case.windows)), ("val", np.arange(case.windows, case.windows + 100))):
        parts[part] = Samples(start_N, np.full_like(start_N, case.context + HORIZON), np.zeros_like(start_N),
                              np.zeros(0, np.int64), start_N.astype(np.uint64))
    info = DataInfo(features=("y", "a", "b", "c", "d"), targets=(0,), known=(1, 2, 3, 4), columns=("y",),
                    seasons=(24, 168), data_hash="waves")
    one = np.ones((1, 1), np.float32)
    return Prepared(values_TF.astype(np.float32), np.zeros((1, 0), np.float32), 0 * one, one, None, parts, {}, info)


def fits(case: Case, kernel: str, packed: bool, trials: int, recorded: bool = False) -> list[Fit]:
    """Trials that differ in their seed."""
    data, program = waves(case), {"kernel": kernel, "packed": packed, "recorded": recorded}
    return [Fit(FitConfig.model_validate({
        "task": {"type": "forecasting", "target": "y", "context": case.context, "horizon": HORIZON}, "seed": seed,
        "model": {"cell": case.cell, "hidden_size": case.hidden}, "metric": {"name": "mae", "goal": "minimize"},
        "training": {"epochs": EPOCHS, "batch_size": case.batch, "learning_rate": RATE, "clip_norm": CLIP,
                     "precision": case.precision},
        "early_stopping": None, "program": program}), (data,), case.device)
        for seed in range(trials)]


class Product:
    """seqsweep's own loop: one trial, or a pack, whose steps may be recorded."""

    def __init__(self, case: Case, kernel: str, trials: int, recorded: bool = False) -> None:
        self.trials = trials
        self._engine = Pack(fits(case, kernel, trials > 1, trials, recorded)).engines[0]
        self._batches = iter(())
        self._loss = torch.zeros(trials)

    def steps(self, count: int) -> None:
        """See Contestant; an epoch's order is sent once, as in training."""
        for _ in range(count):
            batch = next(self._batches, None)
            if batch is None:
                folds = self._engine.folds
                self._batches = self._engine.batches([f.order(1) for f in folds], [f.keys(1) for f in folds])
                batch = next(self._batches)
            self._loss = self._engine.step(batch, [RATE] * self.trials)[0]

    def losses(self) -> list[float]:
        """See Contestant."""
        return self._loss.tolist()


class Recorded:
    """A step that is recorded once and then replayed; on a CPU, which has no graphs, it is called instead."""

    def __init__(self, step: Callable[[], None], device: str) -> None:
        self._step, self._graph = step, None
        if torch.device(device).type != "cuda":
            return
        self._stream = torch.cuda.Stream()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(3):  # libraries choose and load their kernels
                step()
        torch.cuda.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=self._stream):
            step()
        torch.cuda.synchronize()

    def __call__(self) -> None:
        """Take the step on its own stream."""
        if self._graph is None:
            self._step()
            return
        with torch.cuda.stream(self._stream):
            self._graph.replay()


class Rows:
    """The samples of each step, found on the device: a recorded step cannot be told anything from outside."""

    def __init__(self, fold: Fold, case: Case) -> None:
        steps = case.windows // case.batch
        order = fold.order(1)[:steps * case.batch].reshape(steps, case.batch)
        self._rows_SB = torch.from_numpy(fold.train_loader.samples.start_N[order]).to(fold.device)
        self._step = torch.zeros(1, dtype=torch.int64, device=fold.device)
        self._loader = fold.train_loader

    def next(self) -> Batch:
        """Cut the next step's batch."""
        rows_B = self._rows_SB.index_select(0, self._step)[0]
        self._step.add_(1).remainder_(len(self._rows_SB))
        return Batch(self._loader.arrays, self._loader.windows_NLF.index_select(0, rows_B), None,
                     torch.zeros_like(rows_B), torch.zeros(0, dtype=torch.int64, device=rows_B.device), None)


class Streams:
    """Each trial's whole step in a graph on a stream of its own: shapes need not be equal."""

    def __init__(self, case: Case) -> None:
        self.trials = case.trials
        self._losses = torch.zeros(case.trials, device=case.device)
        self._recorded = [Recorded(self._step(fit.folds[0], k, case), case.device)
                          for k, fit in enumerate(fits(case, "torch", False, case.trials))]

    def _step(self, fold: Fold, k: int, case: Case) -> Callable[[], None]:
        on_gpu = fold.device.type == "cuda"
        rows, parameters = Rows(fold, case), list(fold.learner.parameters())
        rate: Any = torch.tensor(RATE, device=fold.device) if on_gpu else RATE
        optimizer = torch.optim.Adam(parameters, lr=rate, fused=True, capturable=on_gpu)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            batch = rows.next()
            with torch.autocast("cuda", torch.bfloat16, enabled=fold.mixed):
                output = fold.learner(batch)
            loss, _ = fold.learner.loss(output.float(), batch)
            torch.autograd.backward(loss)
            clip([p.grad for p in parameters if p.grad is not None], CLIP)
            optimizer.step()
            self._losses[k].copy_(loss.detach())

        return step

    def steps(self, count: int) -> None:
        """See Contestant."""
        for _ in range(count):
            for recorded in self._recorded:
                recorded()

    def losses(self) -> list[float]:
        """See Contestant."""
        synchronize(self._losses.device.type)
        return self._losses.tolist()


class Processes:
    """Loops of one trial in processes of their own; they are started once and serve all cases."""

    def __init__(self, count: int) -> None:
        self.trials = count
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._members: list[Any] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            member = context.Process(target=serve, args=(theirs,), daemon=True)
            member.start()
            self._pipes.append(ours)
            self._members.append(member)

    def ask(self, wanted: Case | int) -> list[list[float]]:
        """Send all the same at once, wait for all: a case to prepare, or a number of steps to take."""
        for pipe in self._pipes:
            pipe.send(wanted)
        answers = [pipe.recv() for pipe in self._pipes]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def steps(self, count: int) -> None:
        """See Contestant."""
        self._answers = self.ask(count)

    def losses(self) -> list[float]:
        """See Contestant."""
        return [answer[0] for answer in self._answers]

    def close(self) -> None:
        """End them."""
        for pipe in self._pipes:
            pipe.send(None)
        for member in self._members:
            member.join(60)


def serve(pipe: Connection) -> None:
    """What each of the processes does."""
    torch.set_num_threads(1)
    trial: Product | None = None
    device = "cpu"
    while (wanted := pipe.recv()) is not None:
        try:
            if isinstance(wanted, Case):
                trial, device = Product(wanted, "torch", 1), wanted.device
            elif trial is not None:
                trial.steps(wanted)
                synchronize(device)
            pipe.send(trial.losses() if trial else [])
        except Exception as problem:  # shown by the parent
            pipe.send(problem)


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
