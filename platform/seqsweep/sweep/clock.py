"""What runs beside the controller's loop: the lease's heartbeat, the count of active time, an ear for a stop."""

from __future__ import annotations

import contextlib
import threading
import time

from seqsweep.errors import Conflict, SeqsweepError
from seqsweep.ledger import Ledger
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store

_RENEW_EVERY = 10.0
_LOOK_EVERY = 1.0


class Clock:
    """Keeps the lease alive from a thread of its own, counts active time, and hears a stop asked for elsewhere."""

    def __init__(self, store: Store, lease: Lease, stop: threading.Event, ledger: Ledger) -> None:
        self._store, self._lease, self._stop, self._ledger = store, lease, stop, ledger
        self._before = store.sweep(lease.sweep.name).active_seconds
        self._began = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="seqsweep-clock", daemon=True)

    @property
    def active_seconds(self) -> float:
        """Search time, summed over resumes."""
        return self._before + time.monotonic() - self._began

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._end.wait(_LOOK_EVERY):
            try:
                if self._store.stop_requested(self._lease.sweep.name):
                    self._stop.set()
                if time.monotonic() - renewed >= _RENEW_EVERY:
                    self._store.update_sweep(self._lease, active_seconds=self.active_seconds,
                                             facts=self._ledger.facts())  # as every write, it renews the lease
                    renewed = time.monotonic()
            except Conflict:
                self._stop.set()  # the next write tells it
                break
            except SeqsweepError:
                continue  # an outage ends, and the lease is ours unless another took it

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        with contextlib.suppress(SeqsweepError):
            self._store.update_sweep(self._lease, active_seconds=self.active_seconds)
