"""What becomes of trials that break down: in a real search with a real worker, mocks only for faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import toy_series, toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Event, Failure, Lost, Probe
from seqsweep.cluster.pool import LocalPool
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.errors import SearchFailed
from seqsweep.records import BREAKDOWNS, Reason, TrialRecord, TrialState
from seqsweep.store.records import Store
from seqsweep.sweep import Search
from seqsweep.sweep.programs import program_of
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.training.fit import Fit

PACKED: dict[str, Any] = {"resources": {"kernel": "stacked", "pack": 3}, "parameters": {
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"value": 4}, "epochs": {"value": 3},
    "batch_size": {"value": 32}}}
Fault = Callable[[tuple[Advance, ...]], Lost | Failure | None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


class Faulty(LocalPool):
    """A real pool in which a piece of work may break down before it begins, or after an epoch of it."""

    def __init__(self, sweep: Sweep, fault: Fault) -> None:
        super().__init__((toy_series(),), sweep.resources)
        self._fault, self._events = fault, list[Event]()
        self.crews: list[list[int]] = []

    def idle(self) -> list[int]:
        return [] if self._events else super().idle()

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        advances = tuple(each for each in work if isinstance(each, Advance))
        if advances:
            self.crews.append([each.trial for each in advances])
        found = self._fault(advances) if advances else None
        if isinstance(found, Lost):
            self._events = [Event(0, found)]
        elif found:
            self._events = [Event(0, Advanced(each.trial, each.attempt, each.from_epoch, failure=found))
                            for each in advances]
        else:
            # an answer after each epoch, so that a breakdown finds trials in the middle
            super().submit(worker, *(replace(each, slice_s=0.0) if isinstance(each, Advance) else each
                                     for each in work))

    def wait(self, timeout: float) -> list[Event]:
        events, self._events = self._events, []
        return events or super().wait(timeout)


class Story:
    """A search, what it said, and who was trained with whom."""

    def __init__(self, store: Store, sweep: Sweep, fault: Fault, stop: threading.Event | None = None) -> None:
        if sweep.name not in {record.name for record in store.sweeps()}:
            store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
        pool, self.notes = Faulty(sweep, fault), list[str]()
        with store.acquire(sweep.name) as lease:
            search = Search(sweep, store, lease, pool, lambda progress: self.notes.append(progress.note), stop)
            self.finished = search.run()
        self.crews, self.records = pool.crews, store.trials(sweep.name)


def curve(record: TrialRecord) -> list[dict[str, float]]:
    return [{**report.metrics, "seconds": 0.0} for report in record.reports]


def assert_each_is_what_its_record_says(store: Store, sweep: Sweep) -> None:
    """Every curve comes again, to the bit, from parameters, seed, program and micro-batches."""
    facts = store.sweep("toy").facts
    for record in store.trials("toy"):
        config = fit_config(sweep, record.trial.params, record.trial.seed)
        fit = Fit(config.model_copy(update={"program": program_of(facts, config, record.extra)}), (toy_series(),))
        again = [{**fit.advance().metrics, "seconds": 0.0} for _ in record.reports]
        assert again == curve(record), record.number


def first_time(trial: int, found: Lost | Failure, epoch: int = 0) -> Fault:
    """It happens once to a piece of work that this trial is part of."""
    happened: list[int] = []

    def fault(works: tuple[Advance, ...]) -> Lost | Failure | None:
        if happened or not any(work.trial == trial and work.from_epoch >= epoch for work in works):
            return None
        happened.append(1)
        return found

    return fault


def always(trial: int, found: Lost | Failure) -> Fault:
    return lambda works: found if any(work.trial == trial for work in works) else None


NO_MEMORY = Failure(Reason.OUT_OF_MEMORY, "OutOfMemoryError: CUDA out of memory")
HUNG = Lost("vm cpu pid 7: no step for 10m (resources.timeout)", Reason.HUNG)


@pytest.mark.parametrize("epoch", [0, 2])
def test_out_of_memory_goes_on_in_micro_batches(store: Store, epoch: int) -> None:
    sweep = toy_sweep(parameters={**toy_parameters(), "dropout": {"value": 0.2}, "num_layers": {"value": 2}})
    story = Story(store, sweep, first_time(1, NO_MEMORY, epoch))
    assert {record.state for record in story.records} == {TrialState.COMPLETE}
    record = story.records[1]
    # no checkpoint is sent within so short a trial: it begins anew, in pieces
    assert (record.attempts, record.extra["micro_batch"], record.extra.get("whole_epochs")) == (1, 4, None)
    assert record.extra["kernel"] == "torch, micro-batches of 4"
    assert all("micro_batch" not in other.extra for other in story.records if other.number != 1)
    assert any("trial 1 ran out of memory and goes on from epoch 0 in micro-batches of 4, which add up to its batches "
               "of 32" in note for note in story.notes)
    assert_each_is_what_its_record_says(store, sweep)


def toy_parameters() -> dict[str, Any]:
    parameters: dict[str, Any] = toy_sweep().model_dump(mode="json")["parameters"]
    return {name: {key: value for key, value in each.items() if value} for name, each in parameters.items()}


def test_whole_batches_before_the_checkpoint_are_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsweep.sweep.search.CHECKPOINT_EVERY", 0.0)
    story = Story(store, toy_sweep(), first_time(1, NO_MEMORY, epoch=2))
    assert (story.records[1].extra["micro_batch"], story.records[1].extra["whole_epochs"]) == (4, 2)
    assert_each_is_what_its_record_says(store, toy_sweep())


def test_a_resume_goes_on_in_micro_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsweep.sweep.search.CHECKPOINT_EVERY", 0.0)
    stop, broken = threading.Event(), first_time(1, NO_MEMORY, epoch=1)

    def fault(works: tuple[Advance, ...]) -> Lost | Failure | None:
        if works[0].config.program.micro_batch:
            stop.set()  # after the first epoch in pieces
        return broken(works)

    assert not Story(store, toy_sweep(), fault, stop).finished
    running = store.trials("toy")[1]
    assert (running.state, running.checkpoint_epoch) == (TrialState.RUNNING, 2)
    story = Story(store, toy_sweep(), lambda works: None)
    assert (story.records[1].extra["micro_batch"], story.records[1].extra["whole_epochs"]) == (4, 1)
    assert_each_is_what_its_record_says(store, toy_sweep())


def test_out_of_memory_in_micro_batches_too_is_a_breakdown(store: Store) -> None:
    story = Story(store, toy_sweep(), always(1, NO_MEMORY))
    outcome = story.records[1].outcome
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (TrialState.FAILED, Reason.OUT_OF_MEMORY)
    assert outcome.message == "even in micro-batches of 4: OutOfMemoryError: CUDA out of memory"
    assert sum(record.state is TrialState.COMPLETE for record in story.records) == 5


def test_a_batch_of_one_cannot_be_cut(store: Store) -> None:
    sweep = toy_sweep(parameters={**toy_parameters(), "batch_size": {"value": 1}}, budget={"max_trials": 2})
    story = Story(store, sweep, always(1, NO_MEMORY))
    assert (story.records[1].attempts, story.records[1].outcome and story.records[1].outcome.message) == (
        0, "OutOfMemoryError: CUDA out of memory")


def test_memory_that_is_too_small_for_batches_is_enough_for_the_sweep(
        store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault is in torch's allocator: for a step of more samples there is nothing to be had."""
    forward = Forecaster.forward

    def limited(self: Forecaster, batch: Batch) -> torch.Tensor:
        if self.training and batch.x_BLF.shape[0] > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    sweep = toy_sweep(budget={"max_trials": 4})
    whole = Story(store, toy_sweep(name="whole", budget={"max_trials": 4}), lambda works: None)
    monkeypatch.setattr(Forecaster, "forward", limited)
    story = Story(store, sweep, lambda works: None)
    assert {record.extra["micro_batch"] for record in story.records} == {4}
    for ours, theirs in zip(story.records, whole.records, strict=True):
        assert curve(ours)[0] == pytest.approx(curve(theirs)[0], rel=1e-3)
    assert_each_is_what_its_record_says(store, sweep)


