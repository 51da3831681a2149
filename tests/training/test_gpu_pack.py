"""The GPU benchmark's contestants do the same work, and its program runs from end to end without a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # these tests compare digits, of the processes that they start too
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu_contestants import (  # type: ignore[import-not-found]  # noqa: E402
    Case,
    Processes,
    Product,
    Streams,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = 4


def case(cell: str) -> Case:
    return Case(cell, hidden=5, context=6, batch=4, trials=3, device=DEVICE, windows=24)


def warmed_up(steps: int) -> int:
    """A stream's graph on a GPU was run three times before it was recorded."""
    return steps + 3 * (DEVICE == "cuda")


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_all_take_the_same_steps(cell: str) -> None:
    product = Product(case(cell), "torch", 1)
    pack = Product(case(cell), "stacked", 3)
    streams, graph = Streams(case(cell)), Product(case(cell), "stacked", 3, recorded=True)
    streams.steps(STEPS)
    for one in (product, pack, graph):
        one.steps(warmed_up(STEPS))
    expected = pack.losses()
    assert len({round(loss, 6) for loss in expected}) == 3
    assert product.losses() == pytest.approx(expected[:1], rel=1e-4)
    assert streams.losses() == pytest.approx(expected, rel=1e-4)
    assert graph.losses() == pytest.approx(expected, rel=1e-4)


def test_processes_train_a_trial_each() -> None:
    processes = Processes(1)
    try:
        processes.ask(case("gru"))
        processes.steps(STEPS)
        product = Product(case("gru"), "torch", 1)
        product.steps(STEPS)
        assert processes.losses() == pytest.approx(product.losses(), rel=1e-5)
        with pytest.raises(ValueError, match="cell"):
            processes.ask(case("transformer"))
    finally:
        processes.close()


def run(*options: str) -> str:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(BENCHMARKS.parent / "platform")}
    done = subprocess.run([sys.executable, str(BENCHMARKS / "gpu_pack.py"), *options], capture_output=True, text=True,
                          env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so() -> None:
    assert "No CUDA device" in run()


def test_its_table_has_every_contestant(tmp_path: Path) -> None:
    names = ["one by one", "processes", "stacked", "streams", "stacked graph"]
    if importlib.util.find_spec("triton"):
        names += ["triton", "triton graph"]
    table = tmp_path / "results" / "gpu_pack.md"
    run(str(table), "--device", "cpu", "--cells", "elman", "--hidden", "4", "--contexts", "3", "--trials", "2",
        "--processes", "1", "--batch", "3", "--windows", "6", "--rounds", "1", "--steps", "1", "--contestants", *names)
    *_, header, _, line = table.read_text().splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][3:] == names
    assert "failed" not in line
    assert line.count("(") == len(names)
