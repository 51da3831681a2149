"""A user's own model in the place of seqsweep's layers: from a batch of sequences to one state each.

Shapes: B sequences, T steps (padded to the longest), F features, H numbers of a state.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seqsweep.config.models import OwnModelConfig
from seqsweep.config.own import Own
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.models.padding import last
from seqsweep.own import load, told

PADDING_TOLERANCE = 1e-4
"""By how much, of the largest state, float32 may differ between a padded sequence and the same alone."""
_FIRST, _SECOND = 3, 5
"""Steps of the two sequences that a new model is tried with."""


class OwnEncoder(nn.Module):
    """Calls the user's module with sequences `(B, T, F)`, and with their lengths `(B,)` where its forward takes two.

    It answers states of all steps `(B, T, H)`, of which the last of each sequence is taken, or one state each `(B, H)`.
    What it draws at random (dropout) depends on the trial's seed and the step alone.
    """

    def __init__(self, config: OwnModelConfig, input_size: int) -> None:
        """Build it and try it on two short sequences of zeros; raises InvalidSweep where it does not do as above."""
        super().__init__()
        self.own = config.own
        made: Any = load(self.own)
        with told(self.own, f"{self.own.name}({_call(input_size, config)})"):
            module = made(input_size, **config.arguments)
        if not isinstance(module, nn.Module):
            raise _refused(self.own, f"{self.own.name} is no torch.nn.Module", "class "
                           f"{self.own.name}(torch.nn.Module)")
        self.module = module
        self._reads_lengths = _arguments(module) > 1
        self._tried = False
        module.eval()
        with torch.no_grad(), told(self.own, f"forward of sequences (2, {_SECOND}, {input_size})"):
            answer = self._call(torch.zeros(2, _SECOND, input_size), torch.tensor([_FIRST, _SECOND]))
        module.train()
        self.output_size = self._size(answer)

    def _size(self, answer: Any) -> int:
        right = f"a tensor (2, {_SECOND}, H), states of all steps, or (2, H), one state a sequence"
        if not isinstance(answer, Tensor):
            raise _refused(self.own, f"forward returns a {type(answer).__name__}", right)
        if answer.ndim not in (2, 3) or answer.shape[:answer.ndim - 1] != (2, _SECOND)[:answer.ndim - 1]:
            raise _refused(self.own, f"forward of sequences (2, {_SECOND}, F) returns {tuple(answer.shape)}", right)
        if not answer.dtype.is_floating_point:
            raise _refused(self.own, f"forward returns {answer.dtype}", "floating point numbers")
        if not answer.isfinite().all():
            raise _refused(self.own, "forward of zeros is not finite", "finite numbers")
        return int(answer.shape[-1])

    def forward(self, x_BTF: Tensor, length_B: Tensor | None = None, key: Tensor | None = None, first: int = 0
                ) -> Tensor:
        """Read sequences and return their states `(B, H)`; see `Recurrent.forward`."""
        if length_B is not None and not self._tried:
            self._tried = True
            self._try_padding(x_BTF)
        with drawing(x_BTF, key, first):
            state_BH = self._states(self._call(x_BTF, length_B), length_B)
        if not _traced() and state_BH.shape != (len(x_BTF), self.output_size):
            # one row would be taken for all
            raise _refused(self.own, f"forward of sequences {tuple(x_BTF.shape)} gives states {tuple(state_BH.shape)}",
                           f"({len(x_BTF)}, {self.output_size}): one state a sequence, as wide as it began")
        return state_BH

    def outputs(self, x_BTF: Tensor) -> Tensor | None:
        """Return what the module gives at every step, `(B, T, H)`; None where it gives one state a sequence."""
        answer = self._call(x_BTF, None)
        return answer if answer.ndim == 3 else None

    def _call(self, x_BTF: Tensor, length_B: Tensor | None) -> Tensor:
        if length_B is None and self._reads_lengths:
            length_B = torch.full((len(x_BTF),), x_BTF.shape[1], device=x_BTF.device)
        given = (x_BTF, length_B) if self._reads_lengths else (x_BTF,)
        if _traced():
            return self.module(*given)  # type: ignore[no-any-return]
        try:
            answer: Tensor = self.module(*given)
        except SystemExit as error:  # which would end a worker, or the whole run, without a word
            raise RuntimeError(f"{self.own.name} ends the process: SystemExit({error})") from error
        return answer

    def _states(self, answer: Tensor, length_B: Tensor | None) -> Tensor:
        return answer if answer.ndim == 2 else last(answer, length_B)

    @torch.no_grad()
    def _try_padding(self, like: Tensor) -> None:
        """Raise InvalidSweep where a sequence gives another state once it is padded."""
        draw = torch.Generator().manual_seed(0)
        x_BTF = torch.randn(2, _SECOND, like.shape[2], generator=draw).to(like)
        x_BTF[0, _FIRST:] = 0.0
        length_B = torch.tensor([_FIRST, _SECOND], device=like.device)
        was = self.module.training
        self.module.eval()
        padded_H = self._states(self._call(x_BTF, length_B), length_B)[0]
        alone_H = self._states(self._call(x_BTF[:1, :_FIRST], length_B[:1]), length_B[:1])[0]
        self.module.train(was)
        if not (padded_H - alone_H).abs().max() <= PADDING_TOLERANCE * (1 + alone_H.abs().max()):
            raise _refused(self.own, "a sequence gives another state once it is padded behind its end, which this data "
                           "need, whose sequences differ in length", padding_advice(self._reads_lengths))


def _traced() -> bool:
    """Whether a program is being written, which is of any batch and knows no exception."""
    return torch.compiler.is_compiling() or torch.compiler.is_exporting()


def padding_advice(reads_lengths: bool) -> str:
    """What makes a model blind to the padding."""
    return ("leave out what lies behind each length" if reads_lengths else
            "return the states of all steps (B, T, H), each of its own and earlier steps; or take the lengths: "
            "forward(self, x, lengths)")


def _arguments(module: nn.Module) -> int:
    """How many arguments its forward can be given."""
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    return 2 if inspect.Parameter.VAR_POSITIONAL in kinds else sum(
        kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


@contextmanager
def drawing(x: Tensor, key: Tensor | None, first: int) -> Iterator[None]:
    """Let torch's own random numbers follow from the step's key, and leave those of the process as they were."""
    if key is None:
        yield
        return
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        torch.manual_seed((int(key) & 0xFFFFFFFF) << 20 | first)
        yield


def _call(input_size: int, config: OwnModelConfig) -> str:
    return ", ".join([str(input_size), *(f"{name}={value!r}" for name, value in config.arguments.items())])


def _refused(own: Own, what: str, right: str) -> InvalidSweep:
    return InvalidSweep(Problem(own.entry, what, right))
