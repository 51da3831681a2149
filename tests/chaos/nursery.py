"""Controllers by the hundred: a process that has imported everything forks one for each line it reads.

A controller here is `pipeline.submit` as the command line calls it, on the real store and the real MLflow; only its
workers are stubs. It begins within milliseconds, where a process of its own takes seconds to import its libraries.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast


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


def control(order: Order) -> int:
    """Be one controller; returns the exit code of the command line."""
    from stub_workers import StubPool, Witness

    from seqsweep import pipeline
    from seqsweep.config.loader import load_sweep, read_document
    from seqsweep.config.settings import Settings
    from seqsweep.errors import SeqsweepError
    from seqsweep.sweep import search

    os.chdir(order.folder)
    witness = Witness(Path(order.witness))
    witness.note("began")
    _arm(order, witness)
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


def _arm(order: Order, witness: Any) -> None:
    import faults

    if not order.point:
        return
    act = faults.kill if order.act == "kill" else functools.partial(faults.fill, Path(order.folder), 0.5)

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
    pid = os.fork()
    if pid == 0:
        _be_born(order, log)
    code = None
    due = min(order.limit, order.limit if order.kill_after is None else order.kill_after)
    while code is None and time.monotonic() - began < due:
        time.sleep(min(0.002, due))
        done, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
    if code is None:
        os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seconds = time.monotonic() - began
    said = log.read_text(errors="replace")
    return End(pid, code, seconds, said + "\nTraceback: gave up" * (seconds >= order.limit))


def _be_born(order: Order, log: Path) -> None:
    """Never returns: the child's whole life."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        code = control(order)
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
    import seqsweep.tracking.runs  # noqa: F401

    assert threading.active_count() == 1, threading.enumerate()
    for line in sys.stdin:
        print(json.dumps(asdict(_fork(Order(**json.loads(line)), Path(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
