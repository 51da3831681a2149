"""The workers, behind one face: a Ray actor each, or none and everything in this process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from seqsweep.cluster.actor import Worker
from seqsweep.cluster.messages import Advance, Event, Lost, Probe
from seqsweep.config.base import format_duration
from seqsweep.config.sweep import ResourcesConfig
from seqsweep.errors import InvalidSweep, Problem, Unavailable
from seqsweep.records import Reason

if TYPE_CHECKING:
    from seqsweep.data.batch import Prepared

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else the working folder is uploaded and changed
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without a GPU sees none
    "RAY_preload_python_modules": "seqsweep.cluster.worker",  # torch is imported while Ray is still starting
    "RAY_enable_metrics_collection": "false",
    "RAY_task_events_report_interval_ms": "0",
}
_UNUSED = ("start_monitor", "start_log_monitor", "start_api_server")
"""Ray's autoscaler, log collector and web server: 2 s of imports before the first worker, and 1% of a core after."""
_START_FAILURES = 5
"""Workers in a row that die while starting before the sweep gives up."""
_PULSE = 2.0
"""Seconds of training after which a worker gives a sign of life, in the middle of an epoch or not."""
_NODE = "If it runs, make this machine a node of it that trains nothing: `ray start --address=HOST:PORT --num-cpus=0`."
"""Ray lets a program into a cluster only through a node on the same machine, and does not say so."""
_COMPILING = 120.0
"""Seconds that a worker has at least to start, to measure kernels, and for its first steps of a trial."""


class Pool(Protocol):
    """A fixed number of places for workers; a dead worker is replaced by the pool, its trial is the controller's."""

    size: int

    def idle(self) -> list[int]:
        """Workers that are up and have nothing to do."""
        ...

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        """Hand an idle worker a probe, or a trial, or several to train in step; `wait` gives an answer for each."""
        ...

    def wait(self, timeout: float) -> list[Event]:
        """What has happened since; waits at most `timeout` seconds for the first event."""
        ...

    def kill(self, worker: int) -> None:
        """Give up a worker, whatever it is doing; a fresh one takes its place, and no event comes of it."""
        ...

    def close(self) -> None:
        """Let the workers go."""
        ...


class LocalPool:
    """`workers: 0`: one worker inside this process, for debugging and notebooks; one stack trace.

    Nobody can kill it: `resources.timeout` says nothing here, and memory that it fills is this process's own.
    """

    def __init__(self, data: tuple[Prepared, ...], resources: ResourcesConfig) -> None:
        from seqsweep.cluster.worker import Worker

        self.size = 1
        self._worker = Worker(data, resources.cpus_per_worker, "cpu" if resources.gpus_per_worker == 0 else "auto")
        _require(self._worker.refusal(resources.kernel))
        self._work: tuple[Advance | Probe, ...] | None = None
        self._underway = False

    def idle(self) -> list[int]:
        """Always the one worker: it trains inside `wait`."""
        return [0] if self._work is None else []

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        """Keep the work until `wait`."""
        self._work, self._underway = work, False

    def wait(self, timeout: float) -> list[Event]:
        """Do the work in hand; nothing has happened yet where an epoch takes long."""
        if self._work is None:
            time.sleep(timeout)
            return []
        answers = self._worker.go_on(_PULSE) if self._underway else self._worker.do(self._work, _PULSE)
        self._underway = answers is None
        if answers is None:
            return []
        self._work = None
        return [Event(0, answer) for answer in answers]

    def kill(self, worker: int) -> None:
        """Forget the work in hand."""
        self._work = None

    def close(self) -> None:
        """Nothing to let go of."""


@dataclass
class _Slot:
    actor: Any
    starting: Any = None
    """Reference of `ready`, until the actor is up."""
    busy: Any = None
    """Reference of the running `do` or `go_on`."""
    name: str = ""
    """Host, device and process, once it is up."""
    trials: frozenset[tuple[int, int]] = frozenset()
    """Number and attempt of the trials it has."""
    patience: float = 0.0
    """Seconds without a sign of life after which it hangs."""
    silent: float = 0.0
    """Seconds since its last sign of life that this process waited for one."""


