"""Regret of the brain on a toy whose optimum differs by grid cell, and milliseconds per ask.

    python benchmarks/search.py            # seeds 0-14; about two minutes on one core
"""

from __future__ import annotations

import json
import math
import statistics
import time
from typing import Any

from seqsweep.config.sweep import Sweep
from seqsweep.records import Outcome, Reason, Trial, TrialRecord, TrialState
from seqsweep.search.brain import Brain

SEEDS = range(15)
MAX_TRIALS = 60
OPTIMA = {"elman": (0.8, 0.2, 0.3), "gru": (0.2, 0.6, 0.9), "lstm": (0.5, 0.9, 0.1)}
"""Best learning rate, hidden size and dropout of each cell, each on a scale from 0 to 1."""


def sweep_of(method: str, seed: int, *, grid: bool, max_trials: int = MAX_TRIALS) -> Sweep:
    parameters: dict[str, Any] = {
        "cell": {"values": list(OPTIMA), "search": "grid" if grid else "auto"},
        "learning_rate": {"min": 1e-5, "max": 1e-1, "log": True},
        "hidden_size": {"min": 8, "max": 512, "log": True},
        "dropout": {"min": 0.0, "max": 0.9},
    }
    return Sweep.model_validate_json(json.dumps({
        "name": "toy", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 4},
        "data": {"path": "toy.csv"}, "metric": {"name": "mae", "goal": "minimize"}, "method": method, "seed": seed,
        "parameters": parameters, "budget": {"max_trials": max_trials}}))


def regret(trial: Trial) -> float:
    """Squared distance from the optimum of the trial's own cell; 0 is perfect."""
    rate, hidden, dropout = (float(trial.params[name]) for name in ("learning_rate", "hidden_size", "dropout"))
    point = ((math.log10(rate) + 5) / 4, math.log2(hidden / 8) / 6, dropout / 0.9)
    return sum((x - best) ** 2 for x, best in zip(point, OPTIMA[str(trial.params["cell"])], strict=True))


def run(brain: Brain, max_trials: int = MAX_TRIALS) -> dict[str, float]:
    """Search one trial at a time; the best regret of each cell."""
    best: dict[str, float] = dict.fromkeys(OPTIMA, math.inf)
    for number in range(max_trials):
        trial = brain.ask(number)
        assert trial is not None
        value = regret(trial)
        best[str(trial.params["cell"])] = min(best[str(trial.params["cell"])], value)
        brain.tell(number, Outcome(TrialState.COMPLETE, Reason.FINISHED, value, best_epoch=1), ())
    return best


def table() -> None:
    print(f"toy regret, {MAX_TRIALS} trials over 3 cells, seeds {SEEDS.start}-{SEEDS.stop - 1}")
    print(f"{'method':<32}{'mean over cells':>16}{'+-':>8}{'worst cell':>12}")
    for title, method, grid in (("tpe, a study a cell", "tpe", True), ("tpe, cell as a categorical", "tpe", False),
                                ("gp, a study a cell", "gp", True), ("random", "random", True)):
        runs = [run(Brain(sweep_of(method, seed, grid=grid))) for seed in SEEDS]
        means = [statistics.fmean(best.values()) for best in runs]
        worst = statistics.fmean(min(1.0, max(best.values())) for best in runs)
        error = statistics.stdev(means) / math.sqrt(len(means))
        print(f"{title:<32}{statistics.fmean(means):>16.4f}{error:>8.4f}{worst:>12.4f}")


def asks() -> None:
    print("\nmilliseconds (3 parameters, one cell's study, seed 0)")
    print(f"{'method':<10}{'trials':>8}{'restore':>10}{'ask':>10}")
    for method, count in (("tpe", 100), ("tpe", 1000), ("tpe", 5000), ("random", 1000), ("gp", 100)):
        sweep = sweep_of(method, 0, grid=False, max_trials=count + 5)
        source = Brain(sweep_of("random", 0, grid=False))
        records = []
        for number in range(count):
            trial = source.ask(number)
            assert trial is not None
            outcome = Outcome(TrialState.COMPLETE, Reason.FINISHED, regret(trial), best_epoch=1)
            records.append(TrialRecord(trial, TrialState.COMPLETE, started=0.0, outcome=outcome))
        brain = Brain(sweep)
        begin = time.perf_counter()
        brain.restore(records)
        restored = time.perf_counter()
        for number in range(count, count + 5):
            brain.ask(number)
        each = (time.perf_counter() - restored) / 5
        print(f"{method:<10}{count:>8}{1e3 * (restored - begin):>10.1f}{1e3 * each:>10.1f}")


if __name__ == "__main__":
    table()
    asks()
