"""Troubles that may pass: a stage is tried again, and the user is told now and then, and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from seqsweep.errors import Outage

P = ParamSpec("P")
T = TypeVar("T")

_PAUSES = (1, 2, 4, 8, 15, 30, 30, 30)
"""Seconds between two tries: in all, what a server takes to be started again."""

_SPEAK_AFTER = 2.0
"""Seconds before a trouble is told: most hiccups are shorter. It is told again whenever it has lasted twice as long."""


class OutageNews:
    """The news of one place that can fail, the store or the tracking server: few lines, however long it lasts."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._since: float | None = None
        self._due = 0.0
        self._told = False

    @property
    def told(self) -> bool:
        """Whether a trouble was told, and not yet that it is over."""
        return self._told

    def look(self, problem: str | None, meanwhile: str = "") -> str | None:
        """Tell what is new, None if nothing is. `problem`: what is wrong now; `meanwhile`: what that means."""
        now = time.monotonic()
        if not problem:
            over, lasted = self._told, now - (self._since or now)
            self._since, self._told = None, False
            return f"{self._place} is back after {lasted:.0f} s" if over else None
        if self._since is None:
            self._since, self._due = now, now + _SPEAK_AFTER
        if now < self._due:
            return None
        lasted = now - self._since
        self._due, self._told = now + max(lasted, _SPEAK_AFTER), True
        first = problem.strip().splitlines()[0].rstrip(".:; ")
        return f"{first}, for {lasted:.0f} s now" + (f"; {meanwhile}" if meanwhile else "")


class Patience:
    """Does work again where an Outage ended it, for two minutes or until `stop`; `tell` is given lines for the user.

    For work that may be done twice: what it has stored by then is found, and not done again.
    """

    def __init__(self, tell: Callable[[str], None], stop: threading.Event) -> None:
        self._tell, self._stop = tell, stop

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work gives; raises the Outage that did not pass."""
        news = OutageNews("what did not answer")
        for pause in _PAUSES:
            try:
                done = work(*args, **kwargs)
            except Outage as outage:
                if self._stop.is_set():
                    raise
                self._say(news.look(outage.problems[0].what, "tried again until it answers"))
                self._stop.wait(pause)
            else:
                self._say(news.look(None))
                return done
        return work(*args, **kwargs)

    def _say(self, line: str | None) -> None:
        if line:
            self._tell(line)
