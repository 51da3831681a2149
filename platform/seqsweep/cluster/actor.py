"""A worker in a process of Ray's, which `ps` shows as `ray::Worker`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqsweep.cluster.messages import Advance, Advanced, Probe, Probed
    from seqsweep.data.batch import Prepared


class Worker:
    """Hands everything to a `cluster.worker.Worker`, imported there: the controller needs no torch to start one."""

    def __init__(self, data: tuple[Prepared, ...], threads: int, device: str) -> None:
        from seqsweep.cluster.worker import Worker

        self._worker = Worker(data, threads, device)

    def ready(self) -> str:
        """Answer once the constructor has run."""
        return self._worker.ready()

    def do(self, work: tuple[Advance | Probe, ...]) -> tuple[Advanced | Probed, ...]:
        """Do what the pool was given."""
        return self._worker.do(work)
