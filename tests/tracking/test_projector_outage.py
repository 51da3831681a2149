"""The background writer: it delays nothing, MLflow may come and go, and so may its process."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from servers import mlflow_server
from test_runs import everything, fill, history, report, runs_of

from seqsweep.records import Outcome, Reason, Trial, TrialState
from seqsweep.store.records import Store, SweepState
from seqsweep.tracking.projecting import Projecting
from seqsweep.tracking.projector import Projector
from seqsweep.tracking.runs import Runs, project

pytestmark = pytest.mark.usefixtures("cold_writer")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(place(tmp_path)) as opened:
        yield opened


def place(folder: Path) -> str:
    return f"sqlite:///{folder}/seqsweep.db"


def children() -> list[psutil.Process]:
    """The writing processes of this one."""
    return [process for process in psutil.Process().children() if "seqsweep.tracking.projecting" in process.cmdline()]


def until(condition: object, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def close_one(store: Store, lease: object, number: int) -> None:
    store.start_trial(lease, Trial(number, {"cell": "gru"}, number))  # type: ignore[arg-type]
    store.close_trial(lease, number, Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.1, 1),  # type: ignore[arg-type]
                      [report(1, 0.1), report(2, 0.2)], best=None, keep=1, sign=1, extra={})


def test_trials_appear_while_the_sweep_runs(store: Store, tmp_path: Path) -> None:
    lease = fill(store)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    writer = Projector(place(tmp_path), "wind", uri, every=0.05)
    before = time.perf_counter()
    writer.start()
    assert time.perf_counter() - before < 10
    until(lambda: any(tmp_path.glob("mlruns/energy/*/artifacts/leaderboard.csv")))
    assert len(runs_of(uri)) == 5
    close_one(store, lease, 4)
    until(lambda: len(runs_of(uri)) == 6)
    until(lambda: writer.lag < 1.0)
    store.update_sweep(lease, state=SweepState.FINISHED)
    assert writer.finish()
    assert writer.problem is None
    assert runs_of(uri)["wind"].info.status == "FINISHED"
    shown = everything(uri)
    project(store, "wind", uri)
    assert everything(uri) == shown


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_misses_nothing(store: Store, tmp_path: Path, free_port: int) -> None:
    lease, port = fill(store), free_port
    uri = f"http://127.0.0.1:{port}"
    writer = Projector(place(tmp_path), "wind", uri, every=0.1)
    writer.start()  # before there is a server
    until(lambda: writer.problem is not None)
    assert "does not answer" in str(writer.problem)
    with mlflow_server(tmp_path, port):
        until(lambda: writer.problem is None)
        close_one(store, lease, 4)
        until(lambda: "wind-4" in runs_of(uri))
        close_one(store, lease, 5)
    slowest = 0.0
    for number in range(6, 16):  # the sweep goes on as if nothing were
        began = time.perf_counter()
        close_one(store, lease, number)
        slowest = max(slowest, time.perf_counter() - began)
    until(lambda: writer.problem is not None)
    assert slowest < 10
    with mlflow_server(tmp_path, port):
        until(lambda: writer.problem is None)
        store.update_sweep(lease, state=SweepState.FINISHED)
        assert writer.finish()
        shown = runs_of(uri)
        assert set(shown) == {"wind", *(f"wind-{number}" for number in range(16))}
        for number in range(4, 16):
            run = shown[f"wind-{number}"]
            assert [point[0] for point in history(uri, run)["val_mae"]] == [1, 2]
            assert run.info.status == "FINISHED"
        parent = shown["wind"].info.run_id
        assert {item.path for item in MlflowClient(uri).list_artifacts(parent)} == {"sweep.yaml", "leaderboard.csv"}


def test_finish_gives_up_in_time_and_says_so(store: Store, tmp_path: Path, free_port: int) -> None:
    fill(store)
    writer = Projector(place(tmp_path), "wind", f"http://127.0.0.1:{free_port}", every=0.1)
    writer.start()
    until(lambda: writer.problem is not None)
    began = time.monotonic()
    assert not writer.finish(timeout=1.0)
    assert time.monotonic() - began < 5
    assert "does not answer" in str(writer.problem)
    assert writer.lag > 0.5
    until(lambda: not any(thread.name == "mlflow of wind" for thread in threading.enumerate()))


def test_a_bug_in_mlflow_is_a_problem_not_an_end(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store)
    real = Runs.project_trials

    def broken(self: Runs) -> int:
        raise KeyError("run_uuid")

    said = io.StringIO()
    projecting = Projecting({"store": place(tmp_path), "name": "wind", "uri": f"sqlite:///{tmp_path}/mlflow.db",
                             "every": 0.05, "token": None}, said)
    monkeypatch.setattr(Runs, "project_trials", broken)
    thread = threading.Thread(target=projecting.work)
    thread.start()
    until(lambda: said.getvalue().count("\n") > 1)
    monkeypatch.setattr(Runs, "project_trials", real)
    projecting.ask(1, last=True)
    thread.join(60)
    first, *_, last = (json.loads(line) for line in said.getvalue().splitlines())
    assert first["failure"] == {"passes": False, "problems": [["", "'run_uuid'", ""]]}
    assert (last["failure"], last["answered"], last["end"]) == (None, 1, True)


def test_after_a_failure_what_is_there_is_asked_anew(store: Store, tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """A run was created, and the answer lost."""
    fill(store)
    uri, real, said, lost = f"sqlite:///{tmp_path}/mlflow.db", MlflowClient.create_run, io.StringIO(), list[str]()

    def create_run(self: MlflowClient, *words: Any, **named: Any) -> Any:
        made = real(self, *words, **named)
        if named["run_name"] == "wind-1" and not lost:
            lost.append(made.info.run_id)
            raise ConnectionError("the answer is lost")
        return made

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    projecting = Projecting({"store": place(tmp_path), "name": "wind", "uri": uri, "every": 0.05, "token": None}, said)
    projecting.ask(1, last=False)
    thread = threading.Thread(target=projecting.work, daemon=True)
    thread.start()
    until(lambda: '"answered": 1' in said.getvalue(), 25)
    shown = runs_of(uri)
    projecting.ask(2, last=True)
    thread.join(60)
    assert shown["wind-1"].info.run_id == lost[0]
    assert len(shown) == 5


def test_a_writer_that_is_killed_is_replaced(store: Store, tmp_path: Path) -> None:
    lease, uri = fill(store), f"sqlite:///{tmp_path}/mlflow.db"
    writer = Projector(place(tmp_path), "wind", uri, every=0.05)
    assert writer.flush()
    (process,) = children()
    process.kill()
    until(lambda: "has ended" in str(writer.problem))
    close_one(store, lease, 4)
    assert writer.finish()
    assert writer.problem is None
    assert "wind-4" in runs_of(uri)
    until(lambda: not children())


def test_no_writer_outlives_its_controller(store: Store, tmp_path: Path) -> None:
    """Though it waits for an MLflow that takes what is asked and never answers."""
    fill(store)
    script = ("import os, signal, sys, time; from seqsweep.tracking.projector import Projector\n"
              "writer = Projector(sys.argv[1], 'wind', sys.argv[2], every=0.05); writer.start()\n"
              "while not writer._stdin: time.sleep(0.01)\n"
              "import psutil; print(*(child.pid for child in psutil.Process().children()), flush=True)\n"
              "os.kill(os.getpid(), signal.SIGKILL)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        command = [sys.executable, "-c", script, place(tmp_path), f"http://127.0.0.1:{silent.getsockname()[1]}"]
        left = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
        assert left.returncode == -9
        (number,) = left.stdout.split()
        until(lambda: not psutil.pid_exists(int(number)), 20)


def test_no_password_is_on_a_command_line(store: Store, tmp_path: Path, free_port: int) -> None:
    fill(store)
    writer = Projector(place(tmp_path), "wind", f"http://me:canary77@127.0.0.1:{free_port}", every=0.05)
    writer.start()
    until(lambda: writer.problem is not None)
    (process,) = children()
    assert "canary77" not in " ".join(process.cmdline()) + str(process.environ()) + str(writer.problem)
    writer.finish(0.1)


def test_two_first_comers_share_a_new_database(store: Store, tmp_path: Path) -> None:
    fill(store)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = ("import sys; from seqsweep.tracking.projector import Projector\n"
              "writer = Projector(sys.argv[1], 'wind', sys.argv[2]); writer.start()\n"
              "sys.exit(0 if writer.finish(90) else writer.problem)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", script, place(tmp_path), uri]
    both = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    project(store, "wind", uri)
    assert len(runs_of(uri)) == 5


def test_a_controller_that_lost_the_sweep_makes_no_run(store: Store, tmp_path: Path) -> None:
    lease, uri = fill(store), f"sqlite:///{tmp_path}/mlflow.db"
    projector = Projector(place(tmp_path), "wind", uri, every=3600, lease=lease)  # it is at nothing when the lease goes
    assert projector.flush()
    before = len(runs_of(uri))
    lease.release()
    with store.acquire("wind") as other:
        close_one(store, other, 900)
        assert not projector.finish(30)
        assert len(runs_of(uri)) == before
    until(lambda: not children())


@pytest.mark.parametrize(("call", "which"), [("create_run", "wind-4"), ("log_batch", "wind-4"), ("update_run", "wind")])
def test_what_a_frozen_writer_was_at_is_set_right(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  call: str, which: str) -> None:
    """Frozen in a call to MLflow; another controller ends the sweep meanwhile, and its writer says the last word."""
    lease, uri = fill(store), f"sqlite:///{tmp_path}/mlflow.db"
    store.start_trial(lease, Trial(4, {"cell": "gru"}, 44))
    real, told = getattr(MlflowClient, call), list[str]()

    def frozen(self: MlflowClient, run_id: str, *words: Any, **named: Any) -> Any:
        name = named.get("run_name") or self.get_run(run_id).info.run_name
        if name == which and not told:
            told.append(name)
            lease.release()
            with store.acquire("wind") as other:
                for number in (3, 4):
                    store.close_trial(other, number, Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.1, 1),
                                      [report(4, 0.1)], best=None, keep=1, sign=1, extra={})
                store.update_sweep(other, state=SweepState.FINISHED)
                project(store, "wind", uri)
        return real(self, run_id, *words, **named)

    monkeypatch.setattr(MlflowClient, call, frozen)
    projecting = Projecting({"store": place(tmp_path), "name": "wind", "uri": uri, "every": 0.05,
                             "uid": lease.sweep.uid, "token": lease.token}, io.StringIO())
    projecting.ask(1, last=False)
    projecting.work()
    assert told
    shown = runs_of(uri)
    assert sorted(shown) == ["wind", *(f"wind-{number}" for number in range(5))]
    assert {run.info.status for run in shown.values()} == {"FINISHED", "KILLED", "FAILED"}
    assert {run.data.tags["seqsweep.state"] for run in shown.values()} == {"finished", "complete", "pruned", "failed"}
