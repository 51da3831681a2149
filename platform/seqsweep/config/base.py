"""The base of every config, and the two small languages in it: durations (`14d`) and shares (`10%`)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Config(BaseModel):
    """Frozen, strict, and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, protected_namespaces=(),
                              allow_inf_nan=False, use_attribute_docstrings=True)


def parse_duration(value: Any) -> float:
    """Read `90s`, `30m`, `2h`, `14d`, `1w` or a number of seconds. Returns seconds; raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        seconds = float(match[1]) * _UNITS[match[2]]
    else:
        raise ValueError("a duration is a number with a unit: 90s, 30m, 2h, 14d or 1w")
    if not 1e-3 <= seconds < 1e9:
        raise ValueError("a duration lies between a millisecond and 30 years")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds the way a sweep does: the largest unit that leaves a whole number."""
    for unit in "wdhm":
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.12g}{unit}"
    return f"{seconds!r}s".replace(".0s", "s")


_JSON_DURATION = WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0},
                                           {"type": "string", "pattern": r"^\d+(\.\d+)?\s*[smhdw]$"}]})
Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration), _JSON_DURATION]
"""A length of time in seconds, written `30m`."""


class Extent(Config):
    """How much of the data: a share of it, a number of rows, or a length of time; exactly one is set."""

    share: float | None = None
    """Between 0 and 1."""
    rows: int | None = None
    """Rows (time steps of one series, or rows of a table)."""
    seconds: float | None = None
    """Seconds of the time column."""

    def __str__(self) -> str:
        if self.share is not None:
            written = (f"{100 * self.share:.{digits}g}" for digits in (12, 15, 17))
            return next((text for text in written if float(text) / 100 == self.share), f"{100 * self.share}") + "%"
        return str(self.rows) if self.rows is not None else format_duration(self.seconds or 0.0)


def parse_extent(value: Any) -> Any:
    """Read `10%`, `480` or `14d` into an Extent; raises ValueError."""
    if isinstance(value, Extent):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Extent(rows=value)
    if isinstance(value, str):
        if match := _SHARE.fullmatch(value.strip()):
            share = float(match[1]) / 100
            if 1e-4 <= share < 1:
                return Extent(share=share)
            raise ValueError("a share lies between 0.01% and 100%")
        if _DURATION.fullmatch(value.strip()):
            return Extent(seconds=parse_duration(value))
    raise ValueError("say how much as a share (10%), a number of rows (480) or a length of time (14d)")


_JSON_EXTENT = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1},
                                         {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(%|[smhdw])$"}]})


def write_extent(extent: Extent) -> int | str:
    """Write an Extent the way a sweep does: rows as a number, the others as text."""
    return str(extent) if extent.rows is None else extent.rows


Amount = Annotated[Extent, BeforeValidator(parse_extent), PlainSerializer(write_extent), _JSON_EXTENT]
"""An Extent written `10%`, `480` or `14d`."""
