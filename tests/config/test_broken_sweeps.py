"""Every way to break a sweep gives InvalidSweep with the right line and column, what is wrong, and what is allowed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from broken_corpus import HAND
from config_corpus import CLASSIFICATION, FORECASTING, Line, line_at, lines_of, small, with_key, with_value, without

from seqsweep.config.loader import parse_sweep
from seqsweep.errors import InvalidSweep, Problem

FULL = {"forecasting": FORECASTING, "classification": CLASSIFICATION}
LINES = [(task, line) for task, text in FULL.items() for line in lines_of(text)]


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(InvalidSweep) as caught:
        parse_sweep(text, "sweep.yaml")
    problems = list(caught.value.problems)
    for problem in problems:
        assert problem.what and "[type=" not in str(problem) and "Input should" not in str(problem)
    return problems


def problem_at(text: str, line: int, column: int) -> Problem:
    problems = problems_of(text)
    found = [problem for problem in problems if problem.where == f"sweep.yaml:{line}:{column}"]
    assert found, "\n".join(map(str, problems))
    return found[0]


def name_of(case: tuple[str, Line]) -> str:
    return f"{case[0]}-{'.'.join(case[1].path)}"


# --- every known key misspelt -----------------------------------------------------------------------------------------

def _misspelt(key: str) -> str:
    return key[:-1] + key[-1] * 2 if len(key) < 4 else key[:2] + key[3:]


@pytest.mark.parametrize("case", LINES, ids=name_of)
def test_a_misspelt_key_is_named_with_its_place_and_the_nearest_known_key(case: tuple[str, Line]) -> None:
    task, line = case
    key = line.path[-1]
    wrong = _misspelt(key)
    problems = problems_of(with_key(FULL[task], line, wrong))
    assert any(problem.where == f"sweep.yaml:{line.number}:{line.key_column}" and wrong in problem.what
               and f"did you mean {key}?" in problem.right for problem in problems), "\n".join(map(str, problems))


# --- every required key deleted --------------------------------------------------------------------------------------

_REQUIRED = """name task data metric task.type task.target task.horizon task.context data.path metric.name
parameters.learning_rate.min parameters.learning_rate.max parameters.cell.values"""
REQUIRED = [("forecasting", tuple(path.split("."))) for path in _REQUIRED.split()]
REQUIRED += [("classification", path) for path in (("name",), ("task", "type"), ("metric",))]


@pytest.mark.parametrize(("task", "path"), REQUIRED, ids=str)
def test_a_missing_key_is_named_at_the_mapping_that_lacks_it(task: str, path: tuple[str, ...]) -> None:
    text = without(FULL[task], line_at(FULL[task], *path))
    home = line_at(text, *path[:-1]) if len(path) > 1 else None
    problem = problem_at(text, home.number if home else 1, home.key_column if home else 1)
    assert path[-1] in problem.what
    assert problem.right


OPTIONAL = [(task, line) for task, line in LINES if (task, line.path) not in REQUIRED]


@pytest.mark.parametrize("case", OPTIONAL, ids=name_of)
def test_any_other_key_may_be_deleted_or_leaves_a_told_contradiction(case: tuple[str, Line]) -> None:
    task, line = case
    try:
        parse_sweep(without(FULL[task], line), "sweep.yaml")
    except InvalidSweep as error:
        for problem in error.problems:
            assert re.match(r"(sweep\.yaml|search_spaces/\w+\.yaml|/.*\.yaml):\d+:\d+$", problem.where), str(problem)
            assert problem.what and problem.right


# --- every value of the wrong kind ------------------------------------------------------------------------------------

@pytest.mark.parametrize("wrong", ["{surprise: 1}", "[[1]]"])
@pytest.mark.parametrize("case", [case for case in LINES if case[1].value_column], ids=name_of)
def test_a_value_of_the_wrong_kind_is_refused_where_it_stands(case: tuple[str, Line], wrong: str) -> None:
    task, line = case
    text = with_value(FULL[task], line, wrong)
    problems = problems_of(text)
    here = [problem for problem in problems if problem.where.startswith(f"sweep.yaml:{line.number}:")]
    assert here, "\n".join(map(str, problems))
    assert here[0].right


@pytest.mark.parametrize("case", [case for case in LINES if not case[1].value_column], ids=name_of)
def test_a_scalar_where_a_mapping_belongs_is_refused_where_it_stands(case: tuple[str, Line]) -> None:
    task, line = case
    text = with_value(FULL[task], line, "5")
    problem = problem_at(text, line.number, line.key_column + len(line.path[-1]) + 2)
    assert "cannot be 5" in problem.what and "mapping" in problem.right


NUMBERS = [case for case in LINES if re.fullmatch(r"[\d.e-]+", case[1].value) and case[1].path != ("version",)]


@pytest.mark.parametrize("wrong", ['"7"', "-7", ".nan", "-.inf", "1e400", "99999999999999999999", "true", "seven"])
@pytest.mark.parametrize("case", NUMBERS, ids=name_of)
def test_a_number_that_is_none_or_out_of_bounds_is_refused_where_it_stands(case: tuple[str, Line], wrong: str) -> None:
    task, line = case
    text = with_value(FULL[task], line, wrong)
    problem = problem_at(text, line.number, line.value_column)
    assert problem.right


# --- written by hand --------------------------------------------------------------------------------------------------

def _place(text: str, at: str) -> tuple[int, int]:
    index = text.index(at)
    before = text[:index].split("\n")
    return len(before), len(before[-1]) + 1


@pytest.mark.parametrize("name", HAND)
def test_broken_by_hand(name: str) -> None:
    case = HAND[name]
    problems = problems_of(case.text)
    listing = "\n".join(map(str, problems))
    if case.at and case.what:
        line, column = _place(case.text, case.at)
        found = [problem for problem in problems if problem.where == f"sweep.yaml:{line}:{column}"]
        assert found, listing
    else:
        found = [problem for problem in problems if re.fullmatch(r"sweep\.yaml:\d+:\d+", problem.where)]
    assert any(case.what in problem.what and case.right in problem.right for problem in found), listing
    assert len(problems) == 1 or not case.only, listing
    assert all(problem.right for problem in found), listing


def test_there_are_many_of_them() -> None:
    assert len(HAND) + 2 * len(LINES) + len(REQUIRED) + 8 * len(NUMBERS) > 300


# --- all at once ------------------------------------------------------------------------------------------------------

def test_all_problems_of_a_file_are_told_at_once_from_top_to_bottom() -> None:
    text = small("""\
