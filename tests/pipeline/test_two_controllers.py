"""Two controllers on one sweep, as real processes: the second is told of the first; a frozen first writes no more."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from shell import environment, until
from small_sweeps import forecasting, settings_in, table, write_series

from seqsweep import pipeline
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep
from seqsweep.errors import Conflict, InvalidData, NotFound, Unavailable
from seqsweep.records import Trial
from seqsweep.store import lease as leasing
from seqsweep.store.records import Lease, Store
from seqsweep.submission import enter
from seqsweep.tracking.client import connect

SUBMIT = """
import sys
from seqsweep.store import lease
from seqsweep.sweep import clock
lease.TTL, clock._RENEW_EVERY = float(sys.argv[1]), float(sys.argv[1]) / 4
from seqsweep.cli.main import main
sys.argv = ["seqsweep", *sys.argv[2:]]
main()
"""
"""The command line with another life of leases than 30 s."""
BRIEF = 4.0
TRIALS = 4


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/seqsweep.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def place(tmp_path: Path, store_url: str) -> Path:
    write_series(tmp_path / "load.csv")
    parameters = {"learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"value": 4},
                  "epochs": {"value": 100}, "batch_size": {"value": 32}}
    document = forecasting(Path("load.csv"), budget={"max_trials": TRIALS}, parameters=parameters, register=None)
    (tmp_path / "load.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "seqsweep.toml").write_text("")
    return tmp_path


@pytest.fixture
def settings(place: Path, store_url: str) -> Settings:
    return replace(settings_in(place), store=store_url)


@contextmanager
def submitting(settings: Settings, place: Path, name: str, ttl: float = 30.0,
               elsewhere: str = "") -> Iterator[subprocess.Popen[str]]:
    """A `submit --json` in a process of its own, on `elsewhere`: another host by name and process numbers."""
    command = [sys.executable, "-c", SUBMIT, str(ttl), "submit", "load.yaml", "--json"]
    if elsewhere:
        command = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                   f'hostname {elsewhere}; exec "$@"', "sh", *command]
    variables = {"SEQSWEEP_STORE": settings.store, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (place / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, env=environment(**variables), stdout=log, stderr=log, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)


def said(place: Path, name: str) -> str:
    text = (place / f"{name}.log").read_text()
    assert "Traceback" not in text, text
    return text


def refusal(place: Path, name: str) -> str:
    """What the one problem of a refused submit is."""
    text = said(place, name)
    problem, = json.loads(text[text.index("{\n"):])["problems"]
    return str(problem["what"])


def holder_pid(settings: Settings) -> int | None:
    try:
        with Store.open_existing(settings.store) as store:
            holder = store.holder("load")
    except (NotFound, Unavailable):
        return None
    return holder.pid if holder else None


def trains(settings: Settings) -> bool:
    try:
        return bool(table(settings, "load"))
    except (NotFound, Unavailable):
        return False


def test_the_second_is_told_host_process_and_since_when_and_changes_nothing(place: Path, settings: Settings) -> None:
    with submitting(settings, place, "first") as first:
        until(lambda: trains(settings), 120)
        with submitting(settings, place, "second") as second:
            assert second.wait(120) == 6
        assert f"sweep load is being run by process {first.pid} on {socket.gethostname()} since 20" in refusal(
            place, "second")
        assert holder_pid(settings) == first.pid
        assert first.poll() is None or said(place, "first")


def runs(settings: Settings) -> list[Any]:
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name("load")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def freeze(process: subprocess.Popen[str], settings: Settings) -> None:
    """Stop a process at a moment when it does not hold the database's lock."""
    for _ in range(20):
        process.send_signal(signal.SIGSTOP)
        with Store.open(settings.store) as store:
            frozen = store._database
            try:
                with frozen.write() as connection:
                    if frozen.is_sqlite:
                        return
                    connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                    connection.exec_driver_sql("SELECT 1 FROM seqsweep_sweeps, seqsweep_leases FOR UPDATE")
                    return
            except Unavailable:
                process.send_signal(signal.SIGCONT)
                time.sleep(0.1)
    raise AssertionError("it always holds the lock")