def test_a_pack_without_memory_goes_on_one_by_one_and_packs_become_smaller(store: Store) -> None:
    sweep = toy_sweep(budget={"max_trials": 9}, **PACKED)

    def fault(works: tuple[Advance, ...]) -> Failure | None:
        return NO_MEMORY if len(works) > 2 else None

    story = Story(store, sweep, fault)
    assert story.crews[0] == [0, 2, 3]  # trial 1 was asked for ahead of the followers
    after = {trial: next(crew for crew in story.crews[1:] if trial in crew) for trial in (0, 2, 3)}
    assert after == {0: [0], 2: [2], 3: [3]}
    assert {len(crew) for crew in story.crews[1:]} == {1, 2}
    assert [record.attempts for record in story.records] == [0] * 9
    assert all("micro_batch" not in record.extra for record in story.records)
    (choice,) = store.sweep("toy").facts["programs"].values()
    assert choice["pack"] == 2
    assert_each_is_what_its_record_says(store, sweep)


def test_one_of_a_pack_that_has_no_memory_even_alone_leaves_its_neighbours_alone(store: Store) -> None:
    sweep = toy_sweep(budget={"max_trials": 6}, **PACKED)

    def fault(works: tuple[Advance, ...]) -> Failure | None:
        return NO_MEMORY if any(work.trial == 1 and not work.config.program.micro_batch for work in works) else None

    story = Story(store, sweep, fault)
    assert [record.extra.get("micro_batch") for record in story.records] == [None, 4, None, None, None, None]
    assert story.records[1].extra["kernel"] == "stacked, packed, micro-batches of 4"
    assert_each_is_what_its_record_says(store, sweep)


