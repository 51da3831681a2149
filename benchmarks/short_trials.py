"""What a trial costs beyond its training where there is next to none: 200 trials of one epoch of about 10 ms.

    python benchmarks/short_trials.py                     # 10 rounds: 25 minutes on 2 cores

Writes results/short_trials.md. What is beyond training is what a search takes longer than the bare loop.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import rounds
from orchestration import FIGURES, contestant
from workload import Workload

WORK = Workload(hidden=16, trials=200, epochs=1, windows=320, context=24, horizon=6, val_windows=4, val_stride=6)
NAMES = ["bare", "seqsweep", "tune-reuse", "optuna"]


def body(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Return what the page says."""
    lines = [f"{WORK.trials} trials of one epoch on {WORK.workers} workers of one thread, chosen by TPE (bare: drawn): "
             f"{WORK.windows} windows, context {WORK.context}, hidden {WORK.hidden}; all in MLflow on SQLite.", "",
             *rounds.compare(rows, names, "bare", FIGURES), "",
             "| | beyond training, ms a trial | core-ms a trial |", "| --- | ---: | ---: |"]
    for name in names[1:]:
        lines.append(f"| {name} | {beyond(rows, name, 'search_wall')} | {beyond(rows, name, 'search_cores')} |")
    return lines + rounds.claims([
        (f"a trial of 10 ms, beyond its training, ms: {name}", beyond(rows, name, "search_wall"), target)
        for name, target in (("seqsweep", "at most 80"), ("tune-reuse", ""), ("optuna", "")) if name in names])


def beyond(rows: list[dict[str, Any]], name: str, figure: str) -> str:
    """Return how many milliseconds more than the bare loop a trial takes: median, least and most of the rounds."""
    pairs = zip(rounds.figures(rows, name, figure), rounds.figures(rows, "bare", figure), strict=True)
    each = [1e3 * (own - bare) / WORK.trials for own, bare in pairs]
    return f"{statistics.median(each):.0f} ({min(each):.0f} to {max(each):.0f})"


def main() -> None:
    """Run the rounds and write the page."""
    chosen = rounds.options(str(__doc__), ("--contestants", {"nargs": "+", "choices": NAMES[1:], "default": NAMES[1:]}))
    names = ["bare", *chosen.contestants]
    entries = [contestant(name, WORK, chosen.python) for name in names]
    warm = contestant("seqsweep", replace(WORK, trials=2), chosen.python)
    rows = rounds.interleave("short_trials", entries, chosen, WORK.setup, warm)
    print(rounds.write("short_trials", "Short trials", rows, body(rows, names)).read_text())


if __name__ == "__main__":
    main()
