"""Processes that begin warm: one that has imported the libraries, and nothing of seqsweep's, forks each.

To import torch and MLflow takes a process seconds, and the tests start hundreds. One of these runs what a cold one
does, with its own folder, environment, streams, signals and exit code; only the libraries are there already.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

FORKS = sys.platform == "linux"
WRITER = "seqsweep.tracking.projecting"
_READ_AT_START = ("PYTHON", "LC_", "LANG", "OMP_", "OPENBLAS_", "MLFLOW_LOG", "MLFLOW_CONFIGURE")
"""Variables that Python and the libraries read as they start."""
_LIBRARIES = ("seqsweep.tracking",  # first: it says how MLflow is to be imported
              "mlflow.pyfunc.model", "mlflow.store.model_registry.sqlalchemy_store",
              "mlflow.store.tracking.sqlalchemy_store", "pandas", "pyarrow", "rich.console", "rich.progress",
              "rich.table", "torch", "typer.rich_utils")
_WIDTH = 20


@dataclass
class Process:
    """A process that was forked, as `subprocess.Popen` shows one."""

    pid: int
    _report: int
    stdin: IO[str] | None = None
    stdout: IO[str] | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; raises TimeoutError."""
        if not select.select([self._report], [], [], timeout)[0]:
            raise TimeoutError(f"process {self.pid} did not end in {timeout} s")
        code = os.read(self._report, 100)
        os.close(self._report)
        return int(code)


def run(words: Sequence[str], folder: Path, environment: Mapping[str, str],
        timeout: float) -> subprocess.CompletedProcess[str]:
    """Run the command line with these words, and no input, to its end."""
    with Path(os.devnull).open() as nothing, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = _start(words, folder, environment, nothing.fileno(), out.fileno(), err.fileno())
        try:
            code = process.wait(timeout)
        except TimeoutError:
            os.kill(process.pid, signal.SIGKILL)
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def writer(errors: IO[str]) -> Process:
    """Start the process that writes to MLflow, as `seqsweep.tracking.projector.spawn` does."""
    asked, said = os.pipe(), os.pipe()
    process = _start([WRITER], Path.cwd(), os.environ, asked[0], said[1], errors.fileno())
    os.close(asked[0])
    os.close(said[1])
    process.stdin, process.stdout = os.fdopen(asked[1], "w", encoding="utf-8"), os.fdopen(said[0], encoding="utf-8")
    return process


def begins_cold(variables: Mapping[str, str]) -> bool:
    """Whether these must be there before the libraries are imported; elsewhere than on Linux these do not bear a fork.
    """
    return not FORKS or any(name.startswith(_READ_AT_START) for name in variables)


def _start(words: Sequence[str], folder: Path, environment: Mapping[str, str], *streams: int) -> Process:
    report, reported = os.pipe()
    order = {"words": list(words), "folder": str(folder), "environment": dict(environment)}
    with _lock:
        socket.send_fds(_forker(), [json.dumps(order).encode()], [*streams, reported])
    os.close(reported)
    pid = os.read(report, _WIDTH)
    assert pid, "what forks has died"
    return Process(int(pid), report)


_lock = threading.Lock()


@functools.cache
def _forker() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    theirs.close()
    return ours


def _serve(control: socket.socket) -> None:
    """Fork a process for each order, and beside it one that waits for its end, until the tests end."""
    while True:
        text, streams, _, _ = socket.recv_fds(control, 1 << 20, 4)
        if not text:
            return
        if os.fork() == 0:
            control.close()
            _attend(json.loads(text), streams)
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _attend(order: dict[str, Any], streams: list[int]) -> NoReturn:
    *streams, report = streams
    pid = os.fork()
    if pid == 0:
        _live(order, streams)
    for stream in streams:
        os.close(stream)
    os.write(report, b"%*d" % (_WIDTH, pid))  # as wide as it is read: the exit code may follow at once
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(report, b"%d" % code)
    os._exit(0)


def _live(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """A whole life: as Python begins and ends one."""
    code: object = 1
    try:
        for target, source in enumerate(streams):
            os.dup2(source, target)
        os.closerange(3, 256)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        time.tzset()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in [name for name in sys.modules if name.partition(".")[0] == "seqsweep"]:
            del sys.modules[name]  # the defaults it sets in the environment went with that
        sys.argv, sys.path[0] = order["words"], str(Path(sys.executable).parent)
        code = _run(order["words"][0])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        if isinstance(code, str):
            print(code, file=sys.stderr)
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


def _run(what: str) -> int:
    if what == WRITER:
        runpy.run_module(WRITER, run_name="__main__", alter_sys=True)
    else:
        from seqsweep.cli.main import main

        main()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for library in _LIBRARIES:
        importlib.import_module(library)
    assert threading.active_count() == 1, threading.enumerate()
    _serve(socket.socket(fileno=int(sys.argv[1])))
