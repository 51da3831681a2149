"""One controller a sweep, with real processes that die, freeze and wake up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from shell import until
from sqlalchemy import select, update

from seqsweep.errors import Conflict, Outage
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.store.records import Lease, Store
from seqsweep.store.tables import leases

CONTROLLER = """
import sys
from seqsweep.errors import Conflict
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.store.records import Store

store = Store.open(sys.argv[1])
lease = store.acquire("wind", ttl=float(sys.argv[2]))
mode = sys.argv[3]
print("ready", flush=True)
if mode == "wait":
    sys.stdin.readline()
    try:
        store.start_trial(lease, Trial(7, {}, 1))
    except Conflict as conflict:
        print("refused:", conflict, flush=True)
    sys.exit()
number = len(store.trials("wind", curves=False))
while True:
    store.start_trial(lease, Trial(number, {}, 1))
    store.save_progress(lease, number, [Report(1, {"loss": 1.0})], last=b"l" * 20000, best=b"b" * 20000, epoch=1)
    store.close_trial(lease, number, Outcome(TrialState.COMPLETE, Reason.FINISHED, 1.0, 1),
                      [Report(e, {"loss": 1.0}) for e in range(2, 31)], best=None, keep=3, sign=1, extra={})
    print(number, flush=True)
    number += 1
"""


@contextmanager
def controller(url: str, ttl: float, mode: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", CONTROLLER, url, str(ttl), mode], text=True, env=environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def wind(store: Store) -> Store:
    store.create_sweep("wind", "", "{}", "", {})
    return store


def pretend(store: Store, **columns: object) -> None:
    with store._database.write() as connection:
        connection.execute(update(leases).values(**columns))


def test_the_second_controller_is_told_who_holds_the_sweep(wind: Store, store_url: str) -> None:
    lease = wind.acquire("wind")
    with Store.open(store_url) as other:
        with pytest.raises(Conflict, match=f"process {os.getpid()} on {socket.gethostname()} since 20.* UTC"):
            other.acquire("wind")
        holder = other.holder("wind")
        assert holder is not None
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        assert 25 < holder.expires - holder.since <= 30.1
        lease.release()
        assert other.holder("wind") is None
        assert other.acquire("wind").token > lease.token


def test_every_write_of_a_lost_lease_is_refused_and_nothing_is_written(wind: Store, store_url: str) -> None:
    old = wind.acquire("wind", ttl=0.1)
    wind.start_trial(old, Trial(0, {}, 1))
    time.sleep(0.2)
    with Store.open(store_url) as other:
        new = other.acquire("wind")
        before = (other.trials("wind"), other.sweep("wind"), other.revision("wind"))
        done = Outcome(TrialState.COMPLETE, Reason.FINISHED, 1.0, 1)
        writes = [lambda: wind.start_trial(old, Trial(1, {}, 1)),
                  lambda: wind.save_progress(old, 0, [Report(1, {})], last=b"x", best=b"x", epoch=1),
                  lambda: wind.close_trial(old, 0, done, [], best=b"x", keep=1, sign=1, extra={}),
                  lambda: wind.put_stage(old, "prepare", "k", {}),
                  lambda: wind.update_sweep(old, message="x"), old.renew]
        for write in writes:
            with pytest.raises(Conflict, match=f"no longer holds it, nothing was written; process {os.getpid()}"):
                write()
        old.release()  # takes nothing from the new holder
        assert (other.trials("wind"), other.sweep("wind"), other.revision("wind")) == before
        assert wind.last_checkpoint("wind", 0) is None
        other.close_trial(new, 0, done, [], best=b"x", keep=1, sign=1, extra={})


def test_a_lease_nobody_took_goes_on_after_a_long_sleep(wind: Store) -> None:
    lease = wind.acquire("wind", ttl=0.1)
    time.sleep(0.2)
    assert wind.holder("wind") is None
    lease.ttl = 30.0
    wind.start_trial(lease, Trial(0, {}, 1))
    with pytest.raises(Conflict):
        wind.acquire("wind")


def test_a_lease_is_kept_while_its_holder_writes_nothing(wind: Store) -> None:
    lease = wind.acquire("wind", ttl=1.5)
    first = wind.holder("wind")
    assert first is not None
    with lease.kept():
        until(lambda: expiry(wind) > first.expires + 1.0, 20)
    assert lease.is_held()


def test_an_outage_ends_no_lease(wind: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper tries again, and one that cannot be released runs out."""
    away, renew = [1, 1], Lease.renew

    def renewing(self: Lease) -> None:
        if away:
            raise Outage(f"the store is away, for another {away.pop()}")
        renew(self)

    def releasing(self: Lease) -> None:
        raise Outage("the store is away")

    monkeypatch.setattr(Lease, "renew", renewing)
    monkeypatch.setattr(Lease, "release", releasing)
    with wind.acquire("wind", ttl=0.6) as lease, lease.kept():
        first = expiry(wind)
        until(lambda: expiry(wind) > first, 20)
        assert not away
    time.sleep(0.7)
    wind.acquire("wind")


