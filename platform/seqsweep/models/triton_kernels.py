"""Triton kernels that run one recurrent layer of many trials over a whole sequence, their weights on the chip.

One program serves one trial and one block of batch rows from the first step to the last: neither its state nor its
recurrent weights leave the chip (persistent RNNs: Diamos et al., 2016). A trial is to the grid what a head is in
FlashRNN (Pöppel et al., 2024; NX-AI/flashrnn, Apache-2.0), whose Triton kernels have the same form; unlike there,
shapes need not be powers of two, other lengths and batch sizes compile nothing anew, products are float32-accurate
where asked, weight gradients are one product over all steps, and there are GRU and Elman. No code was taken.

Shapes: K trials, T steps, B batch rows, H hidden units, G = gates * H. All tensors are contiguous, time before batch.
H is padded to `HB` (a power of two, at least 16) with zero weights, which keep the padded units at zero. The next
`STAGES` - 1 steps' tiles are on their way while a step is taken.
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
    write_sum,
)


@triton.jit(do_not_specialize=["T", "B"])
def lstm_forward(x_KTBG, w_KGH, out_KTBH, gates_KTBG, cell_KTBH, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                 SAVE: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """From input products to states; keeps gates (input, forget, candidate, output) and cells for the way back."""
    trial, before, row, inside = place(T, B, BB)
    unit = tl.arange(0, HB)
    w_GH, x_TBG, gates_TBG = w_KGH + trial * 4 * H * H, x_KTBG + before * 4 * H, gates_KTBG + before * 4 * H
    out_TBH, cell_TBH = out_KTBH + before * H, cell_KTBH + before * H
    w_i, w_f = weights(w_GH, 0, unit, H, HB), weights(w_GH, 1, unit, H, HB)
    w_g, w_o = weights(w_GH, 2, unit, H, HB), weights(w_GH, 3, unit, H, HB)
    unit, inside = unit[None, :], inside & (unit[None, :] < H)
    h, c = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    for t in tl.range(0, T, num_stages=STAGES):
        at, gate = (t * B + row) * H + unit, (t * B + row) * 4 * H + unit
        x_i, x_f = read(x_TBG, gate, inside), read(x_TBG, gate + H, inside)
        x_g, x_o = read(x_TBG, gate + 2 * H, inside), read(x_TBG, gate + 3 * H, inside)
        i, f, g, o, c, h = lstm_step(x_i + product(h, w_i, SUM), x_f + product(h, w_f, SUM),
                                     x_g + product(h, w_g, SUM), x_o + product(h, w_o, SUM), c)
        write(out_TBH, at, h, inside)
        if SAVE:
            write(cell_TBH, at, c, inside)
            write(gates_TBG, gate, i, inside)
            write(gates_TBG, gate + H, f, inside)
            write(gates_TBG, gate + 2 * H, g, inside)
            write(gates_TBG, gate + 3 * H, o, inside)


@triton.jit(do_not_specialize=["T", "B"])
def lstm_backward(d_out_KTBH, w_KGH, gates_KTBG, cell_KTBH, d_KTBG, sum_KNG, T, B, H, HB: tl.constexpr,
                  BB: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """From the outputs' gradients to those of the gates before their activations, and their sums for the biases."""
    trial, before, row, inside = place(T, B, BB)
    unit = tl.arange(0, HB)
    w_GH, gates_TBG, d_TBG = w_KGH + trial * 4 * H * H, gates_KTBG + before * 4 * H, d_KTBG + before * 4 * H
    d_out_TBH, cell_TBH = d_out_KTBH + before * H, cell_KTBH + before * H
    w_i, w_f = weights(w_GH, 0, unit, H, HB), weights(w_GH, 1, unit, H, HB)
    w_g, w_o = weights(w_GH, 2, unit, H, HB), weights(w_GH, 3, unit, H, HB)
    unit, inside = unit[None, :], inside & (unit[None, :] < H)
    d_h, d_c = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    sum_i, sum_f = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    sum_g, sum_o = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    for back in tl.range(0, T, num_stages=STAGES):
        t = T - 1 - back
        at, gate = (t * B + row) * H + unit, (t * B + row) * 4 * H + unit
        i, f = read(gates_TBG, gate, inside), read(gates_TBG, gate + H, inside)
        g, o = read(gates_TBG, gate + 2 * H, inside), read(gates_TBG, gate + 3 * H, inside)
        c, c_before = read(cell_TBH, at, inside), read(cell_TBH, at - B * H, inside & (t > 0))
        d_h += read(d_out_TBH, at, inside)
        d_i, d_f, d_g, d_o, d_c = lstm_back(d_h, d_c, i, f, g, o, c, c_before)
        sum_i += d_i
        sum_f += d_f
        sum_g += d_g
        sum_o += d_o
        write(d_TBG, gate, d_i, inside)
        write(d_TBG, gate + H, d_f, inside)
        write(d_TBG, gate + 2 * H, d_g, inside)
        write(d_TBG, gate + 3 * H, d_o, inside)
        d_h = ((product(d_i, w_i, SUM) + product(d_f, w_f, SUM))
               + (product(d_g, w_g, SUM) + product(d_o, w_o, SUM)))
    write_sum(sum_KNG, 0, 4, sum_i, H, HB)
    write_sum(sum_KNG, 1, 4, sum_f, H, HB)
    write_sum(sum_KNG, 2, 4, sum_g, H, HB)
    write_sum(sum_KNG, 3, 4, sum_o, H, HB)


