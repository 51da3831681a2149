"""W&B's `distribution:` of a parameter, rewritten into `value`, `values`, or `min` and `max` with `log` or `step`."""

from __future__ import annotations

import math

from seqsweep.config.document import Node
from seqsweep.config.fields import Fields
from seqsweep.config.problems import Problems, suggestion

DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "constant": ("value",),
    "categorical": ("values",),
    "uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "q_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
}
"""The distributions that are known, and the keys each is described by."""


def resolve_distribution(name: str, parameter: Node, problems: Problems, fields: Fields) -> None:
    """Rewrite one parameter in place. `uniform` over a whole-number field, and steps off zero, are problems."""
    node = parameter.children.pop("distribution", None)
    if node is None:
        return
    if not isinstance(node.value, str) or node.value not in DISTRIBUTIONS:
        problems.add(node.place, f"{_shown(node.value)} is no distribution", _known(node.value))
        return
    kind_of = node.value
    for other in ("value", "values", "min", "max"):
        needed = other in DISTRIBUTIONS[kind_of]
        if needed != (other in parameter.children):
            entry = parameter.children.get(other, node)
            what = f"{kind_of} needs {other}" if needed else f"{kind_of} has no {other}"
            problems.add(entry.key, what, f"{kind_of} with {' and '.join(DISTRIBUTIONS[kind_of])}")
    if kind_of == "uniform" and name in fields and fields.kind(name) == "integer":
        problems.add(node.place, f"uniform draws fractions, and {name} is a whole number", "int_uniform")
    elif kind_of == "log_uniform_values":
        _set(parameter, "log", True, node)
    elif kind_of == "int_uniform":
        _set(parameter, "step", 1, node)
    elif kind_of == "q_uniform":
        _quantise(parameter, node, problems)


def _quantise(parameter: Node, node: Node, problems: Problems) -> None:
    """`q_uniform` draws multiples of q, `step` counts from min: the same where min is a multiple."""
    q = parameter.children.pop("q", None)
    width = q.value if q else 1
    low = parameter.children.get("min")
    if isinstance(width, str) or not isinstance(width, (int, float)) or not width > 0:
        problems.add(q.place if q else node.place, "q is no number above 0", "q: the distance of two values")
        return
    _set(parameter, "step", width, q or node)
    if low and isinstance(low.value, (int, float)) and math.isfinite(low.value) \
            and abs(math.remainder(low.value, width)) > 1e-9 * width:
        problems.add(low.place, f"q_uniform draws multiples of {width:g}, and min is none", "min, max and step")


def _set(parameter: Node, key: str, value: bool | int | float, node: Node) -> None:
    parameter.children.setdefault(key, Node(value, node.place, node.key, node.name))


def _shown(value: object) -> str:
    return f'"{value:.60}"' if isinstance(value, str) else "this"


def _known(value: object) -> str:
    if value in ("log_uniform", "q_log_uniform", "inv_log_uniform"):
        return "log_uniform_values with min and max (in W&B the bounds of this one are exponents)"
    return suggestion(str(value), DISTRIBUTIONS)
