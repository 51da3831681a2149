"""What an epoch costs by its parameters: times random trials of the shipped space, and fits the coefficients.

    PYTHONPATH=platform python benchmarks/costs.py times.jsonl --kernel compiled --seconds 80   # again for more
    PYTHONPATH=platform python benchmarks/costs.py times.jsonl --fit                            # for config/cost.py

Whole training steps through `seqsweep.training.fit`, on one thread; a figure is the least of three turns.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cells import series
from scipy.optimize import least_squares

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import FitConfig, fit_config
from seqsweep.config.training import Kernel
from seqsweep.models.memory import keep_pages
from seqsweep.plan import sample
from seqsweep.sweep.cost import Costs, cost_model, epoch_cost, terms
from seqsweep.training.fit import Fit, Pack

CONTEXTS = (12, 24, 48, 96, 192)
"""Steps of a window."""
TURNS, STEPS = 6, 2


def draws(count: int, context: int, seed: int, space: str) -> list[FitConfig]:
    """Random trials of a shipped search space."""
    sweep = load_sweep({"name": "costs", "data": {"path": "none.csv"}, "metric": {"name": "mae"}, "seed": seed,
                        "task": {"type": "forecasting", "target": "y", "context": context, "horizon": 24},
                        "search_space": [space], "budget": {"max_trials": count}})
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
            engine.step(batch, [1e-4] * len(engine.folds))
        if turn:
            best = min(best, (time.perf_counter() - begun) / STEPS)
    return best


def measure(path: Path, kernel: Kernel, limit: float, space: str) -> None:
    """Add lines to the file until the time is up."""
    torch.set_num_threads(1)
    keep_pages()
    known = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    until, draw = time.monotonic() + limit, random.Random(known)
    with path.open("a", encoding="utf-8") as file:
        while time.monotonic() < until:
            context = draw.choice(CONTEXTS)
            data = series(context)
            for config in draws(6, context, draw.randrange(10**6), space):
                model, training = config.model, config.training
                line = {"kernel": kernel, "T": context, "B": training.batch_size, "H": model.hidden_size,
                        "L": model.num_layers, "cell": model.cell,
                        "relu": model.nonlinearity == "relu", "dropout": model.dropout > 0,
                        "seconds": seconds(config, data, kernel)}
                file.write(json.dumps(line) + "\n")
                file.flush()


def config_of(line: dict[str, Any]) -> FitConfig:
    """The trial that a line was measured on, as far as its cost goes."""
    return FitConfig.model_validate({
        "task": {"type": "forecasting", "target": "y", "context": line["T"], "horizon": 24}, "seed": 0,
        "model": {"cell": line["cell"], "hidden_size": line["H"], "num_layers": line["L"],
                  "dropout": 0.1 * line["dropout"], "nonlinearity": "relu" if line["relu"] else "tanh"},
        "metric": {"name": "mae"}, "training": {"batch_size": line["B"]}, "early_stopping": None})


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fit(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Coefficients of `terms`, none below zero, that bring log times closest; large errors count linearly."""
    table = [terms(config_of(line)) for line in lines]
    names = [name for name in table[0] if any(row[name] for row in table)]
    x_NM = np.array([[row[name] for name in names] for row in table])
    y_N = np.array([line["seconds"] for line in lines])
    scale_M = y_N.max() / x_NM.max(0)
    found = min((least_squares(lambda logs_M: np.log((x_NM * scale_M) @ np.exp(logs_M) / y_N), np.full(len(names), at),
                               loss="soft_l1", f_scale=0.1, bounds=(-20, 5)) for at in (-2.0, -4.0)),
                key=lambda result: float(result.cost))
    share_M = ((x_NM * scale_M * np.exp(found.x)) / y_N[:, None]).max(0)
    return {name: float(f"{scale * math.exp(log):.3g}") if share > 0.02 else 0.0
            for name, scale, log, share in zip(names, scale_M, found.x, share_M, strict=True)}


def show(lines: list[dict[str, Any]]) -> None:
    """Print the coefficients, and how far the model is off, trials weighted by the time they take."""
    for kernel in ("compiled", "torch"):
        own = [line for line in lines if line["kernel"] == kernel]
        if not own:
            continue
        found = {cell: fit([line for line in own if line["cell"] == cell])
                 for cell in sorted({line["cell"] for line in own})}
        for cell, each in found.items():
            print(f"{kernel} {cell}: {each}")
        error_N, weight_N = errors(own, found)
        for name, each_N in (("of the fit", error_N), ("as shipped", errors(own, cost_model(kernel))[0])):
            print(f"{kernel}, {len(own)} trials, error {name}: {np.sqrt(np.average(each_N**2)):.3f}, weighted by time "
                  f"{np.sqrt(np.average(each_N**2, weights=weight_N)):.3f}")


def errors(lines: list[dict[str, Any]], costs: Costs) -> tuple[np.ndarray, np.ndarray]:
    """Log of modelled over measured cost of an epoch, less its mean within windows of one length; and the cost."""
    measured_N = np.array([line["seconds"] / line["B"] for line in lines])
    error_N = np.log([epoch_cost(config_of(line), costs) for line in lines]) - np.log(measured_N)
    for context in {line["T"] for line in lines}:
        same_N = np.array([line["T"] == context for line in lines])
        error_N[same_N] -= np.average(error_N[same_N], weights=measured_N[same_N])
    return error_N, measured_N


def main() -> None:
    """Measure, or fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path)
    parser.add_argument("--kernel", choices=["compiled", "torch"], default="compiled")
    parser.add_argument("--space", choices=["recurrent", "peephole"], default="recurrent")
    parser.add_argument("--seconds", type=float, default=80.0)
    parser.add_argument("--fit", action="store_true")
    chosen = parser.parse_args()
    if chosen.fit:
        show(read(chosen.times))
    else:
        measure(chosen.times, chosen.kernel, chosen.seconds, chosen.space)


if __name__ == "__main__":
    main()
