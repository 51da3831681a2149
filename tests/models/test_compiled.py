"""Compiled kernels on other processors, on installs that cannot be written to, and in processes that start together."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
pytestmark = pytest.mark.slow  # each compiles everything anew

ROOT = Path(__file__).parents[2]
LAYERS = """
import hashlib, torch
from torch import nn
from seqsweep.models.kernels import run_layer
torch.set_num_threads(1)
seen = hashlib.sha256()
for H in (3, 37):
    for kind, make in (("gru", nn.GRU), ("lstm", nn.LSTM), ("elman_tanh", nn.RNN)):
        torch.manual_seed(H)
        layer, x_BTF = make(5, H, batch_first=True), torch.randn(13, 9, 5, requires_grad=True)
        inputs = [x_BTF, *layer.parameters()]
        out, expected = run_layer("compiled", kind, *inputs), layer(x_BTF)[0]
        torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)
        slopes = [torch.autograd.grad(each.square().sum(), inputs) for each in (out, expected)]
        for mine, torchs in zip(*slopes):
            torch.testing.assert_close(mine, torchs, atol=2e-4, rtol=1e-4)
            seen.update(mine.numpy().tobytes())
print(seen.hexdigest())
"""


def start(cache: Path, before: str = "", **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", before + LAYERS], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=os.environ | settings | {
                                "PYTHONPATH": str(ROOT / "platform"), "NUMBA_CACHE_DIR": str(cache)})


def digest(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert len(out.strip()) == hashlib.sha256().digest_size * 2
    return out.strip()


@pytest.mark.parametrize(("features", "cpu", "instructions"),
                         [("avx2", "haswell", "+avx2,+fma"), ("neon", "haswell", "+avx2,+fma"),
                          ("", "nehalem", "+sse4.2")])
def test_narrower_processors(features: str, cpu: str, instructions: str, tmp_path: Path) -> None:
    """Widths and blocks of other processors, in instructions that this one has too."""
    patch = f"from llvmlite import binding\nbinding.get_host_cpu_features = lambda: {{{features!r}: True}}\n"
    digest(start(tmp_path, patch, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=instructions))


def test_without_a_folder_for_compiled_code(tmp_path: Path) -> None:
    digest(start(tmp_path, "from numba.core import caching\ncaching.CacheImpl._locator_classes = []\n"))
    assert not list(tmp_path.iterdir())


def test_processes_that_compile_at_once_and_one_that_loads(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    assert digest(first) == digest(second)
    compiled = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert compiled
    assert digest(start(tmp_path)) == digest(start(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == compiled
