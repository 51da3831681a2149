from __future__ import annotations

import logging
import math
import random
import statistics
import time
from collections import Counter
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
    search,
)

from seqsweep.config.sweep import Sweep
from seqsweep.errors import Conflict
from seqsweep.records import Outcome, Reason, Trial, TrialRecord, TrialState
from seqsweep.search.brain import Brain, startup_trials
from seqsweep.search.space import identity

LAYERS = {"min": 1, "max": 3}
CONDITIONAL = {"cell": CELL, "learning_rate": RATE, "num_layers": LAYERS,
               "hidden_size": {"min": 8, "max": 128, "log": True},
               "dropout": {"min": 0.0, "max": 0.5, "when": {"num_layers": [2, 3]}},
               "forget_bias": {"min": 0.0, "max": 2.0, "when": {"cell": ["lstm"]}},
               "epochs": {"value": 10}}
FINITE = {"cell": CELL, "num_layers": LAYERS, "batch_size": {"values": [16, 32, 64]},
          "dropout": {"values": [0.1, 0.3], "when": {"num_layers": [2, 3]}}}


def mixed(trial: Trial) -> Outcome:
    """Every way a trial can end, by its number."""
    kinds = {3: pruned(0.5 + rate_loss(trial)), 5: diverged(), 7: out_of_memory(), 8: complete(math.nan)}
    return kinds.get(trial.number % 10, complete(rate_loss(trial)))


@pytest.mark.parametrize("method", ["tpe", "gp", "random", "grid"])
@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_a_restored_brain_goes_on_as_the_old_one_would(method: str, goal: str) -> None:
    parameters = FINITE | {"learning_rate": {"values": [1e-4, 1e-3, 1e-2]}} if method == "grid" else CONDITIONAL
    count = 30 if method == "gp" else 40
    sweep = make_sweep(parameters, goal, method=method, seed=5)
    straight = Brain(sweep)
    records: list[TrialRecord] = []
    lag = 2
    for number in range(count):
        trial = asked(straight, number)
        if number % (4 if method == "gp" else 1) == 0:
            rebuilt = Brain(sweep)
            rebuilt.restore(random.Random(number).sample(records, len(records)))
            assert rebuilt.ask(number) == trial
        records.append(record(trial, None))
        if number >= lag:
            done = records[number - lag].trial
            outcome, reports = mixed(done), epochs(1 + done.number % 4)
            straight.tell(done.number, outcome, reports)
            records[done.number] = record(done, outcome, reports)
    assert len({identity(known.trial.params) for known in records}) == count


def test_another_seed_gives_other_trials() -> None:
    first, second = ([asked(Brain(make_sweep({"learning_rate": RATE}, seed=seed)), 0)] for seed in (1, 2))
    assert first[0].params != second[0].params and first[0].seed != second[0].seed


def test_every_trial_has_its_own_training_seed_which_no_method_changes() -> None:
    seeds = {method: [trial.seed for trial in search(Brain(make_sweep(CONDITIONAL, method=method)), mixed, 12)]
             for method in ("tpe", "random")}
    assert seeds["tpe"] == seeds["random"] and len(set(seeds["tpe"])) == 12
    assert all(0 <= seed < 2**31 for seed in seeds["tpe"])


@pytest.mark.parametrize("method", ["tpe", "gp", "random"])
def test_cells_get_their_fair_share_whatever_their_outcomes(method: str) -> None:
    def finish(trial: Trial) -> Outcome:
        return out_of_memory() if trial.params["cell"] == "gru" else complete(rate_loss(trial))
    brain = Brain(make_sweep(CONDITIONAL, method=method))
    counts: Counter[str] = Counter()
    for trial in search(brain, finish, 18):
        counts[trial.grid_cell] += 1
        assert max(counts.values()) - min([*counts.values()] if len(counts) == 3 else [0]) <= 1
    assert set(counts.values()) == {6}


@pytest.mark.parametrize("method", ["tpe", "gp", "random"])
def test_only_active_parameters_are_asked_for(method: str) -> None:
    for trial in search(Brain(make_sweep(CONDITIONAL, method=method)), mixed, 40):
        expected = {"cell", "learning_rate", "num_layers", "hidden_size", "epochs"}
        expected |= {"dropout"} if trial.params["num_layers"] != 1 else set()
        expected |= {"forget_bias"} if trial.params["cell"] == "lstm" else set()
        assert set(trial.params) == expected
        assert trial.params["epochs"] == 10 and type(trial.params["num_layers"]) is int
        assert type(trial.params["learning_rate"]) is float


