"""A CUDA graph's semantics on a CPU: recording does nothing, a replay repeats the same operations on the same memory.

What Python decided while recording - numbers, shapes, which tensors - is frozen, as it is in a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, Tensor) and each.numel():
                place = each.untyped_storage().data_ptr()
                if place not in self._made and place not in self._before:
                    whole = torch.empty(0, dtype=torch.uint8).set_(each.untyped_storage())
                    self._before[place] = (whole, whole.clone())
        out = func(*args, **kwargs)
        outs = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        known = self._before.keys() | self._made
        self._made |= {each.untyped_storage().data_ptr() for each in outs if each.numel()} - self._before.keys()
        fresh = [each for each in outs if each.untyped_storage().data_ptr() not in known]
        self.calls.append((func, args, kwargs, fresh))
        return out

    def undo(self) -> None:
        for whole, before in self._before.values():
            whole.copy_(before)


def record(function: Callable[[], None]) -> Callable[[], None]:
    """Stand in for `recorded.record`."""
    tape = _Tape()
    with tape:
        function()
    tape.undo()

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, fresh in tape.calls:
                again = func(*args, **kwargs)
                outs = [each for each in tree_leaves(again) if isinstance(each, Tensor)]
                for old in fresh:
                    for new in outs:
                        if new is not old and new.shape == old.shape and new.dtype == old.dtype:
                            old.copy_(new)
                            outs = [each for each in outs if each is not new]
                            break

    return replay
