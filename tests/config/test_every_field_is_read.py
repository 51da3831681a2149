"""No key that does nothing: every field of every config is read somewhere outside config/."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
from pathlib import Path

import pytest

from seqsweep.config.base import Config
from seqsweep.config.settings import Settings

PACKAGE = Path(__file__).parents[2] / "platform" / "seqsweep"
IN_CONFIG = {
    "Sweep.version": "the loader refuses other versions",
    "Sweep.search_space": "the loader merges them into parameters",
    "ForecastingConfig.target": "read as `targets`",
}
"""Fields that config/ itself uses up; the rest must be read by another room."""


def _configs() -> list[type[Config]]:
    for module in ("sweep", "tasks", "models", "training", "space"):
        importlib.import_module(f"seqsweep.config.{module}")
    found, last = Config.__subclasses__(), 0
    while last < len(found):  # those made from others, too
        found += [each for each in found[last].__subclasses__() if each not in found]
        last += 1
    return [config for config in found if config.__module__.startswith("seqsweep.config.")]


@functools.cache
def _read_names() -> set[str]:
    names: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if "config" in path.relative_to(PACKAGE).parts[:1]:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
            # The stored sweep is JSON, of which a room may read one key: spec.get("experiment").
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".get"):
                names.update(arg.value for arg in node.args if isinstance(arg, ast.Constant)
                             and isinstance(arg.value, str))
    return names


FIELDS = [f"{config.__name__}.{field}" for config in _configs() for field in config.model_fields]
FIELDS += [f"Settings.{field.name}" for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("field", FIELDS)
def test_the_field_is_read(field: str) -> None:
    assert field in IN_CONFIG or field.partition(".")[2] in _read_names(), f"nothing reads {field}"
