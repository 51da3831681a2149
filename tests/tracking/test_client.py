"""The way to MLflow: a kill while its tables are made leaves nothing broken."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seqsweep.errors import Unavailable
from seqsweep.tracking import client
from seqsweep.tracking.client import connect


def test_a_kill_while_the_tables_are_made_leaves_no_broken_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = f"from seqsweep.tracking.client import connect; connect({uri!r})"
    process = subprocess.Popen([sys.executable, "-c", script],
                               env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "platform")},
                               cwd=tmp_path, stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(tables(tmp_path / name) for name in ("mlflow.db", "mlflow.db.new")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was in the middle
    assert [one.name for one in connect(uri).search_experiments()] == ["Default"]
    left = {path.name for path in tmp_path.glob("mlflow.db*")}
    assert left - {"mlflow.db-wal", "mlflow.db-shm"} == {"mlflow.db", "mlflow.db.lock"}  # those two are SQLite's own


def tables(path: Path) -> int:
    """How many tables a file has by now."""
    with (contextlib.suppress(sqlite3.Error),
          contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0)) as connection):
        found: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return found
    return 0


def test_half_made_tables_are_told_with_the_way_out(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE trace_metrics (x)")
    database.close()
    with pytest.raises(Unavailable, match="Delete the file"):
        connect(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_deleted_database_is_made_anew_though_its_log_was_left(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    script = (f"import os, signal; from seqsweep.tracking.client import connect; client = connect({uri!r})\n"
              "for number in range(20): client.create_experiment(str(number))\n"
              "os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL,
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "platform")})
    assert (tmp_path / "mlflow.db-wal").stat().st_size > 0
    (tmp_path / "mlflow.db").unlink()
    assert [one.name for one in connect(uri).search_experiments()] == ["Default"]


def test_first_comers_make_the_tables_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, alone, met = client._create_whole, threading.Lock(), list[str]()

    def making(uri: str) -> None:
        if not alone.acquire(blocking=False):
            met.append("another is at it")
            return
        try:
            time.sleep(0.3)  # for the other to come
            make(uri)
        finally:
            alone.release()

    monkeypatch.setattr(client, "_create_whole", making)
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(connect, [f"sqlite:///{tmp_path}/mlflow.db"] * 2))
    assert met == []
