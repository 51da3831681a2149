from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from seqsweep.config.sweep import Sweep
from seqsweep.records import Outcome, Reason, Report, Trial, TrialRecord, TrialState
from seqsweep.search.brain import Brain

Finish = Callable[[Trial], Outcome]

RATE = {"min": 1e-5, "max": 1e-1, "log": True}
CELL = {"values": ["elman", "gru", "lstm"], "search": "grid"}


def make_sweep(parameters: dict[str, Any], goal: str = "minimize", max_trials: int = 60, **keys: Any) -> Sweep:
    document = {"name": "toy", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 4},
                "data": {"path": "toy.csv"}, "metric": {"name": "mae", "goal": goal}, "parameters": parameters,
                "budget": {"max_trials": max_trials}}
    return Sweep.model_validate_json(json.dumps(document | keys))


def complete(value: float) -> Outcome:
    return Outcome(TrialState.COMPLETE, Reason.FINISHED, value, best_epoch=1)


def pruned(value: float) -> Outcome:
    return Outcome(TrialState.PRUNED, Reason.PRUNED, value, best_epoch=1)


def diverged() -> Outcome:
    return Outcome(TrialState.FAILED, Reason.DIVERGED, None, None)


def out_of_memory() -> Outcome:
    return Outcome(TrialState.FAILED, Reason.OUT_OF_MEMORY, None, None)


def epochs(count: int) -> tuple[Report, ...]:
    return tuple(Report(epoch, {}) for epoch in range(1, count + 1))


def rate_loss(trial: Trial) -> float:
    """Best at a learning rate of 1e-2, 3e-4 or 1e-4, by cell."""
    best = {"elman": -2.0, "gru": -3.5, "lstm": -4.0}[str(trial.params.get("cell", "lstm"))]
    return (math.log10(float(trial.params["learning_rate"])) - best) ** 2


def record(trial: Trial, outcome: Outcome | None, reports: Sequence[Report] = ()) -> TrialRecord:
    state = TrialState.RUNNING if outcome is None else outcome.state
    return TrialRecord(trial, state, started=0.0, outcome=outcome, reports=tuple(reports))


def asked(brain: Brain, number: int) -> Trial:
    trial = brain.ask(number)
    assert trial is not None
    return trial


def search(brain: Brain, finish: Finish, count: int) -> list[Trial]:
    """Ask and tell one trial after another."""
    trials = []
    for number in range(count):
        trials.append(asked(brain, number))
        brain.tell(number, finish(trials[-1]), epochs(1))
    return trials
