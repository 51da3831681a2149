"""Memory that a step freed is there for the next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys, torch
from seqsweep.models.memory import keep_pages
assert sys.argv[1] == "no" or keep_pages()
counts = []
for _ in range(8):
    torch.empty(48 * 2 ** 20, dtype=torch.uint8).fill_(1)
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(counts[-1] - counts[3])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
def test_freed_memory_is_not_mapped_anew() -> None:
    path = str(Path(__file__).parents[2] / "platform")
    without, kept = (int(subprocess.run([sys.executable, "-c", FAULTS, keep], check=True, capture_output=True, text=True,
                                        env=os.environ | {"PYTHONPATH": path}).stdout) for keep in ("no", "yes"))
    assert kept < without / 4
