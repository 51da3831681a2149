"""The store and MLflow go away while a sweep runs, and come back: nothing is lost, doubled or failed."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers import PostgresServer, mlflow_server
from shell import SEQSWEEP, answer, environment, seqsweep, until
from small_sweeps import forecasting, write_series
from toys import toy_series, toy_sweep

from seqsweep import outage, pipeline
from seqsweep.cluster.pool import LocalPool
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.errors import Outage
from seqsweep.ledger import Ledger
from seqsweep.outage import Patience
from seqsweep.records import TrialState
from seqsweep.store import records as stored
from seqsweep.store.records import Store
from seqsweep.sweep import Progress, Search, clock
from seqsweep.tracking.client import connect

TRIALS = 6


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trouble is told after a moment, and what ended by it tried again twice a second."""
    monkeypatch.setattr(outage, "_SPEAK_AFTER", 0.4)
    monkeypatch.setattr(outage, "_PAUSES", (0.5,) * 60)
    monkeypatch.setattr(stored, "_NOTICED", 0.3)


def after(seconds: float, work: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()


# -- outages of the store, in this process


def searched(store: Store, begin: Callable[[], Callable[[], None]]) -> list[str]:
    """Search, with an outage that begins at the first trial's end, and ends once it is told; what was noted."""
    sweep = toy_sweep()
    store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    notes, ends = list[str](), list[Callable[[], None]]()

    def observe(progress: Progress) -> None:
        if progress.trials[TrialState.COMPLETE] and not ends:
            ends.append(begin())
        if progress.note and progress.note not in notes:
            if not notes:
                assert progress.trials[TrialState.COMPLETE] == TRIALS  # they all were trained meanwhile
                after(0.1, ends[0])
            notes.append(progress.note)

    with store.acquire("toy") as lease:
        assert Search(sweep, store, lease, LocalPool((toy_series(),), sweep.resources), observe).run()
    records = store.trials("toy")
    assert [record.number for record in records] == list(range(TRIALS))
    assert {record.state for record in records} == {TrialState.COMPLETE}
    assert all([report.epoch for report in record.reports] == [1, 2, 3] for record in records)
    assert notes[-1].startswith("the store is back after ")
    return notes


@pytest.mark.postgres
@pytest.mark.usefixtures("soon")
def test_postgres_stops_and_starts_again(postgres_server: PostgresServer, postgres_url: str) -> None:
    def stop() -> Callable[[], None]:
        postgres_server.stop()
        return postgres_server.start

    with Store.open(postgres_url) as store:
        notes = searched(store, stop)
    assert re.search(r"the store cannot be used: .*(refused|terminat|closed).*; \d+ writes wait",
                     notes[0])


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = Path(tempfile.mkdtemp(prefix="seqsweep-disk-"))
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True).returncode == 0
    if not mounted:
        folder.rmdir()
        pytest.skip("no disk can be mounted here: that needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill(folder: Path) -> Callable[[], None]:
    """Leave no room on the disk, until what is given is called."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler.unlink


@pytest.mark.usefixtures("soon")
def test_the_disk_is_full_and_freed_again(small_disk: Path) -> None:
    with Store.open(f"sqlite:///{small_disk}/store.db") as store:
        notes = searched(store, lambda: fill(small_disk))
    assert re.match(r"the store cannot be used: .*(full|disk I/O error).*; \d+ writes wait", notes[0])
    connection = sqlite3.connect(small_disk / "store.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


# -- outages while a stage other than the search is at work


class Witness:
    """Sees a run go by, and acts once at a stage's line."""

    def __init__(self, stage: str, act: Callable[[], None]) -> None:
        self.lines: list[tuple[str, str]] = []
        self._stage, self._act = stage, act

    def stage(self, name: str, detail: str = "") -> None:
        if (name, "done" in detail) == (self._stage, self._stage == "search"):
            self._stage = ""
            self._act()
        self.lines.append((name, detail))

    def progress(self, progress: Progress) -> None:
        pass


@pytest.mark.postgres
@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("stage", [pytest.param("prepare", marks=pytest.mark.slow), "search",
                                   pytest.param("evaluate", marks=pytest.mark.slow)])
def test_the_store_is_away_between_the_stages(postgres_server: PostgresServer, postgres_url: str, tmp_path: Path,
                                              stage: str) -> None:
    def act() -> None:
        postgres_server.stop()
        after(2.0, postgres_server.start)

    write_series(tmp_path / "load.csv")
    document = forecasting(tmp_path / "load.csv", register=None)
    settings, witness = Settings(postgres_url, f"sqlite:///{tmp_path}/mlflow.db", "local"), Witness(stage, act)
    result = pipeline.submit(load_sweep(document), "", settings, witness, threading.Event())
    assert result.state == "finished"
    assert sorted(result.trials.index) == list(range(document["budget"]["max_trials"]))
    assert [detail for name, detail in witness.lines if name == "outage" and "tried again" in detail]
    assert [detail for name, detail in witness.lines if name == "outage" and "is back after" in detail]


def test_an_outage_that_does_not_end_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      free_port: int) -> None:
    monkeypatch.setattr(outage, "_PAUSES", (0.1,))
    monkeypatch.setattr(pipeline, "_PROJECTION_GRACE", 1.0)
    write_series(tmp_path / "load.csv")
    settings = Settings(f"sqlite:///{tmp_path}/store.db", f"http://127.0.0.1:{free_port}", "local")
    sweep = load_sweep(forecasting(tmp_path / "load.csv", budget={"max_trials": 1}))
    with pytest.raises(Outage, match="MLflow does not answer"):
        pipeline.submit(sweep, "", settings, Witness("", lambda: None), threading.Event())
    with Store.open(settings.store) as store:
        assert store.sweep("load").state == "failed"
        assert [record.state for record in store.trials("load")] == [TrialState.COMPLETE]


