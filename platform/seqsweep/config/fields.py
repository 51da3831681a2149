"""The parameters a sweep may search: the fields of the model and of the training loop, or of a user's own code."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_origin

from pydantic import ValidationError

from seqsweep.config.base import Config
from seqsweep.config.models import AroundConfig, RecurrentConfig
from seqsweep.config.own import Own, signature_of
from seqsweep.config.space import Scalar
from seqsweep.config.training import TrainingConfig


class Fields:
    """Every name that may stand under `parameters` of a sweep, each with the config that it is a field of."""

    def __init__(self, *owners: type[Config]) -> None:
        self._owners = {name: owner for owner in owners for name in owner.model_fields}
        self.names = tuple(self._owners)

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def is_own(self, name: str) -> bool:
        """Whether it is an argument of the user's own model or learner."""
        return self._owners[name] not in (RecurrentConfig, AroundConfig, TrainingConfig)

    def kind(self, name: str) -> Literal["integer", "number", "boolean", "name"]:
        """What a parameter's values are."""
        annotation = self._owners[name].model_fields[name].annotation
        if annotation is str or get_origin(annotation) is Literal:
            return "name"
        return {bool: "boolean", int: "integer", float: "number"}[annotation]  # type: ignore[index, return-value]

    def default(self, name: str) -> Scalar:
        """What a parameter is where the sweep does not mention it."""
        value: Scalar = self._owners[name].model_fields[name].default
        return value

    def accepts(self, name: str, value: Any) -> bool:
        """Whether the field takes this value."""
        try:
            self._owners[name].model_validate({name: value})
        except ValidationError as error:
            return all(each["loc"][:1] != (name,) for each in error.errors())  # others may be missing
        return True

    def cast(self, name: str, value: Scalar) -> Scalar:
        """Write a whole number as a float where the field is one, so that 1 and 1.0 are the same trial."""
        return float(value) if self.kind(name) == "number" and isinstance(value, int) else value

    def schema(self, name: str) -> dict[str, Any]:
        """Give the field's JSON schema."""
        found: dict[str, Any] = self._owners[name].model_json_schema()["properties"][name]
        return found

    def allowed(self, name: str) -> str:
        """Say in words what the field takes."""
        from seqsweep.config.describe import describe  # needs the JSON schema of everything: only a mistake does

        return describe(self.schema(name))


SHIPPED = Fields(RecurrentConfig, TrainingConfig)
"""Those of seqsweep's own models."""


@lru_cache(maxsize=64)
def fields_of(model: Own | None, learner: Own | None = None) -> Fields:
    """The parameters of a sweep whose model, and what it learns, are the user's own or seqsweep's."""
    models = (RecurrentConfig,) if model is None else (signature_of(model).arguments, AroundConfig)
    learners = () if learner is None else (signature_of(learner, "task").arguments,)
    return Fields(*learners, *models, TrainingConfig)
