"""The JSON schema of a sweep file, for editors and `seqsweep schema`: generated from the models, aliases included."""

from __future__ import annotations

from typing import Any

from seqsweep.config.aliases import ALIASES, VALUE_ALIASES, Alias
from seqsweep.config.distributions import DISTRIBUTIONS
from seqsweep.config.fields import SHIPPED
from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import METRICS
from seqsweep.config.training import TrainingConfig

Schema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def sweep_schema() -> Schema:
    """Generate the schema. It knows names, types and bounds; the loader alone knows what must agree with what."""
    schema = Sweep.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    _name_parameters(schema, definitions)
    _name_metrics(definitions)
    _require_types(definitions)
    objective: Schema = {"type": "object", "additionalProperties": False, "properties": {},
                         "description": "Another name of metric (Katib)."}
    for alias in ALIASES:
        _add_alias(alias, schema, definitions, objective)
    schema["properties"]["objective"] = objective
    _accept_metric_text(schema)
    definitions["ParameterConfig"]["properties"] |= {
        "distribution": {"enum": list(DISTRIBUTIONS), "description": "Another way of writing log and step (W&B)."},
        "q": {"type": "number", "exclusiveMinimum": 0, "description": "Another name of step, with q_uniform (W&B)."}}
    for path, words in VALUE_ALIASES.items():
        schema["properties"][path[-1]]["enum"] += list(words)
    return {"$schema": _DIALECT, "title": "seqsweep sweep"} | {key: schema[key] for key in schema if key != "title"}


def _name_parameters(schema: Schema, definitions: Schema) -> None:
    """`parameters` may hold the fields of the model and of the training loop, each with its meaning."""
    fields: Schema = {}
    for owner in (RecurrentConfig, TrainingConfig):
        for name, field in owner.model_json_schema()["properties"].items():
            fields[name] = {"$ref": "#/$defs/ParameterConfig", "description": field.get("description", "")}
    parameters = schema["properties"]["parameters"]
    parameters |= {"properties": {name: fields[name] for name in SHIPPED.names},
                   "additionalProperties": {"$ref": "#/$defs/ParameterConfig"}}
    common = [alias.name for alias in ALIASES if alias.scope == ("parameters",)]
    names = {"enum": [*SHIPPED.names, *common]}
    own = {"anyOf": [{"required": ["model"]}, {"required": ["task"], "properties": {"task": {"required": ["entry"]}}}]}
    schema |= {"if": own, "else": {"properties": {"parameters": {  # own code has others
        "propertyNames": names, "additionalProperties": {"properties": {"when": {"propertyNames": names}}}}}}}
    definitions["ParameterConfig"]["oneOf"] = [
        {"required": ["value"]}, {"required": ["values"]}, {"required": ["choices"]},
        {"anyOf": [{"required": [low, high]} for low in ("min", "low") for high in ("max", "high")]}]


def _name_metrics(definitions: Schema) -> None:
    names = list(dict.fromkeys(name for metrics in METRICS.values() for name in metrics))
    definitions["MetricConfig"]["properties"]["name"]["enum"] = names
    definitions["MetricConfig"] |= {"required": [], "oneOf": [{"required": ["name"]}, {"required": ["entry", "goal"]}]}
    definitions["MetricConfig"]["properties"]["test"]["anyOf"][0]["enum"] = names


def _require_types(definitions: Schema) -> None:
    """A task must say which it is; pydantic leaves that to the discriminator, which editors do not read."""
    for name in ("ForecastingConfig", "ClassificationConfig", "RegressionConfig", "AnomalyConfig"):
        definitions[name]["required"] = ["type", *definitions[name].get("required", [])]


def _add_alias(alias: Alias, schema: Schema, definitions: Schema, objective: Schema) -> None:
    """Copy the real key's schema to where the alias may stand."""
    if alias.scope == ("parameters",):
        home = schema["properties"]["parameters"]
        real = home["properties"][alias.target[0]]
    elif alias.stays:
        home = definitions["ParameterConfig"]
        real = home["properties"][alias.target[0]]
    else:
        real = _section(str(alias.target[0]), schema, definitions)["properties"][alias.target[1]]
        home = schema if not alias.scope else objective if alias.scope == ("objective",) else _section(
            str(alias.scope[0]), schema, definitions)
    copied = dict(real) | {"description": f"Another name of {alias.real} ({alias.rival})."}
    copied.pop("default", None)
    if alias.values:
        copied = {"enum": list(alias.values), "description": copied["description"]}
    home["properties"][alias.name] = copied


def _section(name: str, schema: Schema, definitions: Schema) -> Schema:
    found: Schema = definitions[schema["properties"][name]["$ref"].rpartition("/")[2]]
    return found


def _accept_metric_text(schema: Schema) -> None:
    """Ray Tune's `metric: mae`, and Katib's `objective` in its place."""
    metric = schema["properties"]["metric"]
    reference = {"$ref": metric.pop("$ref")}
    metric["anyOf"] = [reference, {"enum": list(dict.fromkeys(name for task in METRICS.values() for name in task)),
                                   "description": "Another way of writing metric.name (Ray Tune)."}]
    schema["required"] = [name for name in schema["required"] if name != "metric"]
    schema["anyOf"] = [{"required": ["metric"]}, {"required": ["objective"]}]