@triton.jit(do_not_specialize=["T", "B"])
def gru_forward(x_KTBG, w_KGH, b_KH, out_KTBH, gates_KTBG, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                SAVE: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """x is 3 * H wide: reset, update, new; b is the new gate's recurrent bias. Kept, 4 * H wide: those three and the
    product of new.
    """
    trial, before, row, inside = place(T, B, BB)
    unit = tl.arange(0, HB)
    w_GH, x_TBG, gates_TBG = w_KGH + trial * 3 * H * H, x_KTBG + before * 3 * H, gates_KTBG + before * 4 * H
    out_TBH = out_KTBH + before * H
    w_r, w_z, w_n = weights(w_GH, 0, unit, H, HB), weights(w_GH, 1, unit, H, HB), weights(w_GH, 2, unit, H, HB)
    unit, inside = unit[None, :], inside & (unit[None, :] < H)
    b = read(b_KH + trial * H, unit, unit < H)
    h = tl.zeros((BB, HB), tl.float32)
    for t in tl.range(0, T, num_stages=STAGES):
        at, gate = (t * B + row) * 3 * H + unit, (t * B + row) * 4 * H + unit
        x_r, x_z, x_n = read(x_TBG, at, inside), read(x_TBG, at + H, inside), read(x_TBG, at + 2 * H, inside)
        m = b + product(h, w_n, SUM)
        r, z, n, h = gru_step(x_r + product(h, w_r, SUM), x_z + product(h, w_z, SUM), x_n, m, h)
        write(out_TBH, (t * B + row) * H + unit, h, inside)
        if SAVE:
            write(gates_TBG, gate, r, inside)
            write(gates_TBG, gate + H, z, inside)
            write(gates_TBG, gate + 2 * H, n, inside)
            write(gates_TBG, gate + 3 * H, m, inside)


@triton.jit(do_not_specialize=["T", "B"])
def gru_backward(d_out_KTBH, w_KGH, gates_KTBG, out_KTBH, d_KTBG, sum_KNG, T, B, H, HB: tl.constexpr,
                 BB: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """Gradients, 4 * H wide: new, reset, update, product of new. The first three are the inputs', the last three the
    states', each a stretch of its own without a copy.
    """
    trial, before, row, inside = place(T, B, BB)
    unit = tl.arange(0, HB)
    w_GH, gates_TBG, d_TBG = w_KGH + trial * 3 * H * H, gates_KTBG + before * 4 * H, d_KTBG + before * 4 * H
    d_out_TBH, out_TBH = d_out_KTBH + before * H, out_KTBH + before * H
    w_r, w_z, w_n = weights(w_GH, 0, unit, H, HB), weights(w_GH, 1, unit, H, HB), weights(w_GH, 2, unit, H, HB)
    unit, inside = unit[None, :], inside & (unit[None, :] < H)
    d_h = tl.zeros((BB, HB), tl.float32)
    sum_n, sum_r = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    sum_z, sum_m = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    for back in tl.range(0, T, num_stages=STAGES):
        t = T - 1 - back
        at, gate = (t * B + row) * H + unit, (t * B + row) * 4 * H + unit
        r, z = read(gates_TBG, gate, inside), read(gates_TBG, gate + H, inside)
        n, m = read(gates_TBG, gate + 2 * H, inside), read(gates_TBG, gate + 3 * H, inside)
        h_before = read(out_TBH, at - B * H, inside & (t > 0))
        d_h += read(d_out_TBH, at, inside)
        d_n, d_r, d_z, d_m = gru_back(d_h, r, z, n, m, h_before)
        sum_n += d_n
        sum_r += d_r
        sum_z += d_z
        sum_m += d_m
        write(d_TBG, gate, d_n, inside)
        write(d_TBG, gate + H, d_r, inside)
        write(d_TBG, gate + 2 * H, d_z, inside)
        write(d_TBG, gate + 3 * H, d_m, inside)
        d_h = (d_h * z + product(d_r, w_r, SUM)) + (product(d_z, w_z, SUM) + product(d_m, w_n, SUM))
    write_sum(sum_KNG, 0, 4, sum_n, H, HB)
    write_sum(sum_KNG, 1, 4, sum_r, H, HB)
    write_sum(sum_KNG, 2, 4, sum_z, H, HB)
    write_sum(sum_KNG, 3, 4, sum_m, H, HB)


@triton.jit(do_not_specialize=["T", "B"])
def elman_forward(x_KTBH, w_KHH, out_KTBH, T, B, H, HB: tl.constexpr, BB: tl.constexpr, RELU: tl.constexpr,
                  SUM: tl.constexpr, STAGES: tl.constexpr):
    """The outputs are all that the way back needs."""
    trial, before, row, inside = place(T, B, BB)
    unit = tl.arange(0, HB)
    x_TBH, out_TBH = x_KTBH + before * H, out_KTBH + before * H
    w = weights(w_KHH + trial * H * H, 0, unit, H, HB)
    unit, inside = unit[None, :], inside & (unit[None, :] < H)
    h = tl.zeros((BB, HB), tl.float32)
    for t in tl.range(0, T, num_stages=STAGES):
        at = (t * B + row) * H + unit
        h = elman_step(read(x_TBH, at, inside) + product(h, w, SUM), RELU)
        write(out_TBH, at, h, inside)


@triton.jit(do_not_specialize=["T", "B"])
def elman_backward(d_out_KTBH, w_KHH, out_KTBH, d_KTBH, sum_KNH, T, B, H, HB: tl.constexpr, BB: tl.constexpr,
                   RELU: tl.constexpr, SUM: tl.constexpr, STAGES: tl.constexpr):
    """From the outputs' gradients to those before the activation."""
    trial, before, row, inside = place(T, B, BB)
    unit = tl.arange(0, HB)
    out_TBH, d_TBH, d_out_TBH = out_KTBH + before * H, d_KTBH + before * H, d_out_KTBH + before * H
    w = weights(w_KHH + trial * H * H, 0, unit, H, HB)
    unit, inside = unit[None, :], inside & (unit[None, :] < H)
    d_h, total = tl.zeros((BB, HB), tl.float32), tl.zeros((BB, HB), tl.float32)
    for back in tl.range(0, T, num_stages=STAGES):
        at = ((T - 1 - back) * B + row) * H + unit
        d = elman_back(d_h + read(d_out_TBH, at, inside), read(out_TBH, at, inside), RELU)
        total += d
        write(d_TBH, at, d, inside)
        d_h = product(d, w, SUM)
    write_sum(sum_KNH, 0, 1, total, H, HB)
