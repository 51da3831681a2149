"""What every store does, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.exc import IntegrityError

from seqsweep.errors import Conflict, NotFound
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.store import seals, tables
from seqsweep.store.overview import glances
from seqsweep.store.records import Lease, Store, SweepState


def begin(store: Store, name: str = "wind") -> Lease:
    store.create_sweep(name, "version: 1\n", '{"version":1}', "hash", {"python": "3.11"})
    return store.acquire(name)


def report(epoch: int, loss: float = 1.0) -> Report:
    return Report(epoch, {"val_loss": loss, "seconds": 2.0})


def complete(value: float, best_epoch: int = 1) -> Outcome:
    return Outcome(TrialState.COMPLETE, Reason.FINISHED, value, best_epoch)


def close(store: Store, lease: Lease, number: int, outcome: Outcome, *reports: Report, keep: int = 5,
          sign: int = 1) -> None:
    store.close_trial(lease, number, outcome, reports, best=b"weights %d" % number, keep=keep, sign=sign, extra={})


def test_a_trial_travels_through_the_store_unchanged(store: Store) -> None:
    lease = begin(store)
    trial = Trial(0, {"cell": "gru", "layers": 2, "lr": 1e-3, "tied": True}, seed=2**40, grid_cell='{"cell":"gru"}')
    store.start_trial(lease, trial, worker="host cpu 17")
    curve = (Report(1, {"val_loss": 0.25, "grad_norm": math.inf}), Report(2, {"val_loss": math.nan}),
             Report(3, {"val_loss": -math.inf}))
    store.save_progress(lease, 0, curve[:2], last=b"\0last", best=b"\0best", epoch=2, attempts=1, worker="other")
    running = store.trials("wind")[0]
    assert (running.state, running.outcome, running.ended) == (TrialState.RUNNING, None, None)
    assert store.last_checkpoint("wind", 0) == (2, b"\0last")

    outcome = Outcome(TrialState.FAILED, Reason.DIVERGED, 0.25, 1, message="loss is NaN\0 \udcff in epoch 3")
    store.close_trial(lease, 0, outcome, curve[2:], best=None, keep=1, sign=1, extra={"num_weights": 12})

    record = store.trials("wind")[0]
    assert record.trial == trial
    assert list(record.trial.params) == ["cell", "layers", "lr", "tied"]
    assert record.trial.params["tied"] is True
    assert repr(record.reports) == repr(curve)  # NaN equals nothing
    assert record.state is TrialState.FAILED
    assert record.outcome == Outcome(TrialState.FAILED, Reason.DIVERGED, 0.25, 1, "loss is NaN\ufffd ? in epoch 3")
    assert (record.attempts, record.worker, record.extra) == (1, "other", {"num_weights": 12})
    assert record.ended is not None
    assert abs(record.ended - time.time()) < 5
    assert record.started <= record.ended


def test_the_last_checkpoint_goes_when_a_trial_closes(store: Store) -> None:
    lease = begin(store)
    store.start_trial(lease, Trial(0, {}, 1))
    store.save_progress(lease, 0, [report(1)], last=b"l1", best=b"b1", epoch=1)
    store.save_progress(lease, 0, [report(2)], last=b"l2", best=None, epoch=2)
    assert store.last_checkpoint("wind", 0) == (2, b"l2")
    store.close_trial(lease, 0, complete(1.0), [report(3)], best=None, keep=1, sign=1, extra={})
    assert store.last_checkpoint("wind", 0) is None
    assert store.best_weights("wind", 0) == b"b1"


def test_reports_after_going_back_to_a_checkpoint_replace_the_later_ones(store: Store) -> None:
    lease = begin(store)
    store.start_trial(lease, Trial(0, {}, 1))
    store.save_progress(lease, 0, [report(epoch, 0.1) for epoch in range(1, 6)], last=b"", best=None, epoch=2)
    store.save_progress(lease, 0, [report(3, 0.2)], last=None, best=None, epoch=3)
    losses = [(r.epoch, r.metrics["val_loss"]) for r in store.trials("wind")[0].reports]
    assert losses == [(1, 0.1), (2, 0.1), (3, 0.2)]
    with pytest.raises(ValueError, match="rise"):
        store.save_progress(lease, 0, [report(4), report(4)], last=None, best=None, epoch=4)


def test_times_of_epochs_are_counted_back_by_their_seconds(store: Store) -> None:
    lease = begin(store)
    store.start_trial(lease, Trial(0, {}, 1))
    store.save_progress(lease, 0, [report(1), report(2), report(3)], last=None, best=None, epoch=3)
    times = store.trials("wind")[0].times
    assert [round(b - a, 3) for a, b in pairwise(times)] == [2.0, 2.0]
    assert abs(times[-1] - time.time()) < 5


def test_a_trial_is_closed_once(store: Store) -> None:
    lease = begin(store)
    store.start_trial(lease, Trial(0, {}, 1))
    close(store, lease, 0, complete(1.0), report(1))
    before = (store.trials("wind"), store.revision("wind"))
    close(store, lease, 0, complete(1.0), report(1, 9.0))  # the answer was lost, the controller asks again
    assert (store.trials("wind"), store.revision("wind")) == before
    with pytest.raises(Conflict, match=r"trial 0 .* closed"):
        close(store, lease, 0, complete(2.0))
    with pytest.raises(Conflict, match=r"trial 0 .* closed"):
        store.save_progress(lease, 0, [report(2)], last=b"x", best=None, epoch=2)
    with pytest.raises(Conflict, match="already started"):
        store.start_trial(lease, Trial(0, {}, 1))
    assert (store.trials("wind"), store.revision("wind")) == before


def test_a_trial_is_started_once(store: Store) -> None:
    lease = begin(store)
    store.start_trial(lease, Trial(0, {"lr": 0.1, "cell": "gru"}, 1))
    before = store.trials("wind")
    store.start_trial(lease, Trial(0, {"lr": 0.1, "cell": "gru"}, 1))  # the answer was lost, the controller asks again
    with pytest.raises(Conflict, match="already started"):
        store.start_trial(lease, Trial(0, {"lr": 0.2, "cell": "gru"}, 1))
    assert store.trials("wind") == before


def test_what_was_written_late_has_the_time_it_happened(store: Store) -> None:
    lease, now = begin(store), time.monotonic()
    store.start_trial(lease, Trial(0, {}, 1), at=now - 100)
    store.save_progress(lease, 0, [report(1)], last=None, best=None, epoch=1, at=now - 90)
    store.close_trial(lease, 0, complete(1.0), [report(2)], best=None, keep=1, sign=1, extra={}, at=now - 80)
    (record,) = store.trials("wind")
    assert record.ended is not None
    times = (record.started, *record.times, record.ended)
    assert [round((later - record.started) / 10) for later in times] == [0, 1, 2, 2]
    assert abs(time.time() - 100 - record.started) < 5


def test_what_cannot_be_is_refused(store: Store) -> None:
    lease = begin(store)
    store.start_trial(lease, Trial(0, {}, 1))
    for value, best_epoch in ((math.nan, 1), (math.inf, 1), (1.0, None), (None, 1)):
        with pytest.raises(ValueError, match="trial 0"):
            close(store, lease, 0, Outcome(TrialState.COMPLETE, Reason.FINISHED, value, best_epoch))
    with pytest.raises(ValueError, match="running"):
        close(store, lease, 0, Outcome(TrialState.RUNNING, Reason.FINISHED, 1.0, 1))
    with pytest.raises(NotFound, match="no trial 7"):
        close(store, lease, 7, complete(1.0))
    for statement in ("UPDATE seqsweep_trials SET state = 'lost'", "UPDATE seqsweep_trials SET ended = 1.0",
                      "UPDATE seqsweep_trials SET number = -1", "UPDATE seqsweep_sweeps SET name = NULL",
                      "DELETE FROM seqsweep_sweeps", "UPDATE seqsweep_trials SET sweep_id = 99"):
        with pytest.raises(IntegrityError), store._database.write() as connection:
            connection.execute(text(statement))


@pytest.mark.parametrize(("sign", "kept"), [(1, {2, 4}), (-1, {1, 2})])
def test_only_the_best_keep_their_weights(store: Store, sign: int, kept: set[int]) -> None:
    lease = begin(store)
    outcomes = [complete(0.5), complete(0.9), Outcome(TrialState.PRUNED, Reason.PRUNED, 0.9 if sign < 0 else 0.1, 1),
                Outcome(TrialState.FAILED, Reason.DIVERGED, 0.0 if sign > 0 else 5.0, 1), complete(0.2),
                Outcome(TrialState.FAILED, Reason.USER_ERROR, None, None)]
    for number in range(7):
        store.start_trial(lease, Trial(number, {}, 1))
    store.save_progress(lease, 6, [report(1)], last=b"l", best=b"running", epoch=1)
    for number, outcome in enumerate(outcomes):
        close(store, lease, number, outcome, keep=2, sign=sign)
    assert {n for n in range(6) if store.best_weights("wind", n) is not None} == kept
    assert store.best_weights("wind", 6) == b"running"


@pytest.mark.parametrize(("sign", "best"), [(1, [4, 1, 2]), (-1, [5, 0, 1])])
def test_the_best_trials_come_first_and_the_earlier_of_two_equals(store: Store, sign: int, best: list[int]) -> None:
    lease = begin(store)
    outcomes = [complete(0.9), complete(0.5), complete(0.5), Outcome(TrialState.FAILED, Reason.DIVERGED, 0.0, 1),
                Outcome(TrialState.PRUNED, Reason.PRUNED, 0.2, 1), complete(1.5),
                Outcome(TrialState.PRUNED, Reason.PRUNED, None, None)]
    for number, outcome in enumerate(outcomes):
        store.start_trial(lease, Trial(number, {}, number))
        close(store, lease, number, outcome)
    store.start_trial(lease, Trial(7, {}, 7))
    found = store.best_trials("wind", sign, 3)
    assert [record.number for record in found] == best
    assert found == [record for number in best for record in store.trials("wind", curves=False)
                     if record.number == number]


def test_the_revision_tells_what_changed(store: Store) -> None:
    lease = begin(store)
    assert store.revision("wind") == 0
    for number in range(3):
        store.start_trial(lease, Trial(number, {}, 1))
    seen = store.revision("wind")
    assert store.trials("wind", since=seen) == []
    store.save_progress(lease, 1, [report(1), report(2)], last=None, best=None, epoch=2)
    changed = store.trials("wind", since=seen)
    assert [(record.number, len(record.reports)) for record in changed] == [(1, 2)]
    assert changed[0].revision == store.revision("wind") > seen
    assert [record.reports for record in store.trials("wind", curves=False)] == [(), (), ()]
    store.save_progress(lease, 0, [report(1)], last=b"l", best=None, epoch=1)
    least = store.trials("wind", limit=2)
    assert [(record.number, len(record.reports), record.checkpoint_epoch) for record in least] == [(1, 2, 0), (2, 0, 0)]
    rest = store.trials("wind", since=max(record.revision for record in least), limit=2)
    assert [(record.number, len(record.reports), record.checkpoint_epoch) for record in rest] == [(0, 1, 1)]


def test_a_list_shows_every_sweep_whatever_is_damaged(store: Store) -> None:
    for name, trials in (("wind", 2), ("tide", 0), ("rain", 1)):
        lease = begin(store, name)
        for number in range(trials):
            store.start_trial(lease, Trial(number, {}, seed=number), "host")
        store.put_stage(lease, "register", "key", {"version": f"{name}/7"})
    store.create_sweep("hail", "d", "s", "h", {})
    seen = [(each.name, each.state, each.trials, each.registered) for each in glances(store)]
    assert seen == [("wind", "queued", 2, "wind/7"), ("tide", "queued", 0, "tide/7"), ("rain", "queued", 1, "rain/7"),
                    ("hail", "queued", 0, None)]
    with store._database.write() as connection:
        connection.execute(text("UPDATE seqsweep_sweeps SET spec = 'x' WHERE name = 'wind'"))
        connection.execute(text("UPDATE seqsweep_stages SET value = '{' WHERE sweep_id = "
                                "(SELECT id FROM seqsweep_sweeps WHERE name = 'rain')"))
    store.put_stage(store.acquire("hail"), "register", "key", {"run": "x"})
    wind, tide, rain, hail = glances(store)
    assert (hail.state, hail.registered) == ("damaged", None)
    assert (wind.state, wind.trials, wind.created, wind.active_seconds) == ("damaged", 2, None, None)
    assert (rain.state, rain.registered) == ("damaged", None)
    assert (tide.state, tide.registered) == ("queued", "tide/7")


def test_sweeps_are_found_by_name(store: Store) -> None:
    lease = begin(store)
    store.create_sweep("tide", "d", "s", "h", {})
    with pytest.raises(Conflict, match="wind"):
        store.create_sweep("wind", "d", "s", "h", {})
    with pytest.raises(NotFound, match="did you mean wind"):
        store.sweep("wimd")
    with pytest.raises(NotFound):
        store.trials("sea")
    assert [sweep.name for sweep in store.sweeps()] == ["wind", "tide"]
    assert len({sweep.uid for sweep in store.sweeps()}) == 2

    store.update_sweep(lease, state=SweepState.RUNNING, data_hash="d1", active_seconds=1.5, facts={"gpu": "none"})
    store.update_sweep(lease, active_seconds=3.5, message="why", spec="s2", document="d2", spec_hash="h2")
    sweep = store.sweep("wind")
    assert sweep.facts == {"python": "3.11", "gpu": "none"}
    assert (sweep.active_seconds, sweep.state, sweep.data_hash) == (3.5, SweepState.RUNNING, "d1")
    assert (sweep.message, sweep.spec, sweep.document, sweep.spec_hash) == ("why", "s2", "d2", "h2")
    assert store.sweep("tide").active_seconds == 0


def test_stop_is_asked_of_the_controller_or_done_at_once(store: Store) -> None:
    lease = begin(store)
    store.update_sweep(lease, state=SweepState.RUNNING)
    assert not store.stop_requested("wind")
    assert store.request_stop("wind") is SweepState.STOPPING
    assert store.stop_requested("wind")
    lease.release()
    assert store.request_stop("wind") is SweepState.STOPPED  # its controller is gone
    lease = store.acquire("wind")
    store.update_sweep(lease, state=SweepState.RUNNING)  # resumed
    assert not store.stop_requested("wind")
    store.update_sweep(lease, state=SweepState.FINISHED)
    assert store.request_stop("wind") is SweepState.FINISHED
    assert not store.stop_requested("wind")


def test_stages_and_uses_of_a_test_part(store: Store) -> None:
    lease = begin(store)
    assert store.stage("wind", "evaluate") is None
    store.put_stage(lease, "prepare", "k1", {"rows": 10})
    store.put_stage(lease, "evaluate", "k2", {"mae": math.nan})
    store.put_stage(lease, "prepare", "k3", {"rows": 11})
    found = store.stage("wind", "prepare")
    assert found is not None
    assert (found.key, found.value) == ("k3", {"rows": 11})
    assert set(store.stages("wind")) == {"prepare", "evaluate"}

    assert store.test_uses("data") == 0
    uses = [store.touch_test("data", sweep, model) for sweep, model in (("wind", "m1"), ("tide", "m1"), ("wind", "m1"))]
    assert uses == [1, 2, 2]
    assert (store.test_uses("data"), store.test_uses("other")) == (2, 0)


def test_readers_in_other_threads_see_whole_trials_only(store: Store) -> None:
    lease, stop, seen = begin(store), threading.Event(), set[int]()

    def read() -> int:
        reads = 0
        while not stop.is_set():
            records = store.trials("wind")
            seen.update(record.number for record in records if record.state is TrialState.COMPLETE)
            assert all(len(record.reports) == (5 if record.ended else 0) for record in records)
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for number in range(30):
                store.start_trial(lease, Trial(number, {}, 1))
                close(store, lease, number, complete(1.0), *(report(epoch) for epoch in range(1, 6)))
        finally:
            stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert seen


def test_first_comers_create_the_tables_together(store_url: str) -> None:
    def enter(number: int) -> str:
        with Store.open(store_url) as store:
            return store.create_sweep(f"sweep{number}", "", "{}", "", {}).name

    with ThreadPoolExecutor(6) as pool:
        names = set(pool.map(enter, range(6)))
    with Store.open(store_url) as store:
        assert {sweep.name for sweep in store.sweeps()} == names
        assert len(names) == 6


def test_five_thousand_trials_are_listed_without_a_query_each(store: Store) -> None:
    sweep_id = begin(store).sweep.id
    with store._database.write() as connection:
        connection.execute(insert(tables.trials), [
            {"sweep_id": sweep_id, "number": number, "params": '{"learning_rate": 0.001, "cell": "gru"}',
             "seed": number, "grid_cell": "", "state": "complete", "reason": "finished", "value": 1.0, "best_epoch": 3,
             "message": "", "started": 1.0, "ended": 2.0, "attempts": 0, "worker": "", "extra": "{}",
             "revision": number + 1, "curve": "", "seal": ""} for number in range(5000)])
        seals.renew(connection, tables.trials)
    asked: list[str] = []
    event.listen(store._database._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert len(store.trials("wind", curves=False)) == 5000
    assert len(asked) < 10  # none a trial
    assert [record.number for record in store.trials("wind", curves=False, since=4999)] == [4999]
