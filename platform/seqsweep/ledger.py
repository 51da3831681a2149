"""The time ledger: every second of a run belongs to one category, so that the sum is the wall time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil

Category = Literal["start", "data", "ask", "train", "prune", "record", "idle", "evaluate", "register", "project"]

CATEGORIES: dict[str, str] = {
    "start": "imports, Ray, workers",
    "data": "reading and preparing",
    "ask": "choosing trials",
    "train": "waiting while a worker trains",
    "prune": "decisions to end a trial early",
    "record": "waiting for the store",
    "idle": "waiting while no worker trains",
    "evaluate": "winner and baselines on the test part",
    "register": "package, registry, gate",
    "project": "waiting for MLflow at the end",
}
"""What the controller's time went to, in the order of a run."""
PROJECTOR, WRITER = "projector", "writer"
ASIDE = {PROJECTOR: "writing to MLflow", WRITER: "writing to the store"}
"""What threads worked on beside the controller: no part of the sum."""
IN_ORDER = "in_order"
"""Seconds in which a worker of a deterministic sweep waited for a trial's turn: of workers, so no part of the sum."""
_FACT = "ledger."
"""Prefix of the sweep's facts that keep the ledger; as tags of its MLflow run they are `seqsweep.ledger.*`."""


class Ledger:
    """Seconds by category since the run began; the time of a nested span is taken from the span around it.

    `age`: seconds since the run began, counted as `start`. Spans belong to one thread; `seconds` may be asked for by
    any.
    """

    def __init__(self, age: float = 0.0) -> None:
        self._seconds = dict.fromkeys((*CATEGORIES, *ASIDE), 0.0)
        self._seconds["start"] = age
        self._stack = ["start"]
        self._turned = time.perf_counter()
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, category: Category) -> Iterator[None]:
        """Count what happens inside to `category`."""
        self._turn()
        self._stack.append(category)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def add(self, ledger: Mapping[str, float]) -> None:
        """Add the seconds of an earlier run of the sweep, or of another thread."""
        with self._lock:
            for category, seconds in ledger.items():
                self._seconds[category] = self._seconds.get(category, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Seconds by category up to now, the open spans included."""
        with self._lock:
            now = dict(self._seconds)
            now[self._stack[-1]] += time.perf_counter() - self._turned
        return now

    def facts(self) -> dict[str, float]:
        """The ledger as facts of a sweep."""
        return {f"{_FACT}{category}": round(seconds, 3) for category, seconds in self.seconds().items()}

    def _turn(self) -> None:
        now = time.perf_counter()
        with self._lock:
            self._seconds[self._stack[-1]] += now - self._turned
            self._turned = now


def read(facts: Mapping[str, object]) -> dict[str, float]:
    """The ledger among a sweep's facts; empty where none was kept."""
    return {name.removeprefix(_FACT): float(value) for name, value in facts.items()
            if name.startswith(_FACT) and isinstance(value, (int, float))}


def process_age() -> float:
    """Seconds since this process was started."""
    try:  # psutil counts from the boot in whole seconds
        started = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    except OSError:
        return max(0.0, time.time() - psutil.Process().create_time())
