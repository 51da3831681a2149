"""What the Triton kernels are made of: products, activations, one step of each cell and of its way back.

Shapes: K trials, T steps, B batch rows, H hidden units, G = gates * H; a program's tiles are BB rows and HB units.
"""

# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product(a, w, SUM: tl.constexpr):
    """a (BB, N) times w (N, HB), summed in float32; `SUM`: "tf32x3", "tf32" or "ieee" of float32, or "bf16".

    "rounded" is "bf16" for Triton's interpreter, which takes bfloat16 factors for integers: the products are the same.
    """
    if SUM == "bf16":
        total = tl.dot(a.to(tl.bfloat16), w)
    elif SUM == "rounded":
        total = tl.dot(a.to(tl.bfloat16).to(tl.float32), w.to(tl.float32), input_precision="ieee")
    else:
        total = tl.dot(a, w, input_precision=SUM)
    return total


@triton.jit
def place(T, B, BB: tl.constexpr):
    """The program's trial, how many states lie before it, its rows, and which of them exist."""
    trial = tl.program_id(0).to(tl.int64)
    row = (tl.program_id(1) * BB + tl.arange(0, BB))[:, None]
    return trial, trial * T * B, row, row < B


@triton.jit
def read(tensor, offset, inside):
    """Read as float32; zero where nothing is."""
    return tl.load(tensor + offset, mask=inside != 0, other=0.0).to(tl.float32)


@triton.jit
def write(tensor, offset, value, inside):
    """Write in the tensor's own type."""
    tl.store(tensor + offset, value.to(tensor.dtype.element_ty), mask=inside)


@triton.jit
def weights(w_GHH, gate: tl.constexpr, row, H, HB: tl.constexpr):
    """Rows of one gate's recurrent weights as the right factor (rows, HB) of a product; in memory it lies turned round,
    so that what is summed over is contiguous, as the tensor cores read it.
    """
    column = tl.arange(0, HB)[None, :]
    return tl.load(w_GHH + (gate * H + column) * H + row[:, None], mask=(row[:, None] < H) & (column < H), other=0.0)


@triton.jit
def write_sum(sum_KNG, gate: tl.constexpr, gates: tl.constexpr, value, H, HB: tl.constexpr):
    """Leave this block's sum over rows (and, already in it, steps) of one gate for torch to add up over blocks."""
    unit = tl.arange(0, HB)
    block = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    tl.store(sum_KNG + (block * gates + gate) * H + unit, tl.sum(value, axis=0), mask=unit < H)


@triton.jit
def sigmoid(x):
    """Logistic function."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """Accurate to 2 ulp: the quotient loses digits near zero, where the polynomial of Cephes' tanhf takes over."""
    size = tl.abs(x)
    e = tl.exp(-2.0 * size)
    far = (1.0 - e) / (1.0 + e)
    s = x * x
    p = ((((-5.70498872745e-3 * s + 2.06390887954e-2) * s - 5.37397155531e-2) * s + 1.33314422036e-1) * s
         - 3.33332819422e-1)
    return tl.where(size < 0.625, x + x * s * p, tl.where(x < 0, -far, far))


@triton.jit
def lstm_step(a_i, a_f, a_g, a_o, c):
    """Gates input, forget, candidate, output from what they were before activation; then the new cell and state."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), tanh(a_g), sigmoid(a_o)
    c = f * c + i * g
    return i, f, g, o, c, o * tanh(c)


@triton.jit
def lstm_back(d_h, d_c, i, f, g, o, c, c_before):
    """Gradients before the activations, and the one that goes on to the cell before."""
    tanh_c = tanh(c)
    d_c += d_h * o * (1.0 - tanh_c * tanh_c)
    d_i = d_c * g * i * (1.0 - i)
    d_f = d_c * c_before * f * (1.0 - f)
    d_g = d_c * i * (1.0 - g * g)
    d_o = d_h * tanh_c * o * (1.0 - o)
    return d_i, d_f, d_g, d_o, d_c * f


@triton.jit
def gru_step(a_r, a_z, x_n, m, h):
    """torch's form: the reset gate acts on the product m. Gates reset, update, new, and the new state."""
    r, z = sigmoid(a_r), sigmoid(a_z)
    n = tanh(x_n + r * m)
    return r, z, n, n + z * (h - n)


@triton.jit
def gru_back(d_h, r, z, n, m, h_before):
    """Gradients of new, reset, update before their activations, and of the product of new."""
    d_n = d_h * (1.0 - z) * (1.0 - n * n)
    return d_n, d_n * m * r * (1.0 - r), d_h * (h_before - n) * z * (1.0 - z), d_n * r


@triton.jit
def elman_step(a, RELU: tl.constexpr):
    """The activation; a nan stays one."""
    return tl.where(a <= 0.0, 0.0, a) if RELU else tanh(a)


@triton.jit
def elman_back(d_h, h, RELU: tl.constexpr):
    """The gradient before the activation, from the state after it."""
    return tl.where(h <= 0.0, 0.0, d_h) if RELU else d_h * (1.0 - h * h)
