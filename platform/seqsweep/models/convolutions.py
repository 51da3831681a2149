"""Convolutions over time, before the recurrent layers and beside them, and the norms between them.

Shapes: B sequences, T steps (padded to the longest), C channels, D channels of the output, W steps of a window.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqsweep.config.models import RecurrentConfig
from seqsweep.models.linear import Linear
from seqsweep.models.padding import inside

_MOMENTUM, _EPS = 0.1, 1e-5
"""torch's defaults."""


class Convolution(Linear):
    """A linear map of the windows around each step; beyond the ends of the sequence there are zeros.

    `before`: steps of a window that lie before its own; all but one of them makes the convolution causal. `aligned`
    computes it as the product that it is: half as fast on a CPU as torch's own, whose bits depend on neighbours.
    """

    def __init__(self, inputs: int, outputs: int, width: int, before: int) -> None:
        super().__init__(inputs * width, outputs)
        self.width, self.before = width, before

    def forward(self, x_BTC: Tensor, earlier_BWC: Tensor | None = None) -> Tensor:
        """Return `(B, T, D)`; `earlier_BWC`: the steps before the first, zeros by default."""
        if earlier_BWC is None:
            x_BTC = functional.pad(x_BTC, (0, 0, self.before, self.width - 1 - self.before))
        else:
            x_BTC = torch.cat([earlier_BWC, x_BTC], dim=1)
        if not self.aligned:
            weight_DCW = self.weight.view(len(self.weight), -1, self.width)
            return functional.conv1d(x_BTC.transpose(1, 2), weight_DCW, self.bias).transpose(1, 2)
        windows_BTN = x_BTC.unfold(1, self.width, 1).flatten(2)
        return super().forward(windows_BTN.flatten(0, 1)).view(*windows_BTN.shape[:2], -1)


class BatchNorm(nn.Module):
    """Normalises each channel over the steps of all sequences, padding left out (Ioffe & Szegedy, 2015).

    Running figures take their place outside of training. They are buffers, and so part of checkpoints and packages.
    A batch in micro-batches is normalised piece by piece.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_BTC: Tensor, inside_BT1: Tensor | None) -> Tensor:
        """Return `(B, T, C)`; `inside_BT1` is false in the padding, None where there is none."""
        mean_C, var_C = self.running_mean, self.running_var
        x_BTC = x_BTC.to(mean_C.dtype)  # bfloat16 cannot count
        if self.training:
            mean_C, var_C, count = _moments(x_BTC, inside_BT1)
            with torch.no_grad():
                self.running_mean.mul_(1 - _MOMENTUM).add_(mean_C, alpha=_MOMENTUM)
                unbiased_C = var_C * (count / (count - 1).clamp(min=1))
                self.running_var.mul_(1 - _MOMENTUM).add_(unbiased_C, alpha=_MOMENTUM)
        return (x_BTC - mean_C) * (self.weight * (var_C + _EPS).rsqrt()) + self.bias


def _moments(x_BTC: Tensor, inside_BT1: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of each channel, and of how many steps they are."""
    if inside_BT1 is None:
        inside_BT1 = torch.ones_like(x_BTC[..., :1], dtype=torch.bool)
    count = inside_BT1.sum().to(x_BTC.dtype)
    mean_C = x_BTC.masked_fill(~inside_BT1, 0).sum(dim=(0, 1)) / count
    var_C = (x_BTC - mean_C).masked_fill(~inside_BT1, 0).square().sum(dim=(0, 1)) / count
    return mean_C, var_C, count


class ConvolutionsBefore(nn.Module):
    """Causal convolutions that the recurrent layers read in place of the input."""

    def __init__(self, config: RecurrentConfig, inputs: int) -> None:
        super().__init__()
        self.norm, self.activate = config.conv_norm, _ACTIVATIONS[config.conv_activation]
        channels, self.reach = config.conv_channels, config.conv_width - 1
        self.convolutions = nn.ModuleList(Convolution(size, channels, config.conv_width, self.reach)
                                          for size in [inputs] + [channels] * (config.conv_layers - 1))
        norm: Callable[[int], nn.Module] = BatchNorm if self.norm == "batch" else nn.LayerNorm
        self.norms = nn.ModuleList(norm(channels) for _ in self.convolutions if self.norm != "none")

    def forward(self, x_BTC: Tensor, length_B: Tensor | None = None) -> Tensor:
        """Return `(B, T, D)`; what lies in the padding stays there."""
        for layer, convolution in enumerate(self.convolutions):
            x_BTC = self._after(layer, convolution(x_BTC), length_B)
        return x_BTC

    def resume(self, x_BTC: Tensor, carried: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Return `(B, T, D)`, and the last inputs of each convolution, with which the next stretch goes on."""
        kept: list[Tensor] = []
        for layer, convolution in enumerate(self.convolutions):
            earlier = x_BTC.new_zeros(len(x_BTC), self.reach, x_BTC.shape[2]) if carried is None else carried[layer]
            kept.append(torch.cat([earlier, x_BTC], dim=1)[:, -self.reach:])
            x_BTC = self._after(layer, convolution(x_BTC, earlier), None)
        return x_BTC, kept

    def _after(self, layer: int, out_BTD: Tensor, length_B: Tensor | None) -> Tensor:
        if self.norm == "batch":
            out_BTD = self.norms[layer](out_BTD, inside(length_B, out_BTD.shape[1]))
        elif self.norm == "layer":
            out_BTD = self.norms[layer](out_BTD)
        return self.activate(out_BTD)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "gelu": functional.gelu, "tanh": torch.tanh}


class FullyConvolutional(nn.Module):
    """The convolutions of LSTM-FCN (Karim et al., 2018): three, with batch norm and ReLU, and the mean over time."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        sizes = (inputs, channels, 2 * channels, channels)
        self.convolutions = nn.ModuleList(Convolution(size, more, width, (width - 1) // 2)
                                          for size, more, width in zip(sizes, sizes[1:], (8, 5, 3), strict=False))
        self.norms = nn.ModuleList(BatchNorm(size) for size in sizes[1:])

    def forward(self, x_BTC: Tensor, length_B: Tensor | None) -> Tensor:
        """Return `(B, C)`."""
        inside_BT1 = inside(length_B, x_BTC.shape[1])
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x_BTC = torch.relu(norm(convolution(_blank(x_BTC, inside_BT1)), inside_BT1))
        if length_B is None:
            return x_BTC.mean(dim=1)
        return _blank(x_BTC, inside_BT1).sum(dim=1) / length_B.unsqueeze(-1)


def _blank(x_BTC: Tensor, inside_BT1: Tensor | None) -> Tensor:
    """Put zeros into the padding: a window at the end of a sequence reaches into it."""
    return x_BTC if inside_BT1 is None else x_BTC.masked_fill(~inside_BT1, 0)
