"""The table of guards is of this code; whether each is missed is told by `make power`, which takes minutes."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from guard import KINDS, ROOT, Guard
from guards import GUARDS


def test_names_are_given_once_and_every_kind_is_there() -> None:
    assert [name for name, times in Counter(guard.name for guard in GUARDS).items() if times > 1] == []
    assert {guard.kind for guard in GUARDS} == set(KINDS)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_is_there_once_and_the_code_without_it_is_code(guard: Guard) -> None:
    ast.parse(guard.removed())
    assert guard.tests
    for test in guard.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in functions(ROOT / "tests" / file), f"there is no {test}"


def functions(path: Path) -> set[str]:
    """Names of the tests of a file."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
