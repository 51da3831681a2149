"""Each parameter by itself: a known name, values its field takes, bounds that make sense."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast as typed

from seqsweep.config.describe import choices_of
from seqsweep.config.document import KeyPath
from seqsweep.config.fields import Fields
from seqsweep.config.own import signature_of
from seqsweep.config.problems import shown, suggestion
from seqsweep.config.space import ParameterConfig, Scalar
from seqsweep.config.structure import Draft, hint

Number = int | float


def check_parameters(draft: Draft) -> dict[str, ParameterConfig]:
    """Note what is wrong with each parameter. Returns the sound ones, with whole numbers of float fields as floats."""
    sound = {}
    for name, parameter in draft.sweep.parameters.items():
        before = len(draft.problems.found)
        if draft.problems.full:
            break
        _Check(draft, name, parameter).run()
        if len(draft.problems.found) == before:
            sound[name] = normal(name, parameter, draft.fields)
    return sound


def normal(name: str, parameter: ParameterConfig, fields: Fields) -> ParameterConfig:
    """Give every number the type of the parameter's field, also in `when` the types of the parents'."""
    when = {parent: tuple(fields.cast(parent, value) for value in wanted) for parent, wanted in parameter.when.items()
            if parent in fields}
    numbers = {key: fields.cast(name, value) for key in ("value", "min", "max", "step")
               if (value := getattr(parameter, key)) is not None}
    values = None if parameter.values is None else tuple(fields.cast(name, value) for value in parameter.values)
    return parameter.model_copy(update={**numbers, "values": values, "when": parameter.when | when})


def points(parameter: ParameterConfig) -> Iterator[Scalar] | None:
    """Every value a normal parameter can have; None for a continuous range."""
    if parameter.value is not None:
        return iter((parameter.value,))
    if parameter.values is not None:
        return iter(parameter.values)
    low, high, step = typed(Number, parameter.min), typed(Number, parameter.max), parameter.step
    if isinstance(low, int):
        return iter(range(low, int(high) + 1, int(step or 1)))
    return None if step is None else _steps(low, step, round((high - low) / step))


def count(parameter: ParameterConfig) -> int | None:
    """How many values a normal parameter can have; None for a continuous range."""
    if parameter.value is not None:
        return 1
    if parameter.values is not None:
        return len(parameter.values)
    low, high, step = typed(Number, parameter.min), typed(Number, parameter.max), parameter.step
    if isinstance(low, int):
        return (int(high) - low) // int(step or 1) + 1
    return None if step is None else round((high - low) / step) + 1


def _steps(low: float, step: float, number: int) -> Iterator[float]:
    from decimal import Decimal  # 0.1 + 2 * 0.1 is to be 0.3

    return (float(Decimal(str(low)) + i * Decimal(str(step))) for i in range(number + 1))


class _Check:
    """One parameter under scrutiny."""

    def __init__(self, draft: Draft, name: str, parameter: ParameterConfig) -> None:
        self._draft = draft
        self._name = name
        self._parameter = parameter
        self._path: KeyPath = ("parameters", name)
        self._fields = draft.fields

    def run(self) -> None:
        if self._name not in self._fields:
            for section in ("model", "task"):
                own = self._draft.sweep.owns.get(section) if self._draft.sound(section) else None
                if own and self._name in signature_of(own, section).others:
                    self._refuse((), f"{self._name} of {own.name} cannot be searched: type or default are not read off "
                                 "the file", f'{self._name}: float = 2.0; likewise int, bool, str or Literal["a", "b"]',
                                 key=True)
                    return
            learner = self._draft.sweep.owns.get("task") if self._draft.sound("task") else None
            others = f", of {learner.name}" if learner else ""
            self._refuse((), f'"{self._name[:60]}" is no parameter of the model{others} or of its training',
                         suggestion(self._name, self._fields.names, "parameters"), key=True)
        elif self._has_one_form():
            self._check_values()
            self._check_range()
            self._check_spacing()

    def _refuse(self, below: KeyPath, what: str, right: str, key: bool = False) -> None:
        self._draft.refuse(self._path + below, what, right, key)

    def _has_one_form(self) -> bool:
        """Exactly one of value, values, or min and max."""
        parameter = self._parameter
        ranged = parameter.min is not None or parameter.max is not None
        given = {"value": parameter.value is not None, "values": parameter.values is not None, "min": ranged}
        forms = [form for form in given if given[form]]
        accepted = "value, values, or min and max"
        if not forms:
            self._refuse((), f"{self._name} has no values", f"{accepted}: {self._fields.allowed(self._name)}", key=True)
        elif len(forms) > 1:
            second = "max" if forms[1] == "min" and parameter.min is None else forms[1]
            self._refuse((second,), f"{self._name} has both {forms[0]} and {second}", f"one of {accepted}", key=True)
        elif forms == ["min"] and (parameter.min is None or parameter.max is None):
            missing = "min" if parameter.min is None else "max"
            self._refuse((), f"{self._name} has no {missing}", f"min and max: {self._fields.allowed(self._name)}",
                         key=True)
        else:
            return True
        return False

    def _check_values(self) -> None:
        listed = self._parameter.values
        single = self._parameter.value
        seen: dict[Scalar, int] = {}
        for number, value in enumerate(listed or (() if single is None else (single,))):
            below: KeyPath = ("values", number) if listed else ("value",)
            if not self._fields.accepts(self._name, value):
                meant = hint(value, wanted := self._fields.schema(self._name), choices_of(wanted))
                self._refuse(below, f"{self._name} cannot be {shown(value)}", meant + self._fields.allowed(self._name))
            elif (same := self._fields.cast(self._name, value)) in seen:
                self._refuse(below, f"{shown(value)} stands twice among the values of {self._name}", "each value once")
            else:
                seen[same] = number

    def _check_range(self) -> None:
        low, high = self._parameter.min, self._parameter.max
        if low is None or high is None:
            return
        if self._fields.kind(self._name) in ("name", "boolean"):
            self._refuse(("min",), f"{self._name} has no range",
                         f"values: [...], each {self._fields.allowed(self._name)}", key=True)
            return
        wrong = False
        for key, bound in (("min", low), ("max", high)):
            if not self._fields.accepts(self._name, bound):
                self._refuse((key,), f"{key} of {self._name} cannot be {shown(bound)}",
                             self._fields.allowed(self._name))
                wrong = True
        if not wrong and not math.isfinite(float(high) - float(low)):
            self._refuse(("max",), f"from {low} to {high} is further than a number can tell", "a narrower range")
            return
        if not wrong and low >= high:
            equal = "equals" if low == high else "is not below"
            self._refuse(("max",) if low == high else ("min",), f"min of {self._name}, {low}, {equal} max, {high}",
                         f"value: {low}" if low == high else f"min: {high}, max: {low}")

    def _check_spacing(self) -> None:
        parameter = self._parameter
        for key in ("log", "step"):
            if parameter.min is None and getattr(parameter, key):
                self._refuse((key,), f"{key} has no meaning without min and max", "remove it", key=True)
        if parameter.min is None or parameter.max is None or self._fields.kind(self._name) in ("name", "boolean"):
            return
        if parameter.log and parameter.min <= 0:
            self._refuse(("min",), f"a logarithmic scale cannot begin at {parameter.min}", "min above 0, or no log")
        if parameter.log and parameter.step is not None:
            self._refuse(("step",), "step and log exclude each other", "one of them", key=True)
        elif parameter.step is not None:
            self._check_step(parameter.min, parameter.max, parameter.step)

    def _check_step(self, low: Number, high: Number, step: Number) -> None:
        if self._fields.kind(self._name) == "integer" and not isinstance(step, int):
            self._refuse(("step",), f"step of {self._name} cannot be {step}", "a whole number")
            return
        steps = (high - low) / step
        if steps > 1e9 or (low < high and abs(steps - max(1, round(steps))) > 1e-6):
            below = low + int(min(steps, 1e9)) * step
            self._refuse(("step",), f"steps of {step} from {low} do not reach max, {high}",
                         f"max: {below:.12g} or {below + step:.12g}")
