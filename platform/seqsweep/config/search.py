"""Whether a search makes sense as a whole: parameters that matter, grids that end, a budget that fits them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from seqsweep.config.conditions import values_of
from seqsweep.config.document import KeyPath
from seqsweep.config.parameters import count, points
from seqsweep.config.space import ParameterConfig, Parameters, Scalar
from seqsweep.config.structure import Draft

_MOST_CELLS = 100_000
_MOST_POINTS = 1000
_EFFECT: dict[str, tuple[str, tuple[Scalar, ...], str]] = {
    "dropout": ("num_layers", tuple(range(2, 17)), "works between layers; variational_dropout needs only one"),
    "residual": ("num_layers", tuple(range(2, 17)), "adds to a layer the one before"),
    "nonlinearity": ("cell", ("elman",), "is the elman cell's"),
    "forget_bias": ("cell", ("lstm", "peephole"), "is the forget gate's"),
    "heads": ("pooling", ("multihead",), "is for multihead pooling"),
    **{name: ("conv_layers", tuple(range(1, 9)), "is for convolutions before the recurrent layers")
       for name in ("conv_channels", "conv_width", "conv_norm", "conv_activation")},
    "momentum": ("optimizer", ("sgd",), "is the sgd optimizer's"),
}
"""Parameters that do nothing unless another has one of these values."""


def check_search(draft: Draft, parameters: Parameters, complete: bool) -> None:
    """Note what makes a search pointless or endless.

    `parameters` are normal, with their conditions resolved; `complete`: none was refused and left out.
    """
    for name in parameters:
        _check_effect(draft, name, parameters)
    _check_schedule(draft, parameters)
    ends = [_ends_on_a_grid(draft, name, parameter) for name, parameter in parameters.items()]
    if complete and all(ends) and draft.sound("method", "budget"):
        _check_budget(draft, parameters)


def _check_effect(draft: Draft, name: str, parameters: Parameters) -> None:
    """Refuse a parameter that would do nothing in any trial: its search would be noise."""
    if name not in _EFFECT or draft.fields.is_own(name) or parameters[name].value == draft.fields.default(name):
        return
    parent, useful, reason = _EFFECT[name]
    if parent in parameters:
        values = frozenset(parameters[name].when.get(parent, ())) or values_of(parameters[parent])
    elif draft.written("parameters", parent):
        return  # refused already
    else:
        values = frozenset({draft.fields.default(parent)})
    if not values.intersection(useful):
        found = ", ".join(sorted(map(str, values)))
        draft.refuse(("parameters", name), f"{name} has no effect here: it {reason}, and {parent} is {found}",
                     f"remove it, or let {parent} be {' or '.join(map(str, useful[:2]))}", key=True)


def _ends_on_a_grid(draft: Draft, name: str, parameter: ParameterConfig) -> bool:
    """Whether a parameter that a grid tries has few values; one that no trial has is left out before."""
    by_method = draft.sweep.method == "grid" and draft.sound("method")
    low, high = parameter.min, parameter.max
    if not (parameter.is_grid or by_method) or low is None or high is None:
        return True
    why = "search: grid" if parameter.is_grid else "method: grid"
    at: KeyPath = ("parameters", name, "search" if parameter.is_grid else "min")
    place = draft.root.find(("parameters", name)).key
    elsewhere = place.line > 0 and place.origin != draft.root.place.origin
    if count(parameter) is None:
        draft.refuse(at, f"{why} cannot try every value of {name}, a continuous range", "values: [...], or a step"
                     + ("; parameters of the sweep win over those of a search space" if elsewhere else ""), key=True)
    elif parameter.log:
        draft.refuse(("parameters", name, "log"), f"log has no meaning with {why}, which tries every value",
                     "values: [...]", key=True)
    elif high - low > (_MOST_POINTS - 1) * (parameter.step or 1):
        draft.refuse(at, f"{name} has more than {_MOST_POINTS} values on a grid", "values: [...], or a step", key=True)
    else:
        return True
    return False


def _check_schedule(draft: Draft, parameters: Parameters) -> None:
    warmup, epochs = parameters.get("warmup_epochs"), parameters.get("epochs")
    if warmup is None:
        return
    least = min(value for value in (warmup.value, warmup.min, *(warmup.values or ())) if isinstance(value, int))
    limits = (epochs.value, epochs.max, *(epochs.values or ())) if epochs else (draft.fields.default("epochs"),)
    most = max(value for value in limits if isinstance(value, int))
    if least >= most:
        draft.refuse(("parameters", "warmup_epochs"),
                     f"the warm-up of {least} epochs never ends, since no trial has more than {most}",
                     f"fewer than {most}", key=True)


def _check_budget(draft: Draft, parameters: Parameters) -> None:
    method, budget = draft.sweep.method, draft.sweep.budget
    axes = {name: parameter for name, parameter in parameters.items()
            if parameter.is_grid or parameter.value is not None or method == "grid"}
    size = sum(1 for _ in islice(_cells(axes, list(_parents_first(axes)), {}), _MOST_CELLS + 1))
    limit = draft.root.get(("budget", "max_trials"))
    axis = next((name for name, parameter in parameters.items() if parameter.is_grid), None)
    at = ("parameters", axis) if axis else ("method",)
    if size > _MOST_CELLS:
        draft.refuse(at, f"the grid has more than {_MOST_CELLS:,} cells", "fewer values, or a method that samples",
                     key=True)
    elif size > 1 and limit is not None and limit.name == "num_samples":
        draft.refuse(("budget", "max_trials"), "num_samples beside a grid: Ray Tune counts repeats of the grid, "
                                               "max_trials counts trials", f"max_trials: {limit.value * size}"
                     if isinstance(limit.value, int) else "max_trials", key=True)
    elif limit is None and size > budget.max_trials:
        draft.refuse(at, f"the grid has {size:,} cells, and budget.max_trials is {budget.max_trials} where nothing is "
                         "said, so that some would never be tried", f"budget: {{max_trials: {size}}}, or as many as "
                     "you want", key=True)
    elif limit is None and method != "grid" and all(len(values_of(one)) == 1 for one in parameters.values()):
        draft.refuse(("parameters",), f"nothing is searched: {budget.max_trials} trials would differ in their seed",
                     "values, or min and max, for a parameter; or budget: {max_trials: 1}", key=True)


def _parents_first(axes: Parameters) -> Iterator[str]:
    from graphlib import TopologicalSorter

    return iter(tuple(TopologicalSorter(
        {name: [parent for parent in axis.when if parent in axes] for name, axis in axes.items()}).static_order()))


def _cells(axes: Parameters, names: list[str], chosen: dict[str, Scalar]) -> Iterator[dict[str, Scalar]]:
    """Every cell of the grid; an axis that is inactive does not multiply it."""
    if not names:
        yield chosen
        return
    axis = axes[names[0]]
    if all(chosen.get(parent) in wanted for parent, wanted in axis.when.items() if parent in axes):
        for value in points(axis) or ():
            yield from _cells(axes, names[1:], chosen | {names[0]: value})
    else:
        yield from _cells(axes, names[1:], chosen)
