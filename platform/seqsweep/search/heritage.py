"""What a fork is told of its parent: the ended trials that fit its search space, kept with the fork as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from seqsweep.config.sweep import Sweep
from seqsweep.records import BREAKDOWNS, Outcome, Reason, Report, Trial, TrialRecord, TrialState
from seqsweep.search.space import cells


@dataclass(frozen=True)
class Heritage:
    """The parent's trials as the fork's brain is told them."""

    trials: tuple[TrialRecord, ...] = ()
    """Numbered below 0 in the order they were asked for; each in a grid cell of the fork, its curve only an end."""
    drawn: int = 0
    """Trials asked for before the fork: its draws go on after theirs, and do not repeat them."""

    @classmethod
    def of(cls, sweep: Sweep, parent: Iterable[TrialRecord], before: Heritage | None = None) -> Heritage:
        """What of a parent's trials (`before`: and of those it was told itself) fits the space of `sweep`.

        A trial fits where it has exactly the parameters that the fork would give it, each within its bounds.
        """
        before, parent = before or Heritage(), list(parent)
        drawn = before.drawn + max((record.number + 1 for record in parent), default=0)
        return cls(_numbered(_fitting(sweep, [*before.trials, *parent])), drawn)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Heritage:
        """Read what `stored` gave."""
        return cls(_numbered(_record(kept) for kept in value.get("trials", ())), int(value.get("drawn", 0)))

    def stored(self) -> dict[str, Any]:
        """As JSON values."""
        return {"drawn": self.drawn, "trials": [
            {"params": dict(record.trial.params), "grid_cell": record.trial.grid_cell, "state": str(record.state),
             "reason": str(record.outcome.reason), "value": record.outcome.value,
             "best_epoch": record.outcome.best_epoch, "epochs": record.reports[-1].epoch if record.reports else 0}
            for record in self.trials if record.outcome is not None]}


def _fitting(sweep: Sweep, records: Iterable[TrialRecord]) -> Iterator[TrialRecord]:
    spaces = cells(sweep)
    for record in records:
        if record.outcome is None or record.outcome.reason in BREAKDOWNS | {Reason.USER_ERROR}:
            continue
        home = next((space for space in spaces if space.admits(record.trial.params)), None)
        if home is not None:
            trial = Trial(record.number, dict(record.trial.params), record.trial.seed, home.key)
            yield TrialRecord(trial, record.state, 0.0, outcome=record.outcome, reports=record.reports[-1:])


def _numbered(records: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Numbers below 0: the fork's own trials count from 0."""
    listed = list(records)
    return tuple(TrialRecord(Trial(number, record.trial.params, 0, record.trial.grid_cell), record.state, 0.0,
                             outcome=record.outcome, reports=record.reports)
                 for number, record in enumerate(listed, start=-len(listed)))


def _record(kept: Mapping[str, Any]) -> TrialRecord:
    state = TrialState(kept["state"])
    outcome = Outcome(state, Reason(kept["reason"]), kept["value"], kept["best_epoch"])
    return TrialRecord(Trial(0, kept["params"], 0, kept["grid_cell"]), state, 0.0, outcome=outcome,
                       reports=(Report(kept["epochs"], {}),) if kept["epochs"] else ())
