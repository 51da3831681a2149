"""The JSON schema accepts every valid sweep and no misspelt key."""

from __future__ import annotations

from typing import Any

import pytest
from config_corpus import CLASSIFICATION, FORECASTING, VALID, lines_of, with_key

from seqsweep.config.aliases import ALIASES
from seqsweep.config.document import Node, read_text
from seqsweep.config.problems import Problems
from seqsweep.config.schema import sweep_schema

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = sweep_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def tree_of(text: str) -> Any:
    node = read_text(text, "x.yaml", Problems())
    assert isinstance(node, Node)
    return _as_json(node.plain())


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", VALID)
def test_every_valid_sweep_passes(name: str, validator: Any) -> None:
    assert [error.message for error in validator.iter_errors(tree_of(VALID[name]))] == []


CASES = [(text, line) for text in (FORECASTING, CLASSIFICATION) for line in lines_of(text)]


@pytest.mark.parametrize(("text", "line"), CASES, ids=lambda case: ".".join(getattr(case, "path", ())))
def test_every_misspelt_key_fails(text: str, line: Any, validator: Any) -> None:
    assert not validator.is_valid(tree_of(with_key(text, line, line.path[-1] + "x")))


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.written)
def test_aliases_are_known_to_editors(alias: Any) -> None:
    assert f"Another name of {alias.real} ({alias.rival})." in str(sweep_schema())


def test_an_aliased_sweep_passes(validator: Any) -> None:
    text = ("name: a\ntask: {type: forecasting, target: y, horizon: 1, context: 2}\ndata: {path: y.csv}\n"
            "objective: {type: minimize, objectiveMetricName: mae}\nmethod: bayes\nrun_cap: 9\n"
            "parameters: {lr: {low: 1e-4, high: 0.1, log: true}, units: {distribution: categorical, choices: [8, 9]}}\n"
            "early_terminate: {type: hyperband, min_iter: 2}\n")
    assert [error.message for error in validator.iter_errors(tree_of(text))] == []


def test_every_field_is_described() -> None:
    undescribed = [f"{name}.{field}" for name, definition in sweep_schema()["$defs"].items()
                   for field, schema in definition.get("properties", {}).items()
                   if "description" not in schema and field != "type" and "$ref" not in schema]
    assert undescribed == []
    assert sweep_schema()["properties"]["register"]["description"].startswith("Written `register:`")


@pytest.mark.parametrize(("section", "ok"), [("model: {entry: mine.py:Tiny}\n", True), ("", False)])
def test_own_code_has_parameters_of_its_own(section: str, ok: bool, validator: Any) -> None:
    text = ("name: a\ntask: {type: forecasting, target: y, horizon: 1, context: 2}\ndata: {path: y.csv}\n"
            "metric: {name: mae}\nparameters: {weight: {min: 1, max: 9, when: {steep: [true]}}}\n" + section)
    assert validator.is_valid(tree_of(text)) is ok
    learner = text.replace("context: 2", "context: 2, entry: mine.py:Steep")
    assert validator.is_valid(tree_of(learner))