def test_a_keeper_ends_with_its_lease(wind: Store) -> None:
    lease = wind.acquire("wind", ttl=0.3)
    with lease.kept():
        with wind._database.write() as connection:
            connection.execute(update(leases).values(token=leases.c.token + 1, expires=0.0))
        assert not lease.is_held()
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "seqsweep-lease"])
    assert wind.holder("wind") is None


def expiry(store: Store) -> float:
    with store._database.read() as connection:
        found: float = connection.execute(select(leases.c.expires)).scalar_one()
    return found


def test_a_released_lease_writes_no_more(wind: Store) -> None:
    with wind.acquire("wind") as lease:
        wind.start_trial(lease, Trial(0, {}, 1))
    with pytest.raises(Conflict, match="nobody holds it now"):
        wind.start_trial(lease, Trial(1, {}, 1))


def test_a_dead_process_of_this_host_is_replaced_at_once(wind: Store, store_url: str) -> None:
    with controller(store_url, 1000, "wait") as process:
        with pytest.raises(Conflict, match=str(process.pid)):
            wind.acquire("wind")
        process.kill()
        deadline = time.monotonic() + 10
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:  # dead, though not yet reaped
            assert time.monotonic() < deadline
        assert wind.holder("wind") is None
        wind.acquire("wind").release()


def test_a_reused_process_number_is_not_taken_for_alive(wind: Store) -> None:
    wind.acquire("wind", ttl=1000)
    pretend(wind, born=psutil.Process().create_time() - 60)
    wind.acquire("wind")


def test_a_dead_number_on_another_host_is_waited_for(wind: Store) -> None:
    wind.acquire("wind", ttl=0.5)
    pretend(wind, host="far", place="far pid:[1]", pid=2**22 + 1)
    with pytest.raises(Conflict, match="on far"):
        wind.acquire("wind")
    time.sleep(0.6)
    wind.acquire("wind")


def test_a_frozen_controller_that_wakes_up_cannot_write(wind: Store, store_url: str) -> None:
    with controller(store_url, 1.0, "wait") as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Conflict):
            wind.acquire("wind")
        time.sleep(1.1)
        lease = wind.acquire("wind")
        process.send_signal(signal.SIGCONT)
        answer, _ = process.communicate("go on\n", timeout=60)
    assert answer.startswith("refused: sweep wind: this controller no longer holds it")
    assert wind.trials("wind") == []
    wind.start_trial(lease, Trial(0, {}, 1))


def test_killed_at_any_moment_what_was_answered_is_there_and_whole(wind: Store, store_url: str) -> None:
    for delay in (0.0, 0.013, 0.05, 0.11, 0.2):
        with controller(store_url, 1000, "work") as process:
            assert process.stdout is not None
            answered = [process.stdout.readline()]
            time.sleep(delay)
            process.kill()
            answered += process.stdout.readlines()
        records = wind.trials("wind")
        closed = {record.number for record in records if record.state is TrialState.COMPLETE}
        assert {int(line) for line in answered} <= closed
        assert [record.number for record in records] == list(range(len(records)))
        for record in records:
            whole = record.state is TrialState.COMPLETE
            assert len(record.reports) in ({30} if whole else {0, 1})
            assert (wind.last_checkpoint("wind", record.number) is None) == (whole or not record.reports)
        lease = wind.acquire("wind")  # at once: the process is dead
        for record in records:
            if record.state is TrialState.RUNNING:
                wind.close_trial(lease, record.number, Outcome(TrialState.COMPLETE, Reason.FINISHED, 1.0, 1),
                                 [Report(epoch, {"loss": 1.0}) for epoch in range(len(record.reports) + 1, 31)],
                                 best=None, keep=3, sign=1, extra={})
        lease.release()
    assert sum(wind.best_weights("wind", record.number) is not None for record in wind.trials("wind")) <= 3
