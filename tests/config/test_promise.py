"""What a deterministic sweep promises is said, and what it leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_sweeps import forecasting

from seqsweep.config.loader import load_sweep
from seqsweep.config.order import promise


@pytest.mark.parametrize(("keys", "says"), [
    ({"resources": {"workers": 2}}, "for 2 workers, on"), ({"resources": {"workers": 0}}, "for 1 worker, on"),
    ({"resources": {"workers": "auto"}}, "as many workers as the machine has"),
    ({"budget": {"max_trials": 4, "max_time": "5m"}}, "not covered: budget.max_time"), ({}, "trials that break down")])
def test_the_promise_names_what_it_leaves_out(keys: dict[str, Any], says: str) -> None:
    assert says in promise(load_sweep(forecasting(Path("load.csv"), deterministic=True, **keys)))


def test_there_is_no_promise_without_it() -> None:
    assert promise(load_sweep(forecasting(Path("load.csv")))) == ""
