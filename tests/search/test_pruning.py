from __future__ import annotations

import copy
import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState as OptunaState
from search_toys import make_sweep

from seqsweep.config.sweep import Sweep, goal_sign
from seqsweep.records import Report, Trial
from seqsweep.search.pruning import Pruner, max_epochs

EPOCHS = 27


def pruner_of(kind: str, goal: str = "minimize", epochs: Any = EPOCHS, **keys: Any) -> Pruner:
    spec = epochs if isinstance(epochs, dict) else {"value": epochs}
    return Pruner(make_sweep({"epochs": spec}, goal, early_terminate={"type": kind} | keys))


def show(pruner: Pruner, number: int, curve: Sequence[float], first: int = 1, cell: str = "") -> None:
    pruner.see(Trial(number, {}, 0, cell), [Report(epoch, {"val_mae": value}) for epoch, value in
                                            enumerate(curve[first - 1:], first)])


def decides(pruner: Pruner, number: int, epoch: int, curve: Sequence[float],
            peers: Mapping[int, Sequence[float]]) -> bool:
    """What a pruner decides once it has also seen these curves; the trial's own is not a peer's."""
    pruner = copy.deepcopy(pruner)
    for other, peer in peers.items():
        if other != number:
            show(pruner, other, peer)
    show(pruner, number, curve)
    return pruner.should_prune(number, epoch)


def best_so_far(values: list[float]) -> list[float]:
    return list(itertools.accumulate(values, min))


def random_curves(seed: int, count: int) -> list[list[float]]:
    """Falling curves with different ends and much noise, best so far."""
    noise = np.random.default_rng(seed)
    falling = noise.uniform(0, 1, (count, 1)) + np.exp(-np.arange(EPOCHS) / 5) + noise.normal(0, 0.3, (count, EPOCHS))
    return [best_so_far(row) for row in falling.tolist()]


def run(pruner: Pruner, curves: list[list[float]]) -> tuple[list[int], dict[int, list[float]]]:
    """Train one trial after another; the epoch each ended at, and what was recorded."""
    stored: dict[int, list[float]] = {}
    for number, curve in enumerate(curves):
        epoch = 0
        while epoch < EPOCHS:
            first, epoch = epoch + 1, pruner.next_step(number, epoch, EPOCHS)
            stored[number] = curve[:epoch]
            show(pruner, number, stored[number], first)
            if epoch < EPOCHS and pruner.should_prune(number, epoch):
                break
        pruner.close(number)
    return [len(curve) for curve in stored.values()], stored


