"""A worker in a process of Ray's, which `ps` shows as `ray::Worker`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from seqsweep.cluster.messages import Advance, Probe
    from seqsweep.cluster.worker import Answers
    from seqsweep.config.training import Kernel
    from seqsweep.data.batch import Prepared


class Worker:
    """Hands everything to a `cluster.worker.Worker`, imported there: the controller needs no torch to start one."""

    def __init__(self, data: tuple[Prepared, ...], threads: int, device: str) -> None:
        from seqsweep.cluster.worker import Worker, settle_process

        settle_process()
        self._worker = Worker(data, threads, device)

    def ready(self, kernel: Kernel | Literal["auto"]) -> tuple[str, str]:
        """Answer once the constructor has run: host, device and process, and why a kernel cannot run there."""
        return self._worker.name, self._worker.refusal(kernel)

    def do(self, work: tuple[Advance | Probe, ...], pulse: float) -> Answers:
        """Do what the pool was given; None after `pulse` seconds in the middle of an epoch."""
        return self._worker.do(work, pulse)

    def go_on(self, pulse: float) -> Answers:
        """Go on with it."""
        return self._worker.go_on(pulse)
