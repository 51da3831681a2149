"""The parameters a sweep may search: the fields of the model and of the training loop."""

from __future__ import annotations

from typing import Any, Literal, get_origin

from pydantic import ValidationError

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.space import Scalar
from seqsweep.config.training import TrainingConfig

_OWNERS = {name: owner for owner in (RecurrentConfig, TrainingConfig) for name in owner.model_fields}
FIELDS = tuple(_OWNERS)
"""Every name that may stand under `parameters`."""


def kind(name: str) -> Literal["integer", "number", "boolean", "name"]:
    """What a parameter's values are."""
    annotation = _OWNERS[name].model_fields[name].annotation
    if get_origin(annotation) is Literal:
        return "name"
    return {bool: "boolean", int: "integer", float: "number"}[annotation]  # type: ignore[index, return-value]


def default(name: str) -> Scalar:
    """What a parameter is where the sweep does not mention it."""
    value: Scalar = _OWNERS[name].model_fields[name].default
    return value


def accepts(name: str, value: Any) -> bool:
    """Whether the field takes this value."""
    try:
        _OWNERS[name].model_validate({name: value})
    except ValidationError:
        return False
    return True


def cast(name: str, value: Scalar) -> Scalar:
    """Write a whole number as a float where the field is one, so that 1 and 1.0 are the same trial."""
    return float(value) if kind(name) == "number" and isinstance(value, int) else value


def schema(name: str) -> dict[str, Any]:
    """Give the field's JSON schema."""
    found: dict[str, Any] = _OWNERS[name].model_json_schema()["properties"][name]
    return found


def allowed(name: str) -> str:
    """Say in words what the field takes."""
    from seqsweep.config.describe import describe  # needs the JSON schema of everything: only a mistake does

    return describe(schema(name))