class RayPool:
    """Warm Ray actors that share the prepared arrays through the object store without a copy; needs a `ray_session`.

    Ray's own restarts and retries are off: retries have one place, the controller.
    """

    def __init__(self, data: tuple[Prepared, ...], resources: ResourcesConfig, most: int) -> None:
        import ray

        self._ray: Any = ray
        workers, gpus = _fit_into_cluster(resources, self._ray.cluster_resources())
        self.size = min(workers, most)
        self._resources = resources
        self._pulse = min(_PULSE, resources.timeout / 4)
        self._gpus = gpus
        self._data: Any = ray.put(data)
        self._failures = 0
        self._slots = [self._start() for _ in range(self.size)]

    def idle(self) -> list[int]:
        """Workers that are up and have nothing to do."""
        return [index for index, slot in enumerate(self._slots) if slot.starting is None and slot.busy is None]

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        """Call the actor; returns at once."""
        slot = self._slots[worker]
        trials = frozenset((each.trial, each.attempt) for each in work if isinstance(each, Advance))
        known = trials and trials <= slot.trials
        slot.trials, slot.silent = trials, 0.0
        slot.patience = self._resources.timeout if known else self._first_patience
        slot.busy = slot.actor.do.remote(work, self._pulse)

    def wait(self, timeout: float) -> list[Event]:
        """Collect answers and deaths, and kill what hangs; starts a fresh actor for each that is gone."""
        places = {slot.starting or slot.busy: index for index, slot in enumerate(self._slots)
                  if slot.starting is not None or slot.busy is not None}
        if not places:
            time.sleep(timeout)
            return []
        began = time.monotonic()
        ready, _ = self._ray.wait(list(places), num_returns=1, timeout=timeout)
        waited = min(time.monotonic() - began, timeout + 1.0)  # while this process was frozen it heard nobody
        if ready:  # one has come: take whatever else is there without waiting
            ready, _ = self._ray.wait(list(places), num_returns=len(places), timeout=0)
        events = [event for reference in ready for event in self._collect(places[reference])]
        return events + [event for reference in places.keys() - set(ready)
                         for event in self._watch(places[reference], waited)]

    def kill(self, worker: int) -> None:
        """Kill the actor and start another."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._slots[worker].actor)
        self._slots[worker] = self._start()

    def close(self) -> None:
        """Kill the actors and forget the data."""
        for slot in self._slots:
            with contextlib.suppress(Exception):
                self._ray.kill(slot.actor)
        self._slots, self._data = [], None

    def _start(self) -> _Slot:
        actor = self._ray.remote(Worker).options(
            num_cpus=self._resources.cpus_per_worker, num_gpus=self._gpus, max_restarts=0, max_task_retries=0,
        ).remote(self._data, self._resources.cpus_per_worker, "auto" if self._gpus else "cpu")
        return _Slot(actor, starting=actor.ready.remote(self._resources.kernel), patience=self._first_patience)

    @property
    def _first_patience(self) -> float:
        return max(self._resources.timeout, _COMPILING)

    def _watch(self, worker: int, waited: float) -> Iterator[Event]:
        """Count the silence of a worker that has not answered, and end it."""
        slot = self._slots[worker]
        slot.silent += waited
        if slot.silent < slot.patience:
            return
        what = f"no step for {format_duration(slot.patience)}"
        what += " (resources.timeout)" if slot.patience == self._resources.timeout else " since it was given its trial"
        self.kill(worker)
        if slot.busy is not None:
            yield Event(worker, Lost(f"{slot.name}: {what}", Reason.HUNG))
        elif all(each.starting is not None for each in self._slots):  # where others train, a cluster may have shrunk
            self._count_failure(True, f"it did not start within {format_duration(slot.patience)}")

    def _collect(self, worker: int) -> Iterator[Event]:
        slot = self._slots[worker]
        starting = slot.starting is not None
        try:
            answer = self._ray.get(slot.starting or slot.busy)
        except self._ray.exceptions.RayError as error:  # died, killed for memory, its node gone, its object lost
            self._count_failure(starting, str(error))
            self.kill(worker)  # it may live on where only the way to it is cut
            if not starting:
                memory = isinstance(error, self._ray.exceptions.OutOfMemoryError)
                yield Event(worker, Lost(f"{slot.name}: {_cause(error)}",
                                         Reason.OUT_OF_MEMORY if memory else Reason.WORKER_LOST))
            return
        self._failures, slot.silent, slot.starting, slot.busy = 0, 0.0, None, None
        if starting:
            slot.name, refusal = answer
            _require(refusal)
        elif answer is None:  # in the middle of an epoch
            slot.patience = self._resources.timeout
            slot.busy = slot.actor.go_on.remote(self._pulse)
        else:
            yield from (Event(worker, each) for each in answer)

    def _count_failure(self, starting: bool, error: str) -> None:
        self._failures += starting
        if self._failures >= _START_FAILURES:
            raise Unavailable(f"{_START_FAILURES} workers in a row died while starting; the last one said:\n{error}")


def import_ray() -> Any:
    """The library, with its environment set: it reads a part of it when it is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


