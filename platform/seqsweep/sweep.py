"""The controller's loop: ask, dispatch, decide, close. The only writer of everything; knows no library by name.

Killed at any point, a new Search over the same store goes on: finished trials are untouched, running ones continue
from their last checkpoint under the same number, and exactly `max_trials` exist in the end.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from seqsweep.cluster.messages import Advance, Advanced, Failure, Lost
from seqsweep.cluster.pool import Pool
from seqsweep.config.sweep import FitConfig, Sweep, fit_config, goal_sign
from seqsweep.errors import SearchFailed, SeqsweepError
from seqsweep.ledger import Ledger
from seqsweep.records import (
    BREAKDOWNS,
    Outcome,
    Reason,
    Report,
    Trial,
    TrialRecord,
    TrialState,
    best_epoch,
)
from seqsweep.search.brain import Brain
from seqsweep.search.pruning import Pruner
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store

CHECKPOINT_EVERY = 30.0
"""Seconds of training that a crash can cost, at most."""
_RENEW_EVERY = 10.0
_LOOK_EVERY = 1.0
_GRACE = 20.0
"""Seconds a tidy stop waits for the epochs in hand."""

_STATES = {Reason.FINISHED: TrialState.COMPLETE, Reason.EARLY_STOPPED: TrialState.COMPLETE,
           Reason.PRUNED: TrialState.PRUNED, Reason.TIME_UP: TrialState.PRUNED}


@dataclass(frozen=True)
class Progress:
    """Where a search stands."""

    trials: Mapping[TrialState, int]
    max_trials: int
    active_seconds: float
    seconds_left: float | None
    """Estimated from the trials so far; None before the first has ended."""
    best: tuple[int, float] | None
    """Number and value of the best trial that has ended."""
    running: Mapping[int, int]
    """Trial number -> epochs trained."""
    note: str = ""
    """What the user should know: a lost worker, an end of budget."""


@dataclass
class _Hand:
    """A trial in hand: its curve so far, and what it would go on from."""

    trial: Trial
    config: FitConfig
    attempts: int = 0
    """Breakdowns so far."""
    dispatch: int = 0
    worker: int = -1
    worker_name: str = ""
    reports: list[Report] = field(default_factory=list)
    checkpoint: bytes | None = None
    checkpoint_epoch: int = 0
    """Reports up to here are stored."""
    checkpoint_at: float = field(default_factory=time.monotonic)
    best: bytes | None = None
    to_epoch: int = 0
    num_weights: int = 0

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self.reports)

    def rewind(self) -> None:
        """Forget what came after the checkpoint."""
        del self.reports[self.checkpoint_epoch:]


class Search:
    """One run of the controller over one sweep: from what the store holds to `max_trials`, a stop, or an error.

    `lease` proves that this is the only controller; `pool` holds the workers; `observe` is called about twice a second;
    `stop`, once set, ends the run tidily: the running trials leave a checkpoint. `ledger` is told where the time goes.
    """

    def __init__(self, sweep: Sweep, store: Store, lease: Lease, pool: Pool,
                 observe: Callable[[Progress], None] = lambda _: None, stop: threading.Event | None = None,
                 ledger: Ledger | None = None) -> None:
        self._sweep, self._store, self._lease, self._pool, self._observe = sweep, store, lease, pool, observe
        self._stop = stop or threading.Event()
        self._ledger = ledger or Ledger()
        self._metric = f"val_{sweep.metric.name}"
        self._sign = goal_sign(sweep)
        self._brain, self._pruner = Brain(sweep), Pruner(sweep)
        self._note = ""
        self._next: Trial | None = None
        self._exhausted = self._dispatched = False
        self._hands: dict[int, _Hand] = {}
        self._waiting: list[_Hand] = []
        self._counts = dict.fromkeys(TrialState, 0)
        self._breakdowns = 0
        self._best: tuple[float, int] | None = None
        self._restore()

    def _restore(self) -> None:
        records = self._store.trials(self._sweep.name)
        self._brain.restore(records)
        self._asked = len(records)
        for record in records:
            self._pruner.see(record.trial, record.reports)
            self._counts[record.state] += 1
            if record.state is TrialState.RUNNING:
                self._waiting.append(self._pick_up(record))
            elif record.outcome is not None:
                self._pruner.close(record.number)
                self._count(record.trial, record.outcome)

    def _pick_up(self, record: TrialRecord) -> _Hand:
        """A trial that an earlier controller left running goes on from its last checkpoint."""
        hand = self._new_hand(record.trial)
        hand.attempts, hand.reports = record.attempts, list(record.reports)
        if found := self._store.last_checkpoint(self._sweep.name, record.number):
            hand.checkpoint_epoch, hand.checkpoint = found
        hand.rewind()
        return hand

    def _new_hand(self, trial: Trial) -> _Hand:
        return _Hand(trial, fit_config(self._sweep, trial.params, trial.seed))

    def run(self) -> bool:
        """Search until the budget is spent: True then, False where a stop was asked for.

        Raises SearchFailed on too many breakdowns or an error in user code, Conflict when the lease was lost.
        """
        with _Clock(self._store, self._lease, self._stop, self._ledger) as self._clock, self._ledger("idle"):
            while not self._stop.is_set():
                self._dispatch()
                if self._hands and self._next is None:
                    self._next = self._ask()  # while the workers train
                elif not self._hands and self._finished():
                    return True
                self._gather(0.5)
            self._leave()
        return False

    def _finished(self) -> bool:
        self._next = self._next or self._ask()
        return not self._waiting and (self._next is None or self._time_up())

    def _time_up(self) -> bool:
        limit = self._sweep.budget.max_time
        return limit is not None and self._clock.active_seconds >= limit

    # -- ask and dispatch

    def _ask(self) -> Trial | None:
        if self._exhausted or self._asked >= self._sweep.budget.max_trials or self._time_up():
            return None
        with self._ledger("ask"):
            trial = self._brain.ask(self._asked)
        if trial is None:
            self._exhausted = True
            self._note = "every combination of the search space has been tried"
            return None
        self._asked += 1
        return trial

    def _dispatch(self) -> None:
        for worker in self._pool.idle():
            hand = self._waiting.pop(0) if self._waiting else self._begin()
            if hand is None:
                return
            hand.dispatch += 1
            hand.worker = worker
            self._hands[hand.trial.number] = hand
            self._dispatched = True
            self._send(hand, fresh=True)

    def _begin(self) -> _Hand | None:
        self._next = self._next or self._ask()
        if self._next is None or self._time_up():
            return None
        trial, self._next = self._next, None
        with self._ledger("record"):
            self._store.start_trial(self._lease, trial)
        self._counts[TrialState.RUNNING] += 1
        return self._new_hand(trial)

    def _send(self, hand: _Hand, *, fresh: bool = False, leaving: bool = False) -> None:
        if fresh:
            hand.rewind()
        with self._ledger("prune"):
            hand.to_epoch = self._pruner.next_step(hand.trial.number, hand.epoch, hand.config.training.epochs)
        due = time.monotonic() - hand.checkpoint_at >= CHECKPOINT_EVERY
        self._pool.submit(hand.worker, Advance(
            hand.trial.number, hand.dispatch, hand.config, hand.epoch, hand.epoch if leaving else hand.to_epoch,
            checkpoint=hand.checkpoint if fresh else None, want_checkpoint=due or leaving))

    # -- gather and decide

    def _gather(self, timeout: float) -> None:
        with self._ledger("train" if self._hands else "idle" if self._dispatched else "start"):
            events = self._pool.wait(timeout)
        for event in events:
            hand = next((hand for hand in self._hands.values() if hand.worker == event.worker), None)
            if hand is None:
                continue
            if isinstance(event.answer, Lost):
                self._lost(hand, event.answer)
            elif (event.answer.trial, event.answer.attempt) == (hand.trial.number, hand.dispatch):
                self._take(hand, event.answer)
        self._observe(self.progress())

    def _take(self, hand: _Hand, answer: Advanced) -> None:
        if answer.failure is not None:
            self._failed(hand, answer.failure)
        elif answer.need_checkpoint:
            self._send(hand, fresh=True)
        else:
            self._learn(hand, answer)
            leaves = self._stop.is_set() or (self._time_up() and hand.epoch > 0)
            if reason := self._ends(hand, answer):
                self._close(hand, reason)
            elif not leaves or answer.last is None:
                self._send(hand, leaving=leaves)
            elif self._stop.is_set():
                del self._hands[hand.trial.number]
            else:
                self._close(hand, Reason.TIME_UP)

    def _ends(self, hand: _Hand, answer: Advanced) -> Reason | None:
        if answer.done is not None:
            return answer.done
        with self._ledger("prune"):
            prune = hand.epoch >= hand.to_epoch and self._pruner.should_prune(hand.trial.number, hand.epoch)
        return Reason.PRUNED if prune else None

    def _learn(self, hand: _Hand, answer: Advanced) -> None:
        hand.num_weights, hand.worker_name = answer.num_weights, answer.worker
        hand.reports += answer.reports
        hand.best = answer.best or hand.best
        self._pruner.see(hand.trial, answer.reports)
        if answer.last is not None:
            with self._ledger("record"):
                self._store.save_progress(
                    self._lease, hand.trial.number, hand.reports[hand.checkpoint_epoch:], last=answer.last,
                    best=answer.best, epoch=hand.epoch, attempts=hand.attempts, worker=hand.worker_name)
            hand.checkpoint, hand.checkpoint_epoch, hand.checkpoint_at = answer.last, hand.epoch, time.monotonic()

    # -- close

    def _close(self, hand: _Hand, reason: Reason, message: str = "") -> None:
        found = best_epoch(hand.reports, self._metric, self._sign)
        outcome = Outcome(_STATES.get(reason, TrialState.FAILED), reason, value=found[1] if found else None,
                          best_epoch=found[0] if found else None, message=message)
        number = hand.trial.number
        with self._ledger("record"):
            self._store.close_trial(
                self._lease, number, outcome, hand.reports[hand.checkpoint_epoch:], best=hand.best,
                keep=self._sweep.keep.checkpoints, sign=self._sign, extra={"num_weights": hand.num_weights},
                attempts=hand.attempts, worker=hand.worker_name)
        with self._ledger("ask"):
            self._brain.tell(number, outcome, hand.reports)
        self._pruner.close(number)
        self._counts[TrialState.RUNNING] -= 1
        self._counts[outcome.state] += 1
        self._count(hand.trial, outcome)
        self._hands.pop(number, None)
        if self._breakdowns > self._sweep.budget.max_failed_trials:
            raise SearchFailed(f"{self._breakdowns} trials broke down (budget.max_failed_trials is "
                               f"{self._sweep.budget.max_failed_trials}); the last one, trial {number}: {message}")

    def _count(self, trial: Trial, outcome: Outcome) -> None:
        self._breakdowns += outcome.reason in BREAKDOWNS
        if outcome.state is not TrialState.FAILED and outcome.value is not None:
            self._best = min(self._best or (math.inf, 0), (self._sign * outcome.value, trial.number))

    def _lost(self, hand: _Hand, lost: Lost) -> None:
        """The one place of retries: the trial goes on elsewhere from its checkpoint."""
        hand.attempts += 1
        del self._hands[hand.trial.number]
        if hand.attempts > self._sweep.retries:
            self._close(hand, Reason.WORKER_LOST, f"lost {hand.attempts} times; the last time: {lost.message}")
            return
        self._store.save_progress(self._lease, hand.trial.number, (), last=None, best=None, epoch=hand.checkpoint_epoch,
                                  attempts=hand.attempts)
        self._note = f"trial {hand.trial.number} lost its worker and goes on from epoch {hand.checkpoint_epoch}"
        self._waiting.insert(0, hand)

    def _failed(self, hand: _Hand, failure: Failure) -> None:
        if failure.reason not in BREAKDOWNS:
            raise SearchFailed(f"trial {hand.trial.number} on {hand.worker_name or 'its worker'} raised an error; the "
                               f"sweep stops, and `seqsweep resume {self._sweep.name}` goes on once it is mended:\n"
                               f"{failure.message}")
        self._close(hand, failure.reason, failure.message)

    def _leave(self) -> None:
        """A tidy stop: each trial in hand ends its epoch and leaves a checkpoint, for which there is a time limit."""
        until = time.monotonic() + _GRACE
        while self._hands and time.monotonic() < until:
            self._gather(0.2)

    # -- show

    def progress(self) -> Progress:
        """Where the search stands now."""
        closed = sum(count for state, count in self._counts.items() if state is not TrialState.RUNNING)
        budget, active = self._sweep.budget, self._clock.active_seconds
        left = active / closed * (budget.max_trials - closed) if closed else None
        if budget.max_time is not None:
            left = min(left if left is not None else math.inf, max(budget.max_time - active, 0.0))
        return Progress(dict(self._counts), budget.max_trials, active, left,
                        best=None if self._best is None else (self._best[1], self._sign * self._best[0]),
                        running={number: hand.epoch for number, hand in sorted(self._hands.items())}, note=self._note)


class _Clock:
    """Keeps the lease alive from a thread of its own, counts active time, and hears a stop asked for elsewhere."""

    def __init__(self, store: Store, lease: Lease, stop: threading.Event, ledger: Ledger) -> None:
        self._store, self._lease, self._stop, self._ledger = store, lease, stop, ledger
        self._before = store.sweep(lease.sweep.name).active_seconds
        self._began = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="seqsweep-lease", daemon=True)

    @property
    def active_seconds(self) -> float:
        """Search time, summed over resumes."""
        return self._before + time.monotonic() - self._began

    def _beat(self) -> None:
        renewed = stored = time.monotonic()
        while not self._end.wait(_LOOK_EVERY):
            with contextlib.suppress(SeqsweepError):  # a lost lease is told by the next write
                if self._store.stop_requested(self._lease.sweep.name):
                    self._stop.set()
                if time.monotonic() - renewed >= _RENEW_EVERY:
                    self._lease.renew()
                    now = time.monotonic()
                    self._store.update_sweep(self._lease, add_active=now - stored, facts=self._ledger.facts())
                    renewed = stored = now
        self._stored = stored

    def __enter__(self) -> _Clock:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(SeqsweepError):
            self._store.update_sweep(self._lease, add_active=time.monotonic() - self._stored)
