"""The controller's loop with a real store and a real worker in this process."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from toys import toy_series, toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Event, Failure, Lost, Probe
from seqsweep.cluster.pool import LocalPool
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.errors import SearchFailed
from seqsweep.records import Reason, TrialState
from seqsweep.store.records import Store
from seqsweep.sweep import Progress, Search
from seqsweep.sweep.programs import program_of
from seqsweep.training.fit import Fit


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


class Faulty:
    """A real pool in which a fault happens before the n-th piece of work: mocks only for faults."""

    def __init__(self, pool: LocalPool, fault: Callable[[Advance], Event | None]) -> None:
        self.size, self._pool, self._fault = pool.size, pool, fault
        self._event: Event | None = None

    def idle(self) -> list[int]:
        return [] if self._event else self._pool.idle()

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        first = work[0]
        self._event = self._fault(first) if isinstance(first, Advance) else None
        if self._event is None:
            self._pool.submit(worker, *work)

    def wait(self, timeout: float) -> list[Event]:
        event, self._event = self._event, None
        return [event] if event else self._pool.wait(timeout)

    def kill(self, worker: int) -> None:
        self._pool.kill(worker)

    def close(self) -> None:
        self._pool.close()


def search(store: Store, sweep: Sweep, *, fault: Callable[[Advance], Event | None] | None = None,
           observe: Callable[[Progress], None] = lambda _: None, stop: threading.Event | None = None) -> bool:
    if sweep.name not in {record.name for record in store.sweeps()}:
        store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    pool = LocalPool((toy_series(),), sweep.resources)
    with store.acquire(sweep.name) as lease:
        return Search(sweep, store, lease, Faulty(pool, fault) if fault else pool, observe, stop).run()


def table(store: Store) -> list[tuple[object, ...]]:
    return [(r.number, r.state, r.trial.params, r.outcome and r.outcome.value,
             [{k: v for k, v in report.metrics.items() if k != "seconds"} for report in r.reports])
            for r in store.trials("toy")]


def test_runs_exactly_max_trials_and_keeps_the_best_weights(store: Store) -> None:
    sweep = toy_sweep(keep={"checkpoints": 2})
    assert search(store, sweep)
    records = store.trials("toy")
    assert [record.number for record in records] == list(range(6))
    assert {record.state for record in records} == {TrialState.COMPLETE}
    for record in records:
        assert [report.epoch for report in record.reports] == [1, 2, 3]
        assert record.outcome is not None
        assert record.outcome.value == min(report.metrics["val_mae"] for report in record.reports)
        assert int(record.extra["num_weights"]) > 0
        assert "cpu pid" in record.worker
    ranked = sorted(records, key=lambda record: (record.outcome and record.outcome.value) or math.inf)
    kept = [store.best_weights("toy", record.number) is not None for record in ranked]
    assert kept == [True, True, False, False, False, False]


def test_running_again_trains_nothing(store: Store) -> None:
    assert search(store, toy_sweep())
    before = table(store)
    asked: list[Advance] = []
    assert search(store, toy_sweep(), fault=lambda work: asked.append(work))
    assert asked == []
    assert table(store) == before


def test_a_larger_budget_goes_on(store: Store) -> None:
    assert search(store, toy_sweep(budget={"max_trials": 2}))
    first = table(store)
    assert search(store, toy_sweep())
    assert table(store)[:2] == first
    assert len(table(store)) == 6


def test_asha_prunes_and_tells_the_step(store: Store) -> None:
    sweep = toy_sweep(early_terminate={"type": "asha", "min_epochs": 1, "eta": 2}, budget={"max_trials": 12})
    assert search(store, sweep)
    records = store.trials("toy")
    pruned = [record for record in records if record.state is TrialState.PRUNED]
    assert len(records) == 12
    assert pruned
    assert all(len(record.reports) < 3 for record in pruned)
    assert all(record.outcome and record.outcome.reason is Reason.PRUNED for record in pruned)


@pytest.mark.parametrize("pruner", [{"type": "none"}, {"type": "asha", "min_epochs": 1, "eta": 2}], ids=str)
def test_a_stop_leaves_a_checkpoint_and_resuming_gives_the_same_table(
        store: Store, tmp_path: Path, pruner: dict[str, Any]) -> None:
    sweep = toy_sweep(early_terminate=pruner)
    with Store.open(f"sqlite:///{tmp_path / 'whole.db'}") as whole:
        assert search(whole, sweep)
        expected = table(whole)
    for epochs in range(1, 18, 2):  # stop ever later, resume, until it is through
        stop, seen = threading.Event(), [0]

        def count(work: Advance, stop: threading.Event = stop, seen: list[int] = seen, most: int = epochs) -> None:
            seen[0] += 1
            if seen[0] >= most:
                stop.set()

        if search(store, sweep, fault=count, stop=stop):
            break
        running = [record for record in store.trials("toy") if record.state is TrialState.RUNNING]
        assert len(running) <= 1
    assert search(store, sweep)
    assert table(store) == expected


@pytest.mark.parametrize(("damaged", "goes_on"), [("epoch = 3", 2), ("epoch > 0", 0)])
def test_a_damaged_checkpoint_costs_one_more_interval_and_is_told(
        store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str, goes_on: int) -> None:
    monkeypatch.setattr("seqsweep.sweep.search.CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(Search, "_slice", 0.0)
    sweep = toy_sweep(budget={"max_trials": 1}, parameters={
        "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"value": 4}, "epochs": {"value": 5}})
    with Store.open(f"sqlite:///{tmp_path / 'whole.db'}") as whole:
        assert search(whole, sweep)
        expected = table(whole)
    stop, begun = threading.Event(), list[int]()

    def stop_in_the_third(work: Advance) -> None:
        if work.from_epoch == 2:
            stop.set()

    assert not search(store, sweep, fault=stop_in_the_third, stop=stop)
    assert store.trials("toy")[0].checkpoint_epoch == 3
    with store._database.write() as connection:
        connection.execute(text(f"UPDATE seqsweep_checkpoints SET blob = 'x' WHERE kind = 'last' AND {damaged}"))
    notes = set[str]()
    assert search(store, sweep, fault=lambda work: begun.append(work.from_epoch),
                  observe=lambda progress: notes.add(progress.note))
    assert begun[0] == goes_on
    assert any(f"trial 0: checkpoint of epoch 3 is damaged in the store, it goes on from epoch {goes_on}" in note
               for note in notes)
    assert table(store) == expected


def test_a_lost_worker_costs_nothing_but_time(store: Store, tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'whole.db'}") as whole:
        assert search(whole, toy_sweep())
        expected = table(whole)
    losses = [0]

    def lose(work: Advance) -> Event | None:
        losses[0] += 1
        return Event(0, Lost("killed")) if losses[0] % 3 == 1 else None

    assert search(store, toy_sweep(), fault=lose)
    assert losses[0] > 6
    assert table(store) == expected
    assert any(record.attempts for record in store.trials("toy"))


def test_a_trial_that_always_loses_its_worker_fails_and_is_counted(store: Store) -> None:
    def lose(work: Advance) -> Event | None:
        return Event(0, Lost("killed")) if work.trial == 1 else None

    assert search(store, toy_sweep(retries=2), fault=lose)
    failed = store.trials("toy")[1]
    assert failed.state is TrialState.FAILED
    assert failed.attempts == 3
    assert failed.outcome is not None
    assert failed.outcome.reason is Reason.WORKER_LOST
    assert "killed" in failed.outcome.message
    assert len(store.trials("toy")) == 6


def test_too_many_breakdowns_stop_the_sweep(store: Store) -> None:
    def fail(work: Advance) -> Event:
        return Event(0, Advanced(work.trial, work.attempt, 0, failure=Failure(Reason.OUT_OF_MEMORY, "no memory left")))

    with pytest.raises(SearchFailed, match="no memory left"):
        search(store, toy_sweep(budget={"max_trials": 6, "max_failed_trials": 1}), fault=fail)
    assert [record.state for record in store.trials("toy")] == [TrialState.FAILED] * 2


def test_an_error_in_code_stops_the_sweep_and_shows_the_trace(store: Store) -> None:
    def fail(work: Advance) -> Event | None:
        answer = Advanced(work.trial, work.attempt, 0, failure=Failure(Reason.USER_ERROR, "Traceback: line 7"))
        return Event(0, answer) if work.trial == 2 else None

    with pytest.raises(SearchFailed, match=r"(?s)trial 2 .*seqsweep resume toy.*line 7"):
        search(store, toy_sweep(), fault=fail)
    assert [record.state for record in store.trials("toy")] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]
    assert search(store, toy_sweep())  # mended, it goes on with the same trial
    assert [record.number for record in store.trials("toy")] == list(range(6))


def test_divergence_is_a_result_and_no_breakdown(store: Store) -> None:
    sweep = toy_sweep(parameters={"learning_rate": {"value": 10.0}, "optimizer": {"value": "sgd"},
                                  "clip_norm": {"value": 0.0}, "epochs": {"value": 40}, "batch_size": {"value": 8},
                                  "cell": {"value": "elman"}, "nonlinearity": {"value": "relu"},
                                  "hidden_size": {"min": 48, "max": 64}},
                      task={"type": "forecasting", "target": "y", "horizon": 3, "context": 12, "loss": "mse"},
                      budget={"max_trials": 3, "max_failed_trials": 0})
    assert search(store, sweep)
    records = store.trials("toy")
    assert {record.state for record in records} == {TrialState.FAILED}
    assert {record.outcome.reason for record in records if record.outcome} == {Reason.DIVERGED}


def test_the_time_budget_ends_running_trials_with_what_they_have(store: Store) -> None:
    sweep = toy_sweep(parameters={"learning_rate": {"min": 1e-3, "max": 1e-1}, "epochs": {"value": 100_000}},
                      budget={"max_trials": 50, "max_time": "3s"})
    assert search(store, sweep)
    records = store.trials("toy")
    assert len(records) == 1
    assert records[0].outcome is not None
    assert records[0].outcome.reason is Reason.TIME_UP
    assert records[0].outcome.value is not None
    assert store.best_weights("toy", 0) is not None
    assert store.sweep("toy").active_seconds >= 2.9


def test_time_spent_before_a_kill_counts(store: Store) -> None:
    sweep = toy_sweep(budget={"max_trials": 6, "max_time": "50s"})
    store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    with store.acquire(sweep.name) as lease:
        store.update_sweep(lease, active_seconds=51.0)
    assert search(store, sweep)
    assert store.trials("toy") == []


def test_a_finite_space_ends_the_search_honestly(store: Store) -> None:
    notes: set[str] = set()
    sweep = toy_sweep(method="grid", parameters={"hidden_size": {"values": [4, 8]}, "epochs": {"value": 1}})
    assert search(store, sweep, observe=lambda progress: notes.add(progress.note))
    assert len(store.trials("toy")) == 2
    assert "every combination of the search space has been tried" in notes


def test_progress_tells_counts_best_and_time_left(store: Store) -> None:
    seen: list[Progress] = []
    assert search(store, toy_sweep(), observe=seen.append)
    last = seen[-1]
    assert last.trials[TrialState.COMPLETE] == last.max_trials == 6
    best = min((r.outcome.value, r.number) for r in store.trials("toy") if r.outcome and r.outcome.value is not None)
    assert last.best == (best[1], best[0])
    assert last.seconds_left == 0
    counts = [progress.trials[TrialState.COMPLETE] for progress in seen]
    assert counts == sorted(counts)
    assert {*range(1, 7)} <= {*counts}


def test_a_second_controller_is_refused(store: Store) -> None:
    from seqsweep.errors import Conflict

    store.create_sweep("toy", "", "{}", "hash", {})
    with store.acquire("toy"), pytest.raises(Conflict, match="being run by process"):
        store.acquire("toy")


PACKED = {"kernel": "stacked", "pack": 3}


def assert_each_is_what_it_is_alone(store: Store, sweep: Sweep) -> None:
    """Every trial's curve, to the bit, from its parameters, its seed and its program."""
    for record in store.trials("toy"):
        config = fit_config(sweep, record.trial.params, record.trial.seed)
        program = program_of(store.sweep("toy").facts, config)
        assert program.packed
        fit = Fit(config.model_copy(update={"program": program}), (toy_series(),))
        for report in record.reports:
            alone = fit.advance().metrics
            assert {**report.metrics, "seconds": 0} == {**alone, "seconds": 0}, (record.number, report.epoch)


