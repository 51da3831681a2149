"""Damaged data files of every format: each is prepared or refused with InvalidData, and nothing else is raised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("mutated_data.py")


def run(first: int, count: int) -> None:
    done = subprocess.run([sys.executable, PROGRAM, str(first), str(count)], capture_output=True, text=True,
                          timeout=1500, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
                                             "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["cases"] == [], "\n\n".join(f"case {number}: {why}" for number, why in found["cases"])
    assert found["taken"] > count / 50 and found["refused"] > count / 10


def test_damaged_files_are_prepared_or_refused() -> None:
    run(0, 120)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_damaged_files_are_prepared_or_refused_by_the_thousand() -> None:
    run(1000, 4000)
