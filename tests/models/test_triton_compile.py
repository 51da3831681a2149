"""The Triton kernels fit into an H100: they are compiled for it, whatever this machine has."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqsweep.models import kernels

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")

SHARED = 232_448
"""Bytes of shared memory that one program can have."""
SPILLED = 512
"""Bytes of a thread's variables that may lie outside its registers: they stay in the nearest cache."""
SLOW = [f"{precision}:{kind}:{hidden}" for precision, kind, hidden in
        itertools.product(("float32", "tf32", "mixed"), ("lstm", "gru", "elman_tanh"), (7, 16, 32, 64, 128, 256))]


def compiled(names: list[str]) -> tuple[dict[str, dict[str, dict[str, int]]], int]:
    """What each takes, and how many kernels were made; in a process of its own: here they may be the interpreter's."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(Path(kernels.__file__).parents[2])
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("hopper.py")), *names], capture_output=True,
                          text=True, env=environment, timeout=1200)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return said["taken"], said["variants"]


def check(taken: dict[str, dict[str, dict[str, int]]]) -> None:
    for name, ways in taken.items():
        assert list(ways) == ["forward", "backward"]
        for way, uses in ways.items():
            assert uses["shared"] <= SHARED, (name, way, uses)
            assert uses["stack"] <= SPILLED, (name, way, uses)


def test_layers_of_64_units_stay_on_the_chip() -> None:
    taken, _ = compiled(["float32:lstm:64", "float32:gru:64", "float32:elman_relu:128", "mixed:lstm:128"])
    assert not any(uses["wide"] for ways in taken.values() for uses in ways.values())
    check(taken)


def test_other_trials_rows_and_steps_compile_nothing_anew() -> None:
    names = [f"float32:elman_tanh:16:{shape}" for shape in ("2:3:2", "1:1:1", "5:16:16", "4:17:9")]
    assert compiled(names)[1] == 2


@pytest.mark.slow
def test_every_plan_fits() -> None:
    crowds = ["float32:lstm:64:64:128", "mixed:gru:64:64:128", "float32:elman_tanh:64:64:200"]
    check(compiled([*SLOW, *crowds])[0])
