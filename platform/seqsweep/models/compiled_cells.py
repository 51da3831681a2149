"""Elman, GRU and LSTM layers as loops that numba compiles: forwards, and the gradients of all their weights.

`ROWS` sequences of a batch go through all of time together while states and sums stay in the processor's caches.
All arrays are flat and contiguous. K trials, B sequences (a multiple of ROWS), T steps, F features, H hidden units,
P vectors ("panels") that hold H units, L numbers in a vector. Units from H up to P * L are padding, with zero weights.

Gates lie in torch's order except the GRU's: (n from the input, r, z, n from the state), so that the three that read the
input are neighbours, and so are the three that read the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from seqsweep.models.compiled_lanes import (
    HALF,
    ROWS,
    half4,
    load,
    ones,
    relu,
    sigmoid,
    step,
    store,
    tanh,
    tile1,
    tile2,
    tile3,
    width,
)

Array = Any
ELMAN_TANH, ELMAN_RELU, GRU, LSTM = 0, 1, 2, 3
GATES, COLUMNS, SHIFT, KEPT = (1, 1, 3, 4), (1, 1, 4, 4), (0, 0, 2, 0), (0, 0, 4, 5)
"""Per kind: blocks of the weights, kinds of sums, torch's number of the first block, vectors kept of a step."""
CHUNK = 65_536
"""Numbers of gates' gradients and states kept until they are multiplied into the weights' gradients: about one L2."""

