"""Fixtures of more than one room: real servers and stores."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import warm
from servers import PostgresServer

from seqsweep.store.records import Store
from seqsweep.tracking import projector

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would every process the tests start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_cold = projector.spawn


@pytest.fixture(scope="session", autouse=True)
def warm_writer() -> None:
    """The process that writes to MLflow begins warm, but where a test is about it."""
    if warm.FORKS:
        vars(projector).update(spawn=warm.writer)


@pytest.fixture
def cold_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that writes to MLflow begins as a user's does."""
    monkeypatch.setattr(projector, "spawn", _cold)


@pytest.fixture
def free_port() -> int:
    """A TCP port nobody listens on."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _postgres_binaries() -> Path:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (str(debian[-1]) if debian else None)
    if found is None:
        pytest.skip("PostgreSQL is not installed: no initdb on the PATH or in /usr/lib/postgresql")
    return Path(found).resolve().parent


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test run's own, on a free port, with a password."""
    binaries, user = _postgres_binaries(), _server_user()
    folder = Path(tempfile.mkdtemp(prefix="seqsweep-postgres-"))
    group = None if user is None else pwd.getpwnam(user).pw_gid
    server = PostgresServer(binaries, folder, _free_port(), user, group)
    server.create()
    server.start()
    try:
        yield server
    finally:
        server.stop()  # at once: nothing in it is kept
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty PostgreSQL database."""
    database = f"test_{uuid.uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {database}")
    return postgres_server.url(database)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/seqsweep.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store of each kind."""
    with Store.open(store_url) as opened:
        yield opened
