"""Regret of the brain on a toy whose optimum differs by grid cell, and milliseconds per ask.

    python benchmarks/search.py            # seeds 0-14; about two minutes on one core
    python benchmarks/search.py --shown    # what it costs to show TPE few of many trials; half an hour on one core
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from seqsweep.config.sweep import Sweep
from seqsweep.records import Outcome, Reason, Scalar, Trial, TrialRecord, TrialState
from seqsweep.search import study
from seqsweep.search.brain import Brain

SEEDS = range(15)
MAX_TRIALS = 60
OPTIMA = {"elman": (0.8, 0.2, 0.3), "gru": (0.2, 0.6, 0.9), "lstm": (0.5, 0.9, 0.1)}
"""Best learning rate, hidden size and dropout of each cell, each on a scale from 0 to 1."""


def sweep_of(method: str, seed: int, *, grid: bool, max_trials: int = MAX_TRIALS) -> Sweep:
    return sweep_over({
        "cell": {"values": list(OPTIMA), "search": "grid" if grid else "auto"},
        "learning_rate": {"min": 1e-5, "max": 1e-1, "log": True},
        "hidden_size": {"min": 8, "max": 512, "log": True},
        "dropout": {"min": 0.0, "max": 0.9},
    }, method, seed, max_trials)


def sweep_over(parameters: Mapping[str, Any], method: str, seed: int, max_trials: int) -> Sweep:
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


FIVE = {"learning_rate": {"min": 1e-5, "max": 1e-1, "log": True}, "hidden_size": {"min": 8, "max": 512, "log": True},
        "dropout": {"min": 0.0, "max": 0.9}, "weight_decay": {"min": 1e-6, "max": 1e-2, "log": True},
        "momentum": {"min": 0.0, "max": 0.99}}
MIXED = FIVE | {"num_layers": {"min": 1, "max": 3}, "dropout": {"min": 0.0, "max": 0.9, "when": {"num_layers": [2, 3]}},
                "optimizer": {"values": ["adam", "sgd", "rmsprop"]}}
BEST = (0.7, 0.4, 0.2, 0.6, 0.85)
SEEN = (100, 300, 1000)


def scaled(params: Mapping[str, Scalar]) -> tuple[float, ...]:
    """The five dimensions from 0 to 1."""
    rate, hidden, decay = (math.log10(float(params["learning_rate"])), math.log2(float(params["hidden_size"])),
                           math.log10(float(params["weight_decay"])))
    return ((rate + 5) / 4, (hidden - 3) / 6, float(params.get("dropout", 0.45)) / 0.9, (decay + 6) / 4,
            float(params["momentum"]) / 0.99)


def bowl(params: Mapping[str, Scalar]) -> float:
    return sum((x - best) ** 2 for x, best in zip(scaled(params), BEST, strict=True))


def valley(params: Mapping[str, Scalar]) -> float:
    """Rosenbrock's."""
    x = [4 * each - 2 for each in scaled(params)]
    return sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(4)) / 100


def waves(params: Mapping[str, Scalar]) -> float:
    """Rastrigin's."""
    offsets = [4 * (x - best) for x, best in zip(scaled(params), BEST, strict=True)]
    return sum(x * x + 1.5 * (1 - math.cos(2 * math.pi * x)) for x in offsets)


def conditional(params: Mapping[str, Scalar]) -> float:
    return (bowl(params) + 0.05 * abs(int(params["num_layers"]) - 2)
            + {"adam": 0.0, "sgd": 0.1, "rmsprop": 0.03}[str(params["optimizer"])])


TOYS: dict[str, tuple[Mapping[str, Any], Callable[[Mapping[str, Scalar]], float]]] = {
    "bowl": (FIVE, bowl), "valley": (FIVE, valley), "waves": (FIVE, waves), "conditional": (MIXED, conditional)}


def best_after(toy: str, seed: int, whole: bool) -> dict[int, float]:
    """Log10 of the best regret after so many trials; a trial in three is pruned where it is worse than the median."""
    study.SHOWN = study.SHOWN | {"tpe": (1, 10**9)} if whole else study.SHOWN
    parameters, loss = TOYS[toy]
    brain, values = Brain(sweep_over(parameters, "tpe", seed, SEEN[-1])), list[float]()
    found: dict[int, float] = {}
    for number in range(SEEN[-1]):
        trial = brain.ask(number)
        assert trial is not None
        value = loss(trial.params)
        pruned = number % 3 == 0 and len(values) > 10 and value > statistics.median(values[-100:])
        values.append(value)
        brain.tell(number, Outcome(TrialState.PRUNED if pruned else TrialState.COMPLETE,
                                   Reason.PRUNED if pruned else Reason.FINISHED, value, best_epoch=1), ())
        if number + 1 in SEEN:
            found[number + 1] = math.log10(min(values))
    return found


def shown() -> None:
    """Few trials shown against all, seed by seed."""
    print(f"log10 of the best regret of TPE shown {study.SHOWN['tpe']} (best, others) less that shown all, seeds "
          f"{SEEDS.start}-{SEEDS.stop - 1}: mean and standard error; above 0 is worse")
    print(f"{'toy':<14}" + "".join(f"{count:>22}" for count in SEEN))
    with ProcessPoolExecutor(max_tasks_per_child=1) as pool:
        jobs = {(toy, seed, whole): pool.submit(best_after, toy, seed, whole)
                for toy in TOYS for seed in SEEDS for whole in (False, True)}
        for toy in TOYS:
            line = f"{toy:<14}"
            for count in SEEN:
                less = [jobs[toy, seed, False].result()[count] - jobs[toy, seed, True].result()[count]
                        for seed in SEEDS]
                line += f"{statistics.fmean(less):>13.3f} +- {statistics.stdev(less) / math.sqrt(len(less)):.3f}"
            print(line, flush=True)


if __name__ == "__main__":
    if "--shown" in sys.argv[1:]:
        shown()
    else:
        table()
        asks()