def _compiled(function: Any, **options: Any) -> Any:
    """Compile a function when it is first called; keep the code on disk unless no folder can be written."""
    options |= {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # numba found neither the package's folder nor the user's writable
        return njit(**options)(function)


def _inlined(function: Any) -> Any:
    return _compiled(function, forceinline=True)


@_compiled
def scratch(size: int, like: Array) -> Array:
    """Return zeros of an array's type that begin at a cache line."""
    whole = np.zeros(size + 64 // like.itemsize, like.dtype)
    first = (-whole.ctypes.data) % 64 // like.itemsize
    return whole[first:first + size]


@_compiled
def pack(w: Array, at: int, gates: int, shift: int, H: int, M: int, packed: Array) -> None:
    """Lay `(gates * H, M)` weights as panels of units: `(P, M, gates, L)`, the first gate being number `shift`."""
    L = width(w)
    for p in range((H + L - 1) // L):
        for m in range(M):
            for gate in range(gates):
                source, target = at + (gate + shift) % gates * H * M + m, ((p * M + m) * gates + gate) * L
                for j in range(p * L, min(H, p * L + L)):
                    packed[target + j - p * L] = w[source + j * M]


@_compiled
def pack_back(w: Array, at: int, gates: int, shift: int, H: int, M: int, packed: Array) -> None:
    """Lay `(gates * H, M)` weights as panels of what they read: `(panels of M, gates * P * L, L)`."""
    L = width(w)
    HP = (H + L - 1) // L * L
    for q in range((M + L - 1) // L):
        for gate in range(gates):
            for j in range(H):
                source, target = at + ((gate + shift) % gates * H + j) * M, (q * gates * HP + gate * HP + j) * L
                for m in range(q * L, min(M, q * L + L)):
                    packed[target + m - q * L] = w[source + m]


@_compiled
def product(out: Array, start: Array, start_row: int, start_panel: int, a: Array, a_at: int, a_row: int, a_step: int,
            w: Array, w_at: int, w_panel: int, count: int, panels: int) -> None:
    """Set out `(panels, ROWS, L)` to start + a `(ROWS, count)` times w `(count, panels * L)`, panel by panel."""
    L = width(out)
    for q in range(0, panels - 1, 2):
        tile2(out, q * ROWS * L, L, ROWS * L, start, q * start_panel, start_row, start_panel, a, a_at, a_row, a_step,
              w, w_at + q * w_panel, L, w_panel, count)
    if panels % 2:
        q = panels - 1
        tile1(out, q * ROWS * L, L, ROWS * L, start, q * start_panel, start_row, start_panel, a, a_at, a_row, a_step,
              w, w_at + q * w_panel, L, w_panel, count)


@_compiled
def weigh(total: Array, held: Array, held_at: int, held_row: int, held_step: int, slopes: Array, at: int, N: int,
          count: int, panels: int, zeros: Array, sums: Array) -> None:
    """Add ROWS rows of what was read, times the gates' gradients of `count` sequence steps, to a weight's gradient."""
    L = width(sums)
    product(sums, zeros, 0, 0, held, held_at, held_row, held_step, slopes, at, N * L, count, panels)
    for n in range(0, panels * ROWS * L, L):
        store(total, n, load(total, n) + load(sums, n))


@_compiled
def weigh_all(dw_h: Array, dw_x: Array, states: Array, inputs: Array, slopes: Array, first: int, panels: int, N: int,
              count: int, H: int, X: int, zeros: Array, sums: Array) -> None:
    """Add a chunk of time to the gradients of the recurrent weights, and to those of the input's and the biases."""
    L = width(sums)
    tile, S = panels * ROWS * L, max(L, ROWS)
    for m in range(0, H, ROWS):
        weigh(dw_h[m // ROWS * tile:], states, m // S * N * S + m % S, 1, S, slopes, first * N * L, N, count, panels,
              zeros, sums)
    for m in range(0, X, ROWS):
        weigh(dw_x[m // ROWS * tile:], inputs, m, 1, X, slopes, 0, N, count, panels, zeros, sums)


@_compiled
def unpack(dw: Array, row: int, rows: int, gates: int, shift: int, H: int, grad: Array, at: int) -> None:
    """Take `rows` rows of a weight's gradient out of its tiles, into `(gates * H, rows)`."""
    L = width(dw)
    P = (H + L - 1) // L
    for m in range(row, row + rows):
        for gate in range(gates):
            for j in range(H):
                source = ((m // ROWS * gates * P + gate * P + j // L) * ROWS + m % ROWS) * L + j % L
                grad[at + ((gate + shift) % gates * H + j) * rows + m - row] = dw[source]


@_compiled
def pack_bias(b_ih: Array, b_hh: Array, at: int, gates: int, columns: int, shift: int, H: int, bias: Array) -> None:
    """Lay the biases as `(P, columns, L)`, added up where a column reads both input and state."""
    L = width(bias)
    for j in range(H):
        to = (j // L * columns * L) + j % L
        for gate in range(gates):
            source = at + (gate + shift) % gates * H + j
            bias[to + gate * L] = b_ih[source]
            if columns == gates or gate:
                bias[to + gate * L] += b_hh[source]
        if columns > gates:
            bias[to + gates * L] = b_hh[at + (gates - 1) * H + j]


@_inlined
def elman_step(sums: Array, bias: Array, x: Array, x_at: int, T: int, F: int, H: int, w_x: Array, w_h: Array,
               state: Array, old_at: int, new_at: int, out: Array, out_at: int, rectified: bool) -> None:
    """Take ROWS sequences one step further; out_at is the step's place in the first of them."""
    L = width(x)
    P = (H + L - 1) // L
    product(sums, bias, 0, L, x, x_at, T * F, 1, w_x, 0, F * L, F, P)
    product(sums, sums, L, ROWS * L, state, old_at, P * L, 1, w_h, 0, H * L, H, P)
    for p in range(P):
        for i in range(ROWS):
            value = load(sums, (p * ROWS + i) * L)
            new = relu(value) if rectified else tanh(value)
            store(state, new_at + (i * P + p) * L, new)
            store(out, out_at + (i * T * P + p) * L, new)


@_inlined
def gru_step(sums: Array, bias: Array, x: Array, x_at: int, T: int, F: int, H: int, w_x: Array, w_h: Array,
             state: Array, old_at: int, new_at: int, out: Array, out_at: int, kept: Array, kept_at: int,
             keeping: bool) -> None:
    """Take ROWS sequences one step further, in torch's form: the reset gate takes part after the product."""
    L = width(x)
    P, column = (H + L - 1) // L, ROWS * L
    for p in range(P):
        for i in range(ROWS):
            store(sums, 3 * column + i * L, load(bias, (p * 4 + 3) * L))
        tile3(sums, 0, L, column, bias, p * 4 * L, 0, L, x, x_at, T * F, 1, w_x, p * F * 3 * L, 3 * L, L, F)
        tile3(sums, column, L, column, sums, column, L, column, state, old_at, P * L, 1,
              w_h, p * H * 3 * L, 3 * L, L, H)
        for i in range(ROWS):
            r, z = sigmoid(load(sums, column + i * L)), sigmoid(load(sums, 2 * column + i * L))
            n_state = load(sums, 3 * column + i * L)
            n = tanh(load(sums, i * L) + r * n_state)
            new = n + z * (load(state, old_at + (i * P + p) * L) - n)
            store(state, new_at + (i * P + p) * L, new)
            store(out, out_at + (i * T * P + p) * L, new)
            if keeping:
                at = kept_at + (p * ROWS + i) * 4 * L
                store(kept, at, r)
                store(kept, at + L, z)
                store(kept, at + 2 * L, n)
                store(kept, at + 3 * L, n_state)


@_inlined
def lstm_step(sums: Array, bias: Array, x: Array, x_at: int, T: int, F: int, H: int, w_x: Array, w_h: Array,
              state: Array, old_at: int, new_at: int, cell: Array, out: Array, out_at: int, kept: Array,
              kept_at: int, keeping: bool) -> None:
    """Take ROWS sequences one step further."""
    L = width(x)
    P, column = (H + L - 1) // L, ROWS * L
    for p in range(P):
        for i in range(0, ROWS, HALF):
            half4(sums, i * L, L, column, bias, p * 4 * L, 0, L, x, x_at + i * T * F, T * F, 1,
                  w_x, p * F * 4 * L, 4 * L, L, F)
            half4(sums, i * L, L, column, sums, i * L, L, column, state, old_at + i * P * L, P * L, 1,
                  w_h, p * H * 4 * L, 4 * L, L, H)
        for i in range(ROWS):
            enter, forget = sigmoid(load(sums, i * L)), sigmoid(load(sums, column + i * L))
            fresh, leave = tanh(load(sums, 2 * column + i * L)), sigmoid(load(sums, 3 * column + i * L))
            long = forget * load(cell, (i * P + p) * L) + enter * fresh
            new = leave * tanh(long)
            store(cell, (i * P + p) * L, long)
            store(state, new_at + (i * P + p) * L, new)
            store(out, out_at + (i * T * P + p) * L, new)
            if keeping:
                at = kept_at + (p * ROWS + i) * 5 * L
                store(kept, at, enter)
                store(kept, at + L, forget)
                store(kept, at + 2 * L, fresh)
                store(kept, at + 3 * L, leave)
                store(kept, at + 4 * L, long)


@_compiled
def forward(x: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array, out: Array, kept: Array, kind: int,
            K: int, shared: bool, B: int, T: int, F: int, H: int, keeping: bool) -> None:
    """Fill out `(K, B, T, P * L)`, and where asked what the gradients need, kept `(K, B / ROWS, T, P, ROWS, KEPT, L)`.

    x is `(K, B, T, F)`, or of one trial where all share it; weights and biases are those of torch, stacked.
    """
    L = width(x)
    HP = (H + L - 1) // L * L
    gates, columns, shift, keep = GATES[kind], COLUMNS[kind], SHIFT[kind], KEPT[kind]
    w_x, w_h, bias = scratch(F * gates * HP, x), scratch(H * gates * HP, x), scratch(columns * HP, x)
    sums, state, cell = scratch(ROWS * max(4 * L, HP), x), scratch(2 * ROWS * HP, x), scratch(ROWS * HP, x)
    for k in range(K):
        pack(w_ih, k * gates * H * F, gates, shift, H, F, w_x)
        pack(w_hh, k * gates * H * H, gates, 0, H, H, w_h)
        pack_bias(b_ih, b_hh, k * gates * H, gates, columns, shift, H, bias)
        for b in range(0, B, ROWS):
            state[:ROWS * HP] = 0
            cell[:] = 0
            for t in range(T):
                x_at, out_at = (((0 if shared else k * B) + b) * T + t) * F, ((k * B + b) * T + t) * HP
                kept_at = ((k * B + b) * T + t * ROWS) * keep * HP
                old_at, new_at = t % 2 * ROWS * HP, (t + 1) % 2 * ROWS * HP
                if kind == GRU:
                    gru_step(sums, bias, x, x_at, T, F, H, w_x, w_h, state, old_at, new_at, out, out_at, kept,
                             kept_at, keeping)
                elif kind == LSTM:
                    lstm_step(sums, bias, x, x_at, T, F, H, w_x, w_h, state, old_at, new_at, cell, out, out_at, kept,
                              kept_at, keeping)
                else:
                    elman_step(sums, bias, x, x_at, T, F, H, w_x, w_h, state, old_at, new_at, out, out_at,
                               kind == ELMAN_RELU)


@_inlined
def elman_slopes(out: Array, out_at: int, T: int, P: int, d_out: Array, d_state: Array, now: Array,
                 rectified: bool) -> None:
    """Write the gradients of ROWS sequences' sums at one step to now `(ROWS, P * L)`; clear that of their states."""
    L = width(out)
    one = ones(out)
    for p in range(P):
        for i in range(ROWS):
            here, line = out_at + (i * T * P + p) * L, (p * ROWS + i) * L
            value = load(out, here)
            slope = step(value) if rectified else one - value * value
            store(now, (i * P + p) * L, (load(d_state, line) + load(d_out, here)) * slope)
            store(d_state, line, one - one)


@_inlined
def gru_slopes(out: Array, out_at: int, first: bool, T: int, P: int, kept: Array, kept_at: int, d_out: Array,
               d_state: Array, now: Array, db: Array) -> None:
    """Write the gradients of ROWS sequences' sums at one step to now `(ROWS, 4, P * L)`, and of their states."""
    L = width(out)
    one, HP = ones(out), P * L
    for p in range(P):
        summed = load(db, p * L)
        for i in range(ROWS):
            here, line, at = out_at + (i * T * P + p) * L, (p * ROWS + i) * L, kept_at + (p * ROWS + i) * 4 * L
            r, z, n, n_state = load(kept, at), load(kept, at + L), load(kept, at + 2 * L), load(kept, at + 3 * L)
            d = load(d_state, line) + load(d_out, here)
            old = one - one if first else load(out, here - HP)
            d_n = d * (one - z) * (one - n * n)
            to = i * 4 * HP + p * L
            store(now, to, d_n)
            store(now, to + HP, d_n * n_state * r * (one - r))
            store(now, to + 2 * HP, d * (old - n) * z * (one - z))
            store(now, to + 3 * HP, d_n * r)
            store(d_state, line, d * z)
            summed = summed + d_n * r
        store(db, p * L, summed)


@_inlined
def lstm_slopes(out_at: int, first: bool, T: int, P: int, kept: Array, kept_at: int, d_out: Array, d_state: Array,
                d_cell: Array, now: Array) -> None:
    """Write the gradients of ROWS sequences' sums at one step to now `(ROWS, 4, P * L)`, and of their cells."""
    L = width(kept)
    one, HP = ones(kept), P * L
    for p in range(P):
        for i in range(ROWS):
            line, at = (p * ROWS + i) * L, kept_at + (p * ROWS + i) * 5 * L
            enter, forget, fresh = load(kept, at), load(kept, at + L), load(kept, at + 2 * L)
            leave, long = load(kept, at + 3 * L), tanh(load(kept, at + 4 * L))
            before = one - one if first else load(kept, at + (4 - 5 * P * ROWS) * L)
            d = load(d_state, line) + load(d_out, out_at + (i * T * P + p) * L)
            d_long = load(d_cell, line) + d * leave * (one - long * long)
            to = i * 4 * HP + p * L
            store(now, to, d_long * fresh * enter * (one - enter))
            store(now, to + HP, d_long * before * forget * (one - forget))
            store(now, to + 2 * HP, d_long * enter * (one - fresh * fresh))
            store(now, to + 3 * HP, d * long * leave * (one - leave))
            store(d_cell, line, d_long * forget)
            store(d_state, line, one - one)


@_compiled
def keep_step(now: Array, columns: int, P: int, held: int, N: int, slopes: Array, out: Array, out_at: int, first: bool,
              states: Array, x: Array, x_at: int, T: int, F: int, X: int, inputs: Array) -> None:
    """Lay one step of ROWS sequences where `weigh` reads it: gradients, states before, and inputs with a one."""
    L = width(out)
    S, one = max(L, ROWS), ones(out)
    for i in range(ROWS):
        n = held + i
        for column in range(columns * P):
            store(slopes, (column * N + n) * L, load(now, (i * columns * P + column) * L))
        for p in range(P):
            to = (p * L // S * N + n) * S + p * L % S
            store(states, to, one - one if first else load(out, out_at + ((i * T - 1) * P + p) * L))
        for f in range(F):
            inputs[n * X + f] = x[x_at + i * T * F + f]
        inputs[n * X + F] = 1


@_compiled
def backward(x: Array, w_ih: Array, w_hh: Array, out: Array, kept: Array, d_out: Array, dx: Array, dw_ih: Array,
             dw_hh: Array, db_ih: Array, db_hh: Array, kind: int, K: int, shared: bool, B: int, T: int, F: int, H: int,
             dx_too: bool) -> None:
    """Fill the gradients of inputs `(K, B, T, F)` (where asked), weights and biases from out's, d_out."""
    L = width(x)
    P, FP, X = (H + L - 1) // L, (F + L - 1) // L, (F + ROWS) // ROWS * ROWS
    HP = P * L
    gates, columns, shift, keep = GATES[kind], COLUMNS[kind], SHIFT[kind], KEPT[kind]
    first = columns - gates
    steps = max(1, min(T, CHUNK // (ROWS * (columns + 1) * HP)))
    N = steps * ROWS
    w_x, w_h = scratch(FP * L * gates * HP, x), scratch(HP * gates * HP, x)
    now, d_state, d_cell = scratch(ROWS * columns * HP, x), scratch(ROWS * HP, x), scratch(ROWS * HP, x)
    HR = (HP + ROWS - 1) // ROWS * ROWS
    slopes, states, inputs = scratch(N * columns * HP, x), scratch(N * HR, x), scratch(N * X, x)
    zeros, sums = scratch(L, x), scratch(max(gates * P, FP) * ROWS * L, x)
    dw_h, dw_x, db = scratch(HR * gates * HP, x), scratch(X * gates * HP, x), scratch(HP, x)
    for k in range(K):
        pack_back(w_hh, k * gates * H * H, gates, 0, H, H, w_h)
        if dx_too:
            pack_back(w_ih, k * gates * H * F, gates, shift, H, F, w_x)
        dw_h[:] = 0
        dw_x[:] = 0
        db[:] = 0
        for b in range(0, B, ROWS):
            d_state[:] = 0
            d_cell[:] = 0
            held = 0
            for t in range(T - 1, -1, -1):
                x_at, out_at = (((0 if shared else k * B) + b) * T + t) * F, ((k * B + b) * T + t) * HP
                kept_at = ((k * B + b) * T + t * ROWS) * keep * HP
                if kind == GRU:
                    gru_slopes(out, out_at, t == 0, T, P, kept, kept_at, d_out, d_state, now, db)
                elif kind == LSTM:
                    lstm_slopes(out_at, t == 0, T, P, kept, kept_at, d_out, d_state, d_cell, now)
                else:
                    elman_slopes(out, out_at, T, P, d_out, d_state, now, kind == ELMAN_RELU)
                product(d_state, d_state, L, ROWS * L, now, first * HP, columns * HP, 1, w_h, 0, gates * HP * L,
                        gates * HP, P)
                if dx_too:
                    product(sums, zeros, 0, 0, now, 0, columns * HP, 1, w_x, 0, gates * HP * L, gates * HP, FP)
                    for i in range(ROWS):
                        for f in range(F):
                            dx[((k * B + b + i) * T + t) * F + f] = sums[(f // L * ROWS + i) * L + f % L]
                keep_step(now, columns, P, held, N, slopes, out, out_at, t == 0, states, x, x_at, T, F, X, inputs)
                held += ROWS
                if held == N or t == 0:
                    weigh_all(dw_h, dw_x, states, inputs, slopes, first * P, gates * P, N, held, H, X, zeros, sums)
                    held = 0
        unpack(dw_h, 0, H, gates, 0, H, dw_hh, k * gates * H * H)
        unpack(dw_x, 0, F, gates, shift, H, dw_ih, k * gates * H * F)
        unpack(dw_x, F, 1, gates, shift, H, db_ih, k * gates * H)
        for j in range(k * gates * H, (k + 1) * gates * H):
            db_hh[j] = db_ih[j]
        for j in range(H if kind == GRU else 0):
            db_hh[(k * 3 + 2) * H + j] = db[j]
