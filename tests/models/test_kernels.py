"""Kernels against torch's own layers, and against themselves alone: whatever K, a trial's figures are the same bits."""

import importlib.util
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.training import Kernel
from seqsweep.models.kernels import CellKind, available, cell_kind, run_in_bfloat16, run_layer, run_stack, substitute
from seqsweep.models.recurrent import Recurrent

KERNELS: tuple[Kernel, ...] = ("stacked", "compiled")
KINDS: tuple[CellKind, ...] = ("elman_tanh", "elman_relu", "gru", "lstm")
PAIRS = (*itertools.product(KERNELS, KINDS), ("stacked", "peephole"))
"""Kernels and the cells they know; what torch knows no layer of is compared in test_cells."""
SHAPES = ((1, 1, 1, 1), (3, 7, 5, 5), (8, 4, 1, 16), (17, 12, 19, 37), (64, 9, 5, 32))
"""B, T, F, H."""


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def module(kind: CellKind, F: int, H: int, dtype: torch.dtype = torch.float32) -> nn.RNNBase:
    torch.manual_seed(F + H)
    if kind in ("lstm", "peephole"):  # whose weights have the same shapes
        return nn.LSTM(F, H, batch_first=True).to(dtype)
    if kind == "gru":
        return nn.GRU(F, H, batch_first=True).to(dtype)
    return nn.RNN(F, H, nonlinearity=kind.removeprefix("elman_"), batch_first=True).to(dtype)


