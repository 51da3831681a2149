"""The background writer that keeps MLflow up with the store while a sweep runs: the controller's side of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO, Any, cast

from seqsweep.errors import Outage, Problem, Unavailable
from seqsweep.secrets import shown
from seqsweep.store.lease import Lease

LONGEST_PAUSE = 10.0
"""Seconds between two tries while MLflow fails, or between two processes that die, after pauses that double."""


class Projector:
    """Projects a sweep's trials into MLflow every `every` seconds, from a process of its own.

    It delays no training: MLflow takes seconds to import and tens of milliseconds a run, in which the controller
    hands out trials. While MLflow cannot be reached it keeps trying; it remembers nothing, so nothing is lost with it,
    and a process that dies is replaced. `worked` is told the seconds of each projection. With a `lease` it ends once
    another controller took the sweep: one that was frozen knows less of the runs, and would make them twice.
    """

    def __init__(self, store: str, name: str, tracking_uri: str, *, every: float = 2.0,
                 worked: Callable[[float], None] = lambda _: None, lease: Lease | None = None) -> None:
        self._order = {"store": store, "name": name, "uri": tracking_uri, "every": every,
                       "uid": None if lease is None else lease.sweep.uid,
                       "token": None if lease is None else lease.token}
        self._every = every
        self._worked = worked
        self._served = threading.Condition()
        self._asked = self._answered = 0
        self._finishing = False
        self._gave_up = threading.Event()
        self._stdin: IO[str] | None = None
        self._thread = threading.Thread(target=self._listen, name=f"mlflow of {name}", daemon=True)
        self._failure: Unavailable | None = None
        self._current = time.monotonic()

    @property
    def lag(self) -> float:
        """Seconds since MLflow last held everything that was in the store."""
        return time.monotonic() - self._current

    @property
    def problem(self) -> str | None:
        """Why the last try failed, in one line; None if it did not."""
        return None if self._failure is None else "; ".join(problem.what for problem in self._failure.problems)

    @property
    def failure(self) -> Unavailable | None:
        """Why the last try failed, an Outage where that may pass; None if it did not fail."""
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
        with self._served:
            if self._stdin:
                with contextlib.suppress(OSError):  # it is dead
                    self._stdin.close()  # which ends it, whatever it waits for
        self._thread.join(5.0)
        return done

    def _ask(self, timeout: float, *, last: bool) -> bool:
        self.start()
        with self._served:
            self._asked += 1
            self._finishing = self._finishing or last
            asked = self._asked
            self._say()
            self._served.wait_for(lambda: self._answered >= asked or self._gave_up.is_set()
                                  or not self._thread.is_alive(), timeout)
            return self._answered >= asked

    def _say(self) -> None:
        """Tell the process what is asked for; a caller holds the condition."""
        if self._stdin is not None:
            with contextlib.suppress(OSError):  # its death is seen by the thread that listens
                self._stdin.write(json.dumps({"asked": self._asked, "last": self._finishing}) + "\n")
                self._stdin.flush()

    def _listen(self) -> None:
        pause = self._every
        while not self._gave_up.is_set():
            began = time.monotonic()
            with tempfile.TemporaryFile("w+", errors="replace") as errors:
                try:
                    ended = self._attend(errors)
                except (OSError, ValueError) as error:  # no process to be had; half a line
                    ended = str(error)
                errors.seek(max(0, errors.tell() - 2000))
                last = next((line for line in reversed(errors.read().splitlines()) if line.strip()), "")
            if ended is None or self._gave_up.is_set():
                break
            self._failure = Unavailable(Problem("", f"the process that writes to MLflow has ended: {last or ended}"))
            pause = self._every if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            self._gave_up.wait(pause)
        self._gave_up.set()
        with self._served:
            self._served.notify_all()

    def _attend(self, errors: IO[str]) -> str | None:
        """Start a process and listen to it until it ends; returns why it died, None if it was done."""
        process = spawn(errors)
        try:
            with self._served:
                self._stdin = cast(IO[str], process.stdin)
                with contextlib.suppress(OSError):
                    self._stdin.write(json.dumps(self._order) + "\n")  # by a pipe: all may read a command line
                    self._say()
            done = False
            for line in cast(IO[str], process.stdout):
                done = self._hear(json.loads(line)) or done
        finally:
            with self._served:
                self._stdin = None
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    cast(IO[str], pipe).close()
            code = process.wait()
        return None if done else f"exit code {code}"

    def _hear(self, said: dict[str, Any]) -> bool:
        """Take what one projection gave; True if it was the last."""
        self._worked(said["seconds"])
        failure = said["failure"]
        if failure is None:
            self._current, self._failure = time.monotonic() - said["seconds"], None
        else:
            kind = Outage if failure["passes"] else Unavailable
            self._failure = kind(*(Problem(*map(shown, problem)) for problem in failure["problems"]))
        with self._served:
            self._answered = max(self._answered, said["answered"])
            self._served.notify_all()
        return bool(said["end"])


def spawn(errors: IO[str]) -> subprocess.Popen[str]:
    """Start the process; it ends when its standard input does, so that it never outlives the controller."""
    # -P: a file json.py of the user's is no module of ours. Ctrl-C is for the controller alone.
    return subprocess.Popen([sys.executable, "-P", "-m", "seqsweep.tracking.projecting"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=errors, text=True, encoding="utf-8", start_new_session=True)
