"""The controller's loop: ask, dispatch, decide, close. The only writer of everything; knows no library by name.

Killed at any point, a new Search over the same store goes on: finished trials are untouched, running ones continue
from their last checkpoint under the same number, and exactly `max_trials` exist in the end.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from seqsweep.cluster.messages import SLICE, Advance, Advanced, Failure, Lost, Probe, Probed
from seqsweep.cluster.pool import Pool
from seqsweep.config.shapes import shape_key
from seqsweep.config.sweep import Sweep, fit_config, goal_sign
from seqsweep.errors import SearchFailed
from seqsweep.ledger import Ledger
from seqsweep.records import (
    BREAKDOWNS,
    Outcome,
    Reason,
    Scalar,
    Trial,
    TrialRecord,
    TrialState,
    best_epoch,
)
from seqsweep.search.brain import Brain
from seqsweep.search.heritage import Heritage
from seqsweep.search.pruning import Pruner
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store
from seqsweep.sweep.clock import Clock
from seqsweep.sweep.divergences import Divergences, divergence
from seqsweep.sweep.hand import Hand
from seqsweep.sweep.programs import Programs
from seqsweep.sweep.progress import Progress
from seqsweep.sweep.retries import Verdict, after_failure, after_loss
from seqsweep.sweep.writer import Writer

CHECKPOINT_EVERY = 30.0
"""Seconds of training that a crash can cost, at most: or two epochs, where these take longer."""
_GRACE = 20.0
"""Seconds a tidy stop waits for the epochs in hand."""

_STATES = {Reason.FINISHED: TrialState.COMPLETE, Reason.EARLY_STOPPED: TrialState.COMPLETE,
           Reason.PRUNED: TrialState.PRUNED, Reason.TIME_UP: TrialState.PRUNED}


class Search:
    """One run of the controller over one sweep: from what the store holds to `max_trials`, a stop, or an error.

    `lease` proves that this is the only controller; `pool` holds the workers; `observe` is called about twice a second;
    `stop`, once set, ends the run tidily: the running trials leave a checkpoint. `ledger` is told where the time goes.
    """

    _slice = SLICE
    """Seconds after which a worker that trains on tells how far it is."""

    def __init__(self, sweep: Sweep, store: Store, lease: Lease, pool: Pool,
                 observe: Callable[[Progress], None] = lambda _: None, stop: threading.Event | None = None,
                 ledger: Ledger | None = None) -> None:
        self._sweep, self._store, self._lease, self._pool = sweep, store.impatient(), lease, pool
        self._observe = observe
        self._stop = stop or threading.Event()
        self._ledger = ledger or Ledger()
        self._writer = Writer(lease, self._ledger, lambda: observe(self.progress()))
        self._metric = f"val_{sweep.metric.name}"
        self._sign = goal_sign(sweep)
        self._brain, self._pruner = Brain(sweep), Pruner(sweep)
        self._note = ""
        self._divergences = Divergences(sweep)
        self._programs = Programs(sweep, self._store, self._writer)
        self._ahead: deque[Trial] = deque()
        self._exhausted = self._dispatched = False
        self._hands: dict[int, Hand] = {}
        self._waiting: list[Hand] = []
        self._counts = dict.fromkeys(TrialState, 0)
        self._breakdowns = 0
        self._best: tuple[float, int] | None = None
        self._restore()

    def _restore(self) -> None:
        if fork := self._store.stage(self._sweep.name, "fork"):
            self._brain.inherit(Heritage.read(fork.value))
        records = self._store.trials(self._sweep.name)
        for record in records:
            self._counts[record.state] += 1
            if record.outcome is not None:
                self._count(record.trial, record.outcome)
        self._divergences.restore(records)
        self._take_up(records)

    def _take_up(self, records: Sequence[TrialRecord]) -> None:
        """Know what an earlier controller knew."""
        self._brain.restore(records)
        stored = {record.number for record in records}
        # A follower may have been started before a trial asked ahead of it, which a kill takes back.
        self._numbers = deque(n for n in range(self._sweep.budget.max_trials) if n not in stored)
        for record in records:
            self._pruner.see(record.trial, record.reports)
            if record.state is TrialState.RUNNING:
                self._waiting.append(self._pick_up(record))
            else:
                self._pruner.close(record.number)

    def _pick_up(self, record: TrialRecord) -> Hand:
        """A trial that an earlier controller left running goes on from its last checkpoint."""
        hand = self._new_hand(record.trial)
        hand.restore(record)
        if found := self._store.last_checkpoint(self._sweep.name, record.number):
            hand.checkpoint_epoch, hand.checkpoint = found
        if hand.checkpoint_epoch < record.checkpoint_epoch:
            self._note += (f"trial {record.number}: checkpoint of epoch {record.checkpoint_epoch} is damaged in the "
                           f"store, it goes on from epoch {hand.checkpoint_epoch}; ")
        hand.rewind()
        return hand

    def _new_hand(self, trial: Trial) -> Hand:
        return Hand(trial, fit_config(self._sweep, trial.params, trial.seed))

    def run(self) -> bool:
        """Search until the budget is spent: True then, False where a stop was asked for.

        Raises SearchFailed on too many breakdowns or an error in user code, Conflict once the lease is found lost.
        """
        with (Clock(self._store, self._lease, self._stop, self._ledger) as self._clock, self._writer,
              self._ledger("idle")):
            while not self._stop.is_set():
                self._writer.wait_for_room()
                self._dispatch()
                if self._hands and not self._ahead:
                    self._ask_ahead()  # while the workers train
                elif not self._hands and self._finished():
                    return True
                self._gather(0.5)
            self._leave()
        return False

    def _finished(self) -> bool:
        self._ask_ahead()
        return not self._waiting and (not self._ahead or self._time_up())

    def _time_up(self) -> bool:
        limit = self._sweep.budget.max_time
        return limit is not None and self._clock.active_seconds >= limit

    # -- ask and dispatch

    def _ask_ahead(self) -> None:
        if not self._ahead and (trial := self._ask()):
            self._ahead.append(trial)

    def _ask(self, like: Trial | None = None) -> Trial | None:
        if self._exhausted or not self._numbers or self._time_up():
            return None
        with self._ledger("ask"):
            trial = self._brain.ask(self._numbers[0], like)
        if trial is not None:
            self._numbers.popleft()
        elif like is None:
            self._exhausted = True
            self._note = "every combination of the search space has been tried"
        return trial

    def _dispatch(self) -> None:
        for worker in self._pool.idle():
            if self._crew(worker):
                continue  # it holds a trial whose turn has not come
            hand = self._waiting.pop(0) if self._waiting else self._begin()
            if hand is None:
                return
            self._dispatched = True
            self._give(hand, worker)
            self._send(worker)

    def _begin(self) -> Hand | None:
        self._ask_ahead()
        if not self._ahead or self._time_up():
            return None
        return self._start(self._ahead.popleft())

    def _start(self, trial: Trial) -> Hand:
        self._writer.put(self._store.start_trial, trial)
        self._counts[TrialState.RUNNING] += 1
        return self._new_hand(trial)

    def _give(self, hand: Hand, worker: int) -> None:
        hand.dispatch += 1
        hand.worker, hand.fresh, hand.leaving = worker, True, False
        hand.rewind()
        self._hands[hand.trial.number] = hand

    def _crew(self, worker: int) -> list[Hand]:
        return [hand for hand in self._hands.values() if hand.worker == worker]

    def _send(self, worker: int) -> None:
        """Let a worker go on with the trials it has, and with others of their shape where that is its program."""
        leader = self._crew(worker)[0]
        choice = self._programs.find(leader.config)
        if choice is None:
            leader.mates = 0
            self._pool.submit(worker, Probe(leader.trial.number, leader.dispatch, leader.config, self._programs.pack,
                                             self._programs.kernel, self._programs.timed))
            return
        leader.settle(choice, self._programs.pack)
        while len(self._crew(worker)) < leader.room and (hand := self._follower(leader)):
            self._give(hand, worker)
        crew = self._crew(worker)
        for hand in crew:
            hand.mates = len(crew) - 1
        self._pool.submit(worker, *map(self._order, crew))

    def _follower(self, leader: Hand) -> Hand | None:
        """A trial to train in step with the leader: one that waits, or a new one of its shape."""
        shape = shape_key(leader.config)
        for hand in self._waiting:
            if choice := self._programs.find(hand.config):
                hand.settle(choice, self._programs.pack)
            if shape_key(hand.config) == shape and hand.room > 1:
                self._waiting.remove(hand)
                return hand
        if self._stop.is_set() or len(self._ahead) > 1 or not self._programs.may_follow(leader.config):
            return None  # with several asked ahead, what a pack asks for does not fit it
        trial = self._ask(like=leader.trial)
        if trial is None:
            return None
        config = fit_config(self._sweep, trial.params, trial.seed).model_copy(update={"program": leader.config.program})
        if shape_key(config) != shape:  # a dropout of exactly 0 is another shape
            self._ahead.append(trial)
            return None
        self._programs.followed(config)
        hand = self._start(trial)
        hand.config, hand.pack = config, leader.pack
        return hand

    def _order(self, hand: Hand) -> Advance:
        with self._ledger("prune"):
            hand.to_epoch = self._next_step(hand)
        at_stake = hand.at_stake(self._slice, len(self._crew(hand.worker)))
        due = hand.alone or at_stake >= CHECKPOINT_EVERY
        first = not hand.epoch and hand.trial.number < self._pool.size  # the sweep's first epoch is shown at once
        return Advance(
            hand.trial.number, hand.dispatch, hand.config, hand.epoch, hand.epoch if hand.leaving else hand.to_epoch,
            checkpoint=hand.checkpoint if hand.fresh else None, want_checkpoint=due or hand.leaving,
            slice_s=0.0 if first else self._slice)

    def _next_step(self, hand: Hand) -> int:
        return self._pruner.next_step(hand.trial.number, hand.epoch, hand.config.training.epochs)

    # -- gather and decide

    def _gather(self, timeout: float) -> None:
        with self._ledger("train" if self._hands else "idle" if self._dispatched else "start"):
            events = self._pool.wait(timeout)
        for event in events:
            if isinstance(event.answer, Lost):
                self._lost(event.worker, event.answer)
                continue
            hand = self._hands.get(event.answer.trial)
            if hand is None or hand.dispatch != event.answer.attempt:
                continue
            if event.answer.failure is not None:
                self._failed(hand, event.answer.failure)
            elif isinstance(event.answer, Probed):
                assert event.answer.choice is not None  # noqa: S101 - or else there is a failure
                self._programs.keep(hand.config, event.answer.choice)
            else:
                self._take(hand, event.answer)
        for worker in {event.worker for event in events}:
            if self._crew(worker):
                self._send(worker)
        self._observe(self.progress())

    def _take(self, hand: Hand, answer: Advanced) -> None:
        hand.fresh = answer.need_checkpoint
        if answer.need_checkpoint:
            hand.rewind()
            return
        self._learn(hand, answer)
        hand.leaving = self._stop.is_set() or (self._time_up() and hand.epoch > 0)
        if reason := self._ends(hand, answer):
            self._close(hand, reason)
        elif hand.leaving and answer.last is not None:
            if self._stop.is_set():
                del self._hands[hand.trial.number]
            else:
                self._close(hand, Reason.TIME_UP)

    def _ends(self, hand: Hand, answer: Advanced) -> Reason | None:
        with self._ledger("prune"):
            self._pruner.see(hand.trial, answer.reports)
            if answer.done is not None:
                return answer.done
            prune = hand.epoch >= hand.to_epoch and self._pruner.should_prune(hand.trial.number, hand.epoch)
        return Reason.PRUNED if prune else None

    def _learn(self, hand: Hand, answer: Advanced) -> None:
        hand.num_weights, hand.worker_name = answer.num_weights, answer.worker
        hand.reports += answer.reports
        hand.best = answer.best or hand.best
        if answer.last is not None:
            self._writer.put(
                self._store.save_progress, hand.trial.number, hand.reports[hand.checkpoint_epoch:], last=answer.last,
                best=answer.best, epoch=hand.epoch, attempts=hand.attempts, worker=hand.worker_name)
            hand.alone = False
            hand.checkpoint, hand.checkpoint_epoch, hand.checkpoint_at = answer.last, hand.epoch, time.monotonic()

    # -- close

    def _close(self, hand: Hand, reason: Reason, message: str = "") -> None:
        if reason is Reason.DIVERGED:
            message = divergence(hand.reports)
        found = best_epoch(hand.reports, self._metric, self._sign)
        outcome = Outcome(_STATES.get(reason, TrialState.FAILED), reason, value=found[1] if found else None,
                          best_epoch=found[0] if found else None, message=message)
        number = hand.trial.number
        self._writer.put(
            self._store.close_trial, number, outcome, hand.reports[hand.checkpoint_epoch:], best=hand.best,
            keep=self._sweep.keep.checkpoints, sign=self._sign, extra=self._measured(hand), attempts=hand.attempts,
            worker=hand.worker_name)
        with self._ledger("ask"):
            self._brain.tell(number, outcome, hand.reports)
        self._pruner.close(number)
        self._counts[TrialState.RUNNING] -= 1
        self._counts[outcome.state] += 1
        self._count(hand.trial, outcome)
        self._note = self._divergences.see(hand.trial, outcome) or self._note
        self._hands.pop(number, None)
        if self._breakdowns > self._sweep.budget.max_failed_trials:
            raise SearchFailed(f"{self._breakdowns} trials broke down (budget.max_failed_trials is "
                               f"{self._sweep.budget.max_failed_trials}); the last one, trial {number}: {message}")

    def _measured(self, hand: Hand) -> dict[str, Scalar]:
        return {"num_weights": hand.num_weights, "kernel": str(hand.config.program), **hand.extra}

    def _count(self, trial: Trial, outcome: Outcome) -> None:
        self._breakdowns += outcome.reason in BREAKDOWNS
        if outcome.state is not TrialState.FAILED and outcome.value is not None:
            self._best = min(self._best or (math.inf, 0), (self._sign * outcome.value, trial.number))

    def _lost(self, worker: int, lost: Lost) -> None:
        """Its trials go on elsewhere from their checkpoints."""
        for hand in reversed(self._crew(worker)):
            self._retry(hand, after_loss(hand, lost, self._sweep.retries))

    def _retry(self, hand: Hand, verdict: Verdict) -> None:
        self._note, number = verdict.note, hand.trial.number
        del self._hands[number]
        if verdict.ends is not None:
            self._close(hand, verdict.ends, verdict.message)
            return
        self._writer.put(self._store.save_progress, number, (), last=None, best=None, epoch=hand.checkpoint_epoch,
                         attempts=hand.attempts, extra=hand.extra)
        self._waiting.insert(0, hand)

    def _failed(self, hand: Hand, failure: Failure) -> None:
        if failure.reason not in BREAKDOWNS:
            mended = ("own code is part of a sweep: mended it is another one (`seqsweep submit --fork NAME`)"
                      if self._sweep.owns else f"`seqsweep resume {self._sweep.name}` goes on once it is mended")
            raise SearchFailed(f"trial {hand.trial.number} on {hand.worker_name or 'its worker'} raised an error; the "
                               f"sweep stops, and {mended}:\n{failure.message}")
        self._retry(hand, after_failure(hand, failure, self._programs))

    def _leave(self) -> None:
        """A tidy stop: each trial in hand ends its epoch and leaves a checkpoint, for which there is a time limit."""
        until = time.monotonic() + _GRACE
        while self._hands and time.monotonic() < until:
            self._gather(0.2)

    # -- show

    def progress(self) -> Progress:
        """Where the search stands now."""
        self._note = self._writer.news() or self._note
        closed = sum(count for state, count in self._counts.items() if state is not TrialState.RUNNING)
        budget, active = self._sweep.budget, self._clock.active_seconds
        left = active / closed * (budget.max_trials - closed) if closed else None
        if left is not None and budget.max_time is not None:
            left = min(left, max(budget.max_time - active, 0.0))
        return Progress(dict(self._counts), budget.max_trials, active, left,
                        best=None if self._best is None else (self._best[1], self._sign * self._best[0]),
                        running={number: hand.epoch for number, hand in sorted(self._hands.items())}, note=self._note)
