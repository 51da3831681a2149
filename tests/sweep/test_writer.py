"""Writes that wait: in their order, once each, and the search goes on meanwhile."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from shell import until
from sqlalchemy import text
from toys import toy_series, toy_sweep

from seqsweep import outage
from seqsweep.cluster.pool import LocalPool
from seqsweep.errors import Conflict, Outage, Unavailable
from seqsweep.ledger import WRITER, Ledger
from seqsweep.outage import OutageNews
from seqsweep.records import TrialState
from seqsweep.store import records as stored
from seqsweep.store.records import Lease, Store
from seqsweep.sweep import Progress, Search
from seqsweep.sweep import writer as writing
from seqsweep.sweep.writer import Writer

TRIALS = 6


def search(store: Store, observe: Callable[[Progress], None] = lambda _: None) -> bool:
    """The toy sweep with one worker in this process: without an outage it takes a fraction of a second."""
    sweep = toy_sweep()
    if not store.sweeps():
        store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    with store.acquire(sweep.name) as lease:
        return Search(sweep, store, lease, LocalPool((toy_series(),), sweep.resources), observe).run()


def table(store: Store) -> list[tuple[object, ...]]:
    return [(r.number, r.state, r.trial.params, r.outcome, r.attempts,
             [{k: v for k, v in report.metrics.items() if k != "seconds"} for report in r.reports])
            for r in store.trials("toy")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The table of a search that nothing disturbed."""
    with Store.open(f"sqlite:///{tmp_path_factory.mktemp('whole')}/store.db") as whole:
        assert search(whole)
        return table(whole)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trouble is told after a moment."""
    monkeypatch.setattr(outage, "_SPEAK_AFTER", 0.4)
    monkeypatch.setattr(stored, "_NOTICED", 0.3)


@contextmanager
def locked(url: str) -> Iterator[Callable[[], None]]:
    """Another process's transaction stands in the way of every write, until what is given is called."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with Store.open(url) as other, other._database.write() as connection:
            connection.execute(text("UPDATE seqsweep_leases SET expires = expires"))
            held.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    try:
        yield release.set
    finally:
        release.set()
        holder.join()


class Watcher:
    """Sees the progress of a search whose store is locked, and opens the lock once `enough` says so."""

    def __init__(self, store: Store, enough: Callable[[Progress], bool]) -> None:
        self.store, self.enough = store, enough
        self.notes: list[str] = []
        self.written = 0
        """Trials in the store when it was unlocked."""
        self.complete = 0
        self.at = 0.0
        self.open: Callable[[], None] | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.note and progress.note not in self.notes:
            self.notes.append(progress.note)
        if self.open and self.enough(progress):
            self.written = len(self.store.trials("toy"))
            self.complete, self.at = progress.trials[TrialState.COMPLETE], time.time()
            self.open()
            self.open = None


@contextmanager
def running_under_lock(store: Store, url: str, watcher: Watcher) -> Iterator[None]:
    """The lock comes after the lease: whoever cannot take that has no work to lose."""
    taken = Search.run

    def run(self: Search) -> bool:
        with locked(url) as watcher.open:
            return taken(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "run", run)
        yield


def all_told(progress: Progress) -> bool:
    return progress.trials[TrialState.COMPLETE] == TRIALS and "lock" in progress.note


def test_the_search_goes_on_while_the_store_is_locked(store: Store, store_url: str,
                                                      expected: list[tuple[object, ...]]) -> None:
    watcher = Watcher(store, all_told)
    with running_under_lock(store, store_url, watcher):
        assert search(store, watcher)
    assert (watcher.complete, watcher.written) == (TRIALS, 0)
    assert re.match(r"the store cannot be used: .*lock.*, for \d s now; \d+ writes wait", watcher.notes[0])
    assert watcher.notes[-1].startswith("the store is back after ")
    assert table(store) == expected
    for record in store.trials("toy"):  # times are those of what happened, not of the write
        assert record.ended is not None
        assert record.started <= record.ended < watcher.at
    assert store.sweep("toy").facts["programs"]


def test_where_too_much_waits_the_search_waits_too(store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch,
                                                   expected: list[tuple[object, ...]]) -> None:
    monkeypatch.setattr(writing, "_MANY", 3)
    monkeypatch.setattr(writing, "_FEW", 2)
    watcher = Watcher(store, lambda progress: "so does the search" in progress.note)
    with running_under_lock(store, store_url, watcher):
        assert search(store, watcher)
    assert 0 < watcher.complete < TRIALS
    assert table(store) == expected


def test_large_checkpoints_count_by_their_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_MANY_BYTES", 1000)
    release = threading.Event()

    def write(lease: Lease, blob: bytes, at: float | None = None) -> None:
        release.wait(30)

    with writer_of(store, release.set) as writer:
        writer.put(write, b"x" * 999)
        writer.wait_for_room()
        assert not release.is_set()
        writer.put(write, blob=b"xx")
        writer.wait_for_room()
        assert release.is_set()


@contextmanager
def writer_of(store: Store, waiting: Callable[[], None] = lambda: None,
              ledger: Ledger | None = None) -> Iterator[Writer]:
    store.create_sweep("toy", "", "{}", "hash", {})
    with store.acquire("toy") as lease, Writer(lease, ledger or Ledger(), waiting) as writer:
        yield writer


