"""The Triton layers against torch.nn: on a GPU compiled, elsewhere in Triton's interpreter.

Alone: PYTHONPATH=platform python -m pytest -c /dev/null --rootdir=. tests/models/test_triton_cells.py
"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch
from torch import Tensor, nn

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    if "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton was imported without its interpreter", allow_module_level=True)
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are made

from seqsweep.models import triton_cells  # noqa: E402
from seqsweep.models.kernels import CellKind  # noqa: E402
from seqsweep.models.triton_cells import Plan, Precision, run_stack  # noqa: E402

DEVICE = "cuda" if ON_GPU else "cpu"
KINDS: tuple[CellKind, ...] = ("lstm", "gru", "elman_tanh", "elman_relu")
SHAPES = [(1, 1, 1, 1, 1), (2, 17, 5, 3, 7), (3, 3, 2, 4, 16), (5, 2, 4, 5, 33)]
"""K trials, B rows, T steps, F features, H units."""
if ON_GPU:
    SHAPES += [(4, 33, 40, 5, hidden) for hidden in (16, 32, 50, 64, 96, 128, 200, 256)] + [(80, 64, 9, 3, 32)]


def stack(kind: CellKind, trials: int, features: int, hidden: int, seed: int = 0) -> list[nn.RNNBase]:
    """K layers of torch's own, alike in shape only."""
    torch.manual_seed(seed)
    if kind == "lstm":
        return [nn.LSTM(features, hidden, batch_first=True).to(DEVICE) for _ in range(trials)]
    if kind == "gru":
        return [nn.GRU(features, hidden, batch_first=True).to(DEVICE) for _ in range(trials)]
    return [nn.RNN(features, hidden, batch_first=True, nonlinearity=kind.removeprefix("elman_")).to(DEVICE)
            for _ in range(trials)]


def leaves(layers: list[nn.RNNBase]) -> list[Tensor]:
    """Stack each weight of all trials, ready for gradients."""
    names = [name for name, _ in layers[0].named_parameters()]
    return [torch.stack([layer.get_parameter(name).detach() for layer in layers]).requires_grad_() for name in names]


def ours(kind: CellKind, x_KBTF: Tensor, weights: list[Tensor], weigh_KBTH: Tensor,
         precision: Precision = "float32") -> tuple[Tensor, list[Tensor]]:
    """Outputs, and gradients of the input and of all weights."""
    x = x_KBTF.detach().clone().requires_grad_()
    w_ih, w_hh, b_ih, b_hh = weights
    out = run_stack(kind, x, w_ih, w_hh, b_ih, b_hh, precision)
    return out.detach(), list(torch.autograd.grad((out * weigh_KBTH).sum(), [x, *weights]))


def theirs(layers: list[nn.RNNBase], x_KBTF: Tensor, weigh_KBTH: Tensor) -> tuple[Tensor, list[Tensor]]:
    outs, grads = [], []
    for k, layer in enumerate(layers):
        x = x_KBTF[k].detach().clone().requires_grad_()
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            out = layer(x)[0]
            grads.append(torch.autograd.grad((out * weigh_KBTH[k]).sum(), [x, *layer.parameters()]))
        outs.append(out.detach())
    return torch.stack(outs), [torch.stack(each) for each in zip(*grads, strict=True)]


def close(mine: Tensor, reference: Tensor, tolerance: float) -> None:
    """Equal within tolerance of the largest entry."""
    assert mine.shape == reference.shape
    scale = max(1.0, reference.abs().max().item())
    assert (mine.float() - reference.float()).abs().max().item() <= tolerance * scale