def test_a_stop_ends_the_waiting_for_a_place() -> None:
    stop, tries = threading.Event(), list[int]()

    def work() -> None:
        tries.append(1)
        stop.set()
        raise Outage("the store is away")

    with pytest.raises(Outage, match="away"):
        Patience(lambda line: None, stop)(work)
    assert len(tries) == 1


def test_after_an_outage_a_stop_is_heard_and_the_lease_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_LOOK_EVERY", 0.02)
    monkeypatch.setattr(clock, "_RENEW_EVERY", 0.0)
    asked, stop, away = Store.stop_requested, threading.Event(), [1, 1, 1]

    def stop_requested(self: Store, name: str) -> bool:
        if away:
            raise Outage(f"the store is away, for another {away.pop()}")
        return asked(self, name)

    monkeypatch.setattr(Store, "stop_requested", stop_requested)
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.create_sweep("toy", "", "{}", "hash", {})
        lease = store.acquire("toy")
        with clock.Clock(store, lease, stop, Ledger()):
            until(lambda: store.sweep("toy").active_seconds > 0, 10)
            assert not away
            store.request_stop("toy")
            until(stop.is_set, 10)


# -- the whole, with Ray and real servers, for as long as an outage lasts


class Run:
    """A `submit` with two workers that train for a while; its end comes by time."""

    def __init__(self, folder: Path, seconds: int, **variables: str) -> None:
        write_series(folder / "load.csv", rows=2000)
        parameters = {"learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"values": [4, 8]},
                      "epochs": {"value": 20}, "batch_size": {"value": 32}}
        (folder / "load.yaml").write_text(yaml.safe_dump(forecasting(
            Path("load.csv"), budget={"max_trials": 10_000, "max_time": f"{seconds}s"}, resources={"workers": 2},
            parameters=parameters)))
        self.folder, self.variables = folder, variables
        self.process = subprocess.Popen([SEQSWEEP, "submit", "load.yaml"], cwd=folder, text=True,
                                        env=environment(**variables), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.said: list[str] = []
        threading.Thread(target=lambda: self.said.extend(self.process.stderr or ()), daemon=True).start()

    @property
    def store(self) -> str:
        return self.variables.get("SEQSWEEP_STORE", f"sqlite:///{self.folder}/seqsweep.db")

    @property
    def tracking_uri(self) -> str:
        return self.variables.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.folder}/mlflow.db")

    def has(self, words: str) -> bool:
        assert self.process.poll() in (None, 0), self.said
        return any(words in line for line in self.said)

    def wait_for_trials(self, more: int = 4) -> None:
        def so_many() -> bool:
            assert self.process.poll() is None, self.said
            connection = sqlite3.connect(f"file:{self.folder}/seqsweep.db?mode=ro", uri=True)
            try:
                return bool(connection.execute(
                    "SELECT count(*) > ? FROM seqsweep_trials WHERE ended IS NOT NULL", (more,)).fetchone()[0])
            except sqlite3.OperationalError:
                return False
            finally:
                connection.close()

        if self.store.startswith("sqlite"):
            until(lambda: (self.folder / "seqsweep.db").exists() and so_many(), 120)
        else:
            until(lambda: self.has("search"), 120)
            time.sleep(8)

    def check(self) -> None:
        """It has ended well: trials without a gap, none failed or running, each with one run that has ended."""
        assert self.process.wait(240) == 0, self.said
        assert "Traceback" not in "".join(self.said)
        with Store.open(self.store) as store:
            records = store.trials("load")
        assert [record.number for record in records] == list(range(len(records)))
        assert {record.state for record in records} <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert len(records) > 4
        for record in records:
            assert [report.epoch for report in record.reports] == list(range(1, len(record.reports) + 1))
        assert answer_of(self, "status")["state"] == "finished"
        client = connect(self.tracking_uri)
        experiment = client.get_experiment_by_name("load")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=50_000)
        assert sorted(run.data.tags.get("seqsweep.trial", "/sweep").partition("/")[2] for run in runs) == sorted(
            [*(str(record.number) for record in records), "sweep"])
        assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}


