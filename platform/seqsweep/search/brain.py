"""The brain: which trial is next, as a pure function of the trials' records."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence

from seqsweep.config.shapes import OWN_OF_MODEL, OWN_OF_TRAINING
from seqsweep.config.sweep import Sweep, goal_sign
from seqsweep.errors import Conflict, Problem
from seqsweep.records import Outcome, Reason, Report, Scalar, Trial, TrialRecord, TrialState
from seqsweep.search.heritage import Heritage
from seqsweep.search.history import History, Known
from seqsweep.search.space import Params, Space, cells, identity
from seqsweep.search.study import Proposals

_DRAWS = 4
"""How often the sampler may answer with a point that was tried before chance takes over."""
_RANDOM_DRAWS = 50
"""How often chance may, before the points that are left are listed."""
_LISTED = 10_000
"""How many of those are listed at most."""


class _Cell:
    """One grid cell, and what is known of its trials."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.history = History()
        self.count = 0
        """Its trials so far, breakdowns included."""
        self.seen: set[frozenset[tuple[str, Scalar]]] = set()

    def unseen(self) -> Iterator[Params]:
        """The points of a finite cell that have not been tried, in order."""
        return (point for point in self.space.points() if identity(point) not in self.seen)

    def first_new(self, proposals: Proposals, draws: int) -> Params | None:
        """The first of so many draws that has not been tried."""
        drawn = (proposals.draw() for _ in range(draws))
        return next((params for params in drawn if identity(params) not in self.seen), None)


class Brain:
    """Chooses the trials of a sweep: the parameters, the grid cell, and the seed of each.

    Every grid cell has a study of its own and no knowledge of the others; cells take turns, fewest trials first, so
    each gets its fair share of `max_trials`. The sampler's seed comes from the sweep's seed, the cell and the trial's
    number, and its study from the records alone: a brain restored from the store goes on as the old one would have.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._method = sweep.method
        self._seed = sweep.seed
        self._sign = goal_sign(sweep)
        spaces = cells(sweep)
        self._cells = {space.key: _Cell(space) for space in spaces}
        self._trials: dict[int, Trial] = {}
        self._drawn_before = 0
        self._startup = startup_trials(sweep.budget.max_trials, len(spaces))

    def ask(self, number: int, like: Trial | None = None) -> Trial | None:
        """Trial `number`, which must be new; None where every point of a finite space has been tried.

        The same point is not given twice, within a grid cell, as long as another can be found. `like`: take the shape
        of this trial, so that both can be trained in step, and choose the rest knowing what trials of the shape gave;
        None where no new point of that shape is found.
        """
        if number in self._trials:
            raise ValueError(f"trial {number} has been asked for before")
        every = sorted(self._cells.values(), key=lambda cell: cell.count)
        for cell in [self._cells[like.grid_cell]] if like else every:
            params = self._propose(cell, number, _shape(like) if like else {})
            if params is not None:
                trial = Trial(number, params, seed=derive(self._seed, "train", number), grid_cell=cell.space.key)
                self._start(trial)
                return trial
        return None

    def tell(self, number: int, outcome: Outcome, reports: Sequence[Report]) -> None:
        """Say how a trial ended, with the reports of its epochs."""
        trial = self._trials[number]
        self._cells[trial.grid_cell].history.end(number, self._known(trial, outcome, reports))

    def inherit(self, heritage: Heritage) -> None:
        """Know the trials of the sweep this one is a fork of: they steer the draws, and are not counted.

        The draws go on after the parent's, or chance would repeat them; a sampler may propose a point again.
        """
        self._drawn_before = heritage.drawn
        for record in heritage.trials:
            if record.outcome is not None:
                known = self._known(record.trial, record.outcome, record.reports)
                self._cells[record.trial.grid_cell].history.end(record.number, known)

    def restore(self, records: Iterable[TrialRecord]) -> None:
        """Take up what the store holds, running trials included. Raises Conflict for a trial of another space."""
        for record in records:
            cell = self._cells.get(record.trial.grid_cell)
            if cell is None or not cell.space.admits(record.trial.params):
                raise Conflict(Problem(f"trial {record.number}", "its parameters are not of this sweep's search space",
                                       "resume with the search space it began with, or give the sweep another name"))
            self._start(record.trial)
            if record.outcome is not None:
                self.tell(record.number, record.outcome, record.reports)

    def _start(self, trial: Trial) -> None:
        cell = self._cells[trial.grid_cell]
        self._trials[trial.number] = trial
        cell.count += 1
        cell.history.start(Known(trial.number, trial.params, TrialState.RUNNING))
        cell.seen.add(identity(trial.params))

    def _known(self, trial: Trial, outcome: Outcome, reports: Sequence[Report]) -> Known | None:
        """What the samplers may learn; nothing from a breakdown, and never a NaN or an infinity."""
        diverged = outcome.reason is Reason.DIVERGED or outcome.value is None or not math.isfinite(outcome.value)
        if outcome.state is TrialState.FAILED and outcome.reason is not Reason.DIVERGED:
            return None
        if diverged or outcome.value is None:
            return Known(trial.number, trial.params, TrialState.PRUNED)
        whole = outcome.state is TrialState.COMPLETE
        return Known(trial.number, trial.params, TrialState.COMPLETE if whole else TrialState.PRUNED,
                     self._sign * outcome.value, epoch=max((report.epoch for report in reports), default=0))

    def _propose(self, cell: _Cell, number: int, fixed: Params) -> Params | None:
        size = cell.space.size
        if size is not None and len(cell.seen) >= size:
            return None
        if self._method == "grid":
            return next((point for point in cell.unseen() if fixed.items() <= point.items()), None)
        seed = derive(self._seed, cell.space.key, self._drawn_before + number)
        sampler = Proposals(self._method, cell.space, cell.history, self._startup, seed, fixed)
        found = cell.first_new(sampler, _DRAWS)
        return _by_chance(cell, seed) if found is None and not fixed else found


def _shape(trial: Trial) -> Params:
    """The parameters that trials trained in step have in common."""
    return {name: value for name, value in trial.params.items() if name not in OWN_OF_MODEL | OWN_OF_TRAINING}


def _by_chance(cell: _Cell, seed: int) -> Params:
    """A random point, new if there is any: the last few of a finite cell are found by listing them."""
    chance = Proposals("random", cell.space, cell.history, 0, seed)
    found = cell.first_new(chance, _RANDOM_DRAWS)
    if found is not None:
        return found
    if cell.space.size is None:
        return chance.draw()
    return random.Random(seed).choice(list(itertools.islice(cell.unseen(), _LISTED)))  # noqa: S311


def startup_trials(max_trials: int, num_cells: int) -> int:
    """How many trials of a cell are drawn at random before its model is trusted: a quarter of its share, 3 to 10.

    Optuna's 10 would be half of the 20 trials that a cell has when 60 are shared by three.
    """
    return max(3, min(10, max_trials // num_cells // 4))


def derive(*parts: int | str) -> int:
    """A seed below 2**31 from what it must depend on."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
