"""Two processes at one time: what the database's locks are for, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from shell import until
from sqlalchemy import Connection, Engine, event, text, update
from test_damage import fill

from seqsweep.errors import Conflict, Outage
from seqsweep.records import Report
from seqsweep.store import database, layout, seals
from seqsweep.store import lease as leasing
from seqsweep.store.records import Store, SweepState
from seqsweep.store.tables import sweeps

T = TypeVar("T")


@pytest.fixture
def wind(store: Store) -> Store:
    store.create_sweep("wind", "", "{}", "", {})
    return store


def amid(store: Store, url: str, first: Callable[[Connection], object], second: Callable[[Store], T]) -> T:
    """Have another process begin while a transaction that did something is not committed; what it gets."""
    with Store.open(url) as other, ThreadPoolExecutor(1) as executor:
        with store._database.write() as connection:
            first(connection)
            found = executor.submit(second, other)
            let_it_come(store, found)
        return found.result()


def let_it_come(store: Store, work: Future[Any]) -> None:
    """Return once the work has ended, or stands before a lock."""
    if store._database.is_sqlite:
        time.sleep(0.3)  # it can be seen nowhere
        return
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = "
                 "'Lock'")

    def has_come() -> bool:
        with store._database.read() as connection:
            return work.done() or bool(connection.execute(waits).scalar())

    until(has_come, 20, every=0.02)


@contextmanager
def on_statements(before: Callable[[str], None], when: str = "before_cursor_execute") -> Iterator[None]:
    """Call something with each statement."""
    def arrive(connection: Any, cursor: Any, statement: str, *_: object) -> None:
        before(statement)

    event.listen(Engine, when, arrive)
    try:
        yield
    finally:
        event.remove(Engine, when, arrive)


def test_of_two_that_take_a_sweep_one_gets_it(wind: Store, store_url: str) -> None:
    sweep = wind.sweep("wind")
    with pytest.raises(Conflict, match="is being run by process"):
        amid(wind, store_url, lambda connection: leasing.take(connection, sweep, 30.0),
             lambda other: other.acquire("wind"))


def test_no_lease_is_taken_in_the_middle_of_a_write(wind: Store, store_url: str) -> None:
    lease = wind.acquire("wind", ttl=0.1)
    time.sleep(0.2)
    lease.ttl = 30.0
    with pytest.raises(Conflict, match="is being run by process"):
        amid(wind, store_url, lease.check, lambda other: other.acquire("wind"))


def test_a_stop_that_comes_as_the_sweep_ends_leaves_it_ended(wind: Store, store_url: str) -> None:
    with wind.acquire("wind") as lease:
        wind.update_sweep(lease, state=SweepState.RUNNING)

    def end(connection: Connection) -> None:
        connection.execute(update(sweeps).values(state=SweepState.FINISHED))
        seals.renew(connection, sweeps)

    assert amid(wind, store_url, end, lambda other: other.request_stop("wind")) is SweepState.FINISHED
    assert wind.sweep("wind").state is SweepState.FINISHED


def test_a_model_that_two_judge_at_once_is_counted_once(wind: Store, store_url: str) -> None:
    both = threading.Barrier(2)

    def meet(statement: str) -> None:
        if statement.startswith("INSERT INTO seqsweep_test_uses"):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(1.0)  # the other one stands before the lock

    with on_statements(meet), ThreadPoolExecutor(2) as executor:
        uses = list(executor.map(lambda _: wind.touch_test("data", "wind", "trial 1"), range(2)))
    assert uses == [1, 1]
    assert wind.test_uses("data") == 1


def test_a_reader_sees_one_moment(store: Store, store_url: str) -> None:
    """Between its queries another process writes."""
    lease = fill(store)
    before, writing = store.trials("wind"), [0]

    def write(statement: str) -> None:
        if "FROM seqsweep_trials" in statement and not writing[0]:
            writing[0] = 1
            store.save_progress(lease, 5, [Report(7, {"val_mae": 0.5})], last=b"l", best=None, epoch=7)

    with Store.open(store_url) as other, on_statements(write, "after_cursor_execute"):
        assert other.trials("wind") == before
    assert writing[0]
    assert store.trials("wind") != before


def test_of_two_that_make_a_store_the_first_ones_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, put = f"sqlite:///{tmp_path}/s.db", layout._put

    def late(new: Path, path: Path) -> None:
        monkeypatch.undo()
        with Store.open(url) as faster:
            faster.create_sweep("wind", "", "{}", "", {})
        put(new, path)

    monkeypatch.setattr(layout, "_put", late)
    with Store.open(url) as store:
        assert [sweep.name for sweep in store.sweeps()] == ["wind"]


def test_a_store_whose_log_is_to_be_turned_on_waits_for_who_writes_to_it(tmp_path: Path) -> None:
    """As of a file that was saved by other means than a copy."""
    url = f"sqlite:///{tmp_path}/s.db"
    Store.open(url).close()
    other = sqlite3.connect(tmp_path / "s.db", check_same_thread=False, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, other.close)
    timer.start()
    with Store.open(url) as store:
        assert store.sweeps() == []
    timer.join()


@pytest.mark.postgres
def test_one_that_froze_in_a_transaction_keeps_its_locks_for_a_while_only(
        postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 1)
    with Store.open(postgres_url) as store, Store.open(postgres_url) as other:
        store.create_sweep("wind", "", "{}", "", {})
        lease = store.acquire("wind")
        with pytest.raises(Outage), store._database.write() as frozen:
            lease.check(frozen)
            until(lambda: not stands_in_the_way(other), 20)
            frozen.execute(text("SELECT 1"))


def stands_in_the_way(store: Store) -> bool:
    try:
        store.sweep("wind")
        with store._database.write() as connection:
            connection.execute(text("UPDATE seqsweep_leases SET expires = expires"))
    except Outage:
        return True
    return False