@pytest.mark.parametrize(("found", "reason"), [(Lost("killed"), Reason.WORKER_LOST), (HUNG, Reason.HUNG)])
def test_a_poisoned_trial_burns_nobody_but_itself(store: Store, found: Lost, reason: Reason) -> None:
    sweep = toy_sweep(budget={"max_trials": 6, "max_failed_trials": 1}, retries=2, **PACKED)
    story = Story(store, sweep, always(2, found))
    assert [record.number for record in story.records if record.state is TrialState.FAILED] == [2]
    assert [record.attempts for record in story.records if record.number != 2] == [0] * 5
    failed = story.records[2]
    assert failed.outcome is not None
    assert failed.outcome.reason is reason
    assert failed.attempts == (2 if reason is Reason.HUNG else 3)
    assert story.crews[0] == [0, 2, 3]
    assert all(crew == [2] for crew in story.crews[1:] if 2 in crew)
    assert_each_is_what_its_record_says(store, sweep)


def test_a_worker_lost_again_and_again_by_packs_ends_all_the_same(store: Store) -> None:
    """The neighbour that kills its worker in its last epoch only is found, though packs of it are nobody's own."""
    sweep = toy_sweep(budget={"max_trials": 6}, retries=1, **PACKED)

    def fault(works: tuple[Advance, ...]) -> Lost | None:
        return Lost("killed") if any(work.trial == 1 and work.from_epoch == 2 for work in works) else None

    story = Story(store, sweep, fault)
    assert [str(record.state) for record in story.records] == ["complete", "failed"] + ["complete"] * 4
    assert story.records[1].attempts == 2
    assert_each_is_what_its_record_says(store, sweep)


def test_one_that_hangs_is_tried_once_more(store: Store, tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'whole.db'}") as other:
        expected = [curve(record) for record in Story(other, toy_sweep(), lambda works: None).records]
    story = Story(store, toy_sweep(retries=0), first_time(1, HUNG, epoch=1))
    assert [curve(record) for record in story.records] == expected
    assert (story.records[1].attempts, story.records[1].extra["hangs"]) == (1, 1)
    assert any(note == f"trial 1 hung and goes on from epoch 0 ({HUNG.message})" for note in story.notes)


