"""Seconds per training epoch on the GPU against the CPU of the same machine, as a markdown table.

    PYTHONPATH=platform python benchmarks/gpu.py [table.md]

Needs torch, numpy and pydantic only. On a machine without a GPU it says so and ends well.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
from pathlib import Path

import numpy as np
import torch

from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.training.fit import Fit

CONTEXT, HORIZON, ROWS, BATCH = 168, 24, 8_400, 128
CELLS, SIZES = ("elman", "gru", "lstm"), (32, 128, 512)


def waves() -> Prepared:
    """An hourly series of a year with its phase, 8,000 training windows of a week and a day."""
    t, draw = np.arange(ROWS), np.random.default_rng(0)
    y_T = np.sin(t * 2 * np.pi / 24) + 0.3 * np.sin(t * 2 * np.pi / 168) + draw.normal(0, 0.1, ROWS)
    values_TF = np.stack([y_T, *(f(t * 2 * np.pi / p) for f in (np.sin, np.cos) for p in (24, 168))], axis=1)
    size, parts = CONTEXT + HORIZON, {}
    for part, start_N in (("train", np.arange(8_000)), ("val", np.arange(8_000, ROWS - size + 1, HORIZON))):
        parts[part] = Samples(start_N, np.full_like(start_N, size), np.zeros_like(start_N), np.zeros(0, np.int64),
                              start_N.astype(np.uint64))
    info = DataInfo(features=("y", "a", "b", "c", "d"), targets=(0,), known=(1, 2, 3, 4), columns=("y",),
                    seasons=(24, 168), data_hash="waves")
    one = np.ones((1, 1), np.float32)
    return Prepared(values_TF.astype(np.float32), np.zeros((1, 0), np.float32), 0 * one, one, None, parts, {}, info)


def epoch_seconds(data: Prepared, cell: str, hidden_size: int, device: str, precision: str, epochs: int) -> float:
    """Return the median epoch after a first one that loads kernels; the report's own clock ends with its transfer."""
    config = FitConfig.model_validate({
        "task": {"type": "forecasting", "target": "y", "context": CONTEXT, "horizon": HORIZON}, "seed": 0,
        "model": {"cell": cell, "hidden_size": hidden_size}, "metric": {"name": "mae", "goal": "minimize"},
        "training": {"epochs": epochs, "batch_size": BATCH, "precision": precision}, "early_stopping": None})
    fit = Fit(config, (data,), device)
    return statistics.median([fit.advance().metrics["seconds"] for _ in range(epochs)][min(1, epochs - 1):])


def table(epochs: int) -> str:
    """Time every cell and size on both devices."""
    data = waves()
    lines = [
        f"Device: {torch.cuda.get_device_name()}, against {torch.get_num_threads()} CPU threads "
        f"({platform.processor() or platform.machine()}).",
        f"Versions: Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}.",
        f"Seconds per epoch, validation included: 8,000 windows of {CONTEXT} + {HORIZON} rows, 5 features, "
        f"batches of {BATCH}.",
        "",
        "| cell | hidden size | CPU | GPU | GPU, mixed precision | CPU / GPU |",
        "|---|---|---|---|---|---|",
    ]
    for cell, hidden_size in itertools.product(CELLS, SIZES):
        gpu, mixed = (epoch_seconds(data, cell, hidden_size, "cuda", precision, epochs)
                      for precision in ("float32", "mixed"))
        cpu = epoch_seconds(data, cell, hidden_size, "cpu", "float32", 2 if hidden_size < 512 else 1)
        lines.append(f"| {cell} | {hidden_size} | {cpu:.2f} | {gpu:.3f} | {mixed:.3f} | {cpu / gpu:.1f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table where asked, else print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="file for the table; default: print it")
    parser.add_argument("--epochs", type=int, default=4, help="epochs timed on the GPU")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("No CUDA device on this machine: nothing to compare.")
        return
    text = table(options.epochs)
    if options.path:
        options.path.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
