"""Rivals' names: each of the table means what its real key means, and beside its real key it is an error."""

from __future__ import annotations

from typing import Any

import pytest
from config_corpus import small

from seqsweep.config.aliases import ALIASES, VALUE_ALIASES, Alias
from seqsweep.config.distributions import DISTRIBUTIONS
from seqsweep.config.loader import load_sweep, parse_sweep
from seqsweep.errors import InvalidSweep

_VALUES: dict[str, Any] = {
    "budget.max_trials": 7, "budget.max_time": 90, "budget.max_failed_trials": 2, "resources.workers": 3,
    "metric.goal": "minimize", "metric.name": "mae", "early_terminate.min_epochs": 4, "early_terminate.eta": 5,
    "parameters.*.min": 1, "parameters.*.max": 9, "parameters.*.values": [1, 2],
    "parameters.learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}, "parameters.num_layers": {"min": 1, "max": 2},
    "parameters.weight_decay": {"values": [0.0, 0.1]}, "parameters.hidden_size": {"values": [8, 16]},
}


def _base() -> dict[str, Any]:
    return {"name": "a", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 2},
            "data": {"path": "y.csv"}, "metric": {"name": "mae"}, "parameters": {"batch_size": {"min": 1, "max": 9}}}


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    home = tree
    for step in path[:-1]:
        home = home.setdefault("batch_size" if step == "*" else step, {})
    home[path[-1]] = value
    return tree


def _written(alias: Alias) -> tuple[str, ...]:
    return (*map(str, alias.scope), alias.name)


def _real(alias: Alias) -> tuple[str, ...]:
    return tuple(alias.real.split("."))


def _clear(alias: Alias) -> dict[str, Any]:
    """A sweep that says nothing yet of what the alias is about."""
    tree = _base()
    if alias.scope == ("objective",):
        tree["objective"] = {"objectiveMetricName": "mae"}
        del tree["metric"]
    elif alias.real == "parameters.*.values":
        tree["parameters"]["batch_size"] = {}
    elif alias.scope == ("parameters", "*"):
        tree["parameters"]["batch_size"].pop(str(alias.target[0]))
    return tree


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.written)
def test_an_alias_means_what_its_real_key_means(alias: Alias) -> None:
    value = _VALUES[alias.real]
    plain = _clear(alias)
    if alias.scope == ("objective",):
        plain = _base()
    real = load_sweep(_put(plain, _real(alias), value))
    words = {meaning: word for word, meaning in alias.values.items()}
    written = words.get(value, value) if isinstance(value, str) else value
    assert load_sweep(_put(_clear(alias), _written(alias), written)) == real


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.written)
def test_an_alias_beside_its_real_key_is_an_error(alias: Alias) -> None:
    value = _VALUES[alias.real]
    tree = _put(_put(_clear(alias), _real(alias), value), _written(alias), value)
    with pytest.raises(InvalidSweep) as caught:
        load_sweep(tree)
    assert any(alias.name in problem.what and "both are given" in problem.what
               and str(alias.target[-1]) in problem.right for problem in caught.value.problems), str(caught.value)


def test_two_aliases_of_one_key_are_an_error_with_both_places() -> None:
    with pytest.raises(InvalidSweep) as caught:
        parse_sweep(small("run_cap: 3\nn_trials: 4\n"), "x.yaml")
    assert str(caught.value).startswith("x.yaml:7:1: n_trials says again what run_cap says, and both are given (the "
                                        "other at x.yaml:6:1)")


def test_words_that_stand_for_others() -> None:
    for (key,), words in VALUE_ALIASES.items():
        for word, meaning in words.items():
            assert load_sweep(_base() | {str(key): word}) == load_sweep(_base() | {str(key): meaning})


def test_aliases_hold_in_conditions() -> None:
    one, other = ({"n_layers": {"low": 1, "high": 3}, "dropout": {"low": 0, "high": 0.5, "when": {"n_layers": [2]}}},
                  {"num_layers": {"min": 1, "max": 3}, "dropout": {"min": 0, "max": 0.5, "when": {"num_layers": [2]}}})
    assert load_sweep(_base() | {"parameters": one}) == load_sweep(_base() | {"parameters": other})


def test_a_metric_by_name_alone() -> None:
    assert load_sweep(_base() | {"metric": "mae", "mode": "min"}) == load_sweep(_base())


def _parameter(name: str, entry: dict[str, Any]) -> Any:
    return load_sweep(_base() | {"parameters": {name: entry}, "budget": {"max_trials": 1}}).parameters[name]


EQUAL: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "constant": ("hidden_size", {"value": 8}, {"value": 8}),
    "categorical": ("hidden_size", {"values": [8, 16]}, {"values": [8, 16]}),
    "uniform": ("clip_norm", {"min": 0, "max": 2}, {"min": 0, "max": 2}),
    "int_uniform": ("clip_norm", {"min": 0, "max": 2}, {"min": 0, "max": 2, "step": 1}),
    "q_uniform": ("clip_norm", {"min": 1, "max": 2, "q": 0.5}, {"min": 1, "max": 2, "step": 0.5}),
    "log_uniform_values": ("clip_norm", {"min": 0.1, "max": 2}, {"min": 0.1, "max": 2, "log": True}),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_distribution_of_wandb_means_what_the_real_keys_mean(distribution: str) -> None:
    name, entry, real = EQUAL[distribution]
    assert _parameter(name, {"distribution": distribution} | entry) == _parameter(name, real)


@pytest.mark.parametrize(("name", "entry", "what", "right"), [
    ("hidden_size", {"distribution": "uniform", "min": 1, "max": 9}, "draws fractions", "int_uniform"),
    ("clip_norm", {"distribution": "log_uniform", "min": -3, "max": 0}, "no distribution", "log_uniform_values"),
    ("clip_norm", {"distribution": "unifrom", "min": 1, "max": 9}, "no distribution", "did you mean uniform?"),
    ("clip_norm", {"distribution": "normal", "mu": 1, "sigma": 9}, "no distribution", "categorical"),
    ("clip_norm", {"distribution": "categorical", "min": 1, "max": 9}, "categorical needs values", "values"),
    ("clip_norm", {"distribution": "uniform", "values": [1.0]}, "uniform has no values", "min and max"),
    ("clip_norm", {"distribution": "q_uniform", "min": 0.25, "max": 9.25, "q": 0.5}, "multiples of 0.5", "step"),
    ("clip_norm", {"distribution": "q_uniform", "min": 0, "max": 9, "q": 0}, "no number above 0", "distance"),
    ("clip_norm", {"min": 0, "max": 9, "q": 1}, "unknown key", "known keys"),
    ("hidden_size", {"distribution": ["uniform"], "min": 1, "max": 9}, "no distribution", "allowed"),
])
def test_a_distribution_that_means_something_else_is_refused(name: str, entry: dict[str, Any], what: str,
                                                             right: str) -> None:
    with pytest.raises(InvalidSweep) as caught:
        _parameter(name, entry)
    assert any(what in problem.what and right in problem.right for problem in caught.value.problems), str(caught.value)


@pytest.mark.parametrize("text", [
    "objective: {type: minimize, objectiveMetricName: mae, goal: 0.1}\n", "num_sampels: 3\n", "objective: mae\n",
    "num_samples: 3\nmethod: grid\n", "mode: minimum\n", "metrics: [a]\n"])
def test_rivals_words_that_mean_something_else_are_refused(text: str) -> None:
    with pytest.raises(InvalidSweep):
        parse_sweep(small(text).replace("metric: {name: mae}\n", "" if text.startswith("objective: {") else
                                        "metric: {name: mae}\n"), "x.yaml")
