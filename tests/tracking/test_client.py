"""The way to MLflow: a kill while its tables are made leaves nothing broken."""

from __future__ import annotations

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

MAKING = """
import os, signal, sys
from sqlalchemy import Engine, event
from seqsweep.tracking.client import connect

made = []

def kill(connection, cursor, statement, *_):
    if made:
        os.kill(os.getpid(), signal.SIGKILL)
    if "CREATE TABLE trace_metrics" in statement:
        made.append(statement)

event.listen(Engine, "before_cursor_execute", kill)
connect(sys.argv[1])
"""


def test_a_kill_while_the_tables_are_made_leaves_no_broken_database(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    done = subprocess.run([sys.executable, "-c", MAKING, uri], cwd=tmp_path, stderr=subprocess.DEVNULL, check=False,
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "platform")})
    assert done.returncode == -signal.SIGKILL  # it was in the middle
    assert [one.name for one in connect(uri).search_experiments()] == ["Default"]
    left = {path.name for path in tmp_path.glob("mlflow.db*")}
    assert left - {"mlflow.db-wal", "mlflow.db-shm"} == {"mlflow.db", "mlflow.db.lock"}  # those two are SQLite's own


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
