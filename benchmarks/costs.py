"""What an epoch costs by its parameters: times random trials of the shipped space, and fits the coefficients.

    PYTHONPATH=platform python benchmarks/costs.py times.jsonl --kernel compiled --seconds 80   # again for more
    PYTHONPATH=platform python benchmarks/costs.py times.jsonl --fit                            # for config/cost.py

Whole training steps through `seqsweep.training.fit`, on one thread; a figure is the least of three turns.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from cells import series

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import FitConfig, fit_config
from seqsweep.config.training import Kernel
from seqsweep.models.memory import keep_pages
from seqsweep.plan import sample
from seqsweep.training.fit import Fit, Pack

CONTEXTS = (12, 24, 48, 96, 192)
"""Steps of a window; the data hold 96 + 24 rows of each, so longer ones are timed by their own slice."""
TURNS, STEPS = 6, 2


def draws(count: int, context: int, seed: int) -> list[FitConfig]:
    """Random trials of the shipped search space `recurrent`."""
    sweep = load_sweep({"name": "costs", "data": {"path": "none.csv"}, "metric": {"name": "mae"}, "seed": seed,
                        "task": {"type": "forecasting", "target": "y", "context": context, "horizon": 24},
                        "search_space": ["recurrent"], "budget": {"max_trials": count}})
    return [fit_config(sweep, trial.params, trial.seed) for trial in sample(sweep, count)]


def seconds(config: FitConfig, data: Any, kernel: Kernel) -> float:
    """Seconds of one optimiser step."""
    config = config.model_copy(update={"program": config.program.model_copy(update={"kernel": kernel})})
    engine = Pack([Fit(config, (data,))]).engines[0]
    batches = list(islice(engine.batches([fold.order(1) for fold in engine.folds],
                                         [fold.keys(1) for fold in engine.folds]), STEPS))
    best = float("inf")
    for turn in range(TURNS + 1):  # the first loads and compiles
        begun = time.perf_counter()
        for batch in batches:
            engine.backward(batch)
            for fold in engine.folds:
                fold.update(1e-4)
            engine.clear()
        if turn:
            best = min(best, (time.perf_counter() - begun) / STEPS)
    return best


def measure(path: Path, kernel: Kernel, limit: float) -> None:
    """Add lines to the file until the time is up."""
    torch.set_num_threads(1)
    keep_pages()
    known = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    until, draw = time.monotonic() + limit, random.Random(known)
    with path.open("a", encoding="utf-8") as file:
        while time.monotonic() < until:
            context = draw.choice(CONTEXTS)
            data = series(context)
            for config in draws(6, context, draw.randrange(10**6)):
                model, training = config.model, config.training
                line = {"kernel": kernel, "T": context, "B": training.batch_size, "H": model.hidden_size,
                        "L": model.num_layers, "cell": model.cell, "relu": model.nonlinearity == "relu", "F": 5, "dropout": model.dropout > 0,
                        "variational": model.variational_dropout > 0, "seconds": seconds(config, data, kernel)}
                file.write(json.dumps(line) + "\n")
                file.flush()


def main() -> None:
    """Measure, or fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path)
    parser.add_argument("--kernel", choices=["compiled", "torch"], default="compiled")
    parser.add_argument("--seconds", type=float, default=80.0)
    chosen = parser.parse_args()
    measure(chosen.times, chosen.kernel, chosen.seconds)


if __name__ == "__main__":
    main()