@pytest.mark.parametrize("keys", [
    {}, {"early_terminate": {"type": "asha", "min_epochs": 1, "eta": 2}}, {"method": "tpe"}, {"method": "grid"}])
def test_trials_of_one_shape_are_trained_in_step(store: Store, keys: dict[str, Any]) -> None:
    rates: dict[str, Any] = {"min": 1e-3, "max": 1e-1, "log": True}
    if keys.get("method") == "grid":
        rates = {"values": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]}
    sweep = toy_sweep(resources=PACKED, budget={"max_trials": 12}, parameters={
        "learning_rate": rates, "hidden_size": {"values": [4, 8]}, "epochs": {"values": [2, 3, 4], "search": "auto"}
        if keys.get("method") != "grid" else {"value": 3}, "batch_size": {"value": 32}}, **keys)
    sizes: list[int] = []
    assert search(store, sweep, observe=lambda progress: sizes.append(len(progress.running)))
    records = store.trials("toy")
    assert [record.number for record in records] == list(range(12))
    assert all(record.outcome for record in records)
    assert max(sizes) == 3
    shapes = Counter(record.trial.params["hidden_size"] for record in records)
    assert len(shapes) == 2
    assert_each_is_what_it_is_alone(store, sweep)


def test_a_pack_that_loses_its_worker_goes_on_and_a_stop_leaves_every_member(store: Store) -> None:
    sweep = toy_sweep(resources=PACKED, budget={"max_trials": 6}, retries=9)
    count, stop = [0], threading.Event()

    def fault(work: Advance) -> Event | None:
        count[0] += 1
        if count[0] == 3:
            stop.set()
        return Event(0, Lost("killed")) if count[0] in (1, 2, 5) else None

    assert not search(store, sweep, fault=fault, stop=stop)
    assert search(store, sweep)
    records = store.trials("toy")
    assert [(record.number, record.state) for record in records] == [(n, TrialState.COMPLETE) for n in range(6)]
    assert_each_is_what_it_is_alone(store, sweep)


