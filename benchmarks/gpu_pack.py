"""Trials per hour on one GPU: packs of equal shape against cuDNN one by one and against processes that share the card.

    PYTHONPATH=platform python benchmarks/gpu_pack.py [table.md] [--cells lstm gru] [--hidden 32 64] [--contexts 96]

Needs torch, numpy, pydantic and triton. On a machine without a GPU it says so and ends well. Contestants:
one by one: the product's own loop with torch.nn's layers, which are cuDNN's;
processes: eight such loops at the same time on the one card;
stacked, triton: the product's pack of all trials, its recurrent layers by that kernel;
streams: a CUDA graph of each trial's whole step (torch.nn, clipping, fused Adam), each on a stream of its own;
stacked graph, triton graph: the same packs, their steps replayed from a CUDA graph, as the probe takes them.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import itertools
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from gpu_contestants import (
    EPOCHS,
    HORIZON,
    WINDOWS,
    Case,
    Contestant,
    Processes,
    Product,
    Streams,
    synchronize,
)

NAMES = ("one by one", "processes", "stacked", "triton", "streams", "stacked graph", "triton graph")
RIVALS = NAMES[:2]
CONTEXTS, SIZES, CELLS = (96, 336), (16, 32, 64, 128), ("lstm", "gru", "elman")


def build(name: str, case: Case, processes: Processes | None) -> Contestant:
    """Return a contestant that has taken its first steps, in which kernels are compiled and memory is taken."""
    contestant: Contestant
    if name == "processes":
        assert processes
        processes.ask(case)
        contestant = processes
    elif name == "one by one":
        contestant = Product(case, "torch", 1)
    elif name == "streams":
        contestant = Streams(case)
    elif name.endswith("graph"):
        contestant = Product(case, name.split()[0], case.trials, recorded=True)
    else:
        contestant = Product(case, name, case.trials)
    contestant.steps(4)
    synchronize(case.device)
    return contestant


def step_seconds(contestant: Contestant, case: Case, steps: int) -> float:
    """Return seconds of one trial's step, at the rate of all its trials together."""
    begun = time.perf_counter()
    contestant.steps(steps)
    synchronize(case.device)
    return (time.perf_counter() - begun) / steps / contestant.trials


def compare(case: Case, names: Sequence[str], rounds: int, steps: int, processes: Processes | None) -> dict[str, float]:
    """Return the median seconds of a trial's step for each contestant, timed in turns; what fails is left out."""
    ready: dict[str, Contestant] = {}
    for name in names:
        try:
            ready[name] = build(name, case, processes)
        except Exception as problem:  # a kernel may not run on this card: the others still count
            print(f"{case}: {name} failed: {type(problem).__name__}: {problem}", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name, contestant in ready.items():
            seconds[name].append(step_seconds(contestant, case, steps))
    return {name: statistics.median(each) for name, each in seconds.items()}


def head(case: Case, names: Sequence[str]) -> list[str]:
    """What was measured, and the table's first rows."""
    on_gpu = case.device.startswith("cuda")
    triton = importlib.metadata.version("triton") if any("triton" in name for name in names) else "not used"
    return [
        f"Device: {torch.cuda.get_device_name() if on_gpu else platform.machine()}. Versions: Python "
        f"{platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}, triton {triton}.",
        f"Trials per hour, training steps only: a trial is {EPOCHS} epochs of {case.windows:,} windows, horizon "
        f"{HORIZON}, 5 features, batches of {case.batch}, {case.precision}; packs of {case.trials}. torch lets cuDNN "
        "round factors to TF32 in float32; the triton kernels do not.",
        f"In brackets: how many times as many as {' / '.join(name for name in RIVALS if name in names)}.",
        "",
        f"| cell | hidden size | context | {' | '.join(names)} |",
        "|---" * (3 + len(names)) + "|",
    ]


def row(case: Case, names: Sequence[str], seconds: dict[str, float]) -> str:
    """Return a line of the table."""
    cells = []
    for name in names:
        if name not in seconds:
            cells.append("failed")
            continue
        per_hour = 3600 / (seconds[name] * case.trial_steps)
        times = " / ".join(f"{seconds[rival] / seconds[name]:.1f}" for rival in RIVALS if rival in seconds)
        cells.append(f"{per_hour:,.0f} ({times})")
    return f"| {case.cell} | {case.hidden} | {case.context} | {' | '.join(cells)} |"


def table(options: argparse.Namespace) -> str:
    """Compare all cases; each line is printed, and written, as soon as it is known."""
    base = Case("lstm", 16, 96, options.batch, options.trials, options.precision, options.device, options.windows)
    lines = head(base, options.contestants)
    processes = Processes(options.processes) if "processes" in options.contestants else None
    for cell, hidden, context in itertools.product(options.cells, options.hidden, options.contexts):
        case = replace(base, cell=cell, hidden=hidden, context=context)
        lines.append(row(case, options.contestants,
                         compare(case, options.contestants, options.rounds, options.steps, processes)))
        print(lines[-1], flush=True)
        if options.path:
            options.path.write_text("\n".join(lines) + "\n")
        gc.collect()
        if case.device.startswith("cuda"):
            torch.cuda.empty_cache()
    if processes:
        processes.close()
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table where asked, else print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="file for the table; default: print it")
    parser.add_argument("--cells", nargs="+", default=CELLS, choices=CELLS)
    parser.add_argument("--hidden", nargs="+", type=int, default=SIZES)
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS)
    parser.add_argument("--contestants", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--precision", default="float32", choices=("float32", "mixed"))
    parser.add_argument("--trials", type=int, default=32, help="trials of a pack")
    parser.add_argument("--processes", type=int, default=8, help="processes that share the card")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu tries the program out")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("No CUDA device on this machine: nothing to compare.")
        return
    if options.path:
        options.path.parent.mkdir(parents=True, exist_ok=True)
    text = table(options)
    if not options.path:
        print(text)


if __name__ == "__main__":
    main()