metod: tpe
seed: many
split: {by: random, val: 14d}
budget: {max_trials: 0, max_time: 3y}
promote: {to: v1}
""", """\
parameters:
  hiden_size: {value: 3}
  num_layers: {min: 3, max: 1}
  cell: {values: [lstm, lsmt]}
  dropout: {min: 0, max: 2}
""").replace("horizon: 24", "horizn: 24").replace("mae", "meape")
    problems = problems_of(text)
    places = [tuple(map(int, problem.where.split(":")[1:])) for problem in problems]
    assert places == sorted(places)
    for words in ("horizn", "horizon is missing", "meape", "hiden_size", "min of num_layers", "lsmt", "max of dropout",
                  "metod", "seed", "max_trials", "max_time", "alias v1"):
        assert any(words in problem.what for problem in problems), words


def test_problems_are_counted_beyond_two_hundred_and_told_quickly() -> None:
    text = small("".join(f"k{'x' * 1000}{number}: 1\n" for number in range(900)))
    started = time.process_time()
    problems = problems_of(text)
    assert len(problems) == 201 and problems[-1].what == "and 700 more problems"
    assert time.process_time() - started < 10


def test_no_message_repeats_a_huge_value() -> None:
    problems = problems_of(small(f"method: {'x' * 100_000}\n{'y' * 1000}: 1\n"))
    assert all(len(str(problem)) < 1000 for problem in problems)


def test_problems_of_a_search_space_name_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "search_spaces"
    folder.mkdir()
    (folder / "mine.yaml").write_text("descripton: x\nparameters:\n  cell: {values: [gru, lstm]}\n"
                                      "  hidden_size: {min: 9, max: 1}\n  num_layers: {min: 1, max: 2}\n"
                                      "  dropout: {min: 0, max: 0.5, when: {num_layers: [3]}}\n")
    monkeypatch.chdir(tmp_path)
    found = {problem.where: problem for problem in problems_of(small("search_space: [mine]\n", ""))}
    assert "did you mean description?" in found["search_spaces/mine.yaml:1:1"].right
    assert "not below" in found["search_spaces/mine.yaml:4:22"].what
    assert "never 3" in found["search_spaces/mine.yaml:6:51"].what, "dead within one file"