@pytest.mark.slow
@pytest.mark.parametrize("wakes", ["while the other runs", "after the other has ended"])
def test_a_frozen_first_that_wakes_up_writes_nothing_and_says_so(place: Path, settings: Settings, wakes: str) -> None:
    with submitting(settings, place, "first", BRIEF) as first:
        until(lambda: trains(settings), 120)
        freeze(first, settings)
        until(lambda: holder_pid(settings) is None, 60)
        with submitting(settings, place, "second", BRIEF) as second:
            until(lambda: holder_pid(settings) == second.pid, 120)
            if wakes.startswith("after"):
                assert second.wait(240) == 0
                before, known = table(settings, "load", times=True), len(runs(settings))
            first.send_signal(signal.SIGCONT)
            assert first.wait(120) == 6
            told = refusal(place, "first")
            assert "sweep load: this controller no longer holds it, nothing was written" in told
            if wakes.startswith("while"):
                assert f"process {second.pid} on {socket.gethostname()} does" in told
                assert second.wait(240) == 0
            else:
                assert "nobody holds it now" in told
                assert (table(settings, "load", times=True), len(runs(settings))) == (before, known)
    assert [number for number, *_ in table(settings, "load")] == list(range(TRIALS))
    with Store.open(settings.store) as store:
        assert store.sweep("load").state == "finished"
    found = runs(settings)
    assert len(found) == TRIALS + 1
    assert {run.info.status for run in found} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root makes namespaces")
def test_on_another_host_the_lease_is_waited_for_and_then_taken(place: Path, settings: Settings) -> None:
    with submitting(settings, place, "first", 15.0) as first:
        until(lambda: trains(settings), 120)
        with submitting(settings, place, "early", 15.0, elsewhere="far") as early:
            assert early.wait(120) == 6
        assert f"process {first.pid} on {socket.gethostname()} since" in refusal(place, "early")
        first.kill()
        first.wait(20)
        # Nobody far away can tell that the process is dead.
        until(lambda: expired(settings), 60)
        with submitting(settings, place, "late", 15.0, elsewhere="far") as late:
            assert late.wait(240) == 0
    assert said(place, "late")
    assert [number for number, *_ in table(settings, "load")] == list(range(TRIALS))


def expired(settings: Settings) -> bool:
    with Store.open(settings.store) as store:
        return expires(store) < time.time()


# -- in this process, at a moment that is made to come


class Lines:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.stages.append(name)

    def progress(self, progress: object) -> None:
        pass


def submit(sweep: Sweep, settings: Settings) -> list[str]:
    """The names of the stages that were told; what it raises is raised."""
    lines = Lines()
    pipeline.submit(sweep, "", settings, lines, threading.Event())
    return lines.stages


def test_what_another_began_meanwhile_is_not_overwritten(
        place: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another controller begins and ends between the first look at the sweep and the lease."""
    sweep = load_sweep(forecasting(place / "load.csv", register=None))
    with Store.open(settings.store) as store:
        enter(store, sweep, "")
    acquire, others = Store.acquire, [Trial(0, {}, 1)]

    def late(self: Store, name: str, ttl: float | None = None) -> Lease:
        with acquire(self, name) as other:
            while others:
                self.start_trial(other, others.pop())
        return acquire(self, name, ttl)

    monkeypatch.setattr(Store, "acquire", late)
    with pytest.raises(Conflict, match=r"(?s)differs from the sweep stored under this name.*seed: 3 -> 4"):
        submit(sweep.model_copy(update={"seed": 4}), settings)
    with Store.open(settings.store) as store:
        assert json.loads(store.sweep("load").spec)["seed"] == 3


def test_the_sweep_is_held_while_its_data_are_prepared(
        place: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes."""
    monkeypatch.setattr(leasing, "TTL", 0.9)
    monkeypatch.setattr(pipeline, "_PROJECTION_GRACE", 0.1)

    def prepare(sweep: Sweep) -> object:
        with Store.open(settings.store) as store:
            first = store.holder("load")
            assert first is not None
            until(lambda: expires(store) > first.expires + 0.5, 10)
        raise InvalidData("enough was seen")

    monkeypatch.setattr(pipeline, "_prepared", prepare)
    with pytest.raises(InvalidData, match="enough"):
        submit(load_sweep(forecasting(place / "load.csv", register=None)), settings)


def test_a_controller_that_lost_the_sweep_writes_no_run_of_it(
        place: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(sweep: Sweep) -> object:
        with Store.open(settings.store) as store, store._database.write() as connection:
            connection.exec_driver_sql("UPDATE seqsweep_leases SET token = token + 1")
        raise InvalidData("enough was seen")

    monkeypatch.setattr(pipeline, "_prepared", prepare)
    lines = Lines()
    with pytest.raises(InvalidData, match="enough"):
        pipeline.submit(load_sweep(forecasting(place / "load.csv", register=None)), "", settings, lines,
                        threading.Event())
    assert "mlflow" not in lines.stages
    assert not (place / "mlflow.db").exists()


def expires(store: Store) -> float:
    with store._database.read() as connection:
        found: float = connection.exec_driver_sql("SELECT expires FROM seqsweep_leases").scalar_one()
    return found
