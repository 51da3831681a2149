"""The controller of a deterministic sweep: what happened is dealt with in the order of a logical clock.

For each number of logical workers there is one table of trials, whatever the real workers' speed and whoever is
killed. A rebuilt controller plays the clock again from the start, with the store's answers in the place of training
for as long as there are any.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from seqsweep.cluster.messages import Advanced, Lost
from seqsweep.ledger import IN_ORDER
from seqsweep.records import BREAKDOWNS, Reason, Report, Scalar, Trial, TrialRecord
from seqsweep.sweep.cost import cost_model, epoch_cost
from seqsweep.sweep.hand import Hand
from seqsweep.sweep.lanes import Lane, Lanes
from seqsweep.sweep.progress import Progress
from seqsweep.sweep.search import Search

_CLOCK = "clock"
"""Among a trial's measured facts: when it ended on the logical clock."""


class OrderedSearch(Search):
    """Search with one lane for each logical worker; the real workers only compute, and which computes what is free.

    A trial that is trained to its next decision waits for its turn, with its worker unless another trial has none.
    What the brain and the pruner are told, and when the next trial is asked for, is decided by the lanes alone. Outside
    the promise is what the clock of the wall decides: `max_time`, and which trial breaks down.
    """

    _slice = 0.05  # until a worker has told how far it is, its trial may have ended before another's

    def _take_up(self, records: Sequence[TrialRecord]) -> None:
        self._stored = {record.number: record for record in records}
        self._numbers = deque(range(max(self._sweep.budget.max_trials, len(records))))
        rule = self._rule()
        self._lanes, self._costs = Lanes(rule["workers"]), rule["costs"]
        self._curves: dict[int, list[Report]] = {}
        self._going: dict[int, Hand] = {}
        """The lanes' trials."""
        self._endings: dict[int, tuple[Reason, str]] = {}
        self._held: set[int] = set()
        """Trials that wait for their turn, each with its worker."""

    def _rule(self) -> dict[str, Any]:
        """The number of logical workers and the cost model: stored when the sweep begins, and kept by every resume."""
        rule: dict[str, Any] | None = self._store.sweep(self._sweep.name).facts.get("order")
        wanted = self._sweep.resources.workers
        workers = self._pool.size if wanted == "auto" else max(1, wanted)
        if rule is None or not self._stored:
            rule = {"workers": workers, "costs": cost_model(self._sweep.resources.kernel)}
            self._writer.put(self._store.update_sweep, facts={"order": rule})
        elif rule["workers"] != workers:
            self._note = (f"deterministic: the sweep began with {rule['workers']} workers, and its order stays theirs; "
                          f"{workers} compute")
        return rule

    # -- the lanes

    def _dispatch(self) -> None:
        self._proceed()
        self._waiting.sort(key=lambda hand: self._lanes[hand.trial.number].time)
        super()._dispatch()
        self._make_room()

    def _begin(self) -> Hand | None:
        return None  # trials begin in the lanes

    def _finished(self) -> bool:
        if self._lanes.busy:
            return False
        self._observe(self.progress())
        return True

    def _proceed(self) -> None:
        """Deal with everything whose turn has come."""
        while True:
            while (place := self._lanes.vacant()) is not None and (hand := self._next()) is not None:
                self._enter(place, hand)
            lane = self._lanes.due()
            if lane is None:
                return
            self._ask_ahead()  # at the latest now: the next trial knows what came before this event, and no more
            self._turn(lane)

    def _next(self) -> Hand | None:
        self._ask_ahead()
        if not self._ahead or (self._time_up() and self._ahead[0].number not in self._stored):
            return None
        return self._start(self._ahead.popleft())

    def _ask(self, like: Trial | None = None) -> Trial | None:
        record = self._stored.get(self._numbers[0]) if self._numbers else None
        if record is None:
            return super()._ask(like)
        self._numbers.popleft()
        self._brain.restore([replace(record, outcome=None)])
        return record.trial

    def _start(self, trial: Trial) -> Hand:
        record = self._stored.get(trial.number)
        if record is None:
            return super()._start(trial)
        if record.outcome is None:
            return self._pick_up(record)
        hand = self._new_hand(trial)
        hand.reports = list(record.reports)
        return hand

    def _enter(self, place: int, hand: Hand) -> None:
        number = hand.trial.number
        lane = self._lanes.start(place, number, epoch_cost(hand.config, self._costs),
                                 self._pruner.next_step(number, 0, hand.config.training.epochs))
        self._going[number], self._curves[number], lane.known = hand, list(hand.reports), hand.epoch
        if ended := self._ended(number):
            lane.end = float(ended.extra[_CLOCK])
        elif lane.known < lane.step:
            self._waiting.append(hand)

    def _ended(self, number: int) -> TrialRecord | None:
        """The stored record of a trial that an earlier controller closed."""
        record = self._stored.get(number)
        return record if record is not None and record.outcome is not None else None

    def _turn(self, lane: Lane) -> None:
        number, hand, curve = lane.number, self._going[lane.number], self._curves[lane.number]
        with self._ledger("prune"):
            self._pruner.see(hand.trial, curve if lane.ended else curve[:lane.step])
            # A trial that went on before a kill, or broke down later, was let pass.
            decides = not lane.ended and lane.end is None and len(curve) == lane.step
            prune = decides and self._pruner.should_prune(number, lane.step)
        if prune or (decides and self._time_up()):
            self._close(hand, Reason.PRUNED if prune else Reason.TIME_UP)
        if lane.ended:
            self._end(lane)
        else:
            lane.step = self._pruner.next_step(number, lane.step, hand.config.training.epochs)
            if lane.end is None:
                self._go_on(hand)

    def _end(self, lane: Lane) -> None:
        number, hand = lane.number, self._going.pop(lane.number)
        curve = self._curves.pop(number)
        self._waiting = [each for each in self._waiting if each is not hand]
        self._held.discard(number)
        record = self._ended(number)
        if record is not None and record.outcome is not None:
            with self._ledger("ask"):
                self._brain.tell(number, record.outcome, record.reports)
            self._pruner.close(number)
        else:
            hand.reports = curve
            super()._close(hand, *self._endings.pop(number))
        self._stored.pop(number, None)
        self._lanes.free(lane)

    def _close(self, hand: Hand, reason: Reason, message: str = "") -> None:
        """Let a trial end when its turn comes; a breakdown counts for the epoch that it did not bring to an end."""
        number = hand.trial.number
        self._hands.pop(number, None)
        self._endings[number] = (reason, message)
        lane = self._lanes[number]
        lane.finish(lane.known + (reason in BREAKDOWNS))
        if reason in BREAKDOWNS:
            self._note = f"trial {number}: {reason}; what follows from it is outside the promise of `deterministic`"

    # -- the workers

    def _send(self, worker: int) -> None:
        hand = self._crew(worker)[0]
        if self._wants(hand) or hand.leaving:
            super()._send(worker)
        else:
            self._held.add(hand.trial.number)

    def _wants(self, hand: Hand) -> bool:
        """Whether there is something to train before its turn comes."""
        return hand.epoch < self._lanes[hand.trial.number].step

    def _go_on(self, hand: Hand) -> None:
        number = hand.trial.number
        if number in self._held:
            self._held.remove(number)
            super()._send(hand.worker)
        elif number not in self._hands and not any(each is hand for each in self._waiting) and self._wants(hand):
            self._waiting.append(hand)

    def _make_room(self) -> None:
        """Where trials wait for a worker, let those that wait for their turn leave theirs, the latest first."""
        parting = sum(hand.leaving for hand in self._hands.values())
        latest = sorted(self._held, key=lambda number: self._lanes[number].time, reverse=True)
        for number in latest[:max(0, len(self._waiting) - parting)]:
            self._part(number)

    def _part(self, number: int) -> None:
        """Have a held trial's worker send its checkpoint."""
        self._held.remove(number)
        self._hands[number].leaving = True
        super()._send(self._hands[number].worker)

    def _take(self, hand: Hand, answer: Advanced) -> None:
        parting = hand.leaving
        super()._take(hand, answer)
        if parting and answer.last is not None and self._hands.get(hand.trial.number) is hand:
            del self._hands[hand.trial.number]
            if self._wants(hand):
                self._waiting.append(hand)

    def _learn(self, hand: Hand, answer: Advanced) -> None:
        super()._learn(hand, answer)
        curve = self._curves[hand.trial.number]
        curve += hand.reports[len(curve):]
        self._lanes[hand.trial.number].known = len(curve)

    def _ends(self, hand: Hand, answer: Advanced) -> Reason | None:
        return answer.done  # whether it is pruned is decided in its turn

    def _next_step(self, hand: Hand) -> int:
        return self._lanes[hand.trial.number].step

    def _lost(self, worker: int, lost: Lost) -> None:
        self._held.difference_update(hand.trial.number for hand in self._crew(worker))
        super()._lost(worker, lost)

    def _leave(self) -> None:
        for number in sorted(self._held):
            self._part(number)
        super()._leave()

    # -- what it costs

    def _measured(self, hand: Hand) -> dict[str, Scalar]:
        return {**super()._measured(hand), _CLOCK: self._lanes[hand.trial.number].time}

    def _gather(self, timeout: float) -> None:
        held = sum(lane.ready and not (lane.ended and self._is_last) for lane in self._lanes.busy)
        idle, began = min(held, len(self._pool.idle())), time.monotonic()
        super()._gather(timeout)
        self._ledger.add({IN_ORDER: idle * (time.monotonic() - began)})

    @property
    def _is_last(self) -> bool:
        """Whether an ended trial's worker would have nothing to do even at once."""
        return not (self._ahead or self._waiting)

    def progress(self) -> Progress:
        """Where the search stands now."""
        found = super().progress()
        whole = found.active_seconds * len(self._lanes)
        return replace(found, waiting=self._ledger.seconds().get(IN_ORDER, 0.0) / whole if whole else 0.0)