def optunas(pruner: optuna.pruners.BasePruner, curves: list[list[float]], first: int) -> list[int]:
    """The epochs at which Optuna's own pruner ends the same trials, asked at every epoch from `first` on."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    ends = []
    for curve in curves:
        trial, end = study.ask(), EPOCHS
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
            if first <= epoch < EPOCHS and trial.should_prune():
                end = epoch
                break
        ends.append(end)
        if end < EPOCHS:
            study.tell(trial, state=OptunaState.PRUNED)
        else:
            study.tell(trial, curve[-1])
    return ends


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("min_epochs", "eta"), [(1, 3), (2, 2), (3, 4)])
def test_asha_decides_as_optunas_successive_halving(seed: int, min_epochs: int, eta: int) -> None:
    curves = random_curves(seed, 60)
    theirs = optuna.pruners.SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=eta)
    ends, _ = run(pruner_of("asha", min_epochs=min_epochs, eta=eta), curves)
    assert ends == optunas(theirs, curves, first=1)
    assert EPOCHS in ends and min_epochs in ends


@pytest.mark.parametrize("seed", range(4))
def test_median_decides_as_optunas_where_peers_are_complete(seed: int) -> None:
    curves = random_curves(seed, 41)
    pruner = pruner_of("median", min_epochs=3, min_trials=5)
    for count in (4, 5, 12, 40):
        peers = dict(enumerate(curves[:count]))
        theirs = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
        study = optuna.create_study(pruner=theirs)
        study.add_trials(optuna.trial.create_trial(value=curve[-1], intermediate_values=dict(enumerate(curve, 1)))
                         for curve in peers.values())
        trial = study.ask()
        for epoch, value in enumerate(curves[40], 1):
            trial.report(value, epoch)
            ours = decides(pruner, 40, epoch, curves[40][:epoch], peers)
            assert ours == (epoch >= 3 and trial.should_prune())


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def by_definition(pruner: Pruner, sweep: Sweep, number: int, epoch: int, curves: Mapping[int, Sequence[float]]) -> bool:
    """The rules as they are written, from all best-so-far curves of a grid cell, the trial's own included."""
    config, sign = sweep.early_terminate, goal_sign(sweep)

    def loss(curve: Sequence[float]) -> float:
        value = sign * curve[epoch - 1]
        return value if math.isfinite(value) else math.inf

    own = loss(curves[number])
    others = [loss(curve) for other, curve in curves.items()
              if other != number and len(curve) >= epoch and pruner.rungs(other) == pruner.rungs(number)]
    if config.type == "median":
        return (epoch >= config.min_epochs and len(others) >= config.min_trials and own > statistics.median(others))
    if epoch not in pruner.rungs(number):
        return False
    return math.isinf(own) or own > sorted([own, *others])[max(1, (len(others) + 1) // config.eta) - 1]


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), goal=st.sampled_from(["minimize", "maximize"]), eta=st.integers(2, 3), first=st.integers(1, 2))
def test_decisions_follow_the_definition_live_and_restored(kind: str, data: st.DataObject, goal: str, eta: int,
                                                           first: int) -> None:
    keys = {"min_trials": 2} if kind == "median" else {"eta": eta}
    sweep = make_sweep({"epochs": {"value": 9}}, goal, early_terminate={"type": kind, "min_epochs": first} | keys)
    live = Pruner(sweep)
    trials = {number: Trial(number, {}, 0, data.draw(st.sampled_from(["a", "b"]))) for number in range(10)}
    seen: dict[int, list[Report]] = {number: [] for number in trials}
    curves: dict[int, list[float]] = {number: [] for number in trials}
    best, closed = min if goal == "minimize" else max, set[int]()
    for number in data.draw(st.lists(st.sampled_from(range(10)), min_size=10, max_size=60)):
        epoch = len(seen[number]) + 1
        if number in closed:
            continue
        value = data.draw(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, math.nan, math.inf, -math.inf]))
        seen[number].append(Report(epoch, {"val_mae": value}))
        known = [old for old in (*curves[number][-1:], value) if not math.isnan(old)]
        curves[number].append(best(known) if known else math.nan)
        live.see(trials[number], seen[number][data.draw(st.integers(0, epoch - 1)):])  # some of it once more
        peers = {other: curve for other, curve in curves.items() if trials[other].grid_cell == trials[number].grid_cell}
        restored = Pruner(sweep)
        for other in data.draw(st.permutations(sorted(trials))):
            restored.see(trials[other], seen[other])
            if other in closed:
                restored.close(other)
        expected = by_definition(live, sweep, number, epoch, peers)
        assert live.should_prune(number, epoch) == restored.should_prune(number, epoch) == expected
        if expected or epoch == 9:
            live.close(number)
            closed.add(number)


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_goal_maximize_mirrors_minimize(kind: str) -> None:
    curves = random_curves(1, 40)
    ends, _ = run(pruner_of(kind), curves)
    mirrored, _ = run(pruner_of(kind, "maximize"), [[-value for value in curve] for curve in curves])
    assert mirrored == ends and min(ends) < EPOCHS


def test_rungs_stand_below_the_last_epoch() -> None:
    assert pruner_of("asha").rungs(0) == (1, 3, 9)
    assert pruner_of("asha", epochs=28).rungs(0) == (1, 3, 9, 27)
    assert pruner_of("asha", min_epochs=2, eta=2, epochs=10).rungs(5) == (2, 4, 8)
    assert pruner_of("asha", min_epochs=40).rungs(0) == ()
    assert pruner_of("median").rungs(0) == pruner_of("none").rungs(0) == ()


@pytest.mark.parametrize(("epochs", "expected"), [({"value": 7}, 7), ({"values": [3, 50, 9]}, 50),
                                                  ({"min": 5, "max": 80, "log": True}, 80)])
def test_rungs_follow_the_most_epochs_a_trial_can_have(epochs: dict[str, Any], expected: int) -> None:
    assert max_epochs(make_sweep({"epochs": epochs})) == expected
    assert max_epochs(make_sweep({})) == 30


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median", "none"])
@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, 10**6), own=st.integers(1, 60), min_epochs=st.integers(1, 70), eta=st.integers(2, 5))
def test_steps_always_advance_and_end_at_the_trials_own_last_epoch(kind: str, number: int, own: int, min_epochs: int,
                                                                   eta: int) -> None:
    pruner = pruner_of(kind, epochs={"min": 1, "max": 60}, min_epochs=min_epochs, eta=eta)
    epoch, steps = 0, []
    while epoch < own:
        steps.append(pruner.next_step(number, epoch, own))
        assert steps[-1] > epoch
        epoch = steps[-1]
    assert epoch == own
    assert all(step >= min(min_epochs, own) for step in steps)
    if kind == "none":
        assert steps == [own]


def test_none_never_prunes() -> None:
    assert not decides(pruner_of("none"), 1, 9, [9.0] * 9, {other: [0.0] * 9 for other in range(20)})


