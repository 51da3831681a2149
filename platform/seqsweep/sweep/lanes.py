"""The logical clock: which of several trials in hand is dealt with next, whatever the workers' real speed.

A simulated schedule of conservative parallel simulation (Chandy & Misra, 1979): each lane is a logical worker, an epoch
of its trial takes the trial's cost on the clock, and an event is handled once no lane can still have an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Lane:
    """A logical worker and its trial."""

    place: int
    number: int
    """The trial's."""
    began: float
    """When the trial began, on the logical clock."""
    cost: float
    """Of one of its epochs, in units of the clock."""
    step: int
    """The next epoch at which to decide."""
    known: int = 0
    """Epochs that are known to have been trained."""
    end: float | None = None
    """When it ends, once that is known."""

    def finish(self, epochs: int) -> None:
        """Let it end with its so-many-th epoch."""
        self.end = self.began + self.cost * epochs

    @property
    def time(self) -> float:
        """When its next event is; while that is not known, the earliest it can be: any epoch may be a trial's last."""
        step = self.began + self.cost * min(self.step, self.known + 1)
        return step if self.end is None else min(self.end, step)

    @property
    def ended(self) -> bool:
        """Whether its next event is its end."""
        return self.end is not None and self.end <= self.began + self.cost * self.step

    @property
    def ready(self) -> bool:
        """Whether its next event is known."""
        return self.ended or self.known >= self.step


class Lanes:
    """The lanes of a sweep. Of two events at one time that of the lower place is the first."""

    def __init__(self, count: int) -> None:
        self._lanes: list[Lane | None] = [None] * count
        self._free = [0.0] * count
        """When a lane was freed."""
        self._by_number: dict[int, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def __getitem__(self, number: int) -> Lane:
        """The lane of a trial that has not ended."""
        return self._by_number[number]

    @property
    def busy(self) -> list[Lane]:
        """Lanes with a trial, by place."""
        return [lane for lane in self._lanes if lane is not None]

    def vacant(self) -> int | None:
        """The place that has been free for longest."""
        return min((place for place, lane in enumerate(self._lanes) if lane is None),
                   key=lambda place: (self._free[place], place), default=None)

    def start(self, place: int, number: int, cost: float, step: int) -> Lane:
        """Begin a trial where and when a place was freed."""
        lane = self._lanes[place] = self._by_number[number] = Lane(place, number, self._free[place], cost, step)
        return lane

    def free(self, lane: Lane) -> None:
        """Take an ended trial off its lane."""
        self._free[lane.place] = lane.time
        self._lanes[lane.place] = None
        del self._by_number[lane.number]

    def due(self) -> Lane | None:
        """The lane whose event is next; None while one that is still in training may have an earlier one."""
        first = min(self.busy, key=lambda lane: (lane.time, lane.place), default=None)
        return first if first is not None and first.ready else None
