"""The background writer that keeps MLflow up with the store while a sweep runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from seqsweep.errors import SeqsweepError
from seqsweep.secrets import shown
from seqsweep.store.records import Store

if TYPE_CHECKING:
    from seqsweep.tracking.runs import Runs

SWEEP_EVERY = 30.0
"""Seconds between two projections of the sweep's own run, its leaderboard and YAML."""
LONGEST_PAUSE = 10.0
"""Seconds between two tries while MLflow fails, after pauses that double."""


class Projector:
    """Projects a sweep's trials into MLflow every `every` seconds, in a thread of its own.

    It delays no training: MLflow is imported, its tables are created and its answers waited for in the thread alone.
    While MLflow cannot be reached it keeps trying; it remembers nothing, so nothing is lost with it. `worked` is told
    the seconds of each projection. It ends once `may_write` says no: a controller that was frozen while another took
    the sweep knows less of its runs, and would make them twice.
    """

    def __init__(self, store: Store, name: str, tracking_uri: str, *, every: float = 2.0,
                 worked: Callable[[float], None] = lambda _: None,
                 may_write: Callable[[], bool] = lambda: True) -> None:
        self._store = store
        self._name = name
        self._uri = tracking_uri
        self._every = every
        self._worked, self._may_write = worked, may_write
        self._served = threading.Condition()
        self._asked = self._answered = 0
        self._wake = threading.Event()
        self._finishing = False
        self._gave_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"mlflow of {name}", daemon=True)
        self._failure: Exception | None = None
        self._current = time.monotonic()

    @property
    def lag(self) -> float:
        """Seconds since MLflow last held everything that was in the store."""
        return time.monotonic() - self._current

    @property
    def problem(self) -> str | None:
        """Why the last try failed, in one line; None if it did not."""
        return None if self._failure is None else shown(_said(self._failure))

    @property
    def failure(self) -> Exception | None:
        """What the last try raised; None if it did not fail."""
        return self._failure

    def start(self) -> None:
        """Begin to project; nothing happens where that was asked for before."""
        if self._thread.ident is None:
            self._thread.start()

    def flush(self, timeout: float = 60.0) -> bool:
        """Project all that is in the store now; False if that did not succeed within `timeout` seconds."""
        return self._ask(timeout, last=False)

    def finish(self, timeout: float = 60.0) -> bool:
        """As `flush`, and end."""
        done = self._ask(timeout, last=True)
        self._gave_up.set()
        self._wake.set()
        return done

    def _ask(self, timeout: float, *, last: bool) -> bool:
        self.start()
        with self._served:
            self._asked += 1
            self._finishing = self._finishing or last
            asked = self._asked
            self._wake.set()
            self._served.wait_for(lambda: self._answered >= asked or self._gave_up.is_set()
                                  or not self._thread.is_alive(), timeout)
            return self._answered >= asked

    def _work(self) -> None:
        runs: Runs | None = None
        pause = self._every
        swept = -SWEEP_EVERY
        while not self._gave_up.is_set():
            with self._served:  # read before the store is: what is written until now gets in
                asked, last, whole = self._asked, self._finishing, self._asked > self._answered
            began = time.monotonic()
            try:
                if not self._may_write():
                    self._give_up()
                    return
                runs = self._open() if runs is None or last else runs
                changed = runs.project_trials()
                if whole or (began - swept >= SWEEP_EVERY and (changed or swept < 0)):
                    runs.project_sweep()
                    swept = began
            except Exception as error:  # whatever MLflow does, the sweep goes on
                self._failure, runs = error, None
                pause = self._every if whole else min(2 * pause, LONGEST_PAUSE)
            else:
                self._failure, self._current, pause = None, began, self._every
                with self._served:
                    self._answered = asked
                    self._served.notify_all()
                if last:
                    return
            finally:
                self._worked(time.monotonic() - began)
            self._wake.wait(pause)
            self._wake.clear()

    def _give_up(self) -> None:
        self._gave_up.set()
        with self._served:
            self._served.notify_all()

    def _open(self) -> Runs:
        from seqsweep.tracking.runs import Runs  # takes seconds, which the controller must not wait for

        return Runs(self._store, self._name, self._uri)


def _said(error: Exception) -> str:
    """What is wrong, in one line."""
    if isinstance(error, SeqsweepError) and error.problems:
        return "; ".join(problem.what for problem in error.problems)
    return str(error) or repr(error)
