"""The controller's writes, applied in their order by a thread of its own: a store that is away delays no training.

Each write stays one transaction that checks the lease, and the next one waits until it is in: whenever the controller
is killed, the store holds what happened up to some moment, and the next controller goes on from there.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, NamedTuple, ParamSpec, Self

from seqsweep.errors import Outage, SeqsweepError
from seqsweep.ledger import WRITER, Ledger
from seqsweep.outage import OutageNews
from seqsweep.store.lease import Lease

P = ParamSpec("P")

_FEW = 32
"""Writes that may wait while the store takes them: what a kill could cost stays small."""
_MANY = 20_000
"""Writes that may wait while it does not."""
_MANY_BYTES = 256 * 2**20
"""Bytes of checkpoints that may wait."""
_STALLED = 1.0
"""Seconds after which a write that has not come back counts as a trouble, whatever the reason."""
_PAUSES = (0.05, 2.0)
"""Seconds between two tries of one write: at first, and at the most; they double."""


class _Write(NamedTuple):
    apply: Callable[..., None]
    at: float
    size: int


class Writer:
    """A queue of writes and the thread that empties it; a context that waits for the last of them.

    An Outage is waited out, for as long as it lasts. Any other failure, a lost lease above all, ends the writer: `put`
    and the waits raise it, and nothing after it is written. `waiting` is called twice a second while the loop waits.
    """

    def __init__(self, lease: Lease, ledger: Ledger, waiting: Callable[[], None]) -> None:
        self._lease, self._ledger, self._waiting = lease, ledger, waiting
        self._writes: deque[_Write] = deque()
        self._size, self._room = 0, _FEW
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._outage = ""
        self._waits = False
        self._trying_since: float | None = None
        self._ending = threading.Event()
        self._news = OutageNews("the store")
        self._thread = threading.Thread(target=self._work, name="seqsweep-writer", daemon=True)

    def put(self, write: Callable[Concatenate[Lease, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Have a controller's method of the store called, after all that were put before; returns at once."""
        size = sum(len(value) for value in (*args, *kwargs.values()) if isinstance(value, bytes))
        with self._changed:
            self._check()
            self._writes.append(_Write(functools.partial(write, self._lease, *args, **kwargs), time.monotonic(), size))
            self._size += size
            self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Return once another write may be put: at once, unless the store is slow, or has been away for long."""
        self._wait(lambda: not self._full)

    def news(self) -> str | None:
        """A line for the user where there is something new about the store; None where there is not."""
        count = len(self._writes)
        meanwhile = f"{count} write{'s wait' if count != 1 else ' waits'}, " + (
            "and so does the search" if self._waits else "training goes on")
        return self._news.look(self.problem, meanwhile)

    @property
    def problem(self) -> str:
        """Why the oldest write is not in yet; empty where all is well."""
        since = self._trying_since
        if since is None:
            return ""
        return self._outage or ("the store does not answer" if time.monotonic() - since > _STALLED else "")

    @property
    def _full(self) -> bool:
        return self._size > _MANY_BYTES or len(self._writes) > (_MANY if self.problem else self._room)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _wait(self, until: Callable[[], bool]) -> None:
        with self._changed:
            self._check()
            if until():
                return
        with self._ledger("record"):
            while not self._came(until):
                self._waits = True
                self._waiting()
        if self._waits:
            self._waits = False
            self._waiting()  # that it is over is told, too

    def _came(self, until: Callable[[], bool]) -> bool:
        with self._changed:
            came = self._changed.wait_for(lambda: self._error is not None or until(), 0.5)
            self._check()
        return came

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Wait until all is written, also where the search failed: its error is the one that is told."""
        try:
            with contextlib.suppress(*([SeqsweepError] if error else [])):
                self._wait(lambda: not self._writes)
                if self._news.told and not error:  # it passed before anybody had to wait
                    self._waiting()
        finally:
            self._ending.set()
            with self._changed:
                self._changed.notify_all()

    def _work(self) -> None:
        while (write := self._next()) is not None:
            began = time.perf_counter()
            try:
                self._apply(write)
            except BaseException as error:  # told where the controller's loop next meets the writer
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return
            self._ledger.add({WRITER: time.perf_counter() - began})
            with self._changed:
                self._writes.popleft()
                self._size -= write.size
                # What waited through an outage is worked off beside the search, and shall only not grow.
                self._room = max(_FEW, min(_MANY if self.problem else self._room, len(self._writes)))
                self._trying_since = None
                self._changed.notify_all()

    def _next(self) -> _Write | None:
        with self._changed:
            self._changed.wait_for(lambda: self._writes or self._ending.is_set())
            if self._ending.is_set():
                return None
            self._trying_since = time.monotonic()
            return self._writes[0]

    def _apply(self, write: _Write) -> None:
        pause, most = _PAUSES
        while not self._ending.is_set():
            try:
                write.apply(at=write.at)
            except Outage as outage:
                self._outage = outage.problems[0].what
            else:
                self._outage = ""
                return
            self._ending.wait(pause)
            pause = min(2 * pause, most)
