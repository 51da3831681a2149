"""Controllers by the hundred: a process that has imported everything forks one for each line it reads.

A controller here is `pipeline.submit` as the command line calls it, on the real store and the real MLflow; only its
workers are stubs. It begins within milliseconds, where a process of its own takes seconds to import its libraries. So
does the process that writes to MLflow for it, which is forked beside it; one that replaces that is started anew.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self, cast


@dataclass(frozen=True)
class Order:
    """One controller, and what is to happen to it."""

    folder: str
    """Holds `sweep.yaml`; the store, MLflow's database and its files are put there."""
    store: str
    witness: str
    """A file that no full disk is on."""
    pace: float
    """Seconds that an epoch takes."""
    checkpoint_every: float
    """Seconds, in the place of the controller's 30."""
    slice: float
    """Seconds, in the place of the controller's 2."""
    kill_after: float | None = None
    """Seconds from the fork to `kill -9`."""
    point: str = ""
    """Commit point of the fault; empty: none."""
    phase: str = "before"
    act: str = "kill"
    """Or `fill`: the disk is full, and free again half a second later."""
    count: int = 1
    """The fault happens when the point is reached for this time."""
    limit: float = 100.0
    """Seconds after which it is given up."""


@dataclass(frozen=True)
class End:
    """How a controller ended."""

    pid: int
    code: int
    """Exit code; -9 where it was killed."""
    seconds: float
    said: str


