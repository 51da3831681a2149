"""Damaged data files of every format: each is prepared or refused with InvalidData, and nothing else is raised."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutations import judged

PROGRAM = Path(__file__).with_name("mutated_data.py")


def run(first: int, count: int) -> None:
    found = judged(PROGRAM, first, count)
    assert found["taken"] > count / 50 and found["refused"] > count / 10


def test_damaged_files_are_prepared_or_refused() -> None:
    run(0, 120)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_damaged_files_are_prepared_or_refused_by_the_thousand() -> None:
    run(1000, 4000)