@contextlib.contextmanager
def ray_session(address: str, resources: ResourcesConfig) -> Iterator[None]:
    """Join the cluster at `address`, or start one on this machine (`local`); leave or end it afterwards.

    Nothing happens where the sweep has no workers, or this process is in a cluster already, which it then stays in.
    Raises Unavailable where there is no cluster at that address.
    """
    if resources.workers == 0:
        yield
        return
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    _start_ray(ray, address, resources)
    try:
        yield
    finally:
        ray.shutdown()


def _start_ray(ray: Any, address: str, resources: ResourcesConfig) -> None:
    _require_listener(address)
    options: dict[str, Any] = {"address": address, "logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        options["include_dashboard"] = False
        if resources.workers != "auto":
            options["num_cpus"] = max(os.cpu_count() or 1, resources.workers * resources.cpus_per_worker)
    try:
        with _own_sigterm(), _without_unused():
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Unavailable(Problem("", f"no Ray cluster at {address}: {_first_line(error)}",
                                  "" if address == "local" else _NODE)) from error


def _require_listener(address: str) -> None:
    """A first knock of at most 5 seconds: Ray itself would try a dead address for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except OSError as error:
        raise Unavailable(Problem("", f"no Ray cluster at {address}: {error}",
                                  "Is RAY_ADDRESS right, and is the cluster running?")) from error


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Take SIGTERM back from Ray, which answers it with an abort and a trace."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _without_unused() -> Iterator[None]:
    """Start a cluster of this machine without what no sweep uses; Ray has an option for none of them."""
    from ray._private.node import Node

    with contextlib.ExitStack() as patched:
        for name in _UNUSED:
            if hasattr(Node, name):
                patched.callback(setattr, Node, name, getattr(Node, name))
                setattr(Node, name, lambda *_, **__: None)
        yield


def open_pool(data: tuple[Prepared, ...], resources: ResourcesConfig, *, most: int) -> Pool:
    """Workers as the sweep's resources say, at most `most` (there is no use for more than trials)."""
    if resources.workers == 0:
        return LocalPool(data, resources)
    return RayPool(data, resources, most)


def _fit_into_cluster(resources: ResourcesConfig, cluster: dict[str, float]) -> tuple[int, float]:
    """Number of workers and GPUs each; raises Unavailable where the cluster has too little for one."""
    cpus, gpus = int(cluster.get("CPU", 0)), cluster.get("GPU", 0.0)
    each = (1.0 if gpus else 0.0) if resources.gpus_per_worker == "auto" else resources.gpus_per_worker
    room = cpus // resources.cpus_per_worker
    if each:
        room = min(room, int(gpus / each) if each >= 1 else int(gpus) * int(1 / each + 1e-9))  # a share is of one GPU
    if room < 1:
        raise Unavailable(f"the Ray cluster has {cpus} CPUs and {gpus:g} GPUs: too little for one worker of "
                          f"{resources.cpus_per_worker} CPUs and {each:g} GPUs")
    if resources.workers == "auto":
        return room, each
    if resources.workers > room:
        raise Unavailable(f"resources.workers is {resources.workers}, but the Ray cluster has room for {room} "
                          f"({cpus} CPUs, {gpus:g} GPUs)")
    return resources.workers, each


def _require(refusal: str) -> None:
    """Raise InvalidSweep where a worker cannot run the kernel that the sweep names."""
    if refusal:
        raise InvalidSweep(Problem("resources.kernel", refusal, "auto takes the fastest of those that can; torch runs "
                                                                "everywhere, triton on GPUs, compiled on CPUs"))


def _cause(error: Exception) -> str:
    """What Ray says of a death, in a sentence: the first line names only the class of it."""
    lines = str(error).strip().splitlines()
    because = next((line for line in lines if "because" in line), None)
    return _first_line(error) if because is None else because.split(". ", 1)[0].strip()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
