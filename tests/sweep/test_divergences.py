"""What is said of trials that diverged, and which range is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from toys import toy_sweep

from seqsweep.records import Outcome, Reason, Report, Scalar, Trial, TrialRecord, TrialState
from seqsweep.sweep.divergences import Divergences, divergence

SPACE: dict[str, Any] = {
    "learning_rate": {"min": 1e-4, "max": 1.0, "log": True}, "hidden_size": {"min": 4, "max": 64},
    "optimizer": {"values": ["adam", "sgd"]}, "epochs": {"value": 3}}


def outcome(diverged: bool) -> Outcome:
    if diverged:
        return Outcome(TrialState.FAILED, Reason.DIVERGED, None, None)
    return Outcome(TrialState.COMPLETE, Reason.FINISHED, 1.0, 1)


def told(trials: Sequence[tuple[dict[str, Scalar], bool]]) -> list[str]:
    """What the user is told, trial by trial."""
    seen = Divergences(toy_sweep(parameters=SPACE))
    return [seen.see(Trial(number, {"hidden_size": 8} | params, 0), outcome(diverged))
            for number, (params, diverged) in enumerate(trials)]


def rates(good: Sequence[float], bad: Sequence[float]) -> list[tuple[dict[str, Scalar], bool]]:
    return [({"learning_rate": rate}, number >= len(good)) for number, rate in enumerate([*good, *bad])]


def test_the_range_is_named_once_more_than_half_of_the_last_twenty_diverged() -> None:
    notes = told(rates([0.0011 * k for k in range(1, 10)], [0.031 + 0.01 * k for k in range(11)]))
    assert notes[:-1] == [""] * 19
    assert notes[-1] == "11 of the last 20 trials diverged, all with learning_rate from 0.03 up: narrow its range"


def test_half_of_them_is_not_said() -> None:
    assert set(told(rates([0.001] * 10, [0.1] * 10))) == {""}


def test_it_is_said_again_after_another_twenty_trials() -> None:
    notes = told(rates([0.001], [0.1 + 0.01 * k for k in range(45)]))
    assert [number for number, note in enumerate(notes) if note] == [11, 31]
    assert notes[31] == ("20 of the last 20 trials diverged, whatever their parameters: lower learning_rate, or clip "
                         "gradients (clip_norm)")


def test_one_that_escaped_is_told_too() -> None:
    notes = told(rates([*[0.001 * k for k in range(1, 9)], 0.5], [0.04 + 0.01 * k for k in range(11)]))
    assert notes[-1].endswith("all with learning_rate from 0.04 up, as 1 of the others had: narrow its range")


def test_ranges_downward_and_words_are_named() -> None:
    small: list[tuple[dict[str, Scalar], bool]] = [
        ({"learning_rate": 0.01, "hidden_size": size}, size < 20) for size in range(28, 8, -1)]
    assert told(small)[-1] == "11 of the last 20 trials diverged, all with hidden_size up to 19: narrow its range"
    words: list[tuple[dict[str, Scalar], bool]] = [
        ({"learning_rate": 0.01, "optimizer": "sgd" if number % 5 else "adam"}, number % 5 > 0) for number in range(20)]
    (note,) = filter(None, told(words))
    assert note == "11 of the last 14 trials diverged, all with optimizer sgd: narrow its range"


def test_where_nothing_tells_them_apart_nothing_is_named() -> None:
    mixed: list[tuple[dict[str, Scalar], bool]] = [({"learning_rate": 0.01}, number % 3 > 0) for number in range(20)]
    (note,) = filter(None, told(mixed))
    assert note == "11 of the last 17 trials diverged; no single parameter tells them from the others"


def test_a_resume_looks_back() -> None:
    trials = rates([0.001 * k for k in range(1, 10)], [0.1] * 11)
    records = [TrialRecord(Trial(number, params, 0), outcome(bad).state, 0.0, float(number), outcome(bad))
               for number, (params, bad) in enumerate(trials[:-1])]
    seen = Divergences(toy_sweep(parameters=SPACE))
    seen.restore(reversed(records))
    assert seen.see(Trial(19, trials[-1][0], 0), outcome(True)).startswith("11 of the last 20 trials diverged")


@pytest.mark.parametrize(("norms", "losses", "says"), [
    ([1.5, 2e6], (math.nan, math.nan), "train_loss was no finite number in epoch 2; gradient norm 2e+06"),
    ([1.5, math.inf], (math.nan, math.nan),
     "train_loss was no finite number in epoch 2; gradient norm inf, 1.5 in the epoch before"),
    ([7.0], (0.1, math.inf), "val_loss was no finite number in epoch 1; gradient norm 7")])
def test_a_divergence_names_epoch_and_gradient(norms: list[float], losses: tuple[float, float], says: str) -> None:
    reports = [Report(epoch, {"train_loss": 0.1, "val_loss": 0.1, "grad_norm_max": norm})
               for epoch, norm in enumerate(norms, start=1)]
    reports[-1] = Report(len(norms), {"train_loss": losses[0], "val_loss": losses[1], "grad_norm_max": norms[-1]})
    assert divergence(reports) == says