def test_one_that_hangs_twice_is_a_breakdown(store: Store) -> None:
    with pytest.raises(SearchFailed, match=r"1 trials broke down .* trial 1: hung twice; .* no step for 10m"):
        Story(store, toy_sweep(retries=9, budget={"max_trials": 6, "max_failed_trials": 0}), always(1, HUNG))
    outcome = store.trials("toy")[1].outcome
    assert outcome is not None
    assert outcome.reason is Reason.HUNG in BREAKDOWNS


def test_an_error_in_a_packs_code_stops_the_sweep_and_costs_nobody_a_number(store: Store, tmp_path: Path) -> None:
    sweep = toy_sweep(budget={"max_trials": 6}, **PACKED)
    with Store.open(f"sqlite:///{tmp_path / 'whole.db'}") as other:
        expected = [curve(record) for record in Story(other, sweep, lambda works: None).records]
    with pytest.raises(SearchFailed, match=r"(?s)raised an error; the sweep stops.*line 7"):
        Story(store, sweep, first_time(4, Failure(Reason.USER_ERROR, "Traceback: line 7"), epoch=1))
    assert {record.state for record in store.trials("toy")} == {TrialState.COMPLETE, TrialState.RUNNING}
    assert [curve(record) for record in Story(store, sweep, lambda works: None).records] == expected


def test_every_reason_has_words(store: Store) -> None:
    kinds: Mapping[Lost | Failure, Reason] = {
        NO_MEMORY: Reason.OUT_OF_MEMORY, HUNG: Reason.HUNG, Lost("its node has died"): Reason.WORKER_LOST}
    for number, found in enumerate(kinds):
        sweep = toy_sweep(name=f"toy-{number}", budget={"max_trials": 1}, retries=0)
        (record,) = Story(store, sweep, always(0, found)).records
        assert record.outcome is not None
        assert record.outcome.reason is kinds[found]
        assert found.message in record.outcome.message


class Killed(Exception):
    """The controller was killed."""


def test_a_resume_remembers_how_often_a_trial_broke_down(store: Store) -> None:
    times: list[int] = []

    def fault(works: tuple[Advance, ...]) -> Lost | None:
        if works[0].trial != 1:
            return None
        times.append(1)
        if len(times) == 3:
            raise Killed
        return Lost("killed")

    with pytest.raises(Killed):
        Story(store, toy_sweep(retries=2), fault)
    story = Story(store, toy_sweep(retries=2), fault)
    assert (story.records[1].state, story.records[1].attempts, len(times)) == (TrialState.FAILED, 3, 4)


def test_breakdowns_before_a_resume_count(store: Store) -> None:
    sweep = toy_sweep(retries=0, budget={"max_trials": 6, "max_failed_trials": 1})

    def fault(works: tuple[Advance, ...]) -> Lost | None:
        if works[0].trial == 2 and not resumed:
            raise Killed
        return Lost("killed") if works[0].trial in (0, 3) else None

    resumed = False
    with pytest.raises(Killed):
        Story(store, sweep, fault)
    resumed = True
    with pytest.raises(SearchFailed, match="2 trials broke down"):
        Story(store, sweep, fault)


def test_a_worker_that_was_killed_for_memory_is_lost_and_its_trial_cut(store: Store) -> None:
    killed = Lost("vm cpu pid 7: the node was running low on memory", Reason.OUT_OF_MEMORY)
    sweep = toy_sweep(retries=1)
    story = Story(store, sweep, lambda works: killed if works[0].trial == 1 or (
        works[0].trial == 3 and not works[0].config.program.micro_batch) else None)
    assert [record.number for record in story.records if record.state is TrialState.FAILED] == [1]
    failed = story.records[1].outcome
    assert failed is not None
    assert (failed.reason, story.records[1].attempts) == (Reason.OUT_OF_MEMORY, 3)
    assert story.records[3].extra["micro_batch"] == 4
    assert_each_is_what_its_record_says(store, sweep)
