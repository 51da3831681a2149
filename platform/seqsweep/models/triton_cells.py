"""Recurrent layers of K trials at once on an NVIDIA GPU: products over all steps in torch, the recurrence in Triton.

Shapes: K trials, B sequences, T steps, F features, H hidden units, G = gates * H with torch's order of gates (LSTM:
input, forget, candidate, output; GRU: reset, update, new). Inside, time lies before the batch (KTB), so that the steps
but the first and the steps but the last are plain matrices, and the recurrent weights' gradient is one product.

Precision: "float32" splits each factor of a recurrent product in two TF32 numbers (3xTF32: Ootomo & Yokota, 2022),
which agrees with float32 to its rounding; "tf32" does not split; "mixed" multiplies, keeps and returns bfloat16, with
sums, states and activations in float32. Products outside the recurrence are torch's and follow its own settings.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqsweep.models import stacked
from seqsweep.models import triton_kernels as resident
from seqsweep.models import triton_wide as wide
from seqsweep.models.kernels import CellKind, merge, wanted

Precision = Literal["float32", "tf32", "mixed"]

GATES: dict[str, int] = {"elman_tanh": 1, "elman_relu": 1, "gru": 3, "lstm": 4}
LARGEST = 256
"""Hidden units beyond which a step's sums do not fit into the registers."""

_COUNTED = 2 ** 31
"""What the kernels' 32-bit offsets within a trial can count."""

_SUMS: dict[str, str] = {"float32": "tf32x3", "tf32": "tf32", "mixed": "bf16"}
_BYTES = {"tf32x3": 8, "tf32": 4, "bf16": 2, "rounded": 2}
_SHARED, _PROCESSORS = 232_448, 132
"""An H100's: bytes of shared memory that one program can have, and multiprocessors."""


def run_stack(kind: CellKind, x_KBTF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor, b_hh_KG: Tensor,
              precision: Precision | None = None) -> Tensor:
    """See `kernels.RunStack`. Each trial's recurrence is a program of its own: neighbours cannot change its bits.

    Without a precision it is "mixed" under autocast, else "float32". What cannot run here is left to `stacked`:
    float64, more than 256 hidden units, 2 ** 31 gates of a trial's batch, a GPU without TF32.
    """
    if precision is None:
        precision = "mixed" if torch.is_autocast_enabled("cuda") else "float32"
    weights = (w_ih_KGF, w_hh_KGH, b_ih_KG, b_hh_KG)
    hidden = w_hh_KGH.shape[-1]
    too_large = hidden > LARGEST or 4 * x_KBTF.shape[1] * x_KBTF.shape[2] * hidden >= _COUNTED
    if w_hh_KGH.dtype != torch.float32 or too_large or not _has_tf32(w_hh_KGH.device):
        return stacked.run_stack(kind, x_KBTF, *weights)
    keep = wanted(x_KBTF, *weights)
    with torch.autocast(x_KBTF.device.type, enabled=False):
        outputs = _Layer.apply(x_KBTF.transpose(1, 2), *weights, kind, precision, keep)  # type: ignore[no-untyped-call]
    out_KTBH: Tensor = outputs[0]
    return out_KTBH.transpose(1, 2)


def _has_tf32(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)