def slopes(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of a sum in which no two outputs weigh the same."""
    torch.manual_seed(5)
    return list(torch.autograd.grad((out * torch.randn(out.shape, dtype=out.dtype)).sum(), inputs))


@pytest.mark.parametrize(("kernel", "kind", "shape"), itertools.product(KERNELS, KINDS, SHAPES))
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_layer_and_its_gradients_are_torchs(kernel: Kernel, kind: CellKind, shape: tuple[int, ...],
                                            dtype: torch.dtype, near: float) -> None:
    B, T, F, H = shape
    layer, x_BTF = module(kind, F, H, dtype), torch.randn(B, T, F, dtype=dtype, requires_grad=True)
    inputs = [x_BTF, *layer.parameters()]
    expected, out = layer(x_BTF)[0], run_layer(kernel, kind, *inputs)
    torch.testing.assert_close(out, expected, atol=min(near, 1e-6), rtol=0)
    for mine, torchs in zip(slopes(out, inputs), slopes(expected, inputs), strict=True):
        torch.testing.assert_close(mine, torchs, atol=near * max(1.0, float(torchs.abs().max())), rtol=0)


@pytest.mark.parametrize(("kernel", "kind"), PAIRS)
def test_gradcheck(kernel: Kernel, kind: CellKind) -> None:
    layer = module(kind, 2, 3, torch.float64)
    x_BTF = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    inputs = (x_BTF, *layer.parameters())
    assert torch.autograd.gradcheck(lambda *each: run_layer(kernel, kind, *each), inputs)


def stack(kind: CellKind, K: int, shape: tuple[int, ...]) -> list[Tensor]:
    B, T, F, H = shape
    torch.manual_seed(7)
    weights = [torch.stack([torch.randn_like(each) / H ** 0.5 for _ in range(K)])
               for each in module(kind, F, H).parameters()]
    return [torch.randn(K, B, T, F), *weights]


def figures(kernel: Kernel, kind: CellKind, inputs: list[Tensor]) -> list[Tensor]:
    """Outputs and gradients of all that goes in; each trial's outputs are weighed alike."""
    inputs = [each.clone().requires_grad_() for each in inputs]
    out_KBTH = run_stack(kernel)(kind, *inputs)
    torch.manual_seed(5)
    gradients = torch.autograd.grad((out_KBTH * torch.randn(out_KBTH[0].shape)).sum(), inputs)
    return [out_KBTH.detach(), *gradients]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kernel", "kind"), PAIRS)
def test_a_trials_bits_depend_neither_on_its_neighbours_nor_on_their_number(kernel: Kernel, kind: CellKind,
                                                                            shape: tuple[int, ...]) -> None:
    inputs = stack(kind, 8, shape)
    alone = [figures(kernel, kind, [each[k:k + 1] for each in inputs]) for k in range(8)]
    inputs[2][6] = torch.nan
    inputs[0][6] = torch.inf
    for K in (2, 5, 8):
        together = figures(kernel, kind, [each[:K] for each in inputs])
        for k in {*range(K)} - {6}:
            for one, each in zip(alone[k], together, strict=True):
                assert torch.equal(one[0], each[k])
        if K > 6:
            assert not together[0][6].isfinite().any()


@pytest.mark.parametrize(("kernel", "kind"), PAIRS)
def test_shared_input_is_that_of_every_trial(kernel: Kernel, kind: CellKind) -> None:
    x_KBTF, *weights = stack(kind, 3, (5, 6, 2, 4))
    shared = figures(kernel, kind, [x_KBTF[:1], *weights])
    for x in (x_KBTF[:1].expand(3, -1, -1, -1), x_KBTF[:1].repeat(3, 1, 1, 1)):
        own = figures(kernel, kind, [x, *weights])
        torch.testing.assert_close(shared[1], own[1].sum(0, keepdim=True))
        assert all(torch.equal(a, b) for a, b in zip(shared[:1] + shared[2:], own[:1] + own[2:], strict=True))


@pytest.mark.parametrize(("kernel", "kind"), PAIRS)
def test_strides_do_not_matter(kernel: Kernel, kind: CellKind) -> None:
    inputs = stack(kind, 2, (5, 6, 3, 4))
    strided = [each.mT.contiguous().mT if each.dim() > 2 else each.repeat(1, 2)[:, :each.shape[1]] for each in inputs]
    assert not strided[0].is_contiguous()
    given = [each.requires_grad_() for each in strided]
    out = run_stack(kernel)(kind, *given)
    torch.manual_seed(5)
    gradients = torch.autograd.grad((out * torch.randn(out[0].shape)).sum(), given)
    for one, each in zip(figures(kernel, kind, inputs), [out, *gradients], strict=True):
        assert torch.equal(one, each)


@pytest.mark.parametrize(("kernel", "cell", "own"), itertools.product(KERNELS, ("elman", "gru", "lstm"), (False, True)))
def test_under_vmap_each_trial_is_as_alone(kernel: Kernel, cell: Any, own: bool) -> None:
    """Two layers in both directions, called by name; the mapped dimension is the stack of trials."""
    torch.manual_seed(1)
    config = RecurrentConfig(cell=cell, hidden_size=6, num_layers=2, bidirectional=True)
    model, K = Recurrent(config, 3), 4
    model.kernel = kernel
    stacked = {name: torch.randn(K, *each.shape).mul_(0.3).requires_grad_() for name, each in model.named_parameters()}
    x, length_B = torch.randn(K, 5, 7, 3), torch.tensor([7, 3, 1, 7, 2])
    x = x if own else x[0]

    def call(weights: dict[str, Tensor], x_BTF: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, weights, (x_BTF, length_B))
        return out

    together = torch.func.vmap(call, in_dims=(0, 0 if own else None))(stacked, x)
    torch.autograd.backward(together.square().sum())
    with torch.no_grad():
        assert torch.equal(together, torch.func.vmap(call, in_dims=(0, 0 if own else None))(stacked, x))
    for k in range(K):
        weights = {name: each[k].detach().requires_grad_() for name, each in stacked.items()}
        alone = call(weights, x[k] if own else x)
        torch.autograd.backward(alone.square().sum())
        assert torch.equal(alone, together[k])
        for name, each in weights.items():
            grad = stacked[name].grad
            assert grad is not None
            assert each.grad is not None
            torch.testing.assert_close(each.grad, grad[k], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_gradients_nothing_is_kept(kernel: Kernel) -> None:
    inputs = stack("lstm", 2, (8, 5, 3, 16))
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each), lambda each: each):
        alone = run_stack(kernel)("lstm", *inputs)
        with torch.no_grad():
            run_stack(kernel)("lstm", *[each.requires_grad_() for each in inputs])
    assert not kept
    assert torch.equal(alone, run_stack(kernel)("lstm", *inputs))


