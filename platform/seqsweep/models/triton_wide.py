"""Triton kernels for layers whose recurrent weights do not fit on the chip in float32: they pass by at each step.

As in `triton_kernels`, one program takes one trial and one block of rows through the whole sequence, but a step's
product is summed over parts of `CB` units, whose weights come from the L2 cache while the part before is multiplied.
A program reads what it wrote a step ago, and does so behind a barrier: states on the way forward, gradients on the
way back. The loop over parts alone is pipelined; the barrier stands outside of it.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

from seqsweep.models.triton_math import (
    elman_back,
    elman_step,
    gru_back,
    gru_step,
    lstm_back,
    lstm_step,
    place,
    product,
    read,
    weights,
    write,
)


@triton.jit(do_not_specialize=["T", "B"])
def lstm_forward_wide(x_KTBG, w_KGH, out_KTBH, gates_KTBG, cell_KTBH, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                      CB: tl.constexpr, SAVE: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """See `lstm_forward`."""
    trial, before, row, exists = place(T, B, BB)
    w_GH, x_TBG, gates_TBG = w_KGH + trial * 4 * H * H, x_KTBG + before * 4 * H, gates_KTBG + before * 4 * H
    out_TBH, cell_TBH = out_KTBH + before * H, cell_KTBH + before * H
    unit = tl.arange(0, HB)[None, :]
    inside = exists & (unit < H)
    c = tl.zeros((BB, HB), tl.float32)
    for t in range(T):
        at, gate = (t * B + row) * H + unit, (t * B + row) * 4 * H + unit
        a_i, a_f = read(x_TBG, gate, inside), read(x_TBG, gate + H, inside)
        a_g, a_o = read(x_TBG, gate + 2 * H, inside), read(x_TBG, gate + 3 * H, inside)
        for first in tl.range(0, H, CB, num_stages=STAGES):
            part = first + tl.arange(0, CB)
            h = read(out_TBH, ((t - 1) * B + row) * H + part[None, :], exists & (part[None, :] < H) & (t > 0))
            a_i += product(h, weights(w_GH, 0, part, H, HB), SUM)
            a_f += product(h, weights(w_GH, 1, part, H, HB), SUM)
            a_g += product(h, weights(w_GH, 2, part, H, HB), SUM)
            a_o += product(h, weights(w_GH, 3, part, H, HB), SUM)
        i, f, g, o, c, h_new = lstm_step(a_i, a_f, a_g, a_o, c)
        write(out_TBH, at, h_new, inside)
        if SAVE:
            write(cell_TBH, at, c, inside)
            write(gates_TBG, gate, i, inside)
            write(gates_TBG, gate + H, f, inside)
            write(gates_TBG, gate + 2 * H, g, inside)
            write(gates_TBG, gate + 3 * H, o, inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["T", "B"])
def lstm_backward_wide(d_out_KTBH, w_KGH, gates_KTBG, cell_KTBH, d_KTBG, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                       CB: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """See `lstm_backward`; the biases' sums are left to torch."""
    trial, before, row, exists = place(T, B, BB)
    w_GH, gates_TBG, d_TBG = w_KGH + trial * 4 * H * H, gates_KTBG + before * 4 * H, d_KTBG + before * 4 * H
    d_out_TBH, cell_TBH = d_out_KTBH + before * H, cell_KTBH + before * H
    unit = tl.arange(0, HB)[None, :]
    inside = exists & (unit < H)
    d_h, d_c = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    for back in range(T):
        t = T - 1 - back
        at, gate = (t * B + row) * H + unit, (t * B + row) * 4 * H + unit
        i, f = read(gates_TBG, gate, inside), read(gates_TBG, gate + H, inside)
        g, o = read(gates_TBG, gate + 2 * H, inside), read(gates_TBG, gate + 3 * H, inside)
        c, c_before = read(cell_TBH, at, inside), read(cell_TBH, at - B * H, inside & (t > 0))
        d_h += read(d_out_TBH, at, inside)
        d_i, d_f, d_g, d_o, d_c = lstm_back(d_h, d_c, i, f, g, o, c, c_before)
        write(d_TBG, gate, d_i, inside)
        write(d_TBG, gate + H, d_f, inside)
        write(d_TBG, gate + 2 * H, d_g, inside)
        write(d_TBG, gate + 3 * H, d_o, inside)
        tl.debug_barrier()
        d_h = tl.zeros((BB, HB), tl.float32)
        for first in tl.range(0, H, CB, num_stages=STAGES):
            part = first + tl.arange(0, CB)
            here = (t * B + row) * 4 * H + part[None, :]
            known = exists & (part[None, :] < H)
            d_h += product(read(d_TBG, here, known), weights(w_GH, 0, part, H, HB), SUM)
            d_h += product(read(d_TBG, here + H, known), weights(w_GH, 1, part, H, HB), SUM)
            d_h += product(read(d_TBG, here + 2 * H, known), weights(w_GH, 2, part, H, HB), SUM)
            d_h += product(read(d_TBG, here + 3 * H, known), weights(w_GH, 3, part, H, HB), SUM)


