"""A million rows are prepared within 2 GiB."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_peak_memory_of_a_million_rows() -> None:
    result = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "prepare.py")], capture_output=True, text=True,
                            cwd=ROOT / "platform", env={"PYTHONPATH": str(ROOT / "platform")}, timeout=500, check=True)
    match = re.search(r"peak RSS ([\d.]+) GiB", result.stdout)
    assert match, result.stdout
    assert float(match[1]) < 2
