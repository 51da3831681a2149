"""What a user sees while a sweep runs: one live block on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqsweep.records import TrialState
from seqsweep.secrets import shown

if TYPE_CHECKING:
    from seqsweep.sweep import Progress

_LINE_EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class Display:
    """Shows stages as lines and the search as it goes; everything goes to standard error."""

    def __init__(self, console: Console, metric: str) -> None:
        self._console, self._metric = console, metric
        self._live: Live | None = None
        self._last_line, self._last_note = -_LINE_EVERY, ""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage began, was done, or was skipped."""
        self._end_live()
        self._console.print(Text.assemble((f"{name:<9}", "bold cyan"), " ", shown(detail)))

    def progress(self, progress: Progress) -> None:
        """The search moved on."""
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(_block(progress, self._metric))
        elif time.monotonic() - self._last_line >= _LINE_EVERY:
            self._last_line = time.monotonic()
            self._console.print(Text.assemble(("search   ", "bold cyan"), " ", summary(progress, self._metric)))
        if progress.note and progress.note != self._last_note:
            self._last_note = progress.note
            self._console.print(Text.assemble(("note     ", "bold yellow"), " ", progress.note))

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._end_live()


def summary(progress: Progress, metric: str) -> str:
    """One line: trials done, running, pruned, failed; best so far; time left."""
    count = progress.trials
    ended = sum(number for state, number in count.items() if state is not TrialState.RUNNING)
    parts = [f"{ended}/{progress.max_trials} trials", f"{count[TrialState.RUNNING]} running",
             f"{count[TrialState.PRUNED]} pruned"]
    if count[TrialState.FAILED]:
        parts.append(f"{count[TrialState.FAILED]} failed")
    if progress.waiting is not None:
        parts.append(f"{progress.waiting:.0%} waiting in order")
    if progress.best is not None:
        parts.append(f"best {metric} {progress.best[1]:.4g} (trial {progress.best[0]})")
    if progress.seconds_left is not None:
        parts.append(f"about {clock(progress.seconds_left)} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _block(progress: Progress, metric: str) -> RenderableType:
    ended = sum(number for state, number in progress.trials.items() if state is not TrialState.RUNNING)
    head = Table.grid(padding=(0, 1))
    head.add_row(Text(f"{'search':<9}", "bold cyan"), ProgressBar(total=progress.max_trials, completed=ended, width=30),
                 summary(progress, metric))
    running = ", ".join(f"trial {number}: {epoch} epochs" for number, epoch in list(progress.running.items())[:8])
    more = len(progress.running) - 8
    return Group(head, Text(f"          {running}" + (f" and {more} more" if more > 0 else ""), "dim"))
