"""A store that cannot be used says so, says what to do, and keeps its password to itself."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from seqsweep.doctor.stored import find_sweep, reading
from seqsweep.errors import Outage, Unavailable
from seqsweep.records import Trial
from seqsweep.store import database
from seqsweep.store.records import Store

if TYPE_CHECKING:
    from servers import PostgresServer


def refused(url: str, *, passes: bool = False) -> str:
    """What is told of it; `passes`: whether the same may succeed later."""
    with pytest.raises(Unavailable) as caught:
        Store.open(url)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in ("p@ss/w:rd", "s3cret", "p%40ss"):
        assert secret not in told
    assert isinstance(caught.value, Outage) is passes
    return str(caught.value)


@pytest.mark.parametrize(("url", "what"), [
    ("seqsweep.db", "not a store URL"), ("mysql://root:s3cret@host/x", "SQLite or PostgreSQL, not mysql"),
    ("sqlite://", "in memory"), ("sqlite:///:memory:", "in memory"),
    ("sqlite://s3cret@/x", "no host or user"), ("sqlite://me:s3cret@host/x", "no host or user"),
    ("postgresql://me:s3cret@host:port/x", "not a store URL")])
def test_a_url_of_no_store(url: str, what: str) -> None:
    assert what in refused(url)
    assert "sqlite:///seqsweep.db" in refused(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"parquet, perhaps " * 1000)
    message = refused(f"sqlite:///{tmp_path}/s.db")
    assert "file is not a database" in message
    assert f"{tmp_path}/s.db" in message
    assert "SEQSWEEP_STORE" in message


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(f"sqlite:///{path}") as store:
        store.create_sweep("wind", "", "{}", "", {})
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(Unavailable, match="restore a copy") as told, Store.open(f"sqlite:///{path}") as store:
        store.sweep("wind")
    assert not isinstance(told.value, Outage)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "must exist" in refused(f"sqlite:///{tmp_path}/none/s.db", passes=True)


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)  # root may write anywhere
        try:
            yield Path(name)
        finally:
            if was_root:
                os.seteuid(0)


def test_a_read_only_folder(read_only_folder: Path) -> None:
    assert "writable" in refused(f"sqlite:///{read_only_folder}/s.db", passes=True)


def test_a_relative_path_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open("sqlite:///s.db") as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store._database.engine.dispose()
        store.create_sweep("wind", "", "{}", "", {})
    assert not (tmp_path / "elsewhere" / "s.db").exists()


def test_a_store_of_a_newer_layout(store: Store, store_url: str) -> None:
    with store._database.write() as connection:
        connection.execute(text("UPDATE seqsweep_schema SET version = 3"))
    message = refused(store_url)
    assert "layout 3, this seqsweep knows 2" in message


def test_a_store_locked_for_long(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    with Store.open(store_url) as store, Store.open(store_url) as other:
        store.create_sweep("wind", "", "{}", "", {})
        lease = store.acquire("wind")
        with other._database.write() as connection:
            lease.check(connection)
            with pytest.raises(Outage, match="has held it for more than"):
                store.start_trial(lease, Trial(0, {}, 1))
        store.start_trial(lease, Trial(0, {}, 1))


def test_sqlite_is_set_up_to_survive_a_power_cut(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/s.db") as store, store._database.read() as connection:
        settings = {name: connection.execute(text(f"PRAGMA {name}")).scalar()
                    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}
    with sqlite3.connect(tmp_path / "s.db") as connection_:
        assert connection_.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection_.close()


@pytest.mark.parametrize(("code", "passes"), [
    ("08006", True), ("53100", True), ("53300", True), ("57P01", True), ("57P03", True), ("40P01", True),
    ("55P03", True), ("58030", True), ("25006", True),
    ("28P01", False), ("3D000", False), ("42P01", False), ("42501", False), ("22001", False), ("XX001", False)])
def test_what_may_pass_is_told_by_the_servers_code(code: str, passes: bool) -> None:
    psycopg = pytest.importorskip("psycopg")
    failure = psycopg.errors.lookup(code)("in the language of the server")
    assert database._passes(DBAPIError.instance("SELECT", {}, failure, psycopg.Error)) is passes


@pytest.mark.postgres
def test_postgres_refuses_in_words(postgres_server: PostgresServer, postgres_url: str, free_port: int) -> None:
    assert "Check user and password" in refused(postgres_server.url("postgres", password="s3cret"))
    assert "createdb" in refused(postgres_server.url("nowhere"))
    assert "SEQSWEEP_STORE" in refused(f"postgresql://me:s3cret@127.0.0.1:{free_port}/x", passes=True)
    assert "SEQSWEEP_STORE" in refused(f"postgresql://me@127.0.0.1:{free_port}/x?password=s3cret", passes=True)
    with Store.open(postgres_url) as store:
        assert postgres_server.password not in repr(store)
        assert "p%40ss" not in repr(store)


@pytest.mark.postgres
def test_a_database_without_an_encoding_holds_text(postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with Store.open(postgres_server.url("ascii")) as store:
        store.create_sweep("wind", "name: wind  # Größe\n", "{}", "hash", {})
        assert store.sweep("wind").document == "name: wind  # Größe\n"
    with reading(postgres_server.url("ascii")) as connection:
        assert find_sweep(connection, "wind")["document"] == "name: wind  # Größe\n"


@pytest.mark.postgres
def test_a_dropped_connection_is_made_anew(postgres_server: PostgresServer, postgres_url: str) -> None:
    with Store.open(postgres_url) as store:
        store.create_sweep("wind", "", "{}", "", {})
        name = postgres_url.rsplit("/", 1)[1]
        postgres_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert store.sweep("wind").name == "wind"


def test_a_new_store_that_does_not_fit_on_the_disk_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    with monkeypatch.context() as patched:
        patched.setattr(database.Database, "close", lambda self: None)  # what it committed stays in the log alone
        assert "disk is full" in refused(url, passes=True)
    assert not (tmp_path / "s.db").exists()
    Store.open(url).close()
