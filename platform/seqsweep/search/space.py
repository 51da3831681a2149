"""The search space: grid cells, what may be drawn inside a cell, and which parameters are active."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from seqsweep.config.fields import SHIPPED, Fields, fields_of
from seqsweep.config.space import ParameterConfig, Parameters
from seqsweep.config.sweep import Sweep
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.records import Scalar

Distribution = FloatDistribution | IntDistribution | CategoricalDistribution
Params = dict[str, Scalar]
Draw = Callable[[str, ParameterConfig], Scalar]
"""Gives a value to an active parameter."""


@dataclass(frozen=True)
class Space:
    """One grid cell: its axes' values, and the parameters that may be active beside them."""

    parameters: Parameters
    """Every parameter of the sweep, each after those its `when` names."""
    axes: Mapping[str, Scalar]
    """The active grid axes' values in this cell; empty where the sweep has no grid axis."""
    names: tuple[str, ...]
    """The parameters in the order the sweep writes them."""
    fields: Fields = SHIPPED
    """What each of them is."""

    @property
    def key(self) -> str:
        """Canonical JSON of the axes' values; empty where there are none."""
        return json.dumps(dict(self.axes), sort_keys=True, separators=(",", ":")) if self.axes else ""

    @cached_property
    def distributions(self) -> dict[str, Distribution]:
        """What the brain draws from: parameters neither fixed, nor an axis, nor inactive throughout the cell."""
        return {name: distribution(name, parameter, self.fields) for name, parameter in self.parameters.items()
                if parameter.value is None and not parameter.is_grid and self._can_be_active(name)}

    @cached_property
    def size(self) -> int | None:
        """How many different trials the cell has; None where it has no end."""
        parents = {parent for parameter in self.parameters.values() for parent in parameter.when}
        count = self._count(list(self.parameters), {}, parents)
        return None if math.isinf(count) else int(count)

    def choose(self, draw: Draw) -> Params:
        """Give a value to every active parameter: axes and fixed ones their own, the rest what `draw` answers."""
        chosen: Params = {}
        for name, parameter in self.parameters.items():
            if self._is_active(name, chosen):
                own = self._own(name)
                chosen[name] = draw(name, parameter) if own is None else own
        return {name: chosen[name] for name in self.names if name in chosen}

    def points(self) -> Iterator[Params]:
        """Every trial of a finite cell once, the last parameter changing fastest."""
        for chosen in self._walk(list(self.parameters), {}):
            yield {name: chosen[name] for name in self.names if name in chosen}

    def admits(self, params: Mapping[str, Scalar]) -> bool:
        """Whether these are exactly the active parameters of a trial of this cell, each within its bounds."""
        try:
            return self.choose(lambda name, parameter: params[name]) == dict(params) and all(
                within(known, params[name]) for name, known in self.distributions.items() if name in params)
        except KeyError:
            return False

    def _own(self, name: str) -> Scalar | None:
        return self.axes.get(name, self.parameters[name].value)

    def _is_active(self, name: str, chosen: Mapping[str, Scalar]) -> bool:
        parameter = self.parameters[name]
        return (not parameter.is_grid or name in self.axes) and holds(parameter, chosen)

    def _can_be_active(self, name: str) -> bool:
        """Whether some trial of the cell has this parameter, taking what is drawn to be anything it may."""
        for parent, wanted in self.parameters[name].when.items():
            if parent not in self.parameters or not self._can_be_active(parent):
                return False
            own = self._own(parent)
            if own is not None and own not in wanted:
                return False
            if own is None and self.parameters[parent].is_grid:
                return False
        return True

    def _options(self, name: str) -> Sequence[Scalar] | None:
        own = self._own(name)
        return choices(name, self.parameters[name], self.fields) if own is None else (own,)

    def _count(self, names: list[str], chosen: Params, parents: set[str]) -> float:
        if not names:
            return 1
        name, rest = names[0], names[1:]
        if not self._is_active(name, chosen):
            return self._count(rest, chosen, parents)
        options = self._options(name)
        if options is None:
            return math.inf
        if name in parents:
            return sum(self._count(rest, chosen | {name: option}, parents) for option in options)
        return len(options) * self._count(rest, chosen, parents)

    def _walk(self, names: list[str], chosen: Params) -> Iterator[Params]:
        if not names:
            yield chosen
        elif not self._is_active(names[0], chosen):
            yield from self._walk(names[1:], chosen)
        else:
            for option in self._options(names[0]) or ():
                yield from self._walk(names[1:], chosen | {names[0]: option})


def holds(parameter: ParameterConfig, chosen: Mapping[str, Scalar]) -> bool:
    """Whether a parameter's `when` is met by the values chosen so far."""
    return all(parent in chosen and chosen[parent] in wanted for parent, wanted in parameter.when.items())


