"""The time ledger: its sum is the wall time of the process, over every resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small_sweeps import forecasting, settings_in, write_series

from seqsweep.ledger import ASIDE, CATEGORIES, PROJECTOR, Ledger, process_age, read
from seqsweep.store.records import Store
from seqsweep.tracking.client import connect
from seqsweep.tracking.runs import find_run

KEPT = 0.98
"""Share of the wall time that is in the ledger at the least."""
RUN = """
import atexit, sys
from seqsweep.ledger import process_age
atexit.register(lambda: print(process_age(), file=sys.stderr))  # what comes after is the end of the interpreter
from seqsweep.cli.main import main
main()
"""


def seqsweep(folder: Path, *verb: str) -> tuple[float, str]:
    """Wall time of the process up to its last moment, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN, *verb], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    whole = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    wall = float(done.stderr.splitlines()[-1])
    assert wall <= whole + 0.02  # the age is counted in hundredths
    return wall, done.stdout


def ledger(folder: Path) -> dict[str, float]:
    kept: dict[str, float] = json.loads(seqsweep(folder, "status", "load", "--json")[1])["ledger"]
    return kept


def whole(kept: dict[str, float]) -> float:
    return sum(seconds for category, seconds in kept.items() if category not in ASIDE)


@pytest.mark.slow
def test_the_ledger_sums_to_the_wall_time_and_resumes_add_to_it(tmp_path: Path) -> None:
    write_series(tmp_path / "load.csv")

    def submit(trials: int) -> float:
        sweep: dict[str, Any] = forecasting(tmp_path / "load.csv", version=1, budget={"max_trials": trials})
        (tmp_path / "load.yaml").write_text(json.dumps(sweep))
        return seqsweep(tmp_path, "submit", "load.yaml")[0]

    wall = submit(4)
    kept = ledger(tmp_path)
    assert set(kept) == {*CATEGORIES, *ASIDE}
    worked = ("start", "train", "record", "evaluate", "register", "project", *ASIDE)
    assert all(kept[category] > 0 for category in worked)
    assert KEPT * wall <= whole(kept) <= wall
    wall += submit(6)
    again = ledger(tmp_path)
    assert KEPT * wall <= whole(again) <= wall
    assert all(again[category] > kept[category] for category in ("start", "train", "record"))

    assert f"{whole(again):.1f}" in seqsweep(tmp_path, "status", "load", "--verbose")[1]
    with Store.open(settings_in(tmp_path).store) as store:
        run = find_run(settings_in(tmp_path).tracking_uri, store.sweep("load"))
    assert run is not None
    shown = connect(settings_in(tmp_path).tracking_uri).get_run(run).data.tags["seqsweep.ledger.train"]
    assert kept["train"] < float(shown) <= again["train"]


def test_a_span_takes_its_time_from_the_span_around_it() -> None:
    ledger = Ledger(age=100.0)
    with ledger("idle"):
        time.sleep(0.02)
        with ledger("ask"):
            time.sleep(0.05)
        with pytest.raises(ValueError, match="x"), ledger("train"):
            raise ValueError("x")
        time.sleep(0.02)
        open_ended = ledger.seconds()
    assert open_ended["ask"] >= 0.05
    assert open_ended["idle"] >= 0.04
    closed = ledger.seconds()
    assert closed["ask"] == open_ended["ask"]
    assert closed["idle"] >= open_ended["idle"]
    assert closed["start"] >= 100.0


def test_a_ledger_is_kept_as_facts_and_added_to() -> None:
    ledger = Ledger()
    ledger.add({"train": 2.0, PROJECTOR: 3.0})
    later = Ledger()
    later.add(read({**ledger.facts(), "python": "3.11", "hardware": 2}))
    later.add({"train": 1.0})
    assert later.facts()["ledger.train"] == 3.0
    assert later.facts()["ledger.projector"] == 3.0
    assert read({"python": "3.11"}) == {}


def test_seconds_that_two_threads_add_are_all_counted() -> None:
    class Slow(dict[str, float]):
        """Between what it says and what it is told another thread comes."""

        def get(self, key: str, default: Any = None) -> Any:
            found = super().get(key, default)
            time.sleep(0.001)
            return found

    ledger = Ledger()
    ledger._seconds = Slow(ledger._seconds)
    with ThreadPoolExecutor(2) as executor:
        list(executor.map(lambda _: ledger.add({PROJECTOR: 1.0}), range(20)))
    assert ledger.seconds()[PROJECTOR] == 20.0


def test_the_age_of_a_process_is_that_of_the_process() -> None:
    began = time.monotonic()
    code = "import time; from seqsweep.ledger import process_age; time.sleep(0.3); print(process_age())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert 0.3 <= float(done.stdout) <= time.monotonic() - began + 0.02
    assert process_age() > float(done.stdout)
