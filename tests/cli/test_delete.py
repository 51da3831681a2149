"""`delete` as a person meets it: it asks on a terminal, and elsewhere wants to be told."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from shell import SEQSWEEP, answer, environment, refusal, seqsweep
from small_sweeps import forecasting, settings_in, write_series

from seqsweep.store.records import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deleted")
    write_series(folder / "load.csv")
    for name, keys in (("load", {"register": {"alias": "challenger"}}), ("tide", {"register": None})):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(forecasting(
            Path("load.csv"), name, budget={"max_trials": 1}, evaluate={"baselines": "none"}, **keys)))
        seqsweep(folder, "submit", f"{name}.yaml")
    return folder


def on_a_terminal(folder: Path, typed: str, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, and what the terminal showed of standard error; `typed` is typed at once."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([SEQSWEEP, *words], cwd=folder, env=environment(TERM="dumb"), stdin=theirs,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    os.write(ours, typed.encode())
    out, err = process.communicate(timeout=120)
    os.close(ours)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def names(folder: Path) -> list[Any]:
    return [row["sweep"] for row in answer(folder, "list")]


def test_without_a_terminal_it_must_be_told_to(folder: Path) -> None:
    said = " ".join(seqsweep(folder, "delete", "load", "--json", exit_code=2, COLUMNS="200").stderr.split())
    assert "there is no terminal to ask on, so nothing was deleted; `seqsweep delete load --yes` deletes" in said
    assert "no sweep named laod" in seqsweep(folder, "delete", "laod", exit_code=5).stderr
    assert names(folder) == ["load", "tide"]


@pytest.mark.parametrize("typed", ["n\n", "\n"])
def test_on_a_terminal_it_tells_what_goes_and_stays_and_asks(folder: Path, typed: str) -> None:
    code, out, err = on_a_terminal(folder, typed, "delete", "load")
    assert (code, out) == (1, "")
    assert "load (finished): 1 trial in the store, 2 runs in MLflow" in err
    assert "its runs can be restored there, until `mlflow gc` ends them" in err
    assert "stays    load/1 @challenger: `predict` works with it; `promote`, which needs the sweep, does not" in err
    assert "delete load? [y/N]" in err
    assert "nothing was deleted" in err
    assert names(folder) == ["load", "tide"]


def test_what_is_held_is_a_conflict_and_what_is_not_there_is_named(folder: Path) -> None:
    with Store.open(settings_in(folder).store) as store, store.acquire("load"):
        said = refusal(folder, "delete", "load", "--yes", exit_code=6)
        assert f"sweep load is being run by process {os.getpid()} on " in said["problems"][0]["what"]
        assert on_a_terminal(folder, "y\n", "delete", "load")[0] == 6
    assert "did you mean load?" in seqsweep(folder, "delete", "laod", "--yes", exit_code=5).stderr
    assert names(folder) == ["load", "tide"]


def test_away_is_its_own_exit_code(folder: Path) -> None:
    said = refusal(folder, "delete", "load", "--yes", exit_code=9, MLFLOW_TRACKING_URI="http://127.0.0.1:1")
    assert any("--keep-runs" in problem["right"] for problem in said["problems"])
    assert names(folder) == ["load", "tide"]


def test_deleted_it_can_be_submitted_anew(folder: Path) -> None:
    code, out, err = on_a_terminal(folder, "y\n", "delete", "tide")
    assert (code, out) == (0, "tide is deleted: 1 trial in the store, 2 runs in MLflow\n"), err
    assert answer(folder, "delete", "load", "--yes") == {
        "sweep": "load", "trials": 1, "runs": 2, "forks": {}, "unasked": None,
        "versions": [{"version": "load/1", "aliases": ["challenger"]}]}
    assert names(folder) == []
    assert "done: 1 complete" in seqsweep(folder, "submit", "load.yaml").stderr
    assert "note          load/1: it is of a sweep that is not in this store\nsound: load" in seqsweep(
        folder, "doctor", "load").stdout
    kept = seqsweep(folder, "delete", "load", "--yes", "--keep-runs").stdout
    assert kept.startswith("load is deleted: 1 trial in the store\n")
    assert "stays    its runs in MLflow: those whose tag seqsweep.uid is " in kept