def cells(sweep: Sweep) -> tuple[Space, ...]:
    """The grid cells, in the order of the axes' values; one without axes where the sweep has no `search: grid`.

    An axis that is inactive in a cell does not multiply it. Raises InvalidSweep where an axis cannot be enumerated.
    """
    parameters, fields = _in_order(sweep.parameters), fields_of(sweep.owns.get("model"), sweep.owns.get("task"))
    _check_grid(parameters, sweep.method, fields)
    found: list[Params] = [{}]
    for name, parameter in parameters.items():
        if parameter.is_grid:
            options = choices(name, parameter, fields) or ()
            found = [cell | extra for cell in found for extra in
                     ([{name: option} for option in options] if holds(parameter, _known(parameters, cell)) else [{}])]
    return tuple(Space(parameters, cell, tuple(sweep.parameters), fields) for cell in found)


def size(sweep: Sweep) -> int | None:
    """How many different trials a sweep has over all its grid cells; None where it has no end."""
    sizes = [space.size for space in cells(sweep)]
    return None if None in sizes else sum(count for count in sizes if count is not None)


def choices(name: str, parameter: ParameterConfig, fields: Fields = SHIPPED) -> Sequence[Scalar] | None:
    """Every value a parameter may have, or None for a continuous range."""
    if parameter.value is not None:
        return (parameter.value,)
    if parameter.values is not None:
        return parameter.values
    low, high = _bounds(name, parameter)
    if is_integer(name, fields):
        return range(int(low), int(high) + 1, int(parameter.step or 1))
    if low == high:
        return (float(low),)
    if parameter.step is None:
        return None
    start, step = Decimal(str(low)), Decimal(str(parameter.step))
    return tuple(float(start + i * step) for i in range(int((Decimal(str(high)) - start) / step) + 1))


def distribution(name: str, parameter: ParameterConfig, fields: Fields = SHIPPED) -> Distribution:
    """The Optuna distribution of a searched parameter; integer fields of the configs are drawn as integers."""
    if parameter.values is not None:
        return CategoricalDistribution(parameter.values)
    low, high = _bounds(name, parameter)
    try:
        if is_integer(name, fields):
            return IntDistribution(int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
        return FloatDistribution(float(low), float(high), log=parameter.log,
                                 step=None if parameter.step is None else float(parameter.step))
    except ValueError as error:
        raise _invalid(name, str(error), "a log scale needs min above 0 and no step, and min is at most max") from error


def within(known: Distribution, value: Scalar) -> bool:
    """Whether a distribution can give this value."""
    if isinstance(known, CategoricalDistribution):
        return value in known.choices
    if not isinstance(value, int | float) or not known.low <= value <= known.high:
        return False
    steps = 0.0 if known.step is None else (value - known.low) / known.step
    return abs(steps - round(steps)) < 1e-6


def is_integer(name: str, fields: Fields = SHIPPED) -> bool:
    """Whether the model or the training loop wants a whole number here. Raises InvalidSweep for an unknown name."""
    if name not in fields:
        raise _invalid(name, "no model or training parameter has this name",
                       f"one of: {', '.join(sorted(fields.names))}")
    return fields.kind(name) == "integer"


def _bounds(name: str, parameter: ParameterConfig) -> tuple[int | float, int | float]:
    """Both bounds, the upper one moved down onto the last step (Optuna would do so with a warning)."""
    low, high, step = parameter.min, parameter.max, parameter.step
    if low is None or high is None or low > high:
        raise _invalid(name, "it needs `value`, `values`, or `min` and `max`", "give one of them, min at most max")
    if step is not None:
        low_d, step_d = Decimal(str(low)), Decimal(str(step))
        steps = int((Decimal(str(high)) - low_d) / step_d)
        high = float(low_d + steps * step_d)
    return low, high


def _in_order(parameters: Parameters) -> Parameters:
    """Each parameter after those its `when` names, otherwise as written."""
    graph = TopologicalSorter({name: tuple(parameter.when) for name, parameter in parameters.items()})
    try:
        order = list(graph.static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise _invalid(error.args[1][0], f"`when` goes in a circle: {circle}", "break it") from error
    return {name: parameters[name] for name in order if name in parameters}


def _known(parameters: Parameters, cell: Params) -> Params:
    """A cell's values and the fixed ones, for an axis that depends on them."""
    known: Params = {}
    for name, parameter in parameters.items():
        value = cell.get(name, parameter.value)
        if value is not None and holds(parameter, known):
            known[name] = value
    return known


def _check_grid(parameters: Parameters, method: str, fields: Fields) -> None:
    problems = []
    for name, parameter in parameters.items():
        enumerated = parameter.is_grid or method == "grid"
        if enumerated and choices(name, parameter, fields) is None:
            problems.append(Problem(f"parameters.{name}", "a grid cannot list a continuous range",
                                    "give `values`, or `step` beside `min` and `max`"))
        loose = [parent for parent in parameter.when if parent in parameters
                 and not parameters[parent].is_grid and parameters[parent].value is None]
        if parameter.is_grid and loose:
            problems.append(Problem(f"parameters.{name}", f"a grid axis cannot depend on {loose[0]}, which is drawn",
                                    f"give {loose[0]} `search: grid` too"))
    if problems:
        raise InvalidSweep(*problems)


def _invalid(name: str, what: str, right: str) -> InvalidSweep:
    return InvalidSweep(Problem(f"parameters.{name}", what, right))


def identity(params: Mapping[str, Scalar]) -> frozenset[tuple[str, Scalar]]:
    """What makes two trials the same point."""
    return frozenset(params.items())
