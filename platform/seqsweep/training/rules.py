"""Update rules: torch's fused ones, called without the hooks around them, which cost more than the update.

Measured for an LSTM of 16 units on a CPU: `torch.optim.Adam.step` and `zero_grad` 340 us a step, the call itself 30.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seqsweep.config.training import TrainingConfig

_BETA1, _BETA2, _EPS, _ALPHA = 0.9, 0.999, 1e-8, 0.99
"""torch's defaults."""


class Rule(ABC):
    """Changes weights by their gradients; its memory is one tensor of each kind for each weight."""

    kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TrainingConfig, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters, self.decay, self.momentum = list(parameters), config.weight_decay, config.momentum
        self.memory: dict[str, list[Tensor]] = {
            kind: [torch.zeros((), device=p.device) if kind == "step" else torch.zeros_like(p, requires_grad=False)
                   for p in parameters] for kind in self.kinds}

    def step(self, gradients: list[Tensor], rate: float) -> None:
        """Change the weights once."""
        self._change([parameter.data for parameter in self.parameters], gradients, rate)

    @abstractmethod
    def _change(self, weights: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        """Change the weights and the memory in place."""

    def state(self) -> dict[str, Any]:
        """Return the memory as numpy copies, named `parameter number/kind`."""
        return {f"{number}/{kind}": tensor.cpu().numpy().copy()
                for kind, tensors in self.memory.items() for number, tensor in enumerate(tensors)}

    def load(self, arrays: Mapping[str, Any]) -> None:
        """Put the memory back."""
        for kind, tensors in self.memory.items():
            for number, tensor in enumerate(tensors):
                tensor.copy_(torch.from_numpy(arrays[f"{number}/{kind}"]))


class Adam(Rule):
    """Kingma & Ba (2015), with an L2 penalty in the gradient."""

    kinds = ("step", "exp_avg", "exp_avg_sq")
    _fused: ClassVar[Any] = staticmethod(torch._fused_adam_)

    def _change(self, weights: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        memory = self.memory
        torch._foreach_add_(memory["step"], 1)
        self._fused(weights, gradients, memory["exp_avg"], memory["exp_avg_sq"], [], memory["step"], lr=rate,
                    beta1=_BETA1, beta2=_BETA2, weight_decay=self.decay, eps=_EPS, amsgrad=False, maximize=False)


class AdamW(Adam):
    """Loshchilov & Hutter (2019): the penalty is decoupled from the gradient."""

    _fused = staticmethod(torch._fused_adamw_)


class RMSprop(Rule):
    """Tieleman & Hinton (2012); torch has no fused one."""

    kinds = ("square_avg",)

    def _change(self, weights: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        if self.decay:
            gradients = list(torch._foreach_add(gradients, weights, alpha=self.decay))
        squares = self.memory["square_avg"]
        torch._foreach_mul_(squares, _ALPHA)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - _ALPHA)
        spread = list(torch._foreach_sqrt(squares))
        torch._foreach_add_(spread, _EPS)
        torch._foreach_addcdiv_(weights, gradients, spread, -rate)


class SGD(Rule):
    """Stochastic gradient descent with Polyak's (1964) momentum; its first step finds a memory of zeros."""

    kinds = ("momentum_buffer",)

    def _change(self, weights: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        torch._fused_sgd_(weights, gradients, self.memory["momentum_buffer"] if self.momentum else [],
                          weight_decay=self.decay, momentum=self.momentum, lr=rate, dampening=0.0, nesterov=False,
                          maximize=False, is_first_step=False)


_RULES: dict[str, type[Rule]] = {"adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "sgd": SGD}


def build_rule(config: TrainingConfig, parameters: Sequence[nn.Parameter]) -> Rule:
    """Return the update rule of a config."""
    return _RULES[config.optimizer](config, parameters)
