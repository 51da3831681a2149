"""Damaged sweeps by the thousand: each is taken or refused, within a second and half a gibibyte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("mutated_sweeps.py")


def run(first: int, count: int) -> dict[str, Any]:
    done = subprocess.run([sys.executable, PROGRAM, str(first), str(count)], capture_output=True, text=True,
                          timeout=1500, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["cases"] == [], "\n\n".join(f"case {number}: {why}" for number, why in found["cases"])
    assert found["taken"] + found["refused"] == count
    assert found["taken"] > count / 50, "damage so great that nothing behind the reader is reached"
    return found


def test_damaged_sweeps_are_taken_or_refused() -> None:
    run(0, 500)


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("first", range(1000, 21_000, 5000))
def test_damaged_sweeps_are_taken_or_refused_by_the_thousand(first: int) -> None:
    print(run(first, 5000))
