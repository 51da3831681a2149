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


def compiled(names: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    """In a process of its own: here kernels may have been made for the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(Path(kernels.__file__).parents[2])
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("hopper.py")), *names], capture_output=True,
                          text=True, env=environment, timeout=1200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def check(names: list[str]) -> None:
    for name, ways in compiled(names).items():
        for way, taken in ways.items():
            assert taken["shared"] <= SHARED, (name, way, taken)
            assert taken["stack"] <= SPILLED, (name, way, taken)


def test_layers_of_64_units_stay_on_the_chip() -> None:
    names = ["float32:lstm:64", "float32:gru:64", "float32:elman_relu:128", "mixed:lstm:128"]
    assert not any(taken["wide"] for ways in compiled(names).values() for taken in ways.values())
    check(names)


@pytest.mark.slow
def test_every_plan_fits() -> None:
    check([*SLOW, "float32:lstm:64:64:128", "mixed:gru:64:64:128", "float32:elman_tanh:64:64:128"])
