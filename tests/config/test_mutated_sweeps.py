"""Damaged sweeps by the thousand: each is taken or refused, within a second and half a gibibyte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mutations import judged

PROGRAM = Path(__file__).with_name("mutated_sweeps.py")


def run(first: int, count: int) -> dict[str, Any]:
    found = judged(PROGRAM, first, count)
    assert found["taken"] > count / 50, "damage so great that nothing behind the reader is reached"
    return found


def test_damaged_sweeps_are_taken_or_refused() -> None:
    run(0, 500)


@pytest.mark.slow
@pytest.mark.timeout(1600)
@pytest.mark.parametrize("first", range(1000, 21_000, 5000))
def test_damaged_sweeps_are_taken_or_refused_by_the_thousand(first: int) -> None:
    print(run(first, 5000))
