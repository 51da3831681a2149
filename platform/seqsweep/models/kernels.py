"""Recurrent layers as pure functions, computed in one of several ways.

Shapes: K trials, B sequences, T steps, F features, H hidden units, G = gates * H. Weights, biases and their order are
those of `torch.nn`. All kernels but torch's own compute stacks of K layers, and a layer's figures do not depend on its
neighbours: under `torch.func.vmap` the mapped dimension becomes K, one call for all trials.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.training import Kernel

CellKind = Literal["elman_tanh", "elman_relu", "gru", "lstm", "peephole", "gru_d", "ode_rnn"]

MODULES = {"compiled": "seqsweep.models.compiled", "stacked": "seqsweep.models.stacked",
           "triton": "seqsweep.models.triton_cells"}
"""Where a kernel's `run_stack` is; imported when it is first asked for."""
NEEDS = {"compiled": "numba", "triton": "triton"}
"""Libraries that a kernel cannot do without."""
DEVICES = {"compiled": ("cpu",), "triton": ("cuda",)}
"""Where a kernel runs, if not everywhere."""


class RunStack(Protocol):
    """What a kernel's module offers."""

    def __call__(self, kind: CellKind, x_KBTF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor,
                 b_hh_KG: Tensor) -> Tensor:
        """Return the outputs `(K, B, T, H)`; x may have a K of 1, which all trials then share."""
        ...


def available(kernel: Kernel, device: str | torch.device = "cpu") -> bool:
    """Return whether a kernel can run here on a device: its library is there, and the device is one of its own."""
    library = NEEDS.get(kernel)
    return torch.device(device).type in DEVICES.get(kernel, ("cpu", "cuda")) and (library is None or _works(library))


@functools.cache
def _works(library: str) -> bool:
    """Whether it can be imported: an installed numba may still refuse the numpy beside it."""
    try:
        importlib.import_module(library)
    except Exception:
        return False
    return True


def substitute(kernel: Kernel, device: torch.device) -> Kernel:
    """Return the kernel itself, or the one that does its work on a device where it cannot run.

    A trial may go on elsewhere than where its kernel was chosen; it rounds otherwise there.
    """
    interpreted = kernel == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    return kernel if interpreted or available(kernel, device) else "stacked"


def cell_kind(config: RecurrentConfig) -> CellKind:
    """Return the name of a model's cell."""
    if config.cell == "elman":
        return "elman_tanh" if config.nonlinearity == "tanh" else "elman_relu"
    return config.cell


def run_stack(kernel: Kernel) -> RunStack:
    """Return a kernel's function over stacks; raises ImportError where its library is missing."""
    function: RunStack = importlib.import_module(MODULES[kernel]).run_stack
    return function


def run_cell(kernel: Kernel, kind: CellKind, cell: nn.Module, x_BTF: Tensor) -> Tensor:
    """Return the outputs `(B, T, H)` of a layer, batch first, one direction, from a state of zeros.

    A layer that is none of torch's computes itself, whatever the kernel.
    """
    if kernel == "torch" or not isinstance(cell, nn.RNNBase):
        mixed = isinstance(cell, nn.RNNBase) and x_BTF.is_cuda and torch.is_autocast_enabled("cuda")
        out_BTH: Tensor = run_in_bfloat16(cell, x_BTF) if mixed else cell(x_BTF)[0]
        return out_BTH
    weights: list[Any] = [cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0, cell.bias_hh_l0]
    return run_layer(kernel, kind, x_BTF, *weights)


def run_in_bfloat16(cell: nn.Module, x_BTF: Tensor) -> Tensor:
    """Return a layer's outputs `(B, T, H)`, computed in bfloat16 from weights in float32.

    torch's autocast makes float16 of cuDNN's layers whatever it is told, and small gradients are lost there.
    """
    with torch.autocast(x_BTF.device.type, enabled=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        narrow = {name: each.bfloat16() for name, each in cell.named_parameters()}
        out_BTH: Tensor = functional_call(cell, narrow, (x_BTF.bfloat16(),))[0]
    return out_BTH


def run_layer(kernel: Kernel, kind: CellKind, x_BTF: Tensor, w_ih_GF: Tensor, w_hh_GH: Tensor, b_ih_G: Tensor,
              b_hh_G: Tensor) -> Tensor:
    """Return the outputs `(B, T, H)` of one layer, from a state of zeros; `torch` is not one of these kernels."""
    stack = (each.unsqueeze(0) for each in (x_BTF, w_ih_GF, w_hh_GH, b_ih_G, b_hh_G))
    return run_stack(kernel)(kind, *stack).squeeze(0)


def wanted(*tensors: Tensor) -> bool:
    """Return whether gradients of any of these will be asked for."""
    return torch.is_grad_enabled() and any(each.requires_grad for each in tensors)


def merge(size: int, dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Put a mapped dimension of `size` in front of stacks and into their K; the first, x, stays shared if it can."""
    merged = []
    for number, (dim, each) in enumerate(zip(dims, tensors, strict=True)):
        if dim is not None:
            merged.append(each.movedim(dim, 0).flatten(0, 1))
        elif number == 0 and each.shape[0] == 1:
            merged.append(each)
        else:
            merged.append(each.expand(size, *each.shape).flatten(0, 1))
    return merged
