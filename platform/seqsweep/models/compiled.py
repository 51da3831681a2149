"""Recurrent layers on the CPU through numba's compiler, for stacks of K trials; one thread.

The graph stays out of the loop over time, and out of the loop over trials. First calls compile (seconds of CPU time) or
load what an earlier process compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seqsweep.models import compiled_cells
from seqsweep.models.compiled_lanes import ROWS, WIDTH
from seqsweep.models.kernels import CellKind, merge, wanted
from seqsweep.models.memory import keep_pages

KINDS: tuple[CellKind, ...] = ("elman_tanh", "elman_relu", "gru", "lstm")
"""In the order of their numbers in `compiled_cells`."""

keep_pages()  # what a stack keeps for its gradients is large


def run_stack(kind: CellKind, x_KBTF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor, b_hh_KG: Tensor
              ) -> Tensor:
    """See `kernels.RunStack`. Float32 (tanh within 1e-6) or float64 on the CPU; bits do not depend on K."""
    batch, hidden = x_KBTF.shape[1], w_hh_KGH.shape[2]
    missing = -batch % ROWS
    if missing:
        x_KBTF = functional.pad(x_KBTF, (0, 0, 0, 0, 0, missing))
    weights = (w_ih_KGF, w_hh_KGH, b_ih_KG, b_hh_KG)
    inputs = (x_KBTF, *weights, KINDS.index(kind), wanted(x_KBTF, *weights))
    out_KBTH: Tensor = _Layer.apply(*inputs)[0]  # type: ignore[no-untyped-call]
    if missing:
        out_KBTH = out_KBTH[:, :batch]
    return out_KBTH[..., :hidden] if hidden < out_KBTH.shape[3] else out_KBTH


class _Layer(torch.autograd.Function):
    """K layers; outputs are padded to whole vectors of units, and come with what the gradients need."""

    @staticmethod
    def forward(x_KBTF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor, b_hh_KG: Tensor, kind: int,
                keep: bool) -> tuple[Tensor, Tensor]:
        stacks, hidden = w_hh_KGH.shape[0], w_hh_KGH.shape[2]
        one, batch, steps, features = x_KBTF.shape
        lanes = WIDTH * 4 // x_KBTF.element_size()
        units = -(-hidden // lanes) * lanes
        out_KBTH = x_KBTF.new_empty(stacks, batch, steps, units)
        kept_KN = x_KBTF.new_empty(stacks, batch * steps * units * compiled_cells.KEPT[kind] if keep else 0)
        compiled_cells.forward(*_flat(x_KBTF, w_ih_KGF, w_hh_KGH, b_ih_KG, b_hh_KG, out_KBTH, kept_KN), kind, stacks,
                               one < stacks, batch, steps, features, hidden, keep)
        return out_KBTH, kept_KN

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.kind, _ = inputs
        ctx.save_for_backward(*tensors[:3], *output)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out_KBTH: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if d_out_KBTH is None:
            return (None,) * 7
        x_KBTF, w_ih_KGF, w_hh_KGH, out_KBTH, kept_KN = ctx.saved_tensors
        stacks, gates, hidden = w_hh_KGH.shape
        one, batch, steps, features = x_KBTF.shape
        needs_x = ctx.needs_input_grad[0]
        gradients = [x_KBTF.new_empty(stacks if needs_x else 0, batch, steps, features),
                     torch.empty_like(w_ih_KGF, memory_format=torch.contiguous_format),
                     torch.empty_like(w_hh_KGH, memory_format=torch.contiguous_format),
                     x_KBTF.new_empty(stacks, gates), x_KBTF.new_empty(stacks, gates)]
        compiled_cells.backward(*_flat(x_KBTF, w_ih_KGF, w_hh_KGH, out_KBTH, kept_KN, d_out_KBTH, *gradients),
                                ctx.kind, stacks, one < stacks, batch, steps, features, hidden, needs_x)
        d_x = gradients[0] if one == stacks else gradients[0].sum(0, keepdim=True)
        return d_x if needs_x else None, *gradients[1:], None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int, int]]:
        tensors = merge(info.batch_size, in_dims[:5], inputs[:5])
        outputs = _Layer.apply(*tensors, inputs[5], wanted(*tensors))  # type: ignore[no-untyped-call]
        return tuple(each.unflatten(0, (info.batch_size, -1)) for each in outputs), (0, 0)


def _flat(*tensors: Tensor) -> list[Any]:
    """Return tensors as flat arrays; those that are contiguous are not copied."""
    return [each.detach().reshape(-1).numpy() for each in tensors]


def compile_all() -> None:
    """Compile every cell for float32 and keep the result on disk: seconds once, which no sweep then waits for."""
    weights = [torch.zeros(1, 64, size, requires_grad=True) for size in (4, 16)]
    for kind in KINDS:
        gates = 64 if kind == "lstm" else 48 if kind == "gru" else 16
        w_ih, w_hh = (weight[:, :gates] for weight in weights)
        bias = torch.zeros(1, gates, requires_grad=True)
        run_stack(kind, torch.zeros(1, 4, 3, 4), w_ih, w_hh, bias, bias).sum().backward()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    compile_all()
