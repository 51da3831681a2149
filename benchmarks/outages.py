"""What an outage costs a search: the same sweep with its places there all along, and away for a while.

    python benchmarks/outages.py                    # 10 rounds of seven sweeps of 80 s: 100 minutes on 2 cores
    python benchmarks/outages.py --rounds 1 --contestants sqlite locked

Writes results/outages.md. Two Ray workers train 200 LSTM trials of 4 epochs; the outage begins once 20 have ended. It
is real: another connection's lock, a disk (tmpfs, which takes root to mount) without a free byte, PostgreSQL and the
MLflow server ended at once and started again.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import rounds
from workload import Workload

from seqsweep.store.records import Store

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from servers import PostgresServer, mlflow_server

WORK = Workload(trials=200)
PAIRS = {"locked": ("sqlite", "SQLite locked for 15 s"), "full": ("sqlite", "disk full for 15 s"),
         "postgres-away": ("postgres", "PostgreSQL ended, started again after 15 s"),
         "mlflow-away": ("mlflow", "MLflow server ended, started again after 60 s")}
"""Outages: what each is compared with, and what it is."""
NAMES = ["sqlite", "locked", "full", "postgres", "postgres-away", "mlflow", "mlflow-away"]
BEGIN_AFTER = 20
"""Trials that have ended when the outage begins."""


class Places:
    """Where a contestant's store and MLflow are, and how they go away: `outage` ends when its context does."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack, self.folder = stack, Path.cwd()
        self.store = f"sqlite:///{self.folder}/seqsweep.db"
        self.mlflow = f"sqlite:///{self.folder}/mlflow.db"
        self.outage: Callable[[], Any] | None = None
        self.seconds = 15.0

    def locked(self) -> None:
        """A transaction of another connection."""
        @contextmanager
        def outage() -> Iterator[None]:
            connection = sqlite3.connect(self.folder / "seqsweep.db", isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
            connection.close()

        self.outage = outage

    def full(self) -> None:
        """A small disk, with a file that takes what is free."""
        disk = self.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", disk], check=True)
        self.stack.callback(subprocess.run, ["umount", "-l", disk], check=True)
        self.store, self.mlflow = f"sqlite:///{disk}/seqsweep.db", f"sqlite:///{disk}/mlflow.db"

        @contextmanager
        def outage() -> Iterator[None]:
            with (disk / "filler").open("wb", buffering=0) as file:
                for size in (1 << 20, 4096):
                    try:
                        while True:
                            file.write(bytes(size))
                    except OSError:
                        continue
            yield
            (disk / "filler").unlink()

        self.outage = outage

    def postgres(self) -> PostgresServer:
        """A server of its own."""
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[-1].parent
        user = None if os.geteuid() else "postgres"
        folder = Path(tempfile.mkdtemp(prefix="bench-postgres-"))
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = PostgresServer(binaries, folder, free_port(), user, pwd.getpwnam(user).pw_gid if user else None)
        server.create()
        server.start()
        self.stack.callback(server.stop)
        server.execute("CREATE DATABASE bench")
        self.store = server.url("bench")
        return server

    def postgres_away(self) -> None:
        """It is ended as by a crash."""
        server = self.postgres()

        @contextmanager
        def outage() -> Iterator[None]:
            server.stop()
            yield
            server.start()

        self.outage = outage

    def mlflow_served(self) -> tuple[ExitStack, int]:
        """A server of its own; closing the stack kills it."""
        port, serving = free_port(), self.stack.enter_context(ExitStack())
        serving.enter_context(mlflow_server(self.folder, port))
        self.mlflow = f"http://127.0.0.1:{port}"
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        return serving, port

    def mlflow_away(self) -> None:
        """It is killed."""
        serving, port = self.mlflow_served()
        self.seconds = 60.0

        @contextmanager
        def outage() -> Iterator[None]:
            serving.close()
            yield
            self.stack.enter_context(mlflow_server(self.folder, port))

        self.outage = outage


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def contestant(name: str, work: Workload) -> None:
    """One sweep in the working folder; writes the marks of its search, and what was lost."""
    work.write_series(Path("series.csv"))
    Path("sweep.yaml").write_text(work.sweep())
    with ExitStack() as stack:
        places = Places(stack)
        setup = {"mlflow": "mlflow_served"}.get(name, name.replace("-", "_"))
        if name != "sqlite":
            getattr(places, setup)()
        environment = os.environ | {"SEQSWEEP_STORE": places.store, "MLFLOW_TRACKING_URI": places.mlflow}
        program = Path(sys.executable).with_name("seqsweep")
        process = subprocess.Popen([program, "submit", "sweep.yaml"], env=environment, stderr=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, text=True)
        if places.outage:
            wait_for_trials(places.store, BEGIN_AFTER, process)
            with places.outage():
                time.sleep(places.seconds)
        for line in process.stderr or ():
            sys.stdout.write(line)
        if process.wait():
            raise SystemExit("the sweep failed")
        with Store.open(places.store) as store:
            records, facts = store.trials("benchmark"), store.sweep("benchmark").facts
        begin, end = min(record.started for record in records), max(record.ended or 0.0 for record in records)
        trained = sum(report.metrics["seconds"] for record in records for report in record.reports)
        failed = sum(record.state == "failed" for record in records)
        whole = [record.number for record in records] == list(range(work.trials)) and not failed
        tracked = runs_in(places.mlflow)
        Path(rounds.MARKS).write_text(json.dumps({
            "begin": begin, "end": end, "busy": trained / (work.workers * (end - begin)), "failed": failed,
            "whole": whole, "tracked": tracked, "waited": facts["ledger.record"]}))


def wait_for_trials(url: str, count: int, process: subprocess.Popen[str]) -> None:
    """Look into the store until so many trials have ended."""
    time.sleep(3.0)
    with Store.open(url) as store:
        while process.poll() is None:
            if "benchmark" in {sweep.name for sweep in store.sweeps()} and sum(
                    record.ended is not None for record in store.trials("benchmark", curves=False)) >= count:
                return
            time.sleep(0.2)
    raise SystemExit(f"the sweep ended before {count} trials had")


def runs_in(uri: str) -> int:
    """Trials' runs in MLflow that have ended, each counted once."""
    from seqsweep.tracking.client import connect

    client = connect(uri)
    experiment = client.get_experiment_by_name("benchmark")
    runs = client.search_runs([experiment.experiment_id], max_results=50_000)
    ended = [run.data.tags["seqsweep.trial"] for run in runs
             if "seqsweep.trial" in run.data.tags and run.info.status != "RUNNING"]
    return len(set(ended)) if len(set(ended)) == len(ended) else -1


def body(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Return what the page says."""
    lines = [f"{WORK.trials} {WORK.cell.upper()} trials of {WORK.epochs} epochs on {WORK.workers} Ray workers, chosen "
             f"by TPE; the outage begins once {BEGIN_AFTER} trials have ended. Search: from the first trial's start to "
             "the last one's end. Trained: the share of the workers' time in it that epochs took, which what else the "
             "machine does changes little. Waited: seconds in which the controller did nothing but wait for the "
             "store.", "",
             "| | search, s | trained | waited, s | failed | all trials, each once | ended runs in MLflow |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name in names:
        own = [row for row in rows if row["contestant"] == name]
        lines.append(f"| {PAIRS[name][1] if name in PAIRS else f'{name}, undisturbed'} "
                     f"| {statistics.median(row['search_wall'] for row in own):.1f} "
                     f"| {100 * statistics.median(row['busy'] for row in own):.1f} % "
                     f"| {statistics.median(row['waited'] for row in own):.2f} | {sum(row['failed'] for row in own)} "
                     f"| {'all' if all(row['whole'] for row in own) else 'no'} "
                     f"| {min(row['tracked'] for row in own)} |")
    return lines + rounds.claims([
        (f"{what}: share of training lost", loss(rows, name, base), "under 5 %")
        for name, (base, what) in PAIRS.items() if name in names and base in names])


def loss(rows: list[dict[str, Any]], name: str, base: str) -> str:
    """Return how much less of the workers' time went to training, in percent: the median, with its interval."""
    found = rounds.ratio(rounds.figures(rows, name, "busy"), rounds.figures(rows, base, "busy"))
    return f"{100 * (1 - found.median):.1f} % ({100 * (1 - found.high):.1f} to {100 * (1 - found.low):.1f})"


def main() -> None:
    """Run the rounds and write the page, or be one of the contestants."""
    if sys.argv[1:2] == ["--one"]:
        contestant(sys.argv[2], Workload(**json.loads(sys.argv[3])))
        return
    chosen: argparse.Namespace = rounds.options(
        str(__doc__), ("--contestants", {"nargs": "+", "choices": NAMES, "default": NAMES}))
    script = str(Path(__file__).absolute())

    def entry(name: str, work: Workload) -> rounds.Contestant:
        return rounds.Contestant(name, [sys.executable, script, "--one", name, json.dumps(work.setup)])

    rounds.interleave("outages", [entry(name, WORK) for name in chosen.contestants], chosen, WORK.setup,
                      entry("sqlite", replace(WORK, trials=2)))
    rows = [json.loads(line) for line in (rounds.RESULTS / "outages.jsonl").read_text().splitlines()]
    names = [name for name in NAMES if any(row["contestant"] == name for row in rows)]
    print(rounds.write("outages", "Outages", rows, body(rows, names)).read_text())


if __name__ == "__main__":
    main()
