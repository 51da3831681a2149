"""What a sweep costs beyond its training: 40 trials under seqsweep, Ray Tune, Optuna, and a bare loop.

    python benchmarks/orchestration.py                    # 10 rounds of the LSTM workload: 90 minutes on 2 cores
    python benchmarks/orchestration.py --cell gru --contestants bare seqsweep --rounds 3
    python benchmarks/orchestration.py --contestants seqsweep tune --rounds 4 --page orchestration-tune

Writes results/orchestration-<cell>.md. Start-up is not in the search's figures; the last run in MLflow is.
"""

from __future__ import annotations

import atexit
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import rounds
from workload import Workload

from seqsweep.config.sweep import ResourcesConfig
from seqsweep.ledger import ASIDE

NAMES = ["bare", "seqsweep", "tune-reuse", "optuna", "tune"]
if "pack" in ResourcesConfig.model_fields:
    NAMES.insert(2, "unpacked")
FIGURES = {"search_wall": "search, s", "search_cores": "search, core-s", "wall": "whole, s", "cores": "whole, core-s"}


TITLES = {"tune": "Ray Tune", "tune-reuse": "Ray Tune with reused actors", "optuna": "2 Optuna processes"}
OURS = ("seqsweep", "unpacked")


def contestant(name: str, work: Workload, rivals: str) -> rounds.Contestant:
    """Return the process that does the work; `rivals` is the Python of all but seqsweep."""
    script = Path(__file__).absolute().parent / "contestants.py"
    return rounds.Contestant(name, [sys.executable if name in OURS else rivals, str(script), name,
                                    json.dumps(work.setup), str(_empty_tracking())])


@cache
def _empty_tracking() -> Path:
    """Make a database of MLflow's with its tables and nothing in them: making it takes seconds, and only once."""
    folder = Path(tempfile.mkdtemp(prefix="bench-mlflow-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    script = "import mlflow; mlflow.MlflowClient('sqlite:///mlflow.db').search_experiments()"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True)
    return folder / "mlflow.db"


def body(work: Workload, rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Return what the page says."""
    base = "bare" if "bare" in names else names[0]
    lines = [
        f"{work.trials} {work.cell.upper()} trials of {work.epochs} epochs on {work.workers} workers of one thread: "
        f"{work.windows:,} windows, context {work.context}, horizon {work.horizon}, hidden {work.hidden}, batches of "
        f"{work.batch}, validated every epoch; learning rate, weight decay and clipping searched, nothing pruned, "
        "metrics of every epoch in MLflow on SQLite, whose tables are there before (the bare loop tracks nothing).",
        "Search: from when the workers are up to the last run in MLflow. Core-seconds: user and system time of all "
        "processes. One small sweep before the first round is not counted: it compiles seqsweep's own kernels, once an "
        "installation.", "", *rounds.compare(rows, names, base, FIGURES), "",
        *ledger(rows)]
    return lines + rounds.claims(list(claims(work, rows)))


def ledger(rows: list[dict[str, Any]]) -> list[str]:
    """Return where the seconds of `seqsweep submit` went, by its own ledger, and whether they are all of them."""
    found = rounds.figures(rows, "seqsweep", "ledger")
    if not found:
        return []
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    aside = " and ".join(f"{medians.pop(name, 0.0):.1f} s of a thread {work}" for name, work in ASIDE.items())
    shares = [sum(seconds for name, seconds in each.items() if name not in ASIDE) / whole
              for each, whole in zip(found, rounds.figures(rows, "seqsweep", "submit"), strict=True)]
    programs = Counter(f"{shape}: {program.get('kernel')} x{program.get('pack')}"
                       for each in rounds.figures(rows, "seqsweep", "programs") for shape, program in each.items())
    chosen = ["Programs that its probe chose: " + ", ".join(f"{program} ({count} rounds)" for program, count
                                                            in programs.most_common()) + "."] if programs else []
    return [*chosen, "", "Seconds of `seqsweep submit` by its own ledger (medians): "
            + ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items())
            + f"; beside it, {aside}. Their sum is {min(shares):.3f} to {max(shares):.3f} of the process's wall time."]


def claims(work: Workload, rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield what is claimed of seqsweep, where both sides were measured."""
    what = f"{work.trials} {work.cell.upper()} trials"

    def against(rival: str, figure: str, ahead: bool = False) -> str:
        own, other = rounds.figures(rows, "seqsweep", figure), rounds.figures(rows, rival, figure)
        if not own or len(own) != len(other):
            return ""
        return str(rounds.ratio(other, own) if ahead else rounds.ratio(own, other))

    if work.cell == "lstm":
        if found := against("bare", "search_cores"):
            yield f"{what}: core-seconds / bare loop", found, "at most 1.08"
        if found := against("bare", "search_wall"):
            yield f"{what}: seconds / bare loop", found, "below 1.10"
        for rival, target in (("tune-reuse", "at least 1.2"), ("tune", "at least 4"), ("optuna", "above 1")):
            if found := against(rival, "search_wall", ahead=True):
                yield f"{what}: {TITLES[rival]} / seqsweep, seconds", found, target
        if against("bare", "wall") and (first := rounds.figures(rows, "seqsweep", "first_report")):
            yield ("`seqsweep submit` to the end of the first epoch, s",
                   f"{statistics.median(first):.1f} ({min(first):.1f} to {max(first):.1f})", "below 8")
    elif found := against("bare", "search_wall"):
        yield f"{what}: seconds / bare loop", found, "below .6"


def main() -> None:
    """Run the rounds and write the page."""
    chosen = rounds.options(
        str(__doc__), ("--cell", {"choices": ("lstm", "gru", "elman"), "default": "lstm"}),
        ("--trials", {"type": int, "default": Workload.trials}),
        ("--page", {"help": "its name; default: orchestration-<cell>"}),
        ("--contestants", {"nargs": "+", "choices": NAMES, "default": NAMES}))
    work = Workload(cell=chosen.cell, trials=chosen.trials)
    name = chosen.page or f"orchestration-{chosen.cell}"
    rows = rounds.interleave(name, [contestant(each, work, chosen.python) for each in chosen.contestants], chosen,
                             work.setup, contestant("seqsweep", replace(work, trials=2), chosen.python))
    title = f"Orchestration: {work.trials} {work.cell.upper()} trials" + ", Ray Tune as it comes" * (
        "tune" in chosen.contestants)
    print(rounds.write(name, title, rows, body(work, rows, chosen.contestants)).read_text())


if __name__ == "__main__":
    main()