def same(mine: Tensor, reference: Tensor) -> None:
    """Equal to the bit, where torch's products around the recurrence are: cuBLAS chooses by the height of a stack."""
    if ON_GPU:
        close(mine, reference, 1e-6)
    else:
        assert torch.equal(mine, reference)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_torch(kind: CellKind, shape: tuple[int, int, int, int, int]) -> None:
    trials, batch, steps, features, hidden = shape
    layers = stack(kind, trials, features, hidden)
    x = torch.randn(trials, batch, steps, features).to(DEVICE)
    weigh = torch.randn(trials, batch, steps, hidden).to(DEVICE)
    out, grads = ours(kind, x, leaves(layers), weigh)
    reference, expected = theirs(layers, x, weigh)
    close(out, reference, 1e-5)
    for grad, wanted in zip(grads, expected, strict=True):
        close(grad, wanted, 1e-5)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_float32_is_as_exact_as_torchs(kind: CellKind) -> None:
    steps, hidden = (100, 64) if ON_GPU else (12, 20)
    layers = stack(kind, 1, 4, hidden)
    x, weigh = torch.randn(1, 5, steps, 4, device=DEVICE), torch.randn(1, 5, steps, hidden, device=DEVICE)
    out, grads = ours(kind, x, leaves(layers), weigh)
    plain, plain_grads = theirs(layers, x, weigh)
    exact, exact_grads = theirs([layer.double() for layer in layers], x.double(), weigh.double())
    for mine, alike, truth in zip([out, *grads], [plain, *plain_grads], [exact, *exact_grads], strict=True):
        error, usual = ((each.double() - truth).norm() / truth.norm() for each in (mine, alike))
        assert error <= max(4 * usual, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_pass_by_give_the_same(kind: CellKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_cells, "_limits", lambda device: (0, 132))
    assert Plan.of(kind, 2, 3, 20, "float32", torch.device(DEVICE)).part
    test_agrees_with_torch(kind, (2, 3, 4, 2, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_does_not_depend_on_its_neighbours(kind: CellKind) -> None:
    x, weigh = torch.randn(5, 3, 4, 2, device=DEVICE), torch.randn(5, 3, 4, 6, device=DEVICE)
    weights = leaves(stack(kind, 5, 2, 6))
    with torch.no_grad():
        weights[1][1], x[2] = torch.nan, torch.inf
    out, grads = ours(kind, x, weights, weigh)
    for k in (0, 3, 4):
        one, (d_x, *d_weights) = ours(kind, x[k:k + 1], [w[k:k + 1].detach().requires_grad_() for w in weights],
                                      weigh[k:k + 1])
        same(out[k], one[0])
        assert torch.isfinite(one).all()
        for whole, alone in zip(grads, [d_x, *d_weights], strict=True):
            same(whole[k], alone[0])
    assert not torch.isfinite(out[1]).any()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_vmap_joins_the_trials(kind: CellKind) -> None:
    shared, weigh = torch.randn(1, 3, 4, 2, device=DEVICE), torch.randn(4, 3, 4, 6, device=DEVICE)
    weights = leaves(stack(kind, 4, 2, 6))
    w_ih, w_hh, b_ih, b_hh = weights
    expected = run_stack(kind, shared.expand(4, -1, -1, -1), w_ih, w_hh, b_ih, b_hh)
    wanted = torch.autograd.grad((expected * weigh).sum(), weights)

    def one(*each: Tensor) -> Tensor:
        a, b, c, d = (tensor.unsqueeze(0) for tensor in each)
        return run_stack(kind, shared, a, b, c, d).squeeze(0)

    out: Tensor = torch.func.vmap(one)(*weights)
    same(out, expected)
    for grad, reference in zip(torch.autograd.grad((out * weigh).sum(), weights), wanted, strict=True):
        close(grad, reference, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_that_all_share_gets_the_sum_of_their_gradients(kind: CellKind) -> None:
    x, weigh = torch.randn(1, 3, 4, 2, device=DEVICE), torch.randn(3, 3, 4, 5, device=DEVICE)
    weights = leaves(stack(kind, 3, 2, 5))
    out, (d_x, *_) = ours(kind, x, weights, weigh)
    expected, (each, *_) = ours(kind, x.expand(3, -1, -1, -1), weights, weigh)
    close(out, expected, 1e-6)
    close(d_x, each.sum(0, keepdim=True), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("precision", "tolerance"), [("mixed", 4e-2), ("tf32", 1e-2)])
def test_less_precise_products(kind: CellKind, precision: Precision, tolerance: float) -> None:
    layers = stack(kind, 2, 3, 8)
    x, weigh = torch.randn(2, 5, 6, 3).to(DEVICE), torch.randn(2, 5, 6, 8).to(DEVICE)  # the same draws everywhere
    out, grads = ours(kind, x, leaves(layers), weigh, precision)
    assert out.dtype == (torch.bfloat16 if precision == "mixed" else torch.float32)
    reference, expected = theirs(layers, x, weigh)
    close(out, reference, tolerance)
    for grad, wanted in zip(grads, expected, strict=True):
        assert grad.dtype == torch.float32
        close(grad, wanted, tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_nothing_is_kept(kind: CellKind, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    launch = Plan.launch

    def seen(self: Plan, name: str, *arguments: object, **options: object) -> None:
        launched.append((name, options.get("SAVE", False)))
        launch(self, name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Plan, "launch", seen)
    w_ih, w_hh, b_ih, b_hh = leaves(stack(kind, 2, 3, 5))
    x = torch.randn(2, 4, 3, 3, device=DEVICE)
    expected = run_stack(kind, x, w_ih, w_hh, b_ih, b_hh)
    with torch.inference_mode():
        out = run_stack(kind, x, w_ih, w_hh, b_ih, b_hh)
    assert torch.equal(out, expected)
    assert [keep for _, keep in launched] == [kind in ("lstm", "gru"), False]


def test_strided_inputs() -> None:
    layers = stack("gru", 2, 3, 5)
    x = torch.randn(2, 4, 3, 7, device=DEVICE).transpose(1, 2)[..., ::2][..., :3]
    weights = [w.detach().repeat_interleave(2, dim=-1)[..., ::2].requires_grad_() for w in leaves(layers)]
    weigh = torch.randn(5, 4, 3, 2, device=DEVICE).permute(3, 2, 1, 0)
    out, grads = ours("gru", x, weights, weigh)
    reference, expected = theirs(layers, x, weigh)
    for mine, wanted in zip([out, *grads], [reference, *expected], strict=True):
        close(mine, wanted, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_that_would_not_fit_are_left_to_torch(kind: CellKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_cells, "_COUNTED", 4 * 3 * 4 * 6)
    monkeypatch.setattr(Plan, "launch", None)
    layers = stack(kind, 2, 2, 6)
    x, weigh = torch.randn(2, 3, 4, 2).to(DEVICE), torch.randn(2, 3, 4, 6).to(DEVICE)
    out, _ = ours(kind, x, leaves(layers), weigh)
    close(out, theirs(layers, x, weigh)[0], 1e-5)


def test_what_does_not_fit_is_left_to_torch() -> None:
    for hidden, dtype in ((300, torch.float32), (5, torch.float64)):
        layer = nn.GRU(2, hidden, batch_first=True, dtype=dtype, device=DEVICE)
        x = torch.randn(1, 3, 2, 2, dtype=dtype, device=DEVICE)
        w_ih, w_hh, b_ih, b_hh = (w.unsqueeze(0) for w in layer.parameters())
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            expected = layer(x[0])[0].unsqueeze(0)
        close(run_stack("gru", x, w_ih, w_hh, b_ih, b_hh), expected, 1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-8, 0.3, 0.624, 0.626, 3.0, 20.0, 1e4, float("nan")])
def test_tanh_is_accurate_near_zero_and_far(value: float) -> None:
    x = torch.tensor([[[[value], [-value]]]], device=DEVICE)  # two steps of which the second sees the first's state
    w_ih, w_hh, b = (torch.full((1, 1, n), v, device=DEVICE) for n, v in ((1, 1.0), (1, 0.0), (1, 0.0)))
    out = run_stack("elman_tanh", x, w_ih, w_hh, b[0], b[0]).flatten()
    torch.testing.assert_close(out, torch.tensor([value, -value], device=DEVICE).double().tanh().float(),
                               rtol=1e-6, atol=0.0, equal_nan=True)