def test_another_kernel_is_for_new_shapes(store: Store) -> None:
    """Trials that began with one kernel end with it, and verify finds it."""
    stop, count = threading.Event(), [0]

    def fault(work: Advance) -> Event | None:
        count[0] += 1
        if count[0] == 2:
            stop.set()
        return None

    assert not search(store, toy_sweep(budget={"max_trials": 3}), fault=fault, stop=stop)
    assert search(store, toy_sweep(resources={"kernel": "stacked", "pack": "off"}, budget={"max_trials": 6}))
    sweep, facts = toy_sweep(), store.sweep("toy").facts
    for record in store.trials("toy"):
        program = program_of(facts, fit_config(sweep, record.trial.params, record.trial.seed))
        assert record.extra["kernel"] == program.kernel
    assert store.trials("toy")[0].extra["kernel"] == "torch"


def test_a_choice_stands_when_the_sweep_goes_on(store: Store) -> None:
    auto = {"kernel": "auto", "pack": "off"}
    assert search(store, toy_sweep(resources=auto, budget={"max_trials": 2}))
    facts = store.sweep("toy").facts["programs"]
    assert facts
    swapped = {name: {**each, "kernel": "stacked", "packed": False} for name, each in facts.items()}
    with store.acquire("toy") as lease:
        store.update_sweep(lease, facts={"programs": swapped})
    assert search(store, toy_sweep(resources=auto, budget={"max_trials": 4}))
    first, later = store.trials("toy")[:2], store.trials("toy")[2:]
    known = {record.trial.params["hidden_size"] for record in first}
    again = [record for record in later if record.trial.params["hidden_size"] in known]
    assert again
    assert {record.extra["kernel"] for record in again} == {"stacked"}