class Nursery:
    """The forking process; a context that ends it."""

    def __init__(self) -> None:
        # Threads of numerical libraries would not survive the fork.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
                                    "MLFLOW_DISABLE_TELEMETRY": "true", "TZ": "UTC"}
        self._folder = tempfile.TemporaryDirectory(prefix="seqsweep-nursery-")
        self._process = subprocess.Popen(
            [sys.executable, __file__, f"{self._folder.name}/log"], text=True, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, order: Order) -> End:
        """Start a controller and wait for its end."""
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        stdin.write(json.dumps(asdict(order)) + "\n")
        stdin.flush()
        answer = stdout.readline()
        assert answer, "the nursery has died"
        return End(**json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        cast(IO[str], self._process.stdin).close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


@dataclass
class Pipes:
    """What a controller and the process that writes to MLflow for it say to one another."""

    asked: tuple[int, int]
    said: tuple[int, int]
    """Ends to read and to write."""

    def keep(self, *ends: int) -> None:
        """Close all other ends: a process that holds one keeps the other from seeing its end."""
        for end in {*self.asked, *self.said} - {*ends}:
            os.close(end)


@dataclass
class Writer:
    """The forked process, as `subprocess.Popen` shows one."""

    stdin: IO[str]
    stdout: IO[str]

    def wait(self) -> int:
        """Whether it has ended is seen to by whoever forked it."""
        return 0


def control(order: Order, pipes: Pipes) -> int:
    """Be one controller; returns the exit code of the command line."""
    from stub_workers import StubPool, Witness

    from seqsweep import pipeline
    from seqsweep.config.loader import load_sweep, read_document
    from seqsweep.config.settings import Settings
    from seqsweep.errors import SeqsweepError
    from seqsweep.sweep import search
    from seqsweep.tracking import projector

    os.chdir(order.folder)
    witness = Witness(Path(order.witness))
    witness.note("began")
    _arm(order, witness, kill=())
    start = projector.spawn
    ready = [Writer(os.fdopen(pipes.asked[1], "w"), os.fdopen(pipes.said[0]))]
    vars(projector).update(spawn=lambda errors: ready.pop() if ready else start(errors))
    search.CHECKPOINT_EVERY, search.Search._slice = order.checkpoint_every, order.slice
    vars(pipeline).update(open_pool=lambda data, resources, *, most: StubPool(data, order.pace, witness))
    _note_ends(witness)
    try:
        settings = Settings(order.store, f"sqlite:///{order.folder}/mlflow.db", "local")
        sweep = load_sweep(Path("sweep.yaml"))
        result = pipeline.submit(sweep, read_document(Path("sweep.yaml")), settings, Silent(), threading.Event())
    except SeqsweepError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0 if result.state == "finished" else 130


def write(order: Order, pipes: Pipes, controller: int) -> int:
    """Be the process that writes to MLflow; with it, a fault kills its controller."""
    from stub_workers import Witness

    from seqsweep.tracking import projecting

    os.chdir(order.folder)
    _arm(order, Witness(Path(order.witness)), kill=(controller,))
    with os.fdopen(pipes.asked[0]) as orders, os.fdopen(pipes.said[1], "w") as said:
        projecting.main(orders, said)
    return 0


class Silent:
    """An observer that shows nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage began, was done, or was skipped."""

    def progress(self, progress: object) -> None:
        """The search moved on."""


def _note_ends(witness: Any) -> None:
    """Let the witness know of every trial whose end the store has confirmed."""
    from seqsweep.store.records import Store

    original = Store.close_trial

    @functools.wraps(original)
    def close_trial(self: Store, lease: Any, number: int, outcome: Any, *words: Any, **named: Any) -> None:
        original(self, lease, number, outcome, *words, **named)
        witness.note("closed", number, outcome.state, repr(outcome.value))

    Store.close_trial = close_trial  # type: ignore[method-assign]


def _arm(order: Order, witness: Any, kill: tuple[int, ...]) -> None:
    import faults

    if not order.point:
        return
    act = (functools.partial(faults.kill, *kill) if order.act == "kill" else
           functools.partial(faults.fill, Path(order.folder), 0.5))

    def strike() -> None:
        witness.note("struck", order.point, order.phase)
        act()

    fault = faults.Fault(order.point, order.phase, strike, order.count)

    def arrive(point: str, phase: str) -> None:
        witness.note("reached", point, phase)
        fault(point, phase)

    faults.watch(arrive)


def _fork(order: Order, log: Path) -> End:
    began = time.monotonic()
    log.write_bytes(b"")
    pipes = Pipes(os.pipe(), os.pipe())
    pid = os.fork()
    if pid == 0:
        pipes.keep(pipes.asked[1], pipes.said[0])
        _live(log, lambda: control(order, pipes))
    writer = os.fork()
    if writer == 0:
        pipes.keep(pipes.asked[0], pipes.said[1])
        _live(log, lambda: write(order, pipes, pid))
    pipes.keep()
    code = _end(pid, began + min(order.limit, order.limit if order.kill_after is None else order.kill_after))
    if code is None:
        os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.monotonic() - began
    outlived = _end(writer, time.monotonic() + 10.0) is None
    if outlived:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    said = log.read_text(errors="replace")
    return End(pid, code, seconds, said + "\nTraceback: gave up" * (seconds >= order.limit)
               + "\nTraceback: the process that writes to MLflow outlived its controller" * outlived)


def _end(pid: int, due: float) -> int | None:
    """The exit code of a child that ends until then; None if it does not."""
    while time.monotonic() < due:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(max(0.0, min(0.002, due - time.monotonic())))
    return None


def _live(log: Path, life: Callable[[], int]) -> NoReturn:
    """A child's whole life."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        code = life()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import everything once; then a child a line."""
    import faults  # noqa: F401
    import stub_workers  # noqa: F401

    import seqsweep.cluster.worker
    import seqsweep.data.prepare
    import seqsweep.evaluation.leaderboard
    import seqsweep.pipeline
    import seqsweep.promotion
    import seqsweep.sweep
    import seqsweep.tracking.projecting
    import seqsweep.tracking.runs  # noqa: F401

    assert threading.active_count() == 1, threading.enumerate()
    for line in sys.stdin:
        print(json.dumps(asdict(_fork(Order(**json.loads(line)), Path(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