def test_a_short_trial_is_compared_at_the_same_epochs_as_a_long_one() -> None:
    pruner = pruner_of("asha", epochs={"values": [5, 50]})
    peers = {0: [1.0] * 50, 1: [0.9] * 3, 2: [0.8] * 2}
    assert pruner.next_step(7, 1, 5) == 3 and pruner.next_step(7, 3, 5) == 5
    assert decides(pruner, 7, 3, [2.0, 2.0, 0.95], peers)
    assert not decides(pruner, 7, 3, [2.0, 2.0, 0.85], peers)


def test_asha_keeps_the_first_and_then_the_best_of_each_eta() -> None:
    pruner = pruner_of("asha")
    values = [5.0, 6.0, 4.0, 4.5, 3.0, 4.2]
    kept = [not decides(pruner, i, 1, [value], {j: [other] for j, other in enumerate(values[:i])})
            for i, value in enumerate(values)]
    assert kept == [True, False, True, False, True, False]
    assert not decides(pruner, 9, 1, [4.1], {j: [other] for j, other in enumerate([*values, 9.0, 9.0])})


def test_between_rungs_nothing_is_pruned() -> None:
    assert not decides(pruner_of("asha"), 1, 2, [9.0, 9.0], {0: [0.0] * 27})


def test_a_trial_does_not_compete_with_itself() -> None:
    pruner = pruner_of("asha")
    own = [3.0]
    peers: dict[int, list[float]] = {0: [1.0], 1: [2.0], 2: [4.0], 3: [5.0], 4: [6.0]}
    assert decides(pruner, 9, 1, own, peers) == decides(pruner, 9, 1, own, peers | {9: own}) is True


@pytest.mark.parametrize("kind", ["asha", "median"])
@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_is_the_worst_of_all(kind: str, goal: str, bad: float) -> None:
    pruner = pruner_of(kind, goal)
    peers = {other: [1.0] for other in range(9)}
    assert decides(pruner, 9, 1, [bad], peers)
    assert not decides(pruner, 9, 1, [1.0], {other: [bad] for other in range(9)})


def test_equal_trials_are_not_pruned() -> None:
    peers = {other: [1.0] for other in range(9)}
    assert not any(decides(pruner_of(kind), 9, 1, [1.0], peers) for kind in ("asha", "median"))


def test_median_waits_for_enough_peers_that_reached_the_epoch() -> None:
    pruner = pruner_of("median", min_trials=3)
    peers = {0: [1.0, 1.0], 1: [1.0, 1.0], 2: [1.0]}
    assert decides(pruner, 5, 1, [2.0], peers)
    assert not decides(pruner, 5, 2, [2.0, 2.0], peers)


def test_hyperbands_brackets_have_the_papers_shares() -> None:
    """Li et al. (2018), table 1, with R = 81 and eta = 3: 81, 34, 15, 8, 5 configurations."""
    pruner = pruner_of("hyperband", epochs=81)
    seen = Counter(pruner.rungs(number) for number in range(20_000))
    ladder = (1, 3, 9, 27)
    shares = {ladder[bracket:]: size / 143 for bracket, size in enumerate((81, 34, 15, 8, 5))}
    assert set(seen) == set(shares)
    assert all(abs(seen[rungs] / 20_000 - share) < 0.01 for rungs, share in shares.items())


def test_hyperband_competes_within_the_bracket_only() -> None:
    pruner = pruner_of("hyperband")
    eager = [number for number in range(60) if pruner.rungs(number) == (1, 3, 9)]
    patient = [number for number in range(60) if pruner.rungs(number) == (3, 9)]
    assert decides(pruner, eager[-1], 3, [2.0] * 3, {number: [1.0] * 3 for number in eager[:-1]})
    assert not decides(pruner, eager[-1], 3, [2.0] * 3, {number: [1.0] * 3 for number in patient})


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_decisions_depend_on_the_curves_alone(kind: str) -> None:
    curves = random_curves(3, 40)
    _, stored = run(pruner_of(kind), curves)
    shuffled = dict(random.Random(0).sample(sorted(stored.items()), len(stored)))
    old, new = pruner_of(kind), pruner_of(kind)
    for number, epoch in itertools.product(range(40, 44), range(1, EPOCHS)):
        curve = random_curves(number, 1)[0][:epoch]
        assert decides(old, number, epoch, curve, stored) == decides(new, number, epoch, curve, shuffled)


@pytest.mark.parametrize(("kind", "most"), [("asha", 0.25), ("median", 0.35), ("hyperband", 0.4)])
def test_pruning_saves_epochs_and_keeps_a_good_trial(kind: str, most: float) -> None:
    spent, ranks = [], []
    for seed in range(5):
        curves = random_curves(seed, 60)
        ends, _ = run(pruner_of(kind), curves)
        spent.append(sum(ends) / (60 * EPOCHS))
        finals = sorted(curve[-1] for curve in curves)
        ranks.append(finals.index(min(curve[-1] for curve, end in zip(curves, ends, strict=True) if end == EPOCHS)))
    assert sum(spent) / 5 < most and sorted(ranks)[2] < 10
