"""How much training a crash can cost: told on a clock that moves with the epochs alone."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from toys import toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Event, Probe
from seqsweep.records import Reason, Report
from seqsweep.store.records import Store
from seqsweep.sweep import Search, hand
from seqsweep.sweep import search as controller


class TimedPool:
    """One worker whose epochs take so many seconds of its own clock; keeps the most that a kill could have cost."""

    size = 1

    def __init__(self, epoch_seconds: float) -> None:
        self._seconds = epoch_seconds
        self._work: Advance | None = None
        self._kept = 0
        self.now, self.most = time.monotonic(), 0.0  # where the trials in hand begin to count

    def monotonic(self) -> float:
        return self.now

    def idle(self) -> list[int]:
        return [0] if self._work is None else []

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        assert isinstance(work[0], Advance)
        self._work = work[0]

    def wait(self, timeout: float) -> list[Event]:
        work, self._work = self._work, None
        assert work is not None
        began = self.now
        for epoch in itertools.count(work.from_epoch + 1):
            self.now += self._seconds
            if epoch >= work.to_epoch or self.now - began >= work.slice_s:
                break
        self._kept = min(self._kept, work.from_epoch)  # another trial begins anew
        self.most = max(self.most, (epoch - self._kept) * self._seconds)
        ends = epoch >= work.config.training.epochs
        if work.want_checkpoint or ends:
            self._kept = epoch
        reports = tuple(Report(each, {"val_mae": 1.0, "train_loss": 1.0, "val_loss": 1.0, "seconds": self._seconds})
                        for each in range(work.from_epoch + 1, epoch + 1))
        return [Event(0, Advanced(work.trial, work.attempt, epoch, reports, Reason.FINISHED if ends else None,
                                  last=b"state" if work.want_checkpoint and not ends else None,
                                  best=b"weights" if ends else None))]

    def kill(self, worker: int) -> None:
        raise AssertionError("it never hangs")

    def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(("epoch_seconds", "most"), [(0.1, 30.0), (0.7, 30.0), (9.0, 30.0), (14.0, 30.0), (40.0, 80.0)])
def test_a_crash_costs_at_most_thirty_seconds_or_two_epochs(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch_seconds: float, most: float) -> None:
    sweep = toy_sweep(budget={"max_trials": 2},
                      parameters={"learning_rate": {"min": 1e-3, "max": 1e-1}, "epochs": {"value": 400}})
    pool = TimedPool(epoch_seconds)
    for module in (controller, hand):
        monkeypatch.setattr(module, "time", pool)
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
        with store.acquire(sweep.name) as lease:
            assert Search(sweep, store, lease, pool).run()
    assert 0 < pool.most <= most