@dataclass(frozen=True)
class Plan:
    """How a launch is cut: units and rows of a program's tiles, units of a part (0: the weights stay on the chip)."""

    units: int
    rows: int
    part: int
    warps: int
    options: dict[str, Any]

    @classmethod
    def of(cls, kind: CellKind, trials: int, batch: int, hidden_size: int, precision: Precision,
           device: torch.device) -> Plan:
        """Rows are 16, the least that tensor cores take, while all programs find room at once."""
        shared, processors = _limits(device)
        products = _products(precision, device)
        units = max(16, triton.next_power_of_2(hidden_size))
        weights = GATES[kind] * units * units * _BYTES[products]
        if weights * 16 <= shared * 10:  # the rest is for tiles on their way
            crowded = trials * triton.cdiv(batch, 16) > processors * (shared // (2 * weights) or 1)
            rows, part, stages = 32 if crowded and units <= 64 else 16, 0, 2
        elif units <= 128:
            rows, part, stages = 32, 16, 3
        else:
            rows, part, stages = 16, 16, 2
        options = {"HB": units, "BB": rows, "SUM": products, "STAGES": stages} | ({"CB": part} if part else {})
        warps = min(8, units // 8) if units > 16 else 1  # two would both do all of 16 units' work
        return cls(units, rows, part, warps, options)

    def launch(self, name: str, trials: int, batch: int, *arguments: Any, **options: Any) -> None:
        """Start one program a trial and block of rows."""
        kernel = getattr(wide, f"{name}_wide") if self.part else getattr(resident, name)
        kernel[(trials, triton.cdiv(batch, self.rows))](*arguments, **self.options, **options, num_warps=self.warps)


def _products(precision: Precision, device: torch.device) -> str:
    return "rounded" if precision == "mixed" and device.type != "cuda" else _SUMS[precision]


def _limits(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":  # Triton's interpreter
        return _SHARED, _PROCESSORS
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin), properties.multi_processor_count


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current device, wherever the tensors are."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class _Layer(torch.autograd.Function):
    """Outputs (K, T, B, H), and two tensors kept for the way back: gates, and the LSTM's cells."""

    @staticmethod
    def forward(x_KTBF: Tensor, w_ih_KGF: Tensor, w_hh_KGH: Tensor, b_ih_KG: Tensor, b_hh_KG: Tensor, kind: CellKind,
                precision: Precision, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
        trials, hidden = w_hh_KGH.shape[0], w_hh_KGH.shape[2]
        _, steps, batch, _ = x_KTBF.shape
        narrow = torch.bfloat16 if precision == "mixed" else torch.float32
        bias_KG = b_ih_KG + b_hh_KG
        if kind == "gru":  # the new gate's recurrent bias stands inside the reset
            bias_KG = torch.cat([bias_KG[:, :2 * hidden], b_ih_KG[:, 2 * hidden:]], dim=1)
        x_KNF = x_KTBF.to(narrow).flatten(1, 2).expand(trials, -1, -1)
        x_KNG = torch.baddbmm(bias_KG.to(narrow).unsqueeze(1), x_KNF, w_ih_KGF.to(narrow).transpose(1, 2))
        out_KTBH = x_KNG.new_empty(trials, steps, batch, hidden)
        gates, cells = x_KNG.new_empty(trials, 0), torch.empty(trials, 0, device=x_KNG.device)
        w_KGH = w_hh_KGH.to(narrow).contiguous()
        plan = Plan.of(kind, trials, batch, hidden, precision, x_KNG.device)
        sizes = (steps, batch, hidden)
        with _on(x_KNG.device):
            if kind == "lstm":
                if keep:
                    gates = x_KNG.new_empty(trials, steps, batch, 4 * hidden)
                    cells = torch.empty(trials, steps, batch, hidden, device=x_KNG.device)
                plan.launch("lstm_forward", trials, batch, x_KNG, w_KGH, out_KTBH, gates, cells, *sizes, SAVE=keep)
            elif kind == "gru":
                if keep:
                    gates = x_KNG.new_empty(trials, steps, batch, 4 * hidden)
                b_KH = b_hh_KG[:, 2 * hidden:].float().contiguous()
                plan.launch("gru_forward", trials, batch, x_KNG, w_KGH, b_KH, out_KTBH, gates, *sizes, SAVE=keep)
            else:
                plan.launch("elman_forward", trials, batch, x_KNG, w_KGH, out_KTBH, *sizes, RELU=kind == "elman_relu")
        return out_KTBH, gates, cells

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x_KTBF, w_ih_KGF, w_hh_KGH, _, _, ctx.kind, ctx.precision, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_KTBF, w_ih_KGF, w_hh_KGH, *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out_KTBH: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if d_out_KTBH is None:
            return (None,) * 8
        x_KTBF, w_ih_KGF, w_hh_KGH, out_KTBH, *_ = ctx.saved_tensors
        d_KTBG, sum_KG = _recurrence_back(ctx.kind, ctx.precision, d_out_KTBH, *ctx.saved_tensors[2:])
        hidden = w_hh_KGH.shape[2]
        into_x, into_h = d_KTBG, d_KTBG
        w_KGF = w_ih_KGF
        sum_x = sum_h = sum_KG
        if ctx.kind == "gru":  # kept as new, reset, update, product of new
            into_x, into_h = d_KTBG[..., :3 * hidden], d_KTBG[..., hidden:]
            w_KGF = w_ih_KGF.roll(hidden, dims=1)
            sum_x, sum_h = sum_KG[:, :3 * hidden].roll(-hidden, dims=1), sum_KG[:, hidden:]
        x_KNF = x_KTBF.to(d_KTBG.dtype).flatten(1, 2).expand(len(d_KTBG), -1, -1)
        d_w_ih = torch.bmm(into_x.flatten(1, 2).transpose(1, 2), x_KNF)
        if ctx.kind == "gru":
            d_w_ih = d_w_ih.roll(-hidden, dims=1)
        d_w_hh = torch.bmm(into_h[:, 1:].flatten(1, 2).transpose(1, 2), out_KTBH[:, :-1].flatten(1, 2))
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = torch.bmm(into_x.flatten(1, 2), w_KGF.to(d_KTBG.dtype)).view(*out_KTBH.shape[:3], -1)
            d_x = d_x.sum_to_size(x_KTBF.shape).to(x_KTBF.dtype)
        own = sum_h.clone() if ctx.kind != "gru" else sum_h  # two parameters' gradients share no memory
        return d_x, d_w_ih.to(w_ih_KGF.dtype), d_w_hh.to(w_hh_KGH.dtype), sum_x, own, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, tuple[int, int, int]]:
        tensors = merge(info.batch_size, in_dims[:5], inputs[:5])
        outputs = _Layer.apply(*tensors, *inputs[5:7], wanted(*tensors))  # type: ignore[no-untyped-call]
        inner = len(outputs[0]) // info.batch_size
        return tuple(each.view(info.batch_size, inner, *each.shape[1:]) for each in outputs), (0, 0, 0)


def _recurrence_back(kind: CellKind, precision: Precision, d_out_KTBH: Tensor, w_hh_KGH: Tensor, out_KTBH: Tensor,
                     gates_KTBG: Tensor, cells_KTBH: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients before the activations (K, T, B, G; GRU: 4 * H wide) and their sums over T and B (K, G)."""
    trials, steps, batch, hidden = out_KTBH.shape
    gates = max(1, 4 * (GATES[kind] > 1))
    plan = Plan.of(kind, trials, batch, hidden, precision, out_KTBH.device)
    w_KGHH = w_hh_KGH.reshape(trials, GATES[kind], hidden, hidden)
    turned_KGHH = w_KGHH.transpose(2, 3).to(out_KTBH.dtype).contiguous()
    d_KTBG = out_KTBH.new_empty(trials, steps, batch, gates * hidden)
    d_out_KTBH = d_out_KTBH.contiguous()
    sums: list[Tensor] = []
    if not plan.part:
        sums.append(torch.empty(trials, triton.cdiv(batch, plan.rows), gates * hidden, device=out_KTBH.device))
    sizes = (steps, batch, hidden)
    with _on(out_KTBH.device):
        if kind == "lstm":
            plan.launch("lstm_backward", trials, batch, d_out_KTBH, turned_KGHH, gates_KTBG, cells_KTBH, d_KTBG,
                        *sums, *sizes)
        elif kind == "gru":
            plan.launch("gru_backward", trials, batch, d_out_KTBH, turned_KGHH, gates_KTBG, out_KTBH, d_KTBG, *sums,
                        *sizes)
        else:
            plan.launch("elman_backward", trials, batch, d_out_KTBH, turned_KGHH, out_KTBH, d_KTBG, *sums, *sizes,
                        RELU=kind == "elman_relu")
    return d_KTBG, sums[0].sum(dim=1) if sums else d_KTBG.sum(dim=(1, 2), dtype=torch.float32)
