"""What a sampler is shown of a cell's trials: the same whatever order they came in, and never more than it may be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.samplers import TPESampler
from search_toys import CELL, RATE, asked, complete, diverged, epochs, make_sweep, pruned, rate_loss, record, search

from seqsweep.records import Outcome, Trial, TrialRecord, TrialState
from seqsweep.search import study
from seqsweep.search.brain import Brain
from seqsweep.search.history import History, Known


def ended(count: int, seed: int = 0) -> list[Known]:
    """Complete, pruned and diverged trials."""
    draw = random.Random(seed)
    return [Known(number, {}, TrialState.COMPLETE, draw.random()) if number % 3 else
            Known(number, {}, TrialState.PRUNED, draw.random(), draw.randint(1, 9)) if number % 2 else
            Known(number, {}, TrialState.PRUNED) for number in range(count)]


def history(trials: Sequence[Known]) -> History:
    found = History()
    for known in trials:
        found.start(Known(known.number, {}, TrialState.RUNNING))
    for known in trials:
        found.end(known.number, known)
    return found


def test_a_short_history_is_shown_whole_and_by_number() -> None:
    trials = ended(20)
    assert history(random.Random(1).sample(trials, 20)).chosen(5, 15) == trials


def test_of_a_long_one_the_best_and_an_even_spread_are_shown() -> None:
    trials = ended(1000)
    shown = history(trials).chosen(10, 40)
    assert {known.number for known in sorted(trials, key=lambda known: known.rank)[:10]} <= {k.number for k in shown}
    assert len(shown) == 50
    assert [known.number for known in shown] == sorted({known.number for known in shown})
    for first in range(0, 1000, 100):
        assert sum(first <= known.number < first + 100 for known in shown) >= 4


def test_what_is_shown_does_not_depend_on_the_order_of_ending() -> None:
    trials = ended(300)
    assert history(random.Random(3).sample(trials, 300)).chosen(10, 40) == history(trials).chosen(10, 40)


def test_every_running_trial_is_shown_and_no_breakdown() -> None:
    found = history(ended(300))
    for number in (300, 301, 302):
        found.start(Known(number, {}, TrialState.RUNNING))
    found.end(301, None)
    shown = found.chosen(10, 40)
    assert [known.number for known in shown if known.state is TrialState.RUNNING] == [300, 302]
    assert 301 not in {known.number for known in shown}


def test_complete_trials_rank_by_value_pruned_ones_by_epoch_and_divergences_last() -> None:
    trials = [Known(0, {}, TrialState.PRUNED), Known(1, {}, TrialState.PRUNED, 0.1, 2),
              Known(2, {}, TrialState.PRUNED, 0.5, 3), Known(3, {}, TrialState.COMPLETE, 0.9),
              Known(4, {}, TrialState.COMPLETE, 0.2), Known(5, {}, TrialState.PRUNED, 0.4, 3)]
    assert [known.number for known in sorted(trials, key=lambda known: known.rank)] == [4, 3, 5, 2, 1, 0]


@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_a_brain_restored_from_more_trials_than_are_shown_goes_on_as_the_old_one_would(
        method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "SHOWN", {"tpe": (6, 10), "gp": (6, 10)})
    sweep = make_sweep({"cell": CELL, "learning_rate": RATE, "dropout": {"min": 0.0, "max": 0.5}}, method=method)

    def finish(trial: Trial) -> Outcome:
        loss = rate_loss(trial)
        return {0: pruned(loss), 1: diverged()}.get(trial.number % 5, complete(loss))

    straight, records = Brain(sweep), list[TrialRecord]()
    for number in range(75):
        trial = asked(straight, number)
        if number % 15 == 14:
            rebuilt = Brain(sweep)
            rebuilt.restore(random.Random(number).sample(records, len(records)))
            assert rebuilt.ask(number) == trial
        straight.tell(number, finish(trial), epochs(1 + number % 4))
        records.append(record(trial, finish(trial), epochs(1 + number % 4)))


def test_optuna_is_never_shown_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "SHOWN", {"tpe": (6, 10)})
    shown: list[int] = []
    original = TPESampler.sample_relative

    def count(self: TPESampler, asking: optuna.Study, *rest: Any) -> dict[str, Any]:
        shown.append(len(asking.get_trials(deepcopy=False)))
        return original(self, asking, *rest)

    monkeypatch.setattr(TPESampler, "sample_relative", count)
    search(Brain(make_sweep({"learning_rate": RATE})), lambda trial: complete(rate_loss(trial)), 40)
    assert max(shown) == 17  # the trial that is asked for is one more