@triton.jit(do_not_specialize=["T", "B"])
def gru_forward_wide(x_KTBG, w_KGH, b_KH, out_KTBH, gates_KTBG, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                     CB: tl.constexpr, SAVE: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """See `gru_forward`."""
    trial, before, row, exists = place(T, B, BB)
    w_GH, x_TBG, gates_TBG = w_KGH + trial * 3 * H * H, x_KTBG + before * 3 * H, gates_KTBG + before * 4 * H
    out_TBH = out_KTBH + before * H
    unit = tl.arange(0, HB)[None, :]
    inside = exists & (unit < H)
    b = read(b_KH + trial * H, unit, unit < H)
    h = tl.zeros((BB, HB), tl.float32)
    for t in range(T):
        at, gate = (t * B + row) * 3 * H + unit, (t * B + row) * 4 * H + unit
        a_r, a_z = read(x_TBG, at, inside), read(x_TBG, at + H, inside)
        x_n = read(x_TBG, at + 2 * H, inside)
        m = b + tl.zeros((BB, HB), tl.float32)
        for first in tl.range(0, H, CB, num_stages=STAGES):
            part = first + tl.arange(0, CB)
            h_part = read(out_TBH, ((t - 1) * B + row) * H + part[None, :], exists & (part[None, :] < H) & (t > 0))
            a_r += product(h_part, weights(w_GH, 0, part, H, HB), SUM)
            a_z += product(h_part, weights(w_GH, 1, part, H, HB), SUM)
            m += product(h_part, weights(w_GH, 2, part, H, HB), SUM)
        r, z, n, h = gru_step(a_r, a_z, x_n, m, h)
        write(out_TBH, (t * B + row) * H + unit, h, inside)
        if SAVE:
            write(gates_TBG, gate, r, inside)
            write(gates_TBG, gate + H, z, inside)
            write(gates_TBG, gate + 2 * H, n, inside)
            write(gates_TBG, gate + 3 * H, m, inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["T", "B"])
def gru_backward_wide(d_out_KTBH, w_KGH, gates_KTBG, out_KTBH, d_KTBG, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                      CB: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """See `gru_backward`; the biases' sums are left to torch."""
    trial, before, row, exists = place(T, B, BB)
    w_GH, gates_TBG, d_TBG = w_KGH + trial * 3 * H * H, gates_KTBG + before * 4 * H, d_KTBG + before * 4 * H
    d_out_TBH, out_TBH = d_out_KTBH + before * H, out_KTBH + before * H
    unit = tl.arange(0, HB)[None, :]
    inside = exists & (unit < H)
    d_h = tl.zeros((BB, HB), tl.float32)
    for back in range(T):
        t = T - 1 - back
        at, gate = (t * B + row) * H + unit, (t * B + row) * 4 * H + unit
        r, z = read(gates_TBG, gate, inside), read(gates_TBG, gate + H, inside)
        n, m = read(gates_TBG, gate + 2 * H, inside), read(gates_TBG, gate + 3 * H, inside)
        h_before = read(out_TBH, at - B * H, inside & (t > 0))
        d_h += read(d_out_TBH, at, inside)
        d_n, d_r, d_z, d_m = gru_back(d_h, r, z, n, m, h_before)
        write(d_TBG, gate, d_n, inside)
        write(d_TBG, gate + H, d_r, inside)
        write(d_TBG, gate + 2 * H, d_z, inside)
        write(d_TBG, gate + 3 * H, d_m, inside)
        tl.debug_barrier()
        d_h = d_h * z
        for first in tl.range(0, H, CB, num_stages=STAGES):
            part = first + tl.arange(0, CB)
            here = (t * B + row) * 4 * H + part[None, :]
            known = exists & (part[None, :] < H)
            d_h += product(read(d_TBG, here + H, known), weights(w_GH, 0, part, H, HB), SUM)
            d_h += product(read(d_TBG, here + 2 * H, known), weights(w_GH, 1, part, H, HB), SUM)
            d_h += product(read(d_TBG, here + 3 * H, known), weights(w_GH, 2, part, H, HB), SUM)


@triton.jit(do_not_specialize=["T", "B"])
def elman_forward_wide(x_KTBH, w_KHH, out_KTBH, T, B, H, HB: tl.constexpr, BB: tl.constexpr, CB: tl.constexpr,
                       RELU: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """See `elman_forward`."""
    trial, before, row, exists = place(T, B, BB)
    w_HH, x_TBH, out_TBH = w_KHH + trial * H * H, x_KTBH + before * H, out_KTBH + before * H
    unit = tl.arange(0, HB)[None, :]
    inside = exists & (unit < H)
    for t in range(T):
        at = (t * B + row) * H + unit
        a = read(x_TBH, at, inside)
        for first in tl.range(0, H, CB, num_stages=STAGES):
            part = first + tl.arange(0, CB)
            h = read(out_TBH, ((t - 1) * B + row) * H + part[None, :], exists & (part[None, :] < H) & (t > 0))
            a += product(h, weights(w_HH, 0, part, H, HB), SUM)
        write(out_TBH, at, elman_step(a, RELU), inside)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["T", "B"])
def elman_backward_wide(d_out_KTBH, w_KHH, out_KTBH, d_KTBH, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                        CB: tl.constexpr, RELU: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """See `elman_backward`; the bias's sum is left to torch."""
    trial, before, row, exists = place(T, B, BB)
    w_HH, out_TBH = w_KHH + trial * H * H, out_KTBH + before * H
    d_TBH, d_out_TBH = d_KTBH + before * H, d_out_KTBH + before * H
    unit = tl.arange(0, HB)[None, :]
    inside = exists & (unit < H)
    d_h = tl.zeros((BB, HB), tl.float32)
    for back in range(T):
        at = ((T - 1 - back) * B + row) * H + unit
        d = elman_back(d_h + read(d_out_TBH, at, inside), read(out_TBH, at, inside), RELU)
        write(d_TBH, at, d, inside)
        tl.debug_barrier()
        d_h = tl.zeros((BB, HB), tl.float32)
        for first in tl.range(0, H, CB, num_stages=STAGES):
            part = first + tl.arange(0, CB)
            here = ((T - 1 - back) * B + row) * H + part[None, :]
            d_h += product(read(d_TBH, here, exists & (part[None, :] < H)), weights(w_HH, 0, part, H, HB), SUM)
