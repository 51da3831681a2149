"""Recurrent layers on the CPU: trials per minute with each kernel, as a markdown table.

    PYTHONPATH=platform python benchmarks/cells.py [table.md] [--quick]

Whole training steps through `seqsweep.training.fit`, K trials in step where a kernel takes a stack, against torch's own
layers one trial after the other; beside it a layer alone, forward and backward. Contestants take turns, on one thread;
figures are minima of processor time, so that other work on the machine does the least harm.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.models.kernels import CellKind, run_stack
from seqsweep.models.memory import keep_pages
from seqsweep.training.fit import Fit, Pack

CONTEXT, HORIZON, WINDOWS, EPOCHS, FEATURES = 96, 24, 3_110, 4, 5
CELLS, SIZES, BATCHES, STACKS = ("elman", "gru", "lstm"), (8, 16, 32, 64, 128, 256), (32, 64, 128), (1, 4, 8)
STEPS, ROUNDS = 2, 4
"""Optimiser steps a turn, and turns."""
Contestant = tuple[Kernel, int]


def series(context: int = CONTEXT) -> Prepared:
    """A series of waves and noise, cut into the windows of one trial."""
    rows = WINDOWS + context + HORIZON - 1
    t, draw = np.arange(rows), np.random.default_rng(0)
    y_T = np.sin(t * 2 * np.pi / 24) + draw.normal(0, 0.1, rows)
    values_TF = np.stack([y_T, *(f(t * 2 * np.pi / p) for f in (np.sin, np.cos) for p in (24, 168))], axis=1)
    start_N, size = np.arange(WINDOWS), context + HORIZON
    part = Samples(start_N, np.full_like(start_N, size), np.zeros_like(start_N), np.zeros(0, np.int64),
                   start_N.astype(np.uint64))
    info = DataInfo(features=("y", "a", "b", "c", "d"), targets=(0,), known=(1, 2, 3, 4), columns=("y",),
                    seasons=(24, 168), data_hash="waves")
    one = np.ones((1, 1), np.float32)
    return Prepared(values_TF.astype(np.float32), np.zeros((1, 0), np.float32), 0 * one, one, None,
                    {"train": part, "val": part}, {}, info)


class Training:
    """K trials in step, or one alone, at their first batches."""

    def __init__(self, data: Prepared, cell: str, hidden: int, batch: int, kernel: Kernel, stacks: int) -> None:
        configs = [FitConfig.model_validate({
            "task": {"type": "forecasting", "target": "y", "context": CONTEXT, "horizon": HORIZON}, "seed": seed,
            "model": {"cell": cell, "hidden_size": hidden}, "metric": {"name": "mae", "goal": "minimize"},
            "training": {"epochs": EPOCHS, "batch_size": batch}, "early_stopping": None,
            "program": {"kernel": kernel, "packed": stacks > 1}}) for seed in range(stacks)]
        self.engine = Pack([Fit(config, (data,)) for config in configs]).engines[0]
        folds = self.engine.folds
        self.batches = list(islice(self.engine.batches([fold.order(1) for fold in folds],
                                                       [fold.keys(1) for fold in folds]), STEPS))

    def __call__(self) -> None:
        for batch in self.batches:
            self.engine.step(batch, [1e-3] * len(self.engine.folds))


def layer(cell: str, hidden: int, batch: int, kernel: Kernel, stacks: int) -> Callable[[], None]:
    """Return one layer's way forward and back, its inputs without gradients."""
    torch.manual_seed(0)
    make: Any = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
    module = make(FEATURES, hidden, batch_first=True)
    x_KBTF = torch.randn(stacks, batch, CONTEXT, FEATURES)
    kind: CellKind = "elman_tanh" if cell == "elman" else cell  # type: ignore[assignment]
    weights = [torch.stack([each.detach()] * stacks).requires_grad_() for each in module.parameters()]
    parameters = list(module.parameters()) if kernel == "torch" else weights

    def run() -> None:
        out = module(x_KBTF[0])[0] if kernel == "torch" else run_stack(kernel)(kind, x_KBTF, *weights)
        torch.autograd.grad(out[..., -1, :].sum(), parameters)

    return run


def fastest(contestants: dict[Contestant, Callable[[], None]], rounds: int) -> dict[Contestant, float]:
    """Return each one's least processor seconds, in turns after one that compiles and warms up."""
    best: dict[Contestant, float] = {}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            begun = time.process_time()
            run()
            if turn:
                best[name] = min(best.get(name, np.inf), time.process_time() - begun)
    return best


def rows(quick: bool) -> Iterator[str]:
    """Measure every shape, a line each."""
    data = series()
    sizes, batches = ((16, 64), (64,)) if quick else (SIZES, BATCHES)
    names: list[Contestant] = [("torch", 1), *((kernel, stacks) for kernel in ("compiled", "stacked")
                                              for stacks in STACKS)]
    labels = [f"{kernel} x{stacks}" for kernel, stacks in names[1:]]
    head = ["cell", "hidden", "batch", "torch, trials/min", *labels, "layer alone, ms: torch", "compiled"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for cell in CELLS:
        for hidden in sizes:
            for batch in batches:
                whole = fastest({name: Training(data, cell, hidden, batch, *name) for name in names}, ROUNDS)
                alone = fastest({name: layer(cell, hidden, batch, *name) for name in names[:2]}, ROUNDS)
                steps = EPOCHS * -(-WINDOWS // batch)
                minute = {name: 60 * name[1] * STEPS / (seconds * steps) for name, seconds in whole.items()}
                ratios = [f"{minute[name]:.1f} ({minute[name] / minute['torch', 1]:.2f})" for name in names[1:]]
                ms = [f"{1e3 * alone[name]:.2f}" for name in names[:2]]
                line = [cell, str(hidden), str(batch), f"{minute['torch', 1]:.1f}", *ratios, *ms]
                yield f"| {' | '.join(line)} |"


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="file for the table")
    parser.add_argument("--quick", action="store_true", help="two sizes, one batch size")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_pages()  # torch's own layers gain from it too
    lines = [
        f"Device: one thread of {platform.processor() or platform.machine()}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}.",
        f"Trials per minute of processor time: {EPOCHS} epochs of {WINDOWS:,} windows of {CONTEXT} steps and "
        f"{FEATURES} features, whole training steps, without validation. `x4`: 4 trials in step. In brackets: times "
        "torch's own.", ""]
    for line in lines:
        print(line)
    for line in rows(options.quick):
        print(line, flush=True)
        lines.append(line)
    if options.path:
        options.path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
