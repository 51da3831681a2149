"""Which trial is ended early: pure functions of stored curves, so a restored sweep decides as it would have."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Mapping, Sequence

from seqsweep.config.space import ParameterConfig
from seqsweep.config.sweep import Sweep, goal_sign
from seqsweep.config.training import TrainingConfig
from seqsweep.search.space import choices

Curve = Sequence[float]
"""The best value of the metric so far, by epoch: `curve[0]` belongs to epoch 1."""


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
    """

    def __init__(self, sweep: Sweep) -> None:
        self._config = sweep.early_terminate
        self._sign = goal_sign(sweep)
        self._seed = sweep.seed
        self._max_epochs = max_epochs(sweep)
        self._ladder = self._build_ladder() if self._config.type in ("asha", "hyperband") else ()
        self._shares = self._bracket_shares() if self._config.type == "hyperband" else (1,)

    def rungs(self, trial_number: int) -> tuple[int, ...]:
        """The epochs at which asha or hyperband may end this trial; none for the other rules."""
        return self._ladder[self._bracket(trial_number):]

    def next_step(self, trial_number: int, epoch: int, max_epochs: int) -> int:
        """The next epoch at which to decide, after `epoch` of the `max_epochs` that the trial has."""
        if self._config.type == "median":
            return min(max(epoch + 1, self._config.min_epochs), max_epochs)
        return min((rung for rung in self.rungs(trial_number) if epoch < rung < max_epochs), default=max_epochs)

    def should_prune(self, number: int, epoch: int, curve: Curve, peers: Mapping[int, Curve]) -> bool:
        """Whether trial `number` ends here. `peers` are the curves of its grid cell by number; its own is not read."""
        if self._config.type == "none":
            return False
        own = self._loss(curve, epoch)
        others = [self._loss(peer, epoch) for other, peer in peers.items()
                  if other != number and len(peer) >= epoch and self._bracket(other) == self._bracket(number)]
        if self._config.type == "median":
            return (epoch >= self._config.min_epochs and len(others) >= self._config.min_trials
                    and own > statistics.median(others))
        if epoch not in self.rungs(number):
            return False
        passing = max(1, (len(others) + 1) // self._config.eta)
        return math.isinf(own) or own > sorted([own, *others])[passing - 1]

    def _loss(self, curve: Curve, epoch: int) -> float:
        """The value at an epoch, to be minimised; infinite where it is no number."""
        value = self._sign * curve[epoch - 1]
        return value if math.isfinite(value) else math.inf

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
