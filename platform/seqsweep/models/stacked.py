"""Recurrent layers of K trials in plain torch operations, on any device.

One batched product a step serves all trials, the graph stays out of the loop over time, what of the gradients does not
depend on the step after is computed for all steps at once, and so are the gradients of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seqsweep.models.kernels import CellKind, merge, wanted

ALIGNED = 16
"""On a CPU units and features are padded with zeros to a multiple, and sequences to an even number: what torch's loops
and MKL do with thin or odd shapes depends on where they lie in memory, and so on how many trials there are."""


def run_stack(kind: CellKind, x_KBTF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor, b_hh_KG: Tensor
              ) -> Tensor:
    """See `kernels.RunStack`. Any floating type; on a CPU with one thread, bits do not depend on K.

    It alone knows the kind `peephole`, whose `b_hh_KG` are no biases but what each gate makes of its unit's cell.
    """
    batch, gates, hidden = x_KBTF.shape[1], *w_hh_KGH.shape[1:]
    inputs: tuple[Tensor, ...] = (x_KBTF, w_ih_KGF, w_hh_KGH, b_ih_KG, b_hh_KG)
    if x_KBTF.device.type == "cpu":
        features, units = -x_KBTF.shape[3] % ALIGNED, -hidden % ALIGNED
        if features or units or batch % 2:
            blocks = (each.reshape(len(each), gates // hidden, hidden, *each.shape[2:]) for each in inputs[1:])
            pads = ((0, features, 0, units), (0, units, 0, units), (0, units), (0, units))
            inputs = (functional.pad(x_KBTF, (0, features, 0, 0, 0, batch % 2)),
                      *(functional.pad(each, pad).flatten(1, 2) for each, pad in zip(blocks, pads, strict=True)))
    with torch.autocast(x_KBTF.device.type, enabled=False):  # which casts some of its operations, and others not
        inputs = tuple(each.to(w_hh_KGH.dtype) for each in inputs)
        states_KTBH: Tensor = _Layer.apply(*inputs, kind, wanted(*inputs))[0]  # type: ignore[no-untyped-call]
    return states_KTBH[:, 1:, :batch, :hidden].transpose(1, 2)


class _Layer(torch.autograd.Function):
    """K layers; returns states from the zeros at the start on, and what the gradients need."""

    @staticmethod
    def forward(x_KBTF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor, b_hh_KG: Tensor, kind: CellKind,
                keep: bool) -> tuple[Tensor, Tensor]:
        stacks, gates, hidden = w_hh_KGH.shape
        _, batch, steps, _ = x_KBTF.shape
        w_ih_KGF, w_hh_KGH = w_ih_KGF.contiguous(), w_hh_KGH.contiguous()
        bias_KG = b_ih_KG if kind in ("gru", "peephole") else b_ih_KG + b_hh_KG
        read_KTBG = torch.baddbmm(bias_KG.unsqueeze(1), _rows(x_KBTF, stacks), w_ih_KGF.mT
                                  ).view(stacks, steps, batch, gates)
        states_KTBH = x_KBTF.new_empty(stacks, steps + 1, batch, hidden)
        states_KTBH[:, 0] = 0
        kept_KTBC = x_KBTF.new_empty(stacks, steps + 1 if keep else 0, batch, _KEPT[kind] * hidden)
        _FORWARDS[kind](read_KTBG, w_hh_KGH.mT, b_hh_KG.unsqueeze(1), states_KTBH, kept_KTBC)
        return states_KTBH, kept_KTBC

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.kind, _ = inputs
        ctx.save_for_backward(*tensors[:3], tensors[4], *output)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_states_KTBH: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if d_states_KTBH is None:
            return (None,) * 7
        x_KBTF, w_ih_KGF, w_hh_KGH, b_hh_KG, states_KTBH, kept_KTBC = ctx.saved_tensors
        w_ih_KGF, w_hh_KGH = w_ih_KGF.contiguous(), w_hh_KGH.contiguous()
        stacks, gates, hidden = w_hh_KGH.shape
        one, batch, steps, _ = x_KBTF.shape
        sums_KTBC = _BACKWARDS[ctx.kind](w_hh_KGH, b_hh_KG.unsqueeze(1), states_KTBH, kept_KTBC, d_states_KTBH[:, 1:])
        sums_KNC = sums_KTBC.view(stacks, steps * batch, -1)
        by_x, by_state = sums_KNC[..., :gates], sums_KNC[..., -gates:]
        before_KNH = states_KTBH[:, :-1].flatten(1, 2)
        first = hidden if ctx.kind == "gru" else 0  # its sums begin with torch's last block
        d_w_ih_KGF = (by_x.mT @ _rows(x_KBTF, stacks)).roll(-first, 1)
        d_b_ih_KG = by_x.sum(1).roll(-first, 1)
        d_x_KBTF = None
        if ctx.needs_input_grad[0]:
            d_x_KBTF = (by_x @ w_ih_KGF.roll(first, 1)).view(stacks, steps, batch, -1).transpose(1, 2)
            d_x_KBTF = d_x_KBTF if one == stacks else d_x_KBTF.sum(0, keepdim=True)
        seen = by_state * _seen(kept_KTBC, hidden) if ctx.kind == "peephole" else by_state
        return d_x_KBTF, d_w_ih_KGF, by_state.mT @ before_KNH, d_b_ih_KG, seen.sum(1), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int, int]]:
        tensors = merge(info.batch_size, in_dims[:5], inputs[:5])
        outputs = _Layer.apply(*tensors, inputs[5], wanted(*tensors))  # type: ignore[no-untyped-call]
        return tuple(each.unflatten(0, (info.batch_size, -1)) for each in outputs), (0, 0)


def _rows(x_KBTF: Tensor, stacks: int) -> Tensor:
    """Return all steps of all sequences `(K, T * B, F)`, time first."""
    x_KNF = x_KBTF.transpose(1, 2).flatten(1, 2)
    return x_KNF.expand(stacks, -1, -1)


def _elman(rectified: bool) -> Any:
    def forward(read_KTBG: Tensor, w_KHG: Tensor, b_K1G: Tensor, states_KTBH: Tensor, kept_KTBC: Tensor) -> None:
        for t in range(read_KTBG.shape[1]):
            new = states_KTBH[:, t + 1]
            torch.baddbmm(read_KTBG[:, t], states_KTBH[:, t], w_KHG, out=new)
            new.clamp_(min=0) if rectified else new.tanh_()

    return forward


def _gru(read_KTBG: Tensor, w_KHG: Tensor, b_K1G: Tensor, states_KTBH: Tensor, kept_KTBC: Tensor) -> None:
    """Keep r, z, n and the state's part of n's sum."""
    hidden = states_KTBH.shape[-1]
    for t in range(read_KTBG.shape[1]):
        old, read = states_KTBH[:, t], read_KTBG[:, t]
        sums = torch.baddbmm(b_K1G, old, w_KHG)
        gates = sums[..., :2 * hidden].add_(read[..., :2 * hidden]).sigmoid_()
        r, z = gates.chunk(2, -1)
        n_state = sums[..., 2 * hidden:]
        n = torch.addcmul(read[..., 2 * hidden:], r, n_state).tanh_()
        torch.lerp(n, old, z, out=states_KTBH[:, t + 1])
        if len(kept_KTBC[0]):
            torch.cat((gates, n, n_state), -1, out=kept_KTBC[:, t + 1])


def _lstm(sighted: bool) -> Any:
    """Keep the gates (input, forget, candidate, output) and the cells, from zero on, which `sighted` lets gates see."""
    def forward(read_KTBG: Tensor, w_KHG: Tensor, b_K1G: Tensor, states_KTBH: Tensor, kept_KTBC: Tensor) -> None:
        hidden = states_KTBH.shape[-1]
        cell = torch.zeros_like(states_KTBH[:, 0])
        sight = b_K1G.chunk(4, -1)
        kept_KTBC[:, :1] = 0
        for t in range(read_KTBG.shape[1]):
            sums = torch.baddbmm(read_KTBG[:, t], states_KTBH[:, t], w_KHG)
            enter, forget, fresh, leave = sums.chunk(4, -1)
            if sighted:
                enter.addcmul_(sight[0], cell)
                forget.addcmul_(sight[1], cell)
            sums[..., :2 * hidden].sigmoid_()
            fresh.tanh_()
            cell = torch.addcmul(forget * cell, enter, fresh)
            if sighted:
                leave.addcmul_(sight[3], cell)
            leave.sigmoid_()
            torch.mul(leave, cell.tanh(), out=states_KTBH[:, t + 1])
            if len(kept_KTBC[0]):
                torch.cat((sums, cell), -1, out=kept_KTBC[:, t + 1])

    return forward


def _seen(kept_KTBC: Tensor, hidden: int) -> Tensor:
    """Return the cells `(K, T * B, G)` that each gate saw; the candidate saw none."""
    cell_KTBH = kept_KTBC[..., -hidden:]
    before, now = cell_KTBH[:, :-1], cell_KTBH[:, 1:]
    return torch.cat((before, before, torch.zeros_like(now), now), -1).flatten(1, 2)


def _elman_back(rectified: bool) -> Any:
    def backward(w_KGH: Tensor, b_K1G: Tensor, states_KTBH: Tensor, kept_KTBC: Tensor, d_KTBH: Tensor) -> Tensor:
        out_KTBH = states_KTBH[:, 1:]
        slope = (out_KTBH > 0).to(out_KTBH.dtype) if rectified else 1 - out_KTBH * out_KTBH
        sums = torch.empty_like(slope)
        d = d_KTBH[:, -1]
        for t in range(slope.shape[1] - 1, -1, -1):
            torch.mul(d, slope[:, t], out=sums[:, t])
            if t:
                d = torch.baddbmm(d_KTBH[:, t - 1], sums[:, t], w_KGH)
        return sums

    return backward


def _gru_back(w_KGH: Tensor, b_K1G: Tensor, states_KTBH: Tensor, kept_KTBC: Tensor, d_KTBH: Tensor) -> Tensor:
    """Return gradients of the sums: n's from the input, r's, z's, n's from the state."""
    r, z, n, n_state = kept_KTBC[:, 1:].chunk(4, -1)
    by_n = (1 - z) * (1 - n * n)
    by_z = (states_KTBH[:, :-1] - n) * z * (1 - z)
    slopes = torch.stack((by_n, by_n * n_state * r * (1 - r), by_z, by_n * r), -2)
    sums = torch.empty_like(slopes)
    d = d_KTBH[:, -1]
    for t in range(slopes.shape[1] - 1, -1, -1):
        torch.mul(d.unsqueeze(-2), slopes[:, t], out=sums[:, t])
        if t:
            d = torch.baddbmm(torch.addcmul(d_KTBH[:, t - 1], d, z[:, t]), sums[:, t, :, 1:].flatten(2), w_KGH)
    return sums.flatten(3)


def _lstm_back(w_KGH: Tensor, b_K1G: Tensor | None, states_KTBH: Tensor, kept_KTBC: Tensor, d_KTBH: Tensor) -> Tensor:
    sight = None if b_K1G is None else b_K1G.chunk(4, -1)
    enter, forget, fresh, leave, cell = kept_KTBC[:, 1:].chunk(5, -1)
    before = kept_KTBC[:, :-1, :, -states_KTBH.shape[-1]:]
    end = cell.tanh()
    by_gate = fresh * enter * (1 - enter), before * forget * (1 - forget), enter * (1 - fresh * fresh)
    by_cell = torch.stack(by_gate, -2)
    by_state, through = end * leave * (1 - leave), leave * (1 - end * end)
    sums = torch.empty((*by_cell.shape[:3], 4, by_cell.shape[4]), dtype=end.dtype, device=end.device)
    d, d_cell = d_KTBH[:, -1], torch.zeros_like(end[:, 0])
    for t in range(end.shape[1] - 1, -1, -1):
        d_cell = torch.addcmul(d_cell, d, through[:, t])
        torch.mul(d, by_state[:, t], out=sums[:, t, :, 3])
        if sight:
            d_cell = torch.addcmul(d_cell, sums[:, t, :, 3], sight[3])
        torch.mul(d_cell.unsqueeze(-2), by_cell[:, t], out=sums[:, t, :, :3])
        if t:
            d_cell = d_cell * forget[:, t]
            if sight:
                d_cell = torch.addcmul(d_cell, sums[:, t, :, 0], sight[0]).addcmul(sums[:, t, :, 1], sight[1])
            d = torch.baddbmm(d_KTBH[:, t - 1], sums[:, t].flatten(2), w_KGH)
    return sums.flatten(3)


def _blind_back(w_KGH: Tensor, b_K1G: Tensor, states_KTBH: Tensor, kept_KTBC: Tensor, d_KTBH: Tensor) -> Tensor:
    return _lstm_back(w_KGH, None, states_KTBH, kept_KTBC, d_KTBH)


_KEPT = {"elman_tanh": 0, "elman_relu": 0, "gru": 4, "lstm": 5, "peephole": 5}
_FORWARDS: dict[str, Any] = {"elman_tanh": _elman(False), "elman_relu": _elman(True), "gru": _gru, "lstm": _lstm(False),
                             "peephole": _lstm(True)}
_BACKWARDS: dict[str, Any] = {"elman_tanh": _elman_back(False), "elman_relu": _elman_back(True), "gru": _gru_back,
                              "lstm": _blind_back, "peephole": _lstm_back}
