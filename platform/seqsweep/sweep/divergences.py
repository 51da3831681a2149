"""Trials that diverged: what is said of one, and which range to narrow where they are the most."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seqsweep.config.sweep import Sweep
from seqsweep.records import Outcome, Reason, Report, Scalar, Trial, TrialRecord

_LAST = 20
"""How many of the trials that ended are looked at."""
_TELLS = 0.6
"""How much larger the share of the diverged trials in a range must be than that of the others, for it to be named."""


def divergence(reports: Sequence[Report]) -> str:
    """Say in which epoch a trial diverged, in which of its losses, and how large its gradient was."""
    last = reports[-1]
    broken = [name for name in ("train_loss", "val_loss") if not math.isfinite(last.metrics.get(name, math.nan))]
    norm = last.metrics.get("grad_norm_max", math.nan)
    before = [report.metrics["grad_norm_max"] for report in reports[:-1] if "grad_norm_max" in report.metrics]
    earlier = f", {before[-1]:.3g} in the epoch before" if before and not math.isfinite(norm) else ""
    what = broken[0] if broken else "the loss"
    return f"{what} was no finite number in epoch {last.epoch}; gradient norm {norm:.3g}{earlier}"


@dataclass(frozen=True)
class _Range:
    """Values of one parameter among which trials diverged."""

    name: str
    says: str
    diverged: int
    others: int


class Divergences:
    """The last trials that ended, and whether the user was told already that most of them diverged."""

    def __init__(self, sweep: Sweep) -> None:
        searched = [name for name, parameter in sweep.parameters.items() if parameter.value is None]
        self._searched = sorted(searched, key=lambda name: name != "learning_rate")  # the usual cause goes first
        self._ended: deque[tuple[Mapping[str, Scalar], bool]] = deque(maxlen=_LAST)
        self._quiet = 0
        """Trials that are to end before the user is told again."""

    def restore(self, records: Iterable[TrialRecord]) -> None:
        """Look back at trials that ended under an earlier controller."""
        closed = [record for record in records if record.outcome is not None]
        for record in sorted(closed, key=lambda record: record.ended or 0.0)[-_LAST:]:
            self._add(record.trial, record.outcome)

    def see(self, trial: Trial, outcome: Outcome) -> str:
        """Add a trial that has ended; return what the user should know, once in a while."""
        self._add(trial, outcome)
        self._quiet -= 1
        count = sum(diverged for _, diverged in self._ended)
        if self._quiet > 0 or 2 * count <= _LAST:
            return ""
        self._quiet = _LAST
        return f"{count} of the last {len(self._ended)} trials diverged{self._advice(count)}"

    def _add(self, trial: Trial, outcome: Outcome | None) -> None:
        self._ended.append((trial.params, outcome is not None and outcome.reason is Reason.DIVERGED))

    def _advice(self, count: int) -> str:
        others = len(self._ended) - count
        if not others:
            return ", whatever their parameters: lower learning_rate, or clip gradients (clip_norm)"
        ranges = [found for name in self._searched for found in self._ranges(name)]
        best = max(ranges, key=lambda found: found.diverged / count - found.others / others, default=None)
        if best is None or best.diverged / count - best.others / others < _TELLS:
            return "; no single parameter tells them from the others"
        who = "all" if best.diverged == count else f"{best.diverged} of them"
        also = f", as {best.others} of the others had" if best.others else ""
        return f", {who} with {best.name} {best.says}{also}: narrow its range"

    def _ranges(self, name: str) -> Iterator[_Range]:
        """Everything from a diverged trial's value on, up and down; or the value itself where it is no number."""
        pairs = [(params[name], diverged) for params, diverged in self._ended if name in params]
        for at in sorted({value for value, diverged in pairs if diverged}, key=str):
            if isinstance(at, bool | str):
                yield self._range(name, str(at), [diverged for value, diverged in pairs if value == at])
                continue
            numbers = [(value, diverged) for value, diverged in pairs if not isinstance(value, bool | str)]
            yield self._range(name, f"from {_round(at, numbers, up=False)} up",
                              [diverged for value, diverged in numbers if value >= at])
            yield self._range(name, f"up to {_round(at, numbers, up=True)}",
                              [diverged for value, diverged in numbers if value <= at])

    @staticmethod
    def _range(name: str, says: str, inside: list[bool]) -> _Range:
        return _Range(name, says, sum(inside), len(inside) - sum(inside))


def _round(at: float, numbers: Sequence[tuple[float, bool]], *, up: bool) -> str:
    """The shortest number between a value and the next one beyond it."""
    if at <= 0:
        return f"{at:g}"
    for digits in (1, 2, 3):
        unit = 10.0 ** (math.floor(math.log10(at)) - digits + 1)
        short = (math.ceil if up else math.floor)(at / unit) * unit
        if not any((at < value <= short) if up else (short <= value < at) for value, _ in numbers):
            return f"{short:.3g}"
    return f"{at!r}"
