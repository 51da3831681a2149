"""`make results`: a row is what the store holds, goes on where it was, and says when it is older than code or data."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_sweeps import forecasting, settings_in, table, write_series

import seqsweep
from seqsweep.config.shipped import shipped_names
from seqsweep.errors import SearchFailed

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"\*\*older: [^*]* changed since\*\*<br>")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("pipelines")
    module.code_hash.cache_clear()
    yield module
    module.code_hash.cache_clear()


def test_the_readme_says_what_the_records_hold_and_each_pipeline_is_in_it(script: ModuleType) -> None:
    readme = (ROOT / "pipelines" / "README.md").read_text()
    written = readme.split(script.BEGIN)[1].split(script.END)[0].strip()
    assert MARK.sub("", written) == MARK.sub("", script.render(script.read_records()))
    assert set(shipped_names("pipelines")) <= tomllib.loads(script.PUBLISHED.read_text()).keys()


@pytest.fixture
def place(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two small pipelines, `load`, and `far`, whose data are elsewhere."""
    (tmp_path / "pipelines").mkdir()
    write_series(tmp_path / "load.csv", rows=150)
    for name, data in (("load", "load.csv"), ("far", "far.csv")):
        sweep = forecasting(Path(data), name, budget={"max_trials": 1}, promote={})
        sweep["data"]["source"] = "a meter in the cellar"
        (tmp_path / "pipelines" / f"{name}.yaml").write_text(json.dumps(sweep))
    (tmp_path / "pipelines" / "README.md").write_text(f"# Pipelines\n\n{script.BEGIN}\n{script.END}\nthe end\n")
    told = ('problem = "the load"\ndata = "hours"\nfigures = ["mae"]\npublished = "none"\n'
            'target = {mae = [-inf, 99.0]}\n')
    (tmp_path / "published.toml").write_text(f"[load]\n{told}[far]\n{told}")
    for constant, path in {"ROOT": "", "PIPELINES": "pipelines", "RECORDS": "records.json",
                           "PUBLISHED": "published.toml", "RUNS": "runs"}.items():
        monkeypatch.setattr(script, constant, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(place: Path, name: str = "load") -> str:
    return next(line for line in (place / "pipelines" / "README.md").read_text().splitlines()
                if line.startswith(f"| [{name}]"))


def test_a_row_is_what_the_store_holds_and_a_second_run_trains_nothing(place: Path, script: ModuleType) -> None:
    script.main(["load"])
    (folder,) = (place / "runs" / "load").iterdir()
    result = seqsweep.open_sweep("load", settings_in(folder))
    rows = result.leaderboard_rows()
    winner = next(each for each in rows if each["kind"] == "winner")
    naive = min((each for each in rows if each["kind"] == "baseline"), key=lambda each: each["test_mae"])
    assert f"| mae {winner['test_mae']:.4g} |" in row(place)
    assert f"| mae {naive['test_mae']:.4g}, {naive['name']} |" in row(place)
    assert "| mae at most 99: reached | none |" in row(place)
    wins = winner["test_mae"] < naive["test_mae"]
    assert ("the model" if wins else f"**baseline wins**, {naive['name']}") in row(place)
    assert ("promoted" if "is now" in result.gate else "refused by the gate") in row(place)
    assert "seed 3<br>1 trials, at most 1<br>" in row(place)
    assert row(place, "far").endswith("| not run yet |")
    assert (place / "pipelines" / "README.md").read_text().endswith("\n- load: a meter in the cellar\n"
                                                                    f"{script.END}\nthe end\n")
    before, trained = row(place), table(settings_in(folder), "load", times=True)
    (place / "records.json").unlink()  # as after a kill: the run is there, its row is not
    script.main(["load"])
    assert table(settings_in(folder), "load", times=True) == trained
    assert re.sub(r"[\d.]+ s<br>", "", row(place)) == re.sub(r"[\d.]+ s<br>", "", before)


RUN: dict[str, Any] = {
    "commit": "abc", "device": "a machine", "versions": "", "date": "2026-01-31", "first": "trial 0",
    "winner": "trial 0", "test": {"mae": 1.0}, "baselines": {"last": {"mae": 2.0}}, "seconds": 10.0,
    "gate": "gate: load/1 is now champion"}


@pytest.fixture
def ran(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every run asked for from now on; its mean absolute error is its seed."""
    asked: list[tuple[str, int]] = []

    def run(sweep: seqsweep.Sweep, seed: int, key: dict[str, str]) -> dict[str, Any]:
        asked.append((sweep.name, seed))
        return RUN | {"key": key, "test": {"mae": float(seed)}}

    monkeypatch.setattr(script, "run", run)
    return asked


def test_only_what_changed_is_run_again_and_the_others_say_so(
        place: Path, script: ModuleType, ran: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]) -> None:
    script.main([])
    assert ran == [("load", 3)], "the data of `far` are not here"
    assert "far                  not run yet; its data are not here: a meter in the cellar" in capsys.readouterr().out
    script.main([])
    assert ran == [("load", 3)]
    (place / "load.csv").write_text((place / "load.csv").read_text() + "2030-01-01,1,0\n")
    script.main(["list"])
    assert "load                 older: data changed since" in capsys.readouterr().out
    assert "**older: data changed since**" in row(place)
    script.main([])
    assert ran == [("load", 3)] * 2
    assert "older" not in row(place)
    yaml = (place / "pipelines" / "load.yaml").read_text()
    (place / "pipelines" / "load.yaml").write_text(yaml.replace("a meter in the cellar", "a meter") + "  # a comment\n")
    script.main([])
    assert len(ran) == 2, "neither changes a figure"
    (place / "pipelines" / "load.yaml").write_text(yaml.replace('"values": [4, 8]', '"values": [4, 9]'))
    script.main([])
    assert len(ran) == 3


def test_several_seeds_give_a_mean_and_are_kept(place: Path, script: ModuleType, ran: list[tuple[str, int]]) -> None:
    script.main(["load", "--seeds", "1,2,6"])
    assert "| mae 3 (1 to 6) | mae 2, last |" in row(place)
    assert "seeds 1, 2, 6<br>" in row(place)
    (place / "load.csv").write_text((place / "load.csv").read_text() + "2030-01-01,1,0\n")
    script.main([])
    assert ran == [("load", 1), ("load", 2), ("load", 6)] * 2
    script.main(["load", "--seeds", "5"])
    assert "| mae 5 |" in row(place)


def test_a_failure_and_a_refusal_have_their_row(place: Path, script: ModuleType,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise SearchFailed("no trial gave a finite mae\nand more")

    monkeypatch.setattr(script, "submit", fails)
    script.main(["load"])
    assert "| **failed**: no trial gave a finite mae |" in row(place)
    lost = RUN | {"key": {}, "first": "last", "test": {"mae": 100.0}, "gate": "gate: load/1 stays a candidate"}
    script.write({"load": {"3": lost, "4": RUN | {"key": {}}}})
    assert ("| seed 3: **baseline wins**, last; refused by the gate<br>seed 4: the model; promoted |") in row(place)
    assert "mae at most 99: reached" in row(place)
    script.write({"load": {"3": lost}})
    assert "mae at most 99: **not reached**" in row(place)
    doubtful = "gate: load/1 stays a candidate\n  beats_baseline: not beyond chance: ..."
    script.write({"load": {"3": RUN | {"key": {}, "gate": doubtful}}})
    assert "| the model, not beyond chance; refused by the gate |" in row(place)


def test_what_counts_as_code(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "HOUSE", tmp_path / "house")
    shutil.copytree(ROOT / "platform" / "seqsweep" / "training", tmp_path / "house" / "training")
    monkeypatch.setattr(script, "ROOMS", ("training",))

    def hashed() -> str:
        script.code_hash.cache_clear()
        return str(script.code_hash())

    before, file = hashed(), tmp_path / "house" / "training" / "rules.py"
    code = file.read_text()
    file.write_text(re.sub(r'"""[^"]*"""', '"""Other words."""', code) + "\n# a comment\n")
    assert hashed() == before
    file.write_text(code + "\nMORE = 1\n")
    assert hashed() != before
    assert all((ROOT / "platform" / "seqsweep" / room).exists() for room in importlib.reload(script).ROOMS)