@pytest.mark.parametrize("kernel", KERNELS)
def test_backward_twice_gives_the_same(kernel: Kernel) -> None:
    inputs = [each.requires_grad_() for each in stack("gru", 2, (3, 5, 2, 4))]
    out = run_stack(kernel)("gru", *inputs).sum()
    first = torch.autograd.grad(out, inputs, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(out, inputs), strict=True))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_seen(kernel: Kernel, kind: CellKind) -> None:
    x_KBTF, *weights = stack(kind, 1, (2, 6, 3, 4))
    x_KBTF[0, 1, 2, 0] = torch.nan
    out = run_stack(kernel)(kind, x_KBTF, *weights)[0]
    assert out[0].isfinite().all()
    assert out[1, :2].isfinite().all()
    assert out[1, 2:].isnan().all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_float32_saturates_as_torch(scale: float) -> None:
    for kind in KINDS[:1] + KINDS[2:]:
        layer = module(kind, 3, 8)
        x_BTF = torch.linspace(-scale, scale, 64 * 5 * 3).view(64, 5, 3)
        with torch.no_grad():
            torch.testing.assert_close(run_layer("compiled", kind, x_BTF, *layer.parameters()), layer(x_BTF)[0],
                                       atol=1e-6, rtol=0)


def test_names() -> None:
    assert [cell_kind(RecurrentConfig(cell=cell)) for cell in ("elman", "gru", "lstm")] == ["elman_tanh", "gru", "lstm"]
    assert cell_kind(RecurrentConfig(cell="elman", nonlinearity="relu")) == "elman_relu"
    assert available("torch")
    assert available("stacked", "cuda")
    assert available("compiled") == (importlib.util.find_spec("numba") is not None)
    assert not available("compiled", "cuda")
    assert not available("triton", "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_layers_in_bfloat16_have_gradients_in_float32(kind: CellKind) -> None:
    layer, x_BTF = module(kind, 3, 8), torch.randn(4, 6, 3, requires_grad=True)
    inputs = [x_BTF, *layer.parameters()]
    out, expected = run_in_bfloat16(layer, x_BTF), layer(x_BTF)[0]
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=2e-2, rtol=0)
    for mine, torchs in zip(slopes(out.float(), inputs), slopes(expected, inputs), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, torchs, atol=5e-2 * max(1.0, float(torchs.abs().max())), rtol=0)


@pytest.mark.parametrize("kind", [*KINDS, "peephole"])
def test_stacked_layers_compute_in_the_weights_type_under_autocast(kind: CellKind) -> None:
    layer, x_BTF = module(kind, 3, 5), torch.randn(4, 6, 3)
    inputs = [x_BTF, *layer.parameters()]
    plain, expected = run_layer("stacked", kind, *inputs), slopes(run_layer("stacked", kind, *inputs), inputs[1:])
    with torch.autocast("cpu", torch.bfloat16):
        out = run_layer("stacked", kind, x_BTF.bfloat16(), *inputs[1:])
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plain, atol=2e-2, rtol=0)
    for mine, torchs in zip(slopes(out, inputs[1:]), expected, strict=True):
        torch.testing.assert_close(mine, torchs, atol=5e-2 * max(1.0, float(torchs.abs().max())), rtol=0)


def test_a_kernel_that_cannot_run_on_a_device_has_a_substitute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert [substitute(kernel, cpu) for kernel in ("torch", "stacked", "triton")] == ["torch", "stacked", "stacked"]
    assert substitute("compiled", gpu) == "stacked"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert substitute("triton", cpu) == "triton"
