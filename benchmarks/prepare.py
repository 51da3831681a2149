"""Prepare 1,000,000 rows in 50 series from a CSV file; prints seconds and the peak resident memory.

Run from the repository root: python benchmarks/prepare.py [rows] [series]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from seqsweep.config.sweep import Sweep
from seqsweep.data.prepare import prepare


def write_table(path: Path, rows: int, series: int) -> None:
    """Write hourly series with a target, two covariates, and a static column."""
    length = rows // series
    rng = np.random.default_rng(0)
    times = pd.date_range("2010-01-01", periods=length, freq="h")
    for s in range(series):
        level = np.sin(np.arange(length) * 2 * np.pi / 24) + rng.normal(size=length)
        pd.DataFrame({"id": f"s{s:03}", "ds": times, "load": level, "price": rng.normal(size=length),
                      "holiday": rng.integers(0, 2, length), "area": s % 7}).to_csv(
            path, mode="a", header=s == 0, index=False)


def main(rows: int = 1_000_000, series: int = 50) -> None:
    """Print what preparing costs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_table(path, rows, series)
        sweep = Sweep.model_validate({
            "name": "benchmark", "metric": {"name": "mae"}, "data": {"path": str(path), "time": "ds", "series": "id"},
            "task": {"type": "forecasting", "target": "load", "horizon": 24, "context": 168, "past": ("price",),
                     "known": ("holiday",), "static": ("area",)},
            "prepare": {"calendar": ("hour", "weekday"), "lags": (24, 168)}, "split": {"by": "time"}})
        before = time.perf_counter()
        (data,) = prepare(sweep)
        seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    windows = {part: len(samples) for part, samples in data.parts.items()}
    print(f"{rows} rows, {series} series: {seconds:.1f} s, peak RSS {peak:.2f} GiB, windows {windows}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
