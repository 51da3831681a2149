"""Deterministic sweeps: one table of trials, whatever the timing and the kills."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from toys import toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Event, Failure, Lost, Probe
from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import Sweep
from seqsweep.records import Reason, Report, Trial, TrialState
from seqsweep.search.brain import Brain
from seqsweep.store.records import Store
from seqsweep.sweep import Progress, search_of
from seqsweep.sweep import search as controller

PARAMETERS = {"cell": {"values": ["elman", "lstm"]}, "hidden_size": {"values": [4, 16, 64]},
              "learning_rate": {"min": 1e-4, "max": 1e-1, "log": True}, "batch_size": {"values": [16, 32]},
              "epochs": {"value": 9}}
GRID = {"cell": {"values": ["elman", "lstm"]}, "hidden_size": {"values": [4, 16, 64]},
        "learning_rate": {"values": [1e-3, 1e-2]}, "epochs": {"value": 9}}


class Killed(Exception):
    """The controller was killed."""


class StubPool:
    """Workers that answer after random delays, in random pieces, and die now and then."""

    def __init__(self, workers: int, seed: int, kill_after: int = 10**9, losses: float = 0.0,
                 breaks: Callable[[Advance], Lost | Failure | None] = lambda _: None) -> None:
        self.size, self._draw, self._losses = workers, random.Random(seed), losses
        self._work: dict[int, Advance | Probe] = {}
        self._held: dict[int, tuple[int, int, int]] = {}
        self._left, self._breaks = kill_after, breaks

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
        broken = self._breaks(work) or (Lost("killed") if self._draw.random() < self._losses else None)
        if broken is not None:
            self._held.pop(worker, None)
            return broken if isinstance(broken, Lost) else Advanced(work.trial, work.attempt, 0, failure=broken)
        if self._held.get(worker) != (work.trial, work.attempt, work.from_epoch):
            if work.from_epoch and work.checkpoint is None:
                return Advanced(work.trial, work.attempt, work.from_epoch, need_checkpoint=True)
            assert work.checkpoint is None or work.checkpoint == state(work.trial, work.from_epoch)
        to_epoch = self._draw.randint(min(work.from_epoch + 1, work.to_epoch), work.to_epoch)
        reports, done = list[Report](), None
        while (epoch := work.from_epoch + len(reports)) < to_epoch and done is None:
            reports.append(report(work, epoch + 1))
            done = end(work, epoch + 1)
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
    config = work.config
    assert isinstance(config.model, RecurrentConfig)
    rate, units = config.training.learning_rate, config.model.hidden_size
    return (math.log10(rate) + 2) ** 2 + 8 / units + math.cos(config.seed + epoch) / epoch


def report(work: Advance, epoch: int) -> Report:
    value = math.nan if end(work, epoch) is Reason.DIVERGED else loss(work, epoch)
    return Report(epoch, {"val_mae": value, "val_loss": value, "seconds": random.random()})


def end(work: Advance, epoch: int) -> Reason | None:
    if work.config.seed % 7 == 0 and epoch >= 2:
        return Reason.DIVERGED
    if work.config.seed % 5 == 0 and epoch >= 4:
        return Reason.EARLY_STOPPED
    return Reason.FINISHED if epoch >= work.config.training.epochs else None


def sweep_of(method: str = "tpe", pruner: str = "asha", workers: int = 2, max_trials: int = 16, *,
             deterministic: bool = True) -> Sweep:
    return toy_sweep(method=method, parameters=GRID if method == "grid" else PARAMETERS, retries=99,
                     deterministic=deterministic,
                     early_terminate={"type": pruner, **({"min_trials": 2} if pruner == "median" else {})},
                     budget={"max_trials": max_trials}, resources={"workers": workers})


def search(store: Store, sweep: Sweep, pool: StubPool, stop: threading.Event | None = None,
           observe: Callable[[Progress], None] = lambda _: None) -> bool:
    if sweep.name not in {record.name for record in store.sweeps()}:
        store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    with store.acquire(sweep.name) as lease:
        return search_of(sweep)(sweep, store, lease, pool, observe, stop).run()


def table(store: Store) -> list[tuple[Any, ...]]:
    """Parameters, values, states, reasons, curves, and the logical clock."""
    return [(r.number, dict(r.trial.params), r.trial.seed, r.state, r.outcome, r.extra["clock"],
             [(each.epoch, repr(each.metrics["val_mae"])) for each in r.reports]) for r in store.trials("toy")]


def run_through(url: str, sweep: Sweep, seed: int, *, kills: bool = True, physical: int | None = None,
                **faults: Any) -> list[tuple[Any, ...]]:
    """Run a sweep to its end with a controller killed at random moments, and a new one each time."""
    draw = random.Random(seed)
    workers = max(1, int(sweep.resources.workers))
    with Store.open(url) as store:
        for _ in range(1_000):
            pool = StubPool(physical or workers, draw.randrange(10**6), draw.randrange(1, 40) if kills else 10**9,
                            **faults)
            try:
                assert search(store, sweep, pool)
            except Killed:
                continue
            return table(store)
    raise AssertionError(f"seed {seed}: the search comes to no end")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sweep], list[tuple[Any, ...]]]:
    """The table of a quiet run, by sweep."""
    known: dict[str, list[tuple[Any, ...]]] = {}

    def of(sweep: Sweep) -> list[tuple[Any, ...]]:
        key = sweep.model_dump_json()
        if key not in known:
            known[key] = run_through(f"sqlite:///{tmp_path_factory.mktemp('quiet')}/store.db", sweep, 0, kills=False)
        return known[key]

    return of


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize(("method", "pruner"), [("tpe", "asha"), ("random", "hyperband"), ("grid", "median"),
                                                ("gp", "none")])
@pytest.mark.parametrize("checkpoints", ["each answer", "none"])
@settings(max_examples=2, deadline=None, phases=[Phase.generate],  # a seed has nothing to shrink
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_one_table_whatever_the_timing_and_the_kills(
        tmp_path_factory: pytest.TempPathFactory, expected: Any, method: str, pruner: str, workers: int,
        checkpoints: str, seed: int) -> None:
    sweep = sweep_of(method, pruner, workers, max_trials=6 if method == "gp" else 12)
    url = f"sqlite:///{tmp_path_factory.mktemp('killed')}/store.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controller, "CHECKPOINT_EVERY", 0.0 if checkpoints == "each answer" else math.inf)
        found = run_through(url, sweep, seed, losses=0.02)
    assert found == expected(sweep)


@pytest.mark.parametrize("physical", [1, 3, 6])
def test_fewer_or_more_workers_than_lanes_compute_the_same_table(url: str, expected: Any, physical: int) -> None:
    sweep = sweep_of(workers=4)
    assert run_through(url, sweep, 1, losses=0.02, physical=physical) == expected(sweep)


def test_the_table_is_that_of_a_number_of_workers(expected: Any) -> None:
    tables = [expected(sweep_of(workers=workers)) for workers in (1, 2, 4)]
    for table in tables:
        assert {row[4].reason for row in table} >= {Reason.FINISHED, Reason.PRUNED}
    assert tables[0] != tables[1] != tables[2]


def test_without_it_the_timing_decides(tmp_path: Path) -> None:
    """The stub's delays do reorder what happens: the tables above are not equal for want of disturbance."""
    found = []
    for seed in range(4):
        with Store.open(f"sqlite:///{tmp_path}/{seed}.db") as store:
            assert search(store, sweep_of(deterministic=False), StubPool(2, seed))
            found.append([(r.trial.params, r.outcome) for r in store.trials("toy")])
    assert any(each != found[0] for each in found)