def test_an_inactive_parameter_is_not_even_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    from optuna import Trial as OptunaTrial
    original = OptunaTrial.suggest_float

    def spy(self: OptunaTrial, name: str, *args: Any, **keys: Any) -> float:
        drawn.append(name)
        return original(self, name, *args, **keys)

    monkeypatch.setattr(OptunaTrial, "suggest_float", spy)
    trials = search(Brain(make_sweep(CONDITIONAL)), lambda trial: complete(rate_loss(trial)), 30)
    assert Counter(drawn)["dropout"] == sum("dropout" in trial.params for trial in trials) < 30


@pytest.mark.parametrize("method", ["tpe", "gp", "random", "grid"])
def test_a_finite_space_is_tried_once_and_then_ends(method: str) -> None:
    brain = Brain(make_sweep(FINITE, method=method))
    trials = search(brain, lambda trial: complete(float(trial.params["batch_size"])), 45)
    assert len({identity(trial.params) for trial in trials}) == 45 and brain.ask(45) is None


def test_a_grid_counts_failed_trials_as_tried_and_keeps_its_order() -> None:
    brain = Brain(make_sweep({"num_layers": {"values": [1, 2]}, "batch_size": {"values": [8, 16]}}, method="grid"))
    trials = search(brain, lambda _: out_of_memory(), 4)
    assert [tuple(trial.params.values()) for trial in trials] == [(1, 8), (1, 16), (2, 8), (2, 16)]
    assert brain.ask(4) is None


def test_a_full_cell_leaves_its_turns_to_the_others() -> None:
    parameters = {"cell": CELL, "num_layers": {"values": [1, 2]}, "learning_rate": RATE | {"when": {"cell": ["lstm"]}}}
    counts = Counter(trial.params["cell"] for trial in search(Brain(make_sweep(parameters)), mixed_rate, 20))
    assert counts == {"elman": 2, "gru": 2, "lstm": 16}


def mixed_rate(trial: Trial) -> Outcome:
    return complete(float(trial.params.get("learning_rate", 0.5)))


def test_a_trial_without_parameters_is_tried_once() -> None:
    brain = Brain(make_sweep({}))
    assert asked(brain, 0).params == {} and brain.ask(1) is None


def test_the_same_number_twice_is_a_bug() -> None:
    brain = Brain(make_sweep({"learning_rate": RATE}))
    asked(brain, 0)
    with pytest.raises(ValueError, match="trial 0"):
        brain.ask(0)


@pytest.mark.parametrize("params", [{"learning_rate": 0.5}, {}, {"learning_rate": 0.01, "dropout": 0.1}])
def test_trials_of_another_space_are_refused(params: dict[str, Any]) -> None:
    brain = Brain(make_sweep({"learning_rate": RATE}))
    with pytest.raises(Conflict, match="trial 7"):
        brain.restore([record(Trial(7, params, seed=0), None)])


