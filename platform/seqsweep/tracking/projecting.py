"""The process that projects a running sweep into MLflow, for the controller that started it.

`python -m seqsweep.tracking.projecting` reads JSON lines: first what to project, then `{"asked": N, "last": BOOL}`
whenever all that is in the store is wanted in MLflow. It says what each projection gave, and ends with its input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import IO, Any

from seqsweep.errors import NotFound, Outage, SeqsweepError
from seqsweep.store.records import Store
from seqsweep.tracking.projector import LONGEST_PAUSE

SWEEP_EVERY = 30.0
"""Seconds between two projections of the sweep's own run, its leaderboard and YAML."""


class Projecting:
    """Projects a sweep again and again. `order`: places, sweep, uid, seconds, token; `said` takes what each try gave.
    """

    def __init__(self, order: dict[str, Any], said: IO[str]) -> None:
        self._order = order
        self._said = said
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._asked = self._answered = 0
        self._last = False
        self._store: Store | None = None
        self._runs: Any = None
        self._swept = -SWEEP_EVERY
        self._under_way = False

    def ask(self, asked: int, last: bool) -> None:
        """Project all that is in the store now, and `last`: end then."""
        with self._lock:
            self._asked, self._last = asked, last
            self._wake.set()

    def work(self) -> None:
        """Project until the last was asked for, or another controller took the sweep."""
        every = pause = float(self._order["every"])
        while True:
            with self._lock:  # read before the store is: what is written until now gets in
                asked, last = self._asked, self._last
                self._wake.clear()
            whole = asked > self._answered
            began = time.monotonic()
            try:
                held = self._project(began, whole=whole, last=last)
            except Exception as error:  # whatever MLflow does, the sweep goes on
                self._runs = None
                pause = every if whole else min(2 * pause, LONGEST_PAUSE)
                self._tell(began, failure=_told(error))
            else:
                pause = every
                if not held:
                    self._tell(began, end=True)
                    return
                self._answered = asked
                self._tell(began, end=last)
                if last:
                    return
            self._wake.wait(pause)

    def _project(self, began: float, *, whole: bool, last: bool) -> bool:
        """Bring MLflow to what the store holds; False where another controller took the sweep.

        It begins nothing then. Frozen in the midst of a projection it may have made a run that the other made too, or
        told an old state, after the other's last word: it brings MLflow to what the store holds now, and that is
        nothing where the sweep was deleted.
        """
        from seqsweep.tracking.client import settle
        from seqsweep.tracking.runs import Runs, project
        from seqsweep.tracking.traces import Traces

        order = self._order
        if self._store is None:
            self._store = Store.open_existing(order["store"])
        if not self._is_held(self._store):
            if self._under_way and self._is_deleted(self._store):
                Traces(order["uri"], order["uid"]).delete_runs()
            elif self._under_way:
                project(self._store, order["name"], order["uri"])
                Runs(self._store, order["name"], order["uri"])  # the other may have made a run beside it
            return False
        self._under_way = True
        if self._runs is None or last:
            self._runs = Runs(self._store, order["name"], order["uri"])
        changed = self._runs.project_trials()
        if whole or (began - self._swept >= SWEEP_EVERY and (changed or self._swept < 0)):
            self._runs.project_sweep()
            self._swept = began
        if last:
            settle(order["uri"])
        self._under_way = not self._is_held(self._store)
        return not self._under_way or self._project(began, whole=whole, last=last)

    def _is_held(self, store: Store) -> bool:
        token = self._order["token"]
        return token is None or (not self._is_deleted(store) and store.lease(self._order["name"], token).is_held())

    def _is_deleted(self, store: Store) -> bool:
        """Whether the sweep is gone: another may have its name by now."""
        try:
            return bool(store.sweep(self._order["name"]).uid != self._order["uid"])
        except NotFound:
            return True

    def _tell(self, began: float, failure: dict[str, Any] | None = None, end: bool = False) -> None:
        self._said.write(json.dumps({"seconds": time.monotonic() - began, "answered": self._answered,
                                     "failure": failure, "end": end}) + "\n")
        self._said.flush()


def _told(error: Exception) -> dict[str, Any]:
    if isinstance(error, SeqsweepError) and error.problems:
        problems = [[problem.where, problem.what, problem.right] for problem in error.problems]
    else:
        problems = [["", str(error) or repr(error), ""]]
    return {"passes": isinstance(error, Outage), "problems": problems}


def main(orders: IO[str], said: IO[str]) -> None:
    """Project as `orders` say. Never returns once they end: whoever gave them is gone, and knows nothing of more."""
    if not (order := orders.readline()):
        return
    projecting = Projecting(json.loads(order), said)

    def obey() -> None:
        for line in orders:
            projecting.ask(**json.loads(line))
        os._exit(0)

    threading.Thread(target=obey, daemon=True).start()
    projecting.work()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever ends a whole group still has its controller's last words
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(2, 1)  # what a library prints is no answer
        main(sys.stdin, lines)
        lines.flush()
        os._exit(0)  # the threads of MLflow's stores have nothing to end
