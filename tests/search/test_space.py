from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from search_toys import CELL, RATE, make_sweep

from seqsweep.config.space import ParameterConfig
from seqsweep.errors import InvalidSweep
from seqsweep.search.space import cells, choices, identity, size

LAYERS = {"min": 1, "max": 3}
DROPOUT = {"min": 0.0, "max": 0.5, "when": {"num_layers": [2, 3]}}


def test_no_axis_is_one_cell_without_a_key() -> None:
    (space,) = cells(make_sweep({"learning_rate": RATE}))
    assert space.key == ""
    assert space.distributions == {"learning_rate": FloatDistribution(1e-5, 1e-1, log=True)}


def test_axes_multiply_in_the_order_of_their_values() -> None:
    spaces = cells(make_sweep({"cell": CELL, "num_layers": LAYERS | {"search": "grid"}, "learning_rate": RATE}))
    assert len(spaces) == 9
    assert spaces[1].key == '{"cell":"elman","num_layers":2}'
    assert all(list(space.distributions) == ["learning_rate"] for space in spaces)


def test_an_axis_that_is_inactive_in_a_cell_does_not_multiply_it() -> None:
    activation = {"values": ["tanh", "relu"], "search": "grid", "when": {"cell": ["elman"]}}
    spaces = cells(make_sweep({"nonlinearity": activation, "cell": CELL}))
    assert [dict(space.axes) for space in spaces] == [
        {"cell": "elman", "nonlinearity": "tanh"}, {"cell": "elman", "nonlinearity": "relu"},
        {"cell": "gru"}, {"cell": "lstm"}]


def test_when_on_an_axis_is_settled_for_the_whole_cell() -> None:
    forget = {"min": 0.0, "max": 2.0, "when": {"cell": ["lstm"]}}
    by_cell = {space.axes["cell"]: space for space in cells(make_sweep({"cell": CELL, "forget_bias": forget}))}
    assert list(by_cell["lstm"].distributions) == ["forget_bias"]
    assert not by_cell["gru"].distributions and by_cell["gru"].size == 1


def test_when_on_a_drawn_parameter_is_settled_by_the_draw() -> None:
    (space,) = cells(make_sweep({"dropout": DROPOUT, "num_layers": LAYERS}))
    assert space.choose(lambda name, _: {"num_layers": 1}[name]) == {"num_layers": 1}
    assert list(space.choose(lambda name, _: {"num_layers": 2, "dropout": 0.1}[name])) == ["dropout", "num_layers"]


def test_a_parameter_under_an_inactive_one_is_inactive() -> None:
    parameters = {"cell": CELL, "bidirectional": {"values": [True, False], "when": {"cell": ["gru"]}},
                  "dropout": {"values": [0.1, 0.2], "when": {"bidirectional": [True]}}}
    sizes = {space.axes["cell"]: (space.size, list(space.distributions)) for space in cells(make_sweep(parameters))}
    assert sizes == {"elman": (1, []), "gru": (3, ["bidirectional", "dropout"]), "lstm": (1, [])}


@pytest.mark.parametrize(("name", "spec", "expected"), [
    ("hidden_size", {"min": 8, "max": 64, "log": True}, IntDistribution(8, 64, log=True)),
    ("hidden_size", {"min": 8, "max": 63, "step": 8}, IntDistribution(8, 56, step=8)),
    ("batch_size", {"values": [32, 64]}, CategoricalDistribution([32, 64])),
    ("dropout", {"min": 0, "max": 1}, FloatDistribution(0.0, 1.0)),
    ("dropout", {"min": 0.0, "max": 0.55, "step": 0.1}, FloatDistribution(0.0, 0.5, step=0.1)),
    ("learning_rate", RATE, FloatDistribution(1e-5, 1e-1, log=True)),
])
def test_distributions_follow_the_type_of_the_field(name: str, spec: dict[str, Any], expected: object) -> None:
    (space,) = cells(make_sweep({name: spec}))
    assert space.distributions[name] == expected


def test_a_fixed_parameter_is_in_every_trial_and_never_drawn() -> None:
    (space,) = cells(make_sweep({"epochs": {"value": 3}, "learning_rate": RATE}))
    assert list(space.distributions) == ["learning_rate"]
    assert space.choose(lambda *_: 0.01) == {"epochs": 3, "learning_rate": 0.01}


def test_steps_are_exact_and_inclusive() -> None:
    assert choices("dropout", ParameterConfig(min=0.0, max=0.3, step=0.1)) == (0.0, 0.1, 0.2, 0.3)
    assert list(choices("num_layers", ParameterConfig(min=1, max=6, step=2)) or ()) == [1, 3, 5]
    assert choices("dropout", ParameterConfig(min=0.0, max=0.3)) is None


def test_size() -> None:
    assert size(make_sweep({"cell": CELL, "learning_rate": RATE})) is None
    assert size(make_sweep({"cell": CELL, "num_layers": LAYERS})) == 9
    assert size(make_sweep({})) == 1
    assert size(make_sweep({"hidden_size": {"min": 1, "max": 4096}, "batch_size": {"min": 1, "max": 60000},
                            "num_layers": LAYERS, "naive_season": {"min": 0, "max": 99, "when": {"num_layers": [3]}}}
                           )) == 4096 * 60000 * 102


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_points_are_distinct_admitted_and_as_many_as_the_size(data: st.DataObject) -> None:
    names = ["num_layers", "batch_size", "hidden_size", "epochs"]
    parameters: dict[str, Any] = {}
    for i, name in enumerate(names):
        spec: dict[str, Any] = {"values": data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True))}
        if i and data.draw(st.booleans()):
            spec["when"] = {data.draw(st.sampled_from(names[:i])): [1, 2]}
        parameters[name] = spec
    shuffled = {name: parameters[name] for name in data.draw(st.permutations(names))}
    (space,) = cells(make_sweep(shuffled))
    points = list(space.points())
    assert len({identity(point) for point in points}) == len(points) == space.size
    assert all(space.admits(point) for point in points)
    assert not space.admits(points[0] | {"dropout": 0.1}) and not space.admits({})


@pytest.mark.parametrize(("parameters", "keys", "words"), [
    ({"learning_rate": RATE | {"search": "grid"}}, {}, ["parameters.learning_rate", "continuous", "step"]),
    ({"learning_rate": RATE}, {"method": "grid"}, ["parameters.learning_rate", "continuous"]),
    ({"dropout": {"values": [0.1], "search": "grid", "when": {"num_layers": [2]}}, "num_layers": LAYERS}, {},
     ["parameters.dropout", "cannot depend on num_layers"]),
    ({"dropout": DROPOUT, "num_layers": LAYERS | {"when": {"dropout": [0.1]}}}, {}, ["circle"]),
    ({"no_such_thing": {"min": 1, "max": 2}}, {"method": "grid"}, ["no_such_thing", "hidden_size"]),
])
def test_what_cannot_be_searched_is_refused_with_its_place(parameters: dict[str, Any], keys: dict[str, Any],
                                                           words: list[str]) -> None:
    with pytest.raises(InvalidSweep) as caught:
        cells(make_sweep(parameters, **keys))
    assert all(word in str(caught.value) for word in words)
