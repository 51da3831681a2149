"""The search space: what each parameter may be, which of them are grid axes, and when a parameter is active."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from seqsweep.config.base import Config

Scalar = bool | int | float | str


class ParameterConfig(Config):
    """One parameter: `value`, `values`, or `min` and `max` (bounds inclusive)."""

    value: Scalar | None = None
    """Fixed."""
    values: tuple[Scalar, ...] | None = Field(default=None, min_length=1, max_length=1000)
    """Choices."""
    min: int | float | None = None
    """Smallest value, inclusive."""
    max: int | float | None = None
    """Largest value, inclusive."""
    log: bool = False
    """Draw on a logarithmic scale."""
    step: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0)] | None = None
    """Distance of neighbouring values, counted from `min`; excludes `log`."""
    search: Literal["auto", "grid"] = "auto"
    """`grid`: every value gets its fair share of trials; `auto`: the sweep's method draws it."""
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)
    """Active only where the named parameters have one of these values; else never sampled, logged or shown."""

    @property
    def is_grid(self) -> bool:
        """Whether this parameter is a grid axis."""
        return self.search == "grid"


Parameters = dict[str, ParameterConfig]
