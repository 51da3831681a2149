"""The commit points of a sweep, found by name as they are reached, and what can be made to happen there."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import Connection

from seqsweep.store import records
from seqsweep.store.database import Database

_STORE = str(Path(records.__file__).parent)
_CLIENT = ("create_experiment", "set_experiment_tag", "create_run", "log_batch", "log_inputs", "log_text",
           "update_run", "set_terminated", "create_registered_model", "create_logged_model", "finalize_logged_model",
           "create_model_version", "set_logged_model_tags", "log_outputs", "set_registered_model_alias",
           "set_model_version_tag", "set_registered_model_tag", "delete_run", "log_model_artifacts")
"""Writes of MLflow's client."""

Arrive = Callable[[str, str], None]
"""Told of a point and whether it was reached `before`, `within` (all written, not committed) or `after`."""


def watch(arrive: Arrive) -> None:
    """Tell of every commit point of this process: each transaction of the store, each write of MLflow's client."""
    from mlflow import MlflowClient

    original = Database.write

    @contextlib.contextmanager
    def write(self: Database, *words: Any, **named: Any) -> Iterator[Connection]:
        point = _name(sys._getframe())
        arrive(point, "before")
        with original(self, *words, **named) as connection:
            yield connection
            arrive(point, "within")
        arrive(point, "after")

    Database.write = write  # type: ignore[method-assign]
    for name in _CLIENT:
        setattr(MlflowClient, name, _watched(getattr(MlflowClient, name), f"mlflow.{name}", arrive))


def _watched(method: Callable[..., Any], point: str, arrive: Arrive) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*words: Any, **named: Any) -> Any:
        arrive(point, "before")
        answer = method(*words, **named)
        arrive(point, "after")
        return answer

    return call


def _name(frame: FrameType | None) -> str:
    """The store's method that writes, with the stage or the state where one method writes several things."""
    while frame is not None:
        code, here = frame.f_code, frame.f_locals
        if code.co_filename.startswith(_STORE) and not code.co_name.startswith("_") and code.co_name != "write":
            given = here.get("changes", {}) if code.co_name == "update_sweep" else {}
            what = here.get("stage") or given.get("state") or next(iter(given), None)
            if code.co_name == "update_sweep" and what is None:
                what = "facts"
            return f"{code.co_name}.{what}" if what and code.co_name in ("update_sweep", "put_stage") else code.co_name
        frame = frame.f_back
    return "unnamed"


class Fault:
    """Kill this process, or fill its disk, when a point is reached for the `count`-th time in a phase."""

    def __init__(self, point: str, phase: str, act: Callable[[], None], count: int = 1) -> None:
        self._wanted, self._left, self._act = (point, phase), count, act

    def __call__(self, point: str, phase: str) -> None:
        """A point was reached."""
        if (point, phase) == self._wanted:
            self._left -= 1
            if self._left == 0:
                self._act()


def kill(*others: int) -> None:
    """End other processes and then this one as `kill -9` does."""
    for process in (*others, os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def fill(disk: Path, seconds: float) -> None:
    """Take the last byte of a file system, and give all back after so many seconds."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass

    def free() -> None:
        time.sleep(seconds)
        filler.unlink()

    threading.Thread(target=free, daemon=True).start()
