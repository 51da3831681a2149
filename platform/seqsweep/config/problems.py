"""Where a thing stands in a file, and the list of all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from seqsweep.errors import Problem

_MOST_PROBLEMS = 200
_LONGEST_SHOWN = 60


@dataclass(frozen=True, order=True)
class Place:
    """A line and a column of a file, both from 1; line 0 where `origin` is a key path of a dict."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass
class Problems:
    """Collects every problem of a sweep; beyond 200 they are only counted."""

    found: list[tuple[Place, Problem]] = field(default_factory=list)
    left_out: int = 0
    _closed: set[Place] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def full(self) -> bool:
        """Whether another problem would only be counted."""
        return len(self.found) >= _MOST_PROBLEMS

    def close(self, place: Place, what: str, right: str) -> None:
        """Note a problem that makes everything else at this place idle talk."""
        self.add(place, what, right)
        self._closed.add(place)

    def add(self, place: Place, what: str, right: str = "") -> None:
        """Note one problem."""
        if place in self._closed:
            return
        problem = Problem(str(place), what, right)
        if self.full:
            self.left_out += 1
        elif all(problem != known for _, known in self.found):
            self.found.append((place, problem))

    def listed(self) -> list[Problem]:
        """All of them, file by file in the order they were met, from top to bottom."""
        origins = list(dict.fromkeys(place.origin for place, _ in self.found if place.line))
        rank = {origin: number for number, origin in enumerate(origins)}
        ordered = sorted(self.found, key=lambda pair: (rank.get(pair[0].origin, -1), pair[0].line, pair[0].column))
        rest = [Problem("", f"and {self.left_out} more problems")] if self.left_out else []
        return [problem for _, problem in ordered] + rest


def nearest(name: str, known: Iterable[str]) -> str:
    """Give the known name that `name` was probably meant to be, or the empty text."""
    import difflib  # only a mistake needs it

    written = name[:100].lower().replace("-", "_")
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    if len(written) >= 3 and len(starts := [folded[key] for key in folded if key.startswith(written)]) == 1:
        return starts[0]
    for i in range(len(written) - 1):
        if (swapped := written[:i] + written[i + 1] + written[i] + written[i + 2:]) in folded:
            return folded[swapped]
    close = difflib.get_close_matches(written, folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def suggestion(name: str, known: Iterable[str], allowed: str = "allowed") -> str:
    """Say which names are known, the nearest first."""
    names = list(known)
    near = nearest(name, names)
    listing = f"{allowed}: {', '.join(names)}" if names else ""
    return " ".join(part for part in (f"did you mean {near}?" if near else "", listing) if part)


def shown(value: Any) -> str:
    """Show a value the way a message names it: short, and with its kind where that could be mistaken."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value}"
    if isinstance(value, str):
        text = value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "..."
        return f'the text "{text}"'.replace("\n", "\\n")
    return "a mapping" if isinstance(value, dict) else "a list"
