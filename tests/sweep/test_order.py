"""Deterministic sweeps: one table of trials, whatever the timing and the kills."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Event, Lost, Probe
from seqsweep.config.sweep import Sweep
from seqsweep.records import Reason, Report
from seqsweep.store.records import Store
from seqsweep.sweep import search as controller
from seqsweep.sweep import search_of

PARAMETERS = {"cell": {"values": ["elman", "lstm"]}, "hidden_size": {"values": [4, 16, 64]},
              "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True}, "batch_size": {"values": [16, 32]},
              "epochs": {"value": 9}}
GRID = {"cell": {"values": ["elman", "lstm"]}, "hidden_size": {"values": [4, 16, 64]},
        "learning_rate": {"values": [1e-3, 1e-2]}, "epochs": {"value": 9}}


class Killed(Exception):  # noqa: N818 - no error: the end of a controller
    """The controller was killed."""


class StubPool:
    """Workers that answer after random delays, in random pieces, and die now and then."""

    def __init__(self, workers: int, seed: int, kill_after: int = 10**9, losses: float = 0.0) -> None:
        self.size, self._draw, self._losses = workers, random.Random(seed), losses
        self._work: dict[int, Advance | Probe] = {}
        self._held: dict[int, tuple[int, int, int]] = {}
        self._left = kill_after
        self.trained = 0

    def idle(self) -> list[int]:
        return [worker for worker in range(self.size) if worker not in self._work]

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        (self._work[worker],) = work

    def wait(self, timeout: float) -> list[Event]:
        self._left -= 1
        if self._left < 0:
            raise Killed
        busy = [worker for worker in self._work if self._draw.random() < 0.5]
        self._draw.shuffle(busy)
        return [Event(worker, self._answer(worker, self._work.pop(worker))) for worker in busy]

    def _answer(self, worker: int, work: Advance | Probe) -> Advanced | Lost:
        assert isinstance(work, Advance)  # torch's own kernel is not probed
        if self._draw.random() < self._losses:
            self._held.pop(worker, None)
            return Lost("killed")
        if self._held.get(worker) != (work.trial, work.attempt, work.from_epoch):
            if work.from_epoch and work.checkpoint is None:
                return Advanced(work.trial, work.attempt, work.from_epoch, need_checkpoint=True)
            assert work.checkpoint is None or work.checkpoint == state(work.trial, work.from_epoch)
        to_epoch = self._draw.randint(min(work.from_epoch + 1, work.to_epoch), work.to_epoch)
        reports, done = list[Report](), None
        while (epoch := work.from_epoch + len(reports)) < to_epoch and done is None:
            reports.append(report(work, epoch + 1))
            done = end(work, epoch + 1)
        self.trained += len(reports)
        epoch = work.from_epoch + len(reports)
        self._held[worker] = (work.trial, work.attempt, epoch)
        return Advanced(work.trial, work.attempt, epoch, tuple(reports), done, worker=f"stub {worker}",
                        last=state(work.trial, epoch) if work.want_checkpoint and done is None else None)

    def kill(self, worker: int) -> None:
        self._work.pop(worker, None)

    def close(self) -> None: ...


def state(trial: int, epoch: int) -> bytes:
    return f"{trial}/{epoch}".encode()


def loss(work: Advance, epoch: int) -> float:
    """A function of the parameters and the epoch, with crossing curves."""
    rate = work.config.training.learning_rate
    return (math.log10(rate) + 2) ** 2 + 8 / work.config.model.hidden_size + math.cos(work.config.seed + epoch) / epoch


def report(work: Advance, epoch: int) -> Report:
    value = math.nan if end(work, epoch) is Reason.DIVERGED else loss(work, epoch)
    return Report(epoch, {"val_mae": value, "val_loss": value, "seconds": random.random()})  # noqa: S311


def end(work: Advance, epoch: int) -> Reason | None:
    if work.config.seed % 7 == 0 and epoch >= 2:
        return Reason.DIVERGED
    if work.config.seed % 5 == 0 and epoch >= 4:
        return Reason.EARLY_STOPPED
    return Reason.FINISHED if epoch >= work.config.training.epochs else None


def sweep_of(method: str = "tpe", pruner: str = "asha", workers: int = 2, max_trials: int = 16, **keys: Any) -> Sweep:
    return toy_sweep(method=method, parameters=GRID if method == "grid" else PARAMETERS, deterministic=True, retries=99,
                     early_terminate={"type": pruner, **({"min_trials": 2} if pruner == "median" else {})},
                     budget={"max_trials": max_trials}, resources={"workers": workers}, **keys)


def search(store: Store, sweep: Sweep, pool: StubPool, stop: threading.Event | None = None) -> bool:
    if sweep.name not in {record.name for record in store.sweeps()}:
        store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    with store.acquire(sweep.name) as lease:
        return search_of(sweep)(sweep, store, lease, pool, stop=stop).run()


def table(store: Store) -> list[tuple[object, ...]]:
    """Parameters, values, states, reasons, curves, and the logical clock."""
    return [(r.number, dict(r.trial.params), r.trial.seed, r.state, r.outcome, r.extra["clock"],
             [(each.epoch, repr(each.metrics["val_mae"])) for each in r.reports]) for r in store.trials("toy")]


def run_through(url: str, sweep: Sweep, seed: int, *, kills: bool = True, losses: float = 0.0,
                physical: int | None = None) -> list[tuple[object, ...]]:
    """Run a sweep to its end with a controller killed at random moments, and a new one each time."""
    draw = random.Random(seed)
    workers = max(1, int(sweep.resources.workers))
    with Store.open(url) as store:
        while True:
            pool = StubPool(physical or workers, draw.randrange(10**6), draw.randrange(1, 40) if kills else 10**9,
                            losses)
            try:
                assert search(store, sweep, pool)
            except Killed:
                continue
            return table(store)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The table of a quiet run, by sweep."""
    known: dict[str, list[tuple[object, ...]]] = {}

    def of(sweep: Sweep) -> list[tuple[object, ...]]:
        key = sweep.model_dump_json()
        if key not in known:
            known[key] = run_through(f"sqlite:///{tmp_path_factory.mktemp('quiet')}/store.db", sweep, 0, kills=False)
        return known[key]

    return of


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(("method", "pruner"), [("tpe", "asha"), ("random", "hyperband"), ("grid", "median"),
                                                ("gp", "none")])
@pytest.mark.parametrize("checkpoints", ["each answer", "none"])
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_one_table_whatever_the_timing_and_the_kills(
        tmp_path_factory: pytest.TempPathFactory, expected: Any, method: str, pruner: str, workers: int,
        checkpoints: str, seed: int) -> None:
    sweep = sweep_of(method, pruner, workers, max_trials=12)
    url = f"sqlite:///{tmp_path_factory.mktemp('killed')}/store.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controller, "CHECKPOINT_EVERY", 0.0 if checkpoints == "each answer" else math.inf)
        found = run_through(url, sweep, seed, losses=0.02)
    assert found == expected(sweep)


@pytest.mark.parametrize("physical", [1, 3, 6])
def test_fewer_or_more_workers_than_lanes_compute_the_same_table(tmp_path: Path, expected: Any, physical: int) -> None:
    sweep = sweep_of(workers=4)
    found = run_through(f"sqlite:///{tmp_path}/store.db", sweep, 1, losses=0.02, physical=physical)
    assert found == expected(sweep)