def test_writes_keep_their_order_through_an_outage(store: Store) -> None:
    done: list[int] = []
    tries, ledger = [0], Ledger()

    def write(lease: Lease, number: int, at: float | None = None) -> None:
        tries[0] += 1
        if tries[0] in (2, 3, 4):
            raise Outage("gone for a moment")
        assert at is not None
        assert at <= time.monotonic()
        done.append(number)

    with writer_of(store, ledger=ledger) as writer:
        for number in range(20):
            writer.put(write, number)
    assert done == list(range(20))
    assert tries[0] == 23
    assert ledger.seconds()[WRITER] > 0.3  # three pauses


def lose_answers(store: Store, patch: pytest.MonkeyPatch) -> list[int]:
    """Every other commit of the writer is done, and its answer lost."""
    dialect, lost = store._database.engine.dialect, [0, 0]
    commit = dialect.do_commit

    def do_commit(connection: Any) -> None:
        commit(connection)
        if threading.current_thread().name == "seqsweep-writer":
            lost[0] += 1
            if lost[0] % 2:
                lost[1] += 1
                raise broken(store)

    patch.setattr(dialect, "do_commit", do_commit)
    return lost


def broken(store: Store) -> Exception:
    if store._database.is_sqlite:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        return error
    import psycopg

    return psycopg.OperationalError("server closed the connection unexpectedly")


def test_a_commit_whose_answer_was_lost_is_not_done_twice(store: Store, monkeypatch: pytest.MonkeyPatch,
                                                          expected: list[tuple[object, ...]]) -> None:
    lost = lose_answers(store, monkeypatch)
    assert search(store)
    assert lost[1] >= 2 * TRIALS
    assert table(store) == expected


def test_a_lost_lease_ends_the_search_and_nothing_more_is_written(store: Store) -> None:
    written: list[list[tuple[object, ...]]] = []

    def take(progress: Progress) -> None:
        if progress.trials[TrialState.COMPLETE] and not written:
            with store._database.write() as connection:
                connection.execute(text("UPDATE seqsweep_leases SET token = token + 1"))
            written.append(table(store))

    with pytest.raises(Conflict, match="no longer holds it"):
        search(store, take)
    assert table(store) == written[0]


def test_what_will_not_pass_ends_the_search(store: Store) -> None:
    def spoil(progress: Progress) -> None:
        if progress.trials[TrialState.COMPLETE] == 1:
            with store._database.write() as connection:
                connection.execute(text("ALTER TABLE seqsweep_reports RENAME TO gone"))

    with pytest.raises(Unavailable, match="seqsweep_reports") as told:
        search(store, spoil)
    assert not isinstance(told.value, Outage)


def test_an_interrupt_waits_for_the_writes_and_a_second_one_does_not(store: Store, store_url: str) -> None:
    interrupts = [0]

    def interrupt(progress: Progress) -> None:
        if watcher.open and progress.trials[TrialState.COMPLETE] > 1:
            interrupts[0] += 1
            raise KeyboardInterrupt

    watcher = Watcher(store, lambda _: False)
    with running_under_lock(store, store_url, watcher), pytest.raises(KeyboardInterrupt):
        search(store, interrupt)
    assert interrupts == [2]
    until(lambda: not any(thread.name == "seqsweep-writer" for thread in threading.enumerate()))
    assert store.trials("toy") == []


def test_news_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now[0])
        news, lines = OutageNews("the store"), []
        for second in range(101):
            now[0] = float(second)
            wrong = "it is locked:\n by someone" if 10 <= second < 90 or second == 5 else None
            if line := news.look(wrong, "all waits"):
                lines.append(line)
    assert lines == ["it is locked, for 2 s now; all waits", "it is locked, for 4 s now; all waits",
                     *(f"it is locked, for {seconds} s now; all waits" for seconds in (8, 16, 32, 64)),
                     "the store is back after 80 s"]


def test_after_a_write_that_failed_nothing_is_written(store: Store) -> None:
    done: list[int] = []

    def write(lease: Lease, number: int, at: float | None = None) -> None:
        if number == 1:
            raise Unavailable("the tables are gone")
        done.append(number)

    with pytest.raises(Unavailable, match="gone"), writer_of(store) as writer:
        for number in range(4):
            writer.put(write, number)
    assert done == [0]


def test_the_end_waits_for_the_write_in_hand(store: Store) -> None:
    release, done = threading.Event(), threading.Event()

    def write(lease: Lease, at: float | None = None) -> None:
        release.wait(30)
        done.set()

    with writer_of(store, release.set) as writer:
        writer.put(write)
        until(lambda: writer._trying_since)
    assert done.is_set()


def test_that_the_store_is_back_is_told_though_nobody_had_to_wait(store: Store) -> None:
    away, lines = threading.Event(), list[str]()

    def write(lease: Lease, at: float | None = None) -> None:
        if not away.is_set():
            raise Outage("it is locked")

    def look() -> list[str]:
        lines.extend(filter(None, [writer.news()]))
        return lines

    with writer_of(store, lambda: print(*look())) as writer:
        writer.put(write)
        until(look)
        away.set()
        until(lambda: not writer._writes)
        assert len(lines) == 1
    assert lines[1].startswith("the store is back after ")
