"""Files that are no sweeps at all: each is refused with a clear message, and nothing but InvalidSweep is raised."""

from __future__ import annotations

import os
import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from config_corpus import FORECASTING, VALID, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqsweep.config.loader import load_sweep, parse_sweep
from seqsweep.errors import InvalidSweep, Problem


def refused(path: Path | str | dict[str, Any]) -> list[Problem]:
    with pytest.raises(InvalidSweep) as caught:
        load_sweep(path)
    return list(caught.value.problems)


GOOD = small().encode()
BYTES = {
    "empty": (b"", 1, 1, "empty"),
    "only comments": (b"# nothing\n", 1, 1, "empty"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, 1, 1, "byte order mark"),
    "UTF-16": (small().encode("utf-16"), 1, 1, "UTF-16"),
    "UTF-16 without mark": (small().encode("utf-16-le"), 1, 1, "UTF-16"),
    "UTF-16 big-endian": (small().encode("utf-16-be"), 1, 1, "UTF-16"),
    "Latin-1": (GOOD + "seed: 3 # für\n".encode("latin-1"), 6, 12, "0xfc is not UTF-8"),
    "cut off": (GOOD + "experiment: ż".encode()[:-1], 6, 13, "not UTF-8"),
    "surrogate": (GOOD + b"a: \xed\xa0\x80", 6, 4, "not UTF-8"),
    "NUL": (GOOD + b"seed: 3\0\n", 6, 8, "NUL byte"),
    "binary": (bytes(range(1, 256)) * 4, 3, 115, "not UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x08\x01", 1, 2, "not UTF-8"),
    "2 MiB": (GOOD + b"#" * (2 << 20), 1, 1, "larger than 1 MiB"),
    "depth 40 flow": (b"a: " + b"[" * 40 + b"]" * 40, 1, 35, "deeper than 32"),
    "depth 40 block": ("".join(" " * depth + "a:\n" for depth in range(40)).encode(), 33, 33, "deeper than 32"),
    "500 brackets": (b"[" * 500, 1, 33, "deeper than 32"),
    "carriage returns": (GOOD.replace(b"\n", b"\r\n") + b"seed: x\r\n", 6, 7, "seed cannot be"),
}


@pytest.mark.parametrize("name", BYTES)
def test_files_that_are_no_sweeps(name: str, tmp_path: Path) -> None:
    content, line, column, words = BYTES[name]
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    problems = refused(path)
    assert [problem.where for problem in problems] == [f"{path}:{line}:{column}"], "\n".join(map(str, problems))
    assert words in problems[0].what and problems[0].right


def test_a_million_brackets(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(b"[" * 1_000_000)
    (problem,) = refused(path)
    assert problem.where in (f"{path}:1:33", f"{path}:1:1001"), problem.where  # our limit, or that of a newer libyaml
    assert "deeper than 32" in problem.what


def test_exactly_one_mebibyte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(GOOD + b"#" * ((1 << 20) - len(GOOD)))
    assert load_sweep(path).name == "load"


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wind.yaml").write_text(small())
    cases = {"wnid.yaml": "did you mean wind.yaml?", "electricty.yaml": "did you mean electricity?",
             "zzzz": "shipped pipelines", ".": "", "": "", "a\nb": "", "a" * 5000: "", "no/such/place.yaml": "shipped",
             "x\0y": "", "/": "", "..": ""}
    for source, words in cases.items():
        problems = refused(source)
        assert len(problems) == 1 and words in problems[0].right, (source, str(problems[0]))


def test_a_folder_and_a_file_without_permission(tmp_path: Path) -> None:
    assert "folder" in refused(tmp_path)[0].what
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    (tmp_path / "sweep.yaml").write_text(small())
    (tmp_path / "sweep.yaml").chmod(0)
    assert "Permission denied" in refused(tmp_path / "sweep.yaml")[0].what


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    problems = refused(tmp_path / "bomb.yaml")
    assert any("anchor" in problem.what for problem in problems)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


@pytest.mark.parametrize("text", [
    "a: [" + "1, " * 300_000 + "1]",
    small("", "parameters: {hidden_size: {values: [" + "16, " * 200_000 + "16]}}\n"),
    small().replace("target: load", "target: [" + "a, " * 200_000 + "a]"),
    small("", "parameters:\n" + "".join(f"  p{n}: {{low: 1}}\n" for n in range(30_000))),
    small("split: {val: " + "9" * 200_000 + "}\n"),
    small("x" * 900_000 + ": 1\n"),
    "? " * 200_000,
    "- " * 400_000,
    '"' + "\\x41" * 200_000 + '": 1',
], ids=["numbers", "values", "columns", "parameters", "digits", "key", "keys", "dashes", "escapes"])
def test_a_mebibyte_of_nonsense_is_refused_in_seconds(text: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidSweep) as caught:
        parse_sweep(text, "x.yaml")
    assert len(str(caught.value)) < 200_000
    assert time.process_time() - started < 20


def test_dict_errors_name_the_key_path() -> None:
    tree: dict[str, Any] = {"name": "a", "task": {"type": "forecasting", "target": "y", "horizon": 0, "context": 2},
                            "data": {"path": "y.csv"}, "metric": {"nam": "mae"},
                            "parameters": {"lr": {"min": 1.0, "max": 0.1}, "cell": {"values": ["gru", object()]}}}
    problems = {problem.where: problem for problem in refused(tree)}
    assert {"task.horizon", "metric.nam", "metric", "parameters.lr.min", "parameters.cell.values[1]"} == set(problems)
    assert "did you mean name?" in problems["metric.nam"].right
    assert "type object" in problems["parameters.cell.values[1]"].what


@pytest.mark.parametrize("tree", [{}, {1: 2}, {"name": {}}, {"parameters": 3}, {"task": []}, {"metric": []},
                                  {"data": "x"}, {"search_space": {"a": 1}}, {"when": None}, {"objective": 3},
                                  {"task": {"type": []}}])
def test_dicts_that_are_no_sweeps(tree: dict[Any, Any]) -> None:
    assert all(problem.what for problem in refused(tree))


def test_a_dict_that_holds_itself() -> None:
    tree: dict[str, Any] = {"name": "a"}
    tree["task"] = tree
    assert any("deeper than 32" in problem.what for problem in refused(tree))


def test_the_shipped_folders_are_never_written_in_messages_as_modules() -> None:
    problems = refused({"name": "a", "search_space": ["nowhere"]})
    assert any("search spaces: attention, cnn_rnn, elman" in problem.right for problem in problems)


# --- anything at all --------------------------------------------------------------------------------------------------

_WORDS = sorted({word for text in VALID.values() for word in text.replace("{", " ").replace("}", " ").split()})
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(_WORDS))
_TREES = st.recursive(_SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(_WORDS).map(lambda word: word.rstrip(":,")),
                                                           st.text(max_size=5)), inner, max_size=4)), max_leaves=12)
_BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _only_invalid_sweep(action: Any) -> None:
    try:
        action()
    except InvalidSweep as error:
        assert error.problems and all(problem.what for problem in error.problems)


@_BOUNDED
@given(st.text(max_size=200))
def test_any_text_is_a_sweep_or_refused(text: str) -> None:
    _only_invalid_sweep(lambda: parse_sweep(text, "x.yaml"))


@_BOUNDED
@given(st.sampled_from(sorted(VALID)), st.randoms(use_true_random=False))
def test_any_damage_to_a_valid_sweep_is_found_or_harmless(name: str, chance: random.Random) -> None:
    text = VALID[name]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            text = text[:at] + text[at + chance.randint(1, 5):]
        elif kind == 1:
            text = text[:at] + chance.choice(":-{}[],&*!|>'\"%@`#\n\t 0.~\\") + text[at:]
        elif kind == 2:
            text = text[:at] + chance.choice(_WORDS) + text[at:]
        else:
            end = min(len(text), at + chance.randint(1, 40))
            text = text[:end] + text[at:end] + text[end:]
    _only_invalid_sweep(lambda: parse_sweep(text, "x.yaml"))


@_BOUNDED
@given(st.dictionaries(st.sampled_from(["name", "task", "data", "split", "metric", "parameters", "budget", "objective",
                                        "prepare", "search_space", "early_terminate", "register", "method", "seed"]),
                       _TREES, max_size=5),
       st.booleans())
def test_any_dict_is_a_sweep_or_refused(tree: dict[str, Any], on_top: bool) -> None:
    base = {"name": "a", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 2},
            "data": {"path": "y.csv"}, "metric": {"name": "mae"}, "budget": {"max_trials": 1}} if on_top else {}
    _only_invalid_sweep(lambda: load_sweep(base | tree))


@_BOUNDED
@given(st.dictionaries(st.sampled_from(["cell", "hidden_size", "num_layers", "dropout", "learning_rate", "lr", "units",
                                        "layer_norm", "naive_season", "epochs", "warmup_epochs"]),
                       st.dictionaries(st.sampled_from(["value", "values", "min", "max", "log", "step", "search", "low",
                                                        "high", "choices", "distribution", "q"]),
                                       st.one_of(_SCALARS, st.lists(_SCALARS, max_size=4),
                                                 st.sampled_from(["grid", "q_uniform", "int_uniform", "uniform"])),
                                       max_size=5), max_size=4),
       st.dictionaries(st.sampled_from(["cell", "num_layers", "lr"]), st.lists(_SCALARS, max_size=3), max_size=2))
def test_any_parameters_are_a_search_or_refused(parameters: dict[str, dict[str, Any]],
                                                when: dict[str, list[Any]]) -> None:
    tree = {"name": "a", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 2},
            "data": {"path": "y.csv"}, "metric": {"name": "mae"}}
    for name in list(parameters)[:1]:
        parameters[name]["when"] = when
    _only_invalid_sweep(lambda: load_sweep(tree | {"parameters": parameters}))


@_BOUNDED
@given(st.binary(max_size=300))
def test_any_bytes_are_a_sweep_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes", numbered=True) / "sweep.yaml"
    path.write_bytes(data)
    _only_invalid_sweep(lambda: load_sweep(path))


def test_places_hold_under_comments_and_blank_lines() -> None:
    text = "# one\n\n# two\n" + FORECASTING.replace("  horizon: 48\n", "\n  # here\n  horizon: 0   # steps\n")
    with pytest.raises(InvalidSweep) as caught:
        parse_sweep(text, "x.yaml")
    assert [problem.where for problem in caught.value.problems] == ["x.yaml:12:12"]
