"""Answers that come late, workers that forgot, and a controller that lost its sweep: nothing stale gets in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from toys import toy_series, toy_sweep

from seqsweep.cluster.messages import Advance, Event, Lost, Probe
from seqsweep.cluster.pool import LocalPool
from seqsweep.config.sweep import ResourcesConfig
from seqsweep.errors import Conflict
from seqsweep.store.records import Store
from seqsweep.sweep import Progress, Search, clock
from seqsweep.sweep.hand import Hand

RESOURCES = ResourcesConfig(workers=0, kernel="torch")


class HalfDead(LocalPool):
    """Every fourth answer is not heard: its worker counts as lost, and what it said comes after all, beside the next.

    Whoever goes on trains to the end.
    """

    def __init__(self) -> None:
        super().__init__((toy_series(),), RESOURCES)
        self._late, self._answers = list[Event](), itertools.count()

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        super().submit(worker, *(replace(each, slice_s=60.0) if isinstance(each, Advance) and each.attempt > 1 else each
                                 for each in work))

    def wait(self, timeout: float) -> list[Event]:
        events = super().wait(timeout)
        if events and next(self._answers) % 4 == 0:
            self._late += events
            return [Event(0, Lost("the way to it is cut"))]
        late, self._late = self._late, []
        return late + events


class Forgetful(LocalPool):
    """Every third time it is asked to go on, the worker holds nothing any more."""

    def __init__(self) -> None:
        super().__init__((toy_series(),), RESOURCES)
        self._times = itertools.count()

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        if isinstance(work[0], Advance) and work[0].from_epoch and next(self._times) % 3 == 0:
            self._worker._forget()
        super().submit(worker, *work)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


@pytest.fixture(autouse=True)
def each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer after each epoch, so that what is stale comes in the middle of trials."""
    monkeypatch.setattr(Search, "_slice", 0.0)


def search(store: Store, pool: LocalPool, observe: Callable[[Progress], None] = lambda _: None, **keys: Any) -> bool:
    sweep = toy_sweep(retries=99, **keys)
    store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    with store.acquire(sweep.name) as lease:
        return Search(sweep, store, lease, pool, observe).run()


def table(store: Store) -> list[tuple[object, ...]]:
    return [(r.number, r.state, r.trial.params, r.outcome,
             [{k: v for k, v in report.metrics.items() if k != "seconds"} for report in r.reports])
            for r in store.trials("toy")]


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[object, ...]]:
    with Store.open(f"sqlite:///{tmp_path / 'whole.db'}") as whole:
        assert search(whole, LocalPool((toy_series(),), RESOURCES))
        return table(whole)


@pytest.mark.parametrize("checkpoints", [lambda epoch: True, lambda epoch: epoch == 0, lambda epoch: False],
                         ids=["of each epoch", "of the first", "none"])
@pytest.mark.parametrize("pool", [HalfDead, Forgetful])
def test_what_is_stale_changes_no_trial(
        store: Store, expected: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch,
        checkpoints: Callable[[int], bool], pool: Callable[[], LocalPool]) -> None:
    monkeypatch.setattr(Hand, "at_stake", lambda hand, *_: math.inf if checkpoints(hand.epoch) else 0.0)
    assert search(store, pool())
    assert table(store) == expected


def test_a_controller_that_lost_the_sweep_stops_though_it_has_nothing_to_write(
        store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsweep.sweep.search.CHECKPOINT_EVERY", math.inf)
    monkeypatch.setattr(clock, "_LOOK_EVERY", 0.05)
    monkeypatch.setattr(clock, "_RENEW_EVERY", 0.1)
    epochs = 0

    def take(progress: Progress) -> None:
        nonlocal epochs
        if not epochs and progress.running.get(0):
            with store._database.write() as connection:
                connection.execute(text("UPDATE seqsweep_leases SET token = token + 1"))
        epochs = max(epochs, progress.running.get(0, 0))

    with pytest.raises(Conflict, match="no longer holds it"):
        search(store, LocalPool((toy_series(),), RESOURCES), take, parameters={
            "learning_rate": {"min": 1e-3, "max": 1e-1}, "epochs": {"value": 100_000}})
    (record,) = store.trials("toy")
    assert (record.reports, record.checkpoint_epoch) == ((), 0)
