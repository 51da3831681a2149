"""A pack whose layers are Triton's: on a GPU compiled, elsewhere in Triton's interpreter.

Alone: PYTHONPATH=platform python -m pytest -c /dev/null --rootdir=. --confcutdir=tests/training tests/training/FILE
"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch
from training_toys import wave, wave_config

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton was imported without its interpreter", allow_module_level=True)
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are made

from seqsweep.config.sweep import FitConfig  # noqa: E402
from seqsweep.models import triton_kernels  # noqa: E402
from seqsweep.models.triton_cells import run_stack  # noqa: E402
from seqsweep.training.fit import Fit, Pack  # noqa: E402

DEVICE = "cuda" if ON_GPU else "cpu"
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # these tests compare digits
only_gpu = [pytest.mark.cuda, pytest.mark.skipif(not ON_GPU, reason="no CUDA device")]


def config(kernel: str, seed: int, **parameters: object) -> FitConfig:
    """A small trial; where nothing compiles, a very small one."""
    small = {"epochs": 2, "hidden_size": 6} if ON_GPU else {"epochs": 1, "hidden_size": 3, "batch_size": 128}
    plain = wave_config(**(small | parameters))  # type: ignore[arg-type]
    program = plain.program.model_copy(update={"kernel": kernel, "packed": kernel != "torch"})
    return plain.model_copy(update={"program": program, "seed": seed})


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_a_pack_trains_as_torch_does(cell: str) -> None:
    pack = Pack([Fit(config("triton", seed, cell=cell), (wave(),), DEVICE) for seed in (0, 1)])
    for report, seed in zip(pack.advance(), (0, 1), strict=True):
        expected = Fit(config("torch", seed, cell=cell), (wave(),), DEVICE).advance().metrics
        for name in ("train_loss", "val_loss", "grad_norm"):
            assert report.metrics[name] == pytest.approx(expected[name], rel=1e-3), name


@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
@pytest.mark.parametrize("mark", [pytest.param(None, marks=only_gpu)])
def test_mixed_precision_trains(cell: str, mark: None) -> None:
    pack = Pack([Fit(config("triton", seed, cell=cell, precision="mixed"), (wave(),), DEVICE) for seed in (0, 1)])
    exact = Pack([Fit(config("triton", seed, cell=cell), (wave(),), DEVICE) for seed in (0, 1)])
    for report, expected in zip(pack.advance(), exact.advance(), strict=True):
        assert report.metrics["train_loss"] == pytest.approx(expected.metrics["train_loss"], rel=0.05)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=only_gpu)])
def test_a_recorded_graph_replays_the_layer(mark: None) -> None:
    x = torch.randn(3, 20, 15, 4, device=DEVICE)
    weights = [torch.randn(*shape, device=DEVICE).mul(0.1).requires_grad_() for shape in
               ((3, 96, 4), (3, 96, 32), (3, 96), (3, 96))]
    w_ih, w_hh, b_ih, b_hh = weights

    def step() -> list[torch.Tensor]:
        out = run_stack("gru", x, w_ih, w_hh, b_ih, b_hh)
        return [out.detach(), *torch.autograd.grad(out.square().sum(), weights)]

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        recorded = step()
    with torch.no_grad():
        x.mul_(2.0)
        w_hh.add_(0.01)
    graph.replay()
    torch.cuda.synchronize()
    for mine, expected in zip(recorded, step(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mark", [pytest.param(None, marks=only_gpu)])
def test_other_lengths_and_batches_compile_nothing_anew(mark: None) -> None:
    weights = [torch.randn(*shape, device=DEVICE) for shape in ((2, 64, 4), (2, 64, 16), (2, 64), (2, 64))]
    w_ih, w_hh, b_ih, b_hh = weights

    def made() -> int:
        return sum(len(cache[0]) for cache in triton_kernels.lstm_forward.device_caches.values())

    counts = []
    for batch, steps in ((16, 8), (17, 9), (1, 1), (64, 96)):
        run_stack("lstm", torch.randn(2, batch, steps, 4, device=DEVICE), w_ih, w_hh, b_ih, b_hh)
        counts.append(made())
    assert counts == counts[:1] * 4
