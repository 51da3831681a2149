"""What the time between visits is worth: the model of pipelines/pbcseq.yaml with and without it, over five seeds.

    python benchmarks/elapsed.py [SEEDS]

One configuration for all, and a fixed number of epochs. Each fold's figure is of patients it has not seen, after the
last epoch; the test part is told by the mean of the folds' models of their best epochs, as a registered model does.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np
import torch

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.data.prepare import prepare
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of
from seqsweep.training.fit import Fit
from seqsweep.training.predict import predict

PIPELINE = Path(__file__).parents[1] / "pipelines" / "pbcseq.yaml"
MODEL = {"hidden_size": 16, "variational_dropout": 0.2, "weight_decay": 1e-4, "learning_rate": 5e-3, "batch_size": 32,
         "schedule": "cosine", "epochs": 15}
CASES = {f"{cell}, {'with' if elapsed else 'without'} elapsed time": (cell, elapsed)
         for cell in ("gru", "gru_d", "ode_rnn") for elapsed in (False, True)}
"""Without it, rows of gru_d and ode_rnn are one step apart."""


def areas(sweep: Sweep, cell: str, elapsed: bool, seed: int) -> tuple[float, float]:
    """The mean of the folds' areas on their held-out patients, and the area on the test part."""
    data = prepare(sweep.model_copy(update={"prepare": sweep.prepare.model_copy(update={"elapsed": elapsed})}))
    config = fit_config(sweep, MODEL | {"cell": cell}, seed).model_copy(update={"early_stopping": None})
    fit = Fit(config, data)
    reports = [fit.advance() for _ in range(config.training.epochs)]
    told = predict(config, fit.best_weights(), data, "test")
    test = metrics_from_predictions(config.task, np.ascontiguousarray(told), truth_of(config.task, data[0], "test"))
    return reports[-1].metrics["val_auc"], test["auc"]


def main() -> None:
    torch.set_num_threads(1)
    seeds = range(1, 1 + int(sys.argv[1] if len(sys.argv) > 1 else 5))
    sweep = load_sweep(PIPELINE)
    for name, (cell, elapsed) in CASES.items():
        folds, test = zip(*(areas(sweep, cell, elapsed, seed) for seed in seeds), strict=True)
        print(f"{name:<30} folds {statistics.mean(folds):.4f} ({min(folds):.4f} to {max(folds):.4f})   "
              f"test {statistics.mean(test):.4f} ({min(test):.4f} to {max(test):.4f})", flush=True)


if __name__ == "__main__":
    main()
