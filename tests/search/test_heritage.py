"""A brain that is told another sweep's trials: only those that fit, never counted, and the same after a resume."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest
from search_toys import (
    CELL,
    RATE,
    asked,
    complete,
    diverged,
    epochs,
    make_sweep,
    out_of_memory,
    pruned,
    rate_loss,
    record,
)

from seqsweep.records import Trial, TrialRecord
from seqsweep.search.brain import Brain
from seqsweep.search.heritage import Heritage

SPACE: dict[str, Any] = {"cell": CELL, "learning_rate": RATE, "hidden_size": {"values": [8, 16, 32]},
                         "num_layers": {"min": 1, "max": 3}, "epochs": {"value": 10}}


def run(parameters: dict[str, Any], count: int, heritage: Heritage | None = None, **keys: Any) -> list[TrialRecord]:
    brain = Brain(make_sweep(parameters, **keys))
    if heritage:
        brain.inherit(heritage)
    records = []
    for number in range(count):
        trial = asked(brain, number)
        outcome = {3: pruned(0.5 + rate_loss(trial)), 5: diverged(), 7: out_of_memory()}.get(
            number % 10, complete(rate_loss(trial)))
        brain.tell(number, outcome, epochs(1 + number % 4))
        records.append(record(trial, outcome, epochs(1 + number % 4)))
    return records


def again(heritage: Heritage) -> Heritage:
    return Heritage.read(json.loads(json.dumps(heritage.stored())))


CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "the same": ({}, lambda params: True),
    "wider": ({"learning_rate": {"min": 1e-6, "max": 1.0, "log": True}}, lambda params: True),
    "narrower": ({"learning_rate": {"min": 1e-3, "max": 1e-2, "log": True}},
                 lambda params: 1e-3 <= params["learning_rate"] <= 1e-2),
    "a category more": ({"hidden_size": {"values": [8, 16, 32, 64]}}, lambda params: True),
    "a category less": ({"hidden_size": {"values": [8, 32]}}, lambda params: params["hidden_size"] != 16),
    "steps": ({"num_layers": {"min": 1, "max": 3, "step": 2}}, lambda params: params["num_layers"] != 2),
    "a grid axis": ({"hidden_size": {"values": [8, 16], "search": "grid"}}, lambda params: params["hidden_size"] != 32),
    "other epochs": ({"epochs": {"value": 20}}, lambda params: False),
    "a parameter more": ({"dropout": {"min": 0.0, "max": 0.5}}, lambda params: False),
    "a condition": ({"num_layers": {"min": 1, "max": 3, "when": {"hidden_size": [8, 16, 32]}}}, lambda params: True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_trials_that_fit_the_new_space_are_told(name: str) -> None:
    changed, fits = CHANGES[name]
    parent = run(SPACE, 20)
    found = Heritage.of(make_sweep(SPACE | changed), parent)
    expected = [known.trial.params for known in parent if known.number % 10 != 7 and fits(known.trial.params)]
    assert [dict(known.trial.params) for known in found.trials] == expected
    assert [known.number for known in found.trials] == list(range(-len(expected), 0))
    assert again(found) == found
    assert found.drawn == 20
    if name == "a grid axis":
        homes = [json.loads(known.trial.grid_cell)["hidden_size"] for known in found.trials]
        assert homes == [params["hidden_size"] for params in expected]
    run(SPACE | changed, 3, found)  # Optuna takes what it is told


@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_a_told_search_begins_where_the_parent_was_good(method: str) -> None:
    parent = run(SPACE, 40, method="random")
    sweep = make_sweep(SPACE, method=method, seed=9)
    told = [rate_loss(known.trial) for known in run(SPACE, 6, Heritage.of(sweep, parent), method=method, seed=9)]
    cold = [rate_loss(known.trial) for known in run(SPACE, 6, method=method, seed=9)]
    assert statistics.median(told) < 0.5 * statistics.median(cold)


def test_told_trials_are_not_counted_and_a_finite_space_is_tried_whole() -> None:
    finite = {"cell": CELL, "hidden_size": {"values": [8, 16]}, "learning_rate": {"value": 1e-2}}
    parent = run(finite, 4, method="grid")
    sweep = make_sweep(finite, method="grid")
    brain = Brain(sweep)
    brain.inherit(Heritage.of(sweep, parent))
    trials = [brain.ask(number) for number in range(7)]
    assert [trial is not None for trial in trials] == [True] * 6 + [False]


def test_a_random_fork_does_not_repeat_its_parents_draws() -> None:
    parent = run(SPACE, 10, method="random")
    sweep = make_sweep(SPACE, method="random")
    fork = run(SPACE, 10, Heritage.of(sweep, parent), method="random")
    rates = [known.trial.params["learning_rate"] for known in [*parent, *fork]]
    assert len(set(rates)) == 20


@pytest.mark.parametrize("method", ["tpe", "gp", "random"])
def test_a_restored_fork_goes_on_as_the_old_one_would(method: str) -> None:
    heritage = Heritage.of(make_sweep(SPACE), run(SPACE, 15))
    straight = run(SPACE, 12, heritage, method=method, seed=2)
    for number in (0, 4, 11):
        brain = Brain(make_sweep(SPACE, method=method, seed=2))
        brain.inherit(again(heritage))
        brain.restore(straight[:number])
        assert brain.ask(number) == straight[number].trial


def test_a_fork_of_a_fork_is_told_of_both() -> None:
    sweep = make_sweep(SPACE)
    first = run(SPACE, 10)
    one = Heritage.of(sweep, first)
    second = run(SPACE, 8, one)
    both = Heritage.of(sweep, second, again(one))
    told = [known.trial.params for known in both.trials]
    assert told == [known.trial.params for known in [*first, *second] if known.number % 10 != 7]
    assert both.drawn == 18
    assert not {known.number for known in both.trials} & {Trial(n, {}, 0).number for n in range(100)}
