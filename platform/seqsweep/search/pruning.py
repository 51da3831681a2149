"""Which trial is ended early: pure functions of stored curves, so a restored sweep decides as it would have."""

from __future__ import annotations

import bisect
import math
import zlib
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from seqsweep.config.space import ParameterConfig
from seqsweep.config.sweep import Sweep, goal_sign
from seqsweep.config.training import TrainingConfig
from seqsweep.records import Report, Trial
from seqsweep.search.space import choices


@dataclass
class _Followed:
    """A trial that has not been closed."""

    cell: str
    bracket: int
    best: float = math.nan
    """The best value of the metric so far; NaN while there is none."""
    losses: array[float] = field(default_factory=lambda: array("d"))
    """Best so far by epoch, to be minimised; `losses[0]` belongs to epoch 1."""


class Pruner:
    """The sweep's `early_terminate` rule.

    asha: the stopping form of asynchronous successive halving (Li et al., 2020). Rungs stand at `min_epochs * eta**k`
    below the sweep's largest number of epochs. A trial passes a rung if it is among the best `n // eta` of the n
    values recorded there so far, its own included, and at least if it is the best: the very first passes, and of the
    first `eta - 1` each passes only by being better than all before it. Values recorded later undo nothing.

    hyperband: asha in brackets (Li et al., 2018): bracket k has no rungs before `min_epochs * eta**k`, and its share
    of the trials is the paper's. A trial's bracket is drawn by its number; it competes within its bracket.

    median: a trial ends when its best value so far is worse than the median of its peers' (Golovin et al., 2017),
    looked at after every epoch from `min_epochs` on, once `min_trials` peers have reached that epoch.

    Peers are the trials of the same grid cell. What is compared is kept sorted by epoch, so a decision costs the same
    however many trials there are; in which order the curves were seen makes no difference.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._config = sweep.early_terminate
        self._metric = f"val_{sweep.metric.name}"
        self._sign = goal_sign(sweep)
        self._seed = sweep.seed
        self._max_epochs = max_epochs(sweep)
        self._ladder = self._build_ladder() if self._config.type in ("asha", "hyperband") else ()
        self._shares = self._bracket_shares() if self._config.type == "hyperband" else (1,)
        self._followed: dict[int, _Followed] = {}
        self._ranked: defaultdict[tuple[str, int, int], array[float]] = defaultdict(lambda: array("d"))
        """By grid cell, bracket and epoch: the losses recorded there, in ascending order."""

    def rungs(self, trial_number: int) -> tuple[int, ...]:
        """The epochs at which asha or hyperband may end this trial; none for the other rules."""
        return self._ladder[self._bracket(trial_number):]

    def next_step(self, trial_number: int, epoch: int, max_epochs: int) -> int:
        """The next epoch at which to decide, after `epoch` of the `max_epochs` that the trial has."""
        if self._config.type == "median":
            return min(max(epoch + 1, self._config.min_epochs), max_epochs)
        return min((rung for rung in self.rungs(trial_number) if epoch < rung < max_epochs), default=max_epochs)

    def see(self, trial: Trial, reports: Sequence[Report]) -> None:
        """Take up a trial's next epochs; those seen before, which a resumed trial trains again, are passed over."""
        if self._config.type == "none":
            return
        known = self._followed.get(trial.number)
        if known is None:
            known = self._followed[trial.number] = _Followed(trial.grid_cell, self._bracket(trial.number))
        for report in reports:
            if report.epoch > len(known.losses):
                self._add(known, report.epoch, report.metrics.get(self._metric, math.nan))

    def close(self, number: int) -> None:
        """Let go of an ended trial's own curve; the others still compete with what it recorded."""
        self._followed.pop(number, None)

    def should_prune(self, number: int, epoch: int) -> bool:
        """Whether trial `number`, which was seen up to this epoch at least and not closed, ends here."""
        if self._config.type == "none":
            return False
        own = self._followed[number]
        loss, ranked = own.losses[epoch - 1], self._ranked[own.cell, own.bracket, epoch]
        if self._config.type == "median":
            return (epoch >= self._config.min_epochs and len(ranked) > self._config.min_trials
                    and loss > _median_without(ranked, loss))
        if epoch not in self.rungs(number):
            return False
        return math.isinf(loss) or loss > ranked[max(1, len(ranked) // self._config.eta) - 1]

    def _add(self, known: _Followed, epoch: int, value: float) -> None:
        if not self._sign * value >= self._sign * known.best:  # NaN is neither better nor a bar
            known.best = known.best if math.isnan(value) else value
        loss = self._sign * known.best if math.isfinite(known.best) else math.inf
        known.losses.append(loss)
        if self._config.type == "median" or epoch in self._ladder[known.bracket:]:
            bisect.insort(self._ranked[known.cell, known.bracket, epoch], loss)

    def _build_ladder(self) -> tuple[int, ...]:
        rungs = [self._config.min_epochs]
        while rungs[-1] < self._max_epochs:
            rungs.append(rungs[-1] * self._config.eta)
        return tuple(rungs[:-1])

    def _bracket_shares(self) -> tuple[int, ...]:
        """How many of each round's trials a bracket gets: ceil((s_max + 1) / (s + 1) * eta**s), most eager first."""
        eta, s_max = self._config.eta, 0
        while self._config.min_epochs * eta ** (s_max + 1) <= self._max_epochs:
            s_max += 1
        return tuple(math.ceil((s_max + 1) * eta**s / (s + 1)) for s in range(s_max, -1, -1))

    def _bracket(self, trial_number: int) -> int:
        """Drawn by the trial's number, since numbers dealt in turn would follow the turns of the grid cells."""
        drawn = zlib.crc32(f"{self._seed}/{trial_number}".encode()) % sum(self._shares)
        for bracket, share in enumerate(self._shares):
            drawn -= share
            if drawn < 0:
                return bracket
        raise AssertionError("the shares add up to their sum")


def max_epochs(sweep: Sweep) -> int:
    """The most epochs a trial of this sweep can have."""
    default = ParameterConfig(value=TrainingConfig().epochs)
    options = choices("epochs", sweep.parameters.get("epochs", default)) or ()
    return max(int(option) for option in options)


def _median_without(ranked: Sequence[float], own: float) -> float:
    """The median of at least one other value beside `own`, all in ascending order."""
    place, others = bisect.bisect_left(ranked, own), len(ranked) - 1

    def other(index: int) -> float:
        return ranked[index + (index >= place)]

    return other(others // 2) if others % 2 else (other(others // 2 - 1) + other(others // 2)) / 2