def best_by_cell(sweep: Sweep, count: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for trial in search(Brain(sweep), lambda trial: complete(shapes(trial)), count):
        cell = str(trial.params["cell"])
        best[cell] = min(best.get(cell, math.inf), shapes(trial))
    return best


def shapes(trial: Trial) -> float:
    """Squared distance from an optimum that differs by cell, in three dimensions scaled to 0..1."""
    optimum = {"elman": (0.8, 0.2, 0.3), "gru": (0.2, 0.6, 0.9), "lstm": (0.5, 0.9, 0.1)}[str(trial.params["cell"])]
    point = ((math.log10(float(trial.params["learning_rate"])) + 5) / 4,
             math.log2(float(trial.params["hidden_size"]) / 8) / 6, float(trial.params["dropout"]) / 0.9)
    return sum((x - best) ** 2 for x, best in zip(point, optimum, strict=True))


def regrets(method: str, seeds: range) -> list[float]:
    parameters = {"cell": CELL, "learning_rate": RATE, "hidden_size": {"min": 8, "max": 512, "log": True},
                  "dropout": {"min": 0.0, "max": 0.9}}
    return [statistics.fmean(best_by_cell(make_sweep(parameters, method=method, seed=seed), 60).values())
            for seed in seeds]


def test_a_study_a_cell_beats_random_search_where_the_optimum_differs_by_cell() -> None:
    assert statistics.fmean(regrets("tpe", range(5))) < 0.6 * statistics.fmean(regrets("random", range(5)))


@pytest.mark.slow
def test_a_study_a_cell_beats_random_search_over_15_seeds() -> None:
    tpe, chance = regrets("tpe", range(15)), regrets("random", range(15))
    assert statistics.fmean(tpe) < 0.5 * statistics.fmean(chance)
    assert sum(ours < theirs for ours, theirs in zip(tpe, chance, strict=True)) >= 12


@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_maximising_is_minimising_the_opposite_and_both_get_there(method: str) -> None:
    parameters = {"learning_rate": RATE}
    down, up = Brain(make_sweep(parameters, method=method)), Brain(make_sweep(parameters, "maximize", method=method))
    trials = search(down, lambda trial: complete(rate_loss(trial)), 25)
    assert search(up, lambda trial: complete(-rate_loss(trial)), 25) == trials
    assert statistics.median(map(rate_loss, trials[-10:])) < 0.3 * statistics.median(map(rate_loss, trials[:10]))


def diverging_share(as_told: Outcome, method: str, seeds: range) -> float:
    """Of a space where the best is at the edge of the half that diverges: the share of the last 30 of 60 that do."""
    def is_bad(trial: Trial) -> bool:
        return float(trial.params["learning_rate"]) > 1e-3

    def finish(trial: Trial) -> Outcome:
        return as_told if is_bad(trial) else complete(abs(math.log10(float(trial.params["learning_rate"])) + 3.2))
    runs = [search(Brain(make_sweep({"learning_rate": RATE, "dropout": {"min": 0.0, "max": 0.5}}, seed=seed,
                                    method=method)), finish, 60) for seed in seeds]
    return statistics.fmean(is_bad(trial) for trials in runs for trial in trials[30:])


def test_divergence_steers_away_where_a_breakdown_says_nothing() -> None:
    steered, ignored = (diverging_share(told, "tpe", range(3)) for told in (diverged(), out_of_memory()))
    assert steered < 0.3 and steered < 0.6 * ignored


def test_the_gaussian_process_learns_from_divergence_and_from_pruned_trials() -> None:
    assert diverging_share(diverged(), "gp", range(1)) < 0.3
    trials = search(Brain(make_sweep({"learning_rate": RATE}, method="gp")), lambda trial: pruned(rate_loss(trial)), 20)
    assert statistics.fmean(map(rate_loss, trials[-5:])) < 0.1


@pytest.mark.parametrize("method", ["tpe", "gp", "random"])
def test_no_number_that_is_none_reaches_optuna(method: str) -> None:
    values = [math.nan, math.inf, -math.inf, 3e38, 0.5, None]

    def finish(trial: Trial) -> Outcome:
        state = TrialState.PRUNED if trial.number % 2 else TrialState.COMPLETE
        return Outcome(state, Reason.FINISHED, values[trial.number % len(values)], 1)
    trials = search(Brain(make_sweep({"learning_rate": RATE}, method=method)), finish, 24)
    assert all(math.isfinite(float(trial.params["learning_rate"])) for trial in trials)


def test_a_running_trial_pushes_the_next_one_away() -> None:
    def spread(told: int) -> float:
        sweep = make_sweep({"learning_rate": RATE}, max_trials=200)
        brain = Brain(sweep)
        search(brain, lambda trial: complete(rate_loss(trial)), 30)
        found = []
        for number in range(30, 40):
            trial = asked(brain, number)
            found.append(math.log10(float(trial.params["learning_rate"])))
            if told:
                brain.tell(number, complete(rate_loss(trial)), epochs(1))
        return statistics.stdev(found)
    assert spread(told=0) > spread(told=1)


def test_a_restore_of_a_thousand_trials_is_short() -> None:
    source = Brain(make_sweep(CONDITIONAL, method="random"))
    records = [record(trial, complete(rate_loss(trial))) for trial in search(source, mixed, 1000)]
    brain = Brain(make_sweep(CONDITIONAL))
    begin = time.perf_counter()
    brain.restore(records)
    assert brain.ask(1000) is not None
    assert time.perf_counter() - begin < 10


def test_optuna_says_nothing(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG):
        search(Brain(make_sweep(CONDITIONAL)), mixed, 30)
    assert not [entry for entry in caplog.records if entry.name.startswith("optuna")]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("max_trials", "num_cells", "expected"), [(60, 3, 5), (12, 3, 3), (500, 1, 10)])
def test_startup_trials(max_trials: int, num_cells: int, expected: int) -> None:
    assert startup_trials(max_trials, num_cells) == expected