def test_a_tidy_stop_loses_nothing(url: str, expected: Any) -> None:
    sweep, stops = sweep_of(workers=2), 0
    with Store.open(url) as store:
        while True:
            stop, left = threading.Event(), [stops % 7 + 1]

            def count(_: Progress, stop: threading.Event = stop, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    stop.set()

            if search(store, sweep, StubPool(2, stops), stop, count):
                break
            stops += 1
            running = [r for r in store.trials("toy") if r.state is TrialState.RUNNING]
            assert all(r.checkpoint_epoch == len(r.reports) for r in running)
        assert table(store) == expected(sweep)
    assert stops > 3


def test_what_breaks_down_always_does_so_at_one_place(url: str, tmp_path: Path) -> None:
    """A configuration that never fits into memory, and one that kills its worker, leave one table too."""
    def breaks(work: Advance) -> Lost | Failure | None:
        if work.trial == 3:
            return Failure(Reason.OUT_OF_MEMORY, "no memory left")
        return Lost("killed") if work.trial == 5 else None

    sweep = sweep_of(workers=4)
    quiet = run_through(f"sqlite:///{tmp_path}/quiet.db", sweep, 0, kills=False, breaks=breaks)
    assert [quiet[number][4].reason for number in (3, 5)] == [Reason.OUT_OF_MEMORY, Reason.WORKER_LOST]
    assert run_through(url, sweep, 1, breaks=breaks) == quiet


def test_a_larger_budget_goes_on_in_order(url: str, tmp_path: Path) -> None:
    short, whole = sweep_of(max_trials=7), sweep_of(max_trials=16)
    quiet = f"sqlite:///{tmp_path}/quiet.db"
    first = run_through(quiet, short, 0, kills=False)
    expected = run_through(quiet, whole, 0, kills=False)
    assert expected[:7] == first
    assert run_through(url, short, 1) == first
    assert run_through(url, whole, 2) == expected


def test_a_replay_takes_the_trials_there_are_and_asks_for_none_of_them(
        url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the brain would answer today."""
    sweep, asked, ask = sweep_of(workers=2), list[int](), Brain.ask
    with Store.open(url) as store, pytest.raises(Killed):
        search(store, sweep, StubPool(2, 0, kill_after=20))

    def asking(self: Brain, number: int, like: Trial | None = None) -> Trial | None:
        asked.append(number)
        return ask(self, number, like)

    monkeypatch.setattr(Brain, "ask", asking)
    with Store.open(url) as store:
        stored = [record.number for record in store.trials("toy")]
        assert search(store, sweep, StubPool(2, 1))
        assert len(stored) > 1
        assert sorted(stored + asked) == [record.number for record in store.trials("toy")]


def test_a_sweep_keeps_the_workers_it_began_with(url: str, expected: Any) -> None:
    notes: list[str] = []
    with Store.open(url) as store, pytest.raises(Killed):
        search(store, sweep_of(workers=2), StubPool(2, 0, kill_after=20))
    with Store.open(url) as store:
        assert search(store, sweep_of(workers=4), StubPool(4, 1), observe=lambda found: notes.append(found.note))
        assert table(store) == expected(sweep_of(workers=2))
    assert notes[0] == "deterministic: the sweep began with 2 workers, and its order stays theirs; 4 compute"


def test_the_time_budget_ends_every_trial(url: str) -> None:
    sweep = sweep_of(workers=2)
    timed = sweep.model_copy(update={"budget": sweep.budget.model_copy(update={"max_time": 0.0})})
    with Store.open(url) as store:
        with pytest.raises(Killed):
            search(store, sweep, StubPool(2, 0, kill_after=12))
        assert any(record.outcome is None for record in store.trials("toy"))
        assert search(store, timed, StubPool(2, 1))
        reasons = {record.outcome.reason if record.outcome else None for record in store.trials("toy")}
        assert Reason.TIME_UP in reasons
        assert None not in reasons
        assert search(store, sweep, StubPool(2, 2))
        assert len(store.trials("toy")) == 16


def test_waiting_in_order_is_counted_as_what_it_costs(url: str) -> None:
    seen: list[Progress] = []
    with Store.open(url) as store:
        assert search(store, sweep_of(workers=2), StubPool(2, 0), observe=seen.append)
    assert seen[-1].trials[TrialState.RUNNING] == 0
    assert seen[-1].waiting is not None
    assert 0 < seen[-1].waiting < 1
