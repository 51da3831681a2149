"""One grid cell's trials as its sampler may know them: kept ranked and by number, so that choosing a few is cheap."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

from seqsweep.records import Scalar, TrialState


@dataclass(frozen=True, slots=True)
class Known:
    """What a sampler may know of one trial."""

    number: int
    params: Mapping[str, Scalar]
    state: TrialState
    """RUNNING, COMPLETE, or PRUNED; a breakdown says nothing about the parameters and is left out."""
    value: float | None = None
    """The best epoch's metric, finite and to be minimised; None while running, and for a divergence."""
    epoch: int = 0
    """The last epoch trained."""

    @property
    def rank(self) -> tuple[float, float, int]:
        """Optuna's order of ended trials: complete ones by value, pruned ones by epoch, then divergences."""
        if self.state is TrialState.COMPLETE:
            return -math.inf, self.value or 0.0, self.number
        return (1.0, 0.0, self.number) if self.value is None else (-float(self.epoch), self.value, self.number)


class History:
    """What is known of one cell's trials; breakdowns are not among them."""

    def __init__(self) -> None:
        self._running: dict[int, Known] = {}
        self._ended: dict[int, Known] = {}
        self._numbers: list[int] = []
        """Of the ended trials, ascending."""
        self._ranked: list[tuple[float, float, int]] = []
        """Of the ended trials, the best first."""

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return len(self._numbers)

    def start(self, known: Known) -> None:
        """Add a running trial."""
        self._running[known.number] = known

    def end(self, number: int, known: Known | None) -> None:
        """Put what is known of an ended trial in the place of the running one; None for a breakdown."""
        self._running.pop(number, None)
        if known is not None:
            self._ended[number] = known
            bisect.insort(self._numbers, number)
            bisect.insort(self._ranked, known.rank)

    def chosen(self, best: int, others: int) -> list[Known]:
        """By number: all running trials, of those ended the `best` best and `others` evenly spread over the rest.

        They are the same whichever order the trials were told in, and choosing costs the same however many there are.
        """
        numbers = self._numbers
        if len(numbers) > best + others:
            kept = {number for *_, number in self._ranked[:best]}
            for place in range(others):
                index = (2 * place + 1) * len(numbers) // (2 * others)
                while numbers[index] in kept:
                    index = (index + 1) % len(numbers)
                kept.add(numbers[index])
            numbers = sorted(kept)
        return sorted([*self._running.values(), *map(self._ended.__getitem__, numbers)], key=attrgetter("number"))
