"""A canary for a password: it opens the doors it is for, and is found nowhere else."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
import yaml
from shell import SEQSWEEP, environment, until
from shell import cold as seqsweep  # the system shows what a process was started with
from small_sweeps import forecasting, write_series

if TYPE_CHECKING:
    from servers import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("cold_writer")]


def canary(kind: str) -> str:
    """Odd enough to be escaped in a URL, and never seen before."""
    return f"{kind}@c4n/ry:{uuid.uuid4().hex}"


def forms(secret: str) -> list[bytes]:
    """How it might be written: plain, escaped, as a header, and its heart, which every escape leaves alone."""
    return [secret.encode(), quote(secret, safe="").encode(), secret[-32:].encode(),
            base64.b64encode(f"me:{secret}".encode())]


def places_of(secret: str, folder: Path) -> list[str]:
    """The files below a folder that hold it."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
            and any(form in path.read_bytes() for form in forms(secret))]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[tuple[str, str]]:
    """A database of a user's own, and the user's password."""
    name, secret = f"canary_{uuid.uuid4().hex}", canary("store")
    postgres_server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{secret}'")
    postgres_server.execute(f"CREATE DATABASE {name} OWNER {name}")
    yield name, secret


def dump(server: PostgresServer, name: str) -> bytes:
    """Every row of every table, as text."""
    with psycopg.connect(server.url(name)) as connection:
        tables = [row[0] for row in connection.execute(
            "SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'")]
        rows = [str(connection.execute(f"SELECT t.*::text FROM {table} t".encode()).fetchall()) for table in tables]
    assert any(name == "seqsweep_sweeps" for name in tables)
    return "\n".join(rows).encode()


class Processes:
    """Watches every command line of this machine, and the environment of none."""

    def __init__(self, secrets: list[str]) -> None:
        self._wanted = [form for secret in secrets for form in forms(secret)]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.seen: set[bytes] = set()
        self.looks = 0

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue
                if any(form in line for form in self._wanted):
                    self.seen.add(line)
            self.looks += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()


def write(folder: Path, **keys: Any) -> None:
    write_series(folder / "load.csv")
    (folder / "load.yaml").write_text(yaml.safe_dump(forecasting(Path("load.csv"), budget={"max_trials": 2}, **keys)))


def test_a_password_from_the_environment_opens_the_store_and_shows_nowhere(
        tmp_path: Path, postgres_server: PostgresServer, database: tuple[str, str]) -> None:
    name, secret = database
    tracking, token = canary("tracking"), canary("token")
    write(tmp_path, register=None)
    (tmp_path / "seqsweep.toml").write_text(
        f'store = "postgresql://{name}:${{env:STORE_PASSWORD}}@127.0.0.1:{postgres_server.port}/{name}"\n')
    variables: dict[str, Any] = {"STORE_PASSWORD": secret, "MLFLOW_TRACKING_USERNAME": "me",
                                 "MLFLOW_TRACKING_PASSWORD": tracking, "MLFLOW_TRACKING_TOKEN": token}
    processes = Processes([secret, tracking, token])
    said = []
    with processes.watched():
        said.append(seqsweep(tmp_path, "submit", "load.yaml", **variables))
        said.append(seqsweep(tmp_path, "status", "load", **variables))
        wrong = canary("wrong")
        said.append(seqsweep(tmp_path, "status", "load", exit_code=9, **(variables | {"STORE_PASSWORD": wrong})))
        nothing = {key: value for key, value in variables.items() if key != "STORE_PASSWORD"}
        said.append(seqsweep(tmp_path, "list", exit_code=1, **nothing))
    assert "password authentication failed" in said[-2].stderr
    assert "the environment variable STORE_PASSWORD is not set" in said[-1].stderr
    assert processes.looks and not processes.seen
    told = "".join(done.stdout + done.stderr for done in said).encode()
    for hidden in (secret, tracking, token, wrong):
        assert not [form for form in forms(hidden) if form in told]
        assert not [form for form in forms(hidden) if form in dump(postgres_server, name)]
        assert places_of(hidden, tmp_path) == []


@pytest.mark.slow
def test_with_workers_and_a_tracking_server_no_log_and_no_store_has_it(
        tmp_path: Path, postgres_server: PostgresServer, database: tuple[str, str], free_port: int) -> None:
    name, secret = database
    tracking = canary("tracking")
    write(tmp_path, resources={"workers": 1}, promote={"to": "champion", "require": []})
    (tmp_path / "seqsweep.toml").write_text(
        f'store = "postgresql://{name}:${{env:STORE_PASSWORD}}@127.0.0.1:{postgres_server.port}/{name}"\n'
        f'tracking_uri = "http://me:${{env:TRACKING_PASSWORD}}@127.0.0.1:{free_port}"\n')
    variables: dict[str, Any] = {"STORE_PASSWORD": secret, "TRACKING_PASSWORD": tracking}
    began = time.time()
    processes = Processes([secret, tracking])
    with served(tmp_path / "server", free_port), processes.watched():
        done = seqsweep(tmp_path, "submit", "load.yaml", **variables)
        predicted = seqsweep(tmp_path, "predict", "load@champion", "--data", "load.csv", exit_code=4, **variables)
        with (tmp_path / "killed.log").open("w") as log:  # what a controller leaves that was given no time
            killed = subprocess.Popen([SEQSWEEP, "submit", "load.yaml", "--fork", "again"], cwd=tmp_path, stdout=log,
                                      stderr=log, env=environment(**variables))
            until(lambda: b"again" in dump(postgres_server, name), 120)
            time.sleep(3)
            killed.kill()
            killed.wait(20)
    down = seqsweep(tmp_path, "project", "load", exit_code=9, **variables)
    assert "is now champion" in done.stdout
    assert processes.looks and not processes.seen
    told = (done.stdout + done.stderr + predicted.stderr + down.stdout + down.stderr).encode()
    ray_logs = [path for path in Path("/tmp/ray").rglob("*") if path.is_file() and path.stat().st_mtime >= began]
    for hidden in (secret, tracking):
        assert not [form for form in forms(hidden) if form in told]
        assert not [form for form in forms(hidden) if form in dump(postgres_server, name)]
        assert places_of(hidden, tmp_path) == []
        assert not [path for path in ray_logs if path.exists() and any(form in path.read_bytes()
                                                                       for form in forms(hidden))]
    assert ray_logs


@contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """A tracking server that keeps its database, artifacts and log in a folder."""
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
               "--artifacts-destination", str(folder / "artifacts")]
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, start_new_session=True)
    try:
        until(lambda: answers(port), 120)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)


def answers(port: int) -> bool:
    import urllib.request

    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True