def answer_of(run: Run, verb: str) -> Any:
    if not run.variables:
        return answer(run.folder, verb, "load")
    return yaml.safe_load(seqsweep(run.folder, verb, "load", "--json", exit_code=0, **run.variables).stdout)


@contextmanager
def started(folder: Path, seconds: int, **variables: str) -> Iterator[Run]:
    run = Run(folder, seconds, **variables)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()


@pytest.mark.slow
def test_a_sqlite_store_is_locked_for_15_seconds(tmp_path: Path) -> None:
    with started(tmp_path, 40) as run:
        run.wait_for_trials()
        connection = sqlite3.connect(tmp_path / "seqsweep.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(15)
        connection.execute("ROLLBACK")
        connection.close()
        run.check()
        assert run.has("database is locked")
        assert run.has("training goes on")
        assert run.has("the store is back after 1")


@pytest.mark.slow
def test_a_full_disk_holds_store_and_mlflow_for_15_seconds(tmp_path: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=40m", small_disk], check=True)
    with started(tmp_path, 40, SEQSWEEP_STORE=f"sqlite:///{small_disk}/seqsweep.db",
                 MLFLOW_TRACKING_URI=f"sqlite:///{small_disk}/mlflow.db") as run:
        until(lambda: run.has("search"), 120)
        time.sleep(8)
        free = fill(small_disk)
        time.sleep(15)
        free()
        run.check()
        assert run.has("the store is back after 1")


@pytest.mark.slow
@pytest.mark.postgres
def test_postgres_is_away_for_15_seconds(postgres_server: PostgresServer, postgres_url: str, tmp_path: Path) -> None:
    with started(tmp_path, 40, SEQSWEEP_STORE=postgres_url) as run:
        run.wait_for_trials()
        postgres_server.stop()
        time.sleep(15)
        postgres_server.start()
        run.check()
        assert run.has("the store is back after 1")


@pytest.mark.slow
@pytest.mark.parametrize("ends_meanwhile", [False, True], ids=["goes on after it", "ends during it"])
def test_the_tracking_server_is_away_for_60_seconds(tmp_path: Path, free_port: int, ends_meanwhile: bool) -> None:
    """A sweep that ends meanwhile waits for the server, in order to register its winner."""
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(mlflow_server(tmp_path, free_port))
        run = stack.enter_context(started(tmp_path, 25 if ends_meanwhile else 110,
                                          MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port}"))
        run.wait_for_trials()
        until(lambda: (tmp_path / "server.db").exists())
        time.sleep(5)
        first.close()
        time.sleep(60)
        if ends_meanwhile:
            assert run.process.poll() is None
            assert run.has("tried again until it answers")
        stack.enter_context(mlflow_server(tmp_path, free_port))
        run.check()
        assert run.has("MLflow does not answer")
        assert run.has("is back after")
        versions = connect(run.tracking_uri).search_model_versions("name = 'load'")
        assert len(versions) == 1
