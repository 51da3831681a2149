"""What loading gives: merged parameters, filled-in goals, and one value however the sweep was handed over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from config_corpus import FORECASTING, VALID, line_at, small, with_value

from seqsweep.config.document import Node, read_text
from seqsweep.config.loader import load_sweep, parse_sweep, read_document
from seqsweep.config.models import RecurrentConfig
from seqsweep.config.problems import Problems
from seqsweep.config.shipped import shipped, shipped_names
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.errors import InvalidSweep

ROOT = Path(__file__).parents[2]


def plain(text: str) -> dict[str, object]:
    node = read_text(text, "x.yaml", Problems())
    assert isinstance(node, Node)
    tree: dict[str, object] = node.plain()
    return tree


@pytest.mark.parametrize("name", VALID)
def test_a_valid_sweep_loads_and_means_the_same_from_file_text_dict_and_its_own_dump(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(VALID[name].encode())
    sweep = load_sweep(path)
    assert sweep == parse_sweep(VALID[name], "x.yaml")
    assert sweep == load_sweep(plain(VALID[name]))
    assert sweep == load_sweep(sweep.model_dump(mode="json", by_alias=True))
    assert sweep == Sweep.model_validate_json(sweep.model_dump_json(by_alias=True))
    assert read_document(path).encode() == VALID[name].encode()


@pytest.mark.parametrize("file", sorted([*(ROOT / "pipelines").glob("*.yaml")]), ids=lambda path: path.stem)
def test_every_shipped_pipeline_is_valid(file: Path) -> None:
    assert load_sweep(file).name == file.stem


@pytest.mark.parametrize("task", ["forecast", "classify"])
@pytest.mark.parametrize("space", shipped_names("search_spaces"))
def test_every_shipped_search_space_is_valid_for_every_task(space: str, task: str) -> None:
    if (space, task) == ("encoder_decoder", "classify"):
        with pytest.raises(InvalidSweep, match="decoder is for forecasting"):
            parse_sweep(small(f"search_space: [{space}]\n", "", task), "x.yaml")
        return
    if space == "irregular":
        with pytest.raises(InvalidSweep, match="gru_d reads the time between rows"):
            parse_sweep(small(f"search_space: [{space}]\n", "", task), "x.yaml")
        return  # pipelines/pbcseq.yaml has what it needs
    sweep = parse_sweep(small(f"search_space: [{space}]\n", "", task), "x.yaml")
    assert sweep.parameters["epochs"].value == 30
    assert any(parameter.value is None for parameter in sweep.parameters.values())


def test_parameters_win_over_search_spaces_whole_and_keep_their_order() -> None:
    sweep = parse_sweep(small("search_space: [lstm]\n", "parameters: {dropout: {value: 0.3}, pooling: {value: max}}\n"),
                        "x.yaml")
    assert sweep.parameters["dropout"].when == {}, "the space's condition went with its range"
    assert sweep.parameters["dropout"].value == 0.3
    assert next(iter(sweep.parameters)) == "cell" and list(sweep.parameters)[-1] == "pooling"


def test_a_later_search_space_wins() -> None:
    assert parse_sweep(small("search_space: [lstm, gru]\n", "").replace("[lstm, gru]", "[recurrent, gru]"),
                       "x").parameters["cell"].value == "gru"


def test_conditions_of_a_search_space_follow_what_the_sweep_narrows() -> None:
    sweep = parse_sweep(small("search_space: [recurrent]\n",
                              "parameters: {cell: {values: [gru, lstm]}, num_layers: {min: 1, max: 2}}\n"), "x.yaml")
    assert "nonlinearity" not in sweep.parameters, "the elman cell is out, and its nonlinearity with it"
    assert sweep.parameters["dropout"].when == {"num_layers": (2,)}
    assert sweep.parameters["forget_bias"].when == {"cell": ("lstm",)}


def test_a_grid_asks_nothing_of_a_parameter_that_no_trial_has() -> None:
    sweep = parse_sweep(small(
        "search_space: [recurrent]\nmethod: grid\nbudget: {max_trials: 9}\n",
        "parameters: {cell: {value: lstm}, num_layers: {value: 1}, variational_dropout: {value: 0.1}, "
        "weight_decay: {value: 0.0}, learning_rate: {values: [0.001, 0.01]}, clip_norm: {value: 1.0}}\n"), "x")
    assert "dropout" not in sweep.parameters, "a range that grid cannot try, were there two layers"
    assert sweep.method == "grid"


def test_goal_and_split_are_filled_in() -> None:
    forecast, classify = parse_sweep(small(), "x"), parse_sweep(small(task="classify"), "x")
    assert (forecast.metric.goal, forecast.split.by) == ("minimize", "time")
    assert (classify.metric.goal, classify.split.by) == ("maximize", "random")


def test_whole_numbers_of_float_fields_become_floats() -> None:
    sweep = parse_sweep(small("", "parameters: {clip_norm: {min: 0, max: 5}, variational_dropout: {values: [0, 0.5]}, "
                                  "weight_decay: {value: 0}, learning_rate: {values: [1, 0.1], when: "
                                  "{variational_dropout: [0]}}}\n"), "x")
    clip, rate = sweep.parameters["clip_norm"], sweep.parameters["learning_rate"]
    numbers = [clip.min, clip.max, sweep.parameters["weight_decay"].value, *rate.when["variational_dropout"],
               *(rate.values or ()), *(sweep.parameters["variational_dropout"].values or ())]
    assert [type(number) for number in numbers] == [float] * len(numbers)


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = ("a: 1e-4\nb: on\nc: no\nd: 12:30\ne: 0o17\nf: null\ng: true\nh: .inf\ni: 1_000\nj: ~\nk: '1'\nl: 0x1F\n"
            "m: 010\nn: +5\no: 5.\np: .5\nq: yes\nr: 0b1\ns: 2000-06-05\nt:\nu: '='\nv: TRUE\nw: tRue\nx: <<\n")
    assert plain(text) == {
        "a": 1e-4, "b": "on", "c": "no", "d": "12:30", "e": 15, "f": None, "g": True, "h": float("inf"), "i": "1_000",
        "j": None, "k": "1", "l": 31, "m": 10, "n": 5, "o": 5.0, "p": 0.5, "q": "yes", "r": "0b1", "s": "2000-06-05",
        "t": None, "u": "=", "v": True, "w": "tRue", "x": "<<"}


def test_shipped_pipelines_are_found_by_name_and_by_a_path_that_does_not_exist(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = shipped_names("pipelines")[0]
    here = load_sweep(shipped("pipelines") / f"{name}.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_sweep(name) == here == load_sweep(f"pipelines/{name}.yaml") == load_sweep(Path(f"{name}.yaml"))
    (tmp_path / f"{name}.yaml").write_text(small())
    assert load_sweep(f"{name}.yaml").name == "load", "a file that exists goes first"


def test_an_installed_package_finds_the_yaml_inside_itself(tmp_path: Path) -> None:
    package = tmp_path / "site" / "seqsweep"
    shutil.copytree(ROOT / "platform" / "seqsweep" / "config", package / "config")
    for name in ("__init__.py", "errors.py", "secrets.py"):
        shutil.copy(ROOT / "platform" / "seqsweep" / name, package / name)
    for folder in ("pipelines", "search_spaces"):
        shutil.copytree(ROOT / folder, package / folder)
    program = ("from sys import argv; from seqsweep.config.loader import find_sweep, load_sweep;"
               "load_sweep(argv[1]); print(find_sweep(argv[1]))")
    found = subprocess.run([sys.executable, "-c", program, "electricity"], cwd=tmp_path, check=True, text=True,
                           capture_output=True, env={"PYTHONPATH": str(tmp_path / "site")})
    assert found.stdout.strip() == str(package / "pipelines" / "electricity.yaml")


def test_a_search_space_of_the_working_folder_goes_before_a_shipped_one(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "lstm.yaml").write_text("parameters: {units: {choices: [7, 8]}}\n")
    monkeypatch.chdir(tmp_path)
    assert parse_sweep(small("search_space: [lstm]\n", ""), "x").parameters.keys() == {"hidden_size"}


def test_a_notebook_may_hand_over_numpy_numbers_and_paths() -> None:
    tree = plain(small()) | {"seed": np.int64(3), "data": {"path": Path("load.csv"), "time": "ds"},
                             "parameters": {"learning_rate": {"min": np.float32(0.25), "max": np.float64(1.0)},
                                            "layer_norm": {"value": np.bool_(True)}}}
    sweep = load_sweep(tree)
    assert (sweep.seed, sweep.data.path) == (3, "load.csv")
    assert (sweep.parameters["learning_rate"].min, sweep.parameters["layer_norm"].value) == (0.25, True)


def test_fit_config_splits_a_trial_between_model_and_training() -> None:
    sweep = parse_sweep(small(), "x")
    config = fit_config(sweep, {"hidden_size": 16, "learning_rate": 0.1, "cell": "gru"}, 5)
    assert config.model == RecurrentConfig(hidden_size=16, cell="gru")
    assert (config.training.learning_rate, config.seed) == (0.1, 5)
    assert config.metric.goal == "minimize"


def test_a_fifo_is_read_like_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sweep")
    writer = subprocess.Popen([sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])",
                               tmp_path / "sweep", small()])
    try:
        assert load_sweep(tmp_path / "sweep").name == "load"
    finally:
        writer.wait(10)


def test_loading_imports_nothing_heavy_and_answers_at_once(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(FORECASTING)
    program = """if True:
        import sys, time
        start = time.process_time()
        sys.path.insert(0, sys.argv[1])
        from seqsweep.config.loader import load_sweep
        load_sweep(sys.argv[2])
        taken = time.process_time() - start
        heavy = {"torch", "pandas", "numpy", "optuna", "ray", "mlflow", "sqlalchemy", "sklearn"} & set(sys.modules)
        assert not heavy, heavy
        assert taken < 1.0, taken
    """
    subprocess.run([sys.executable, "-c", program, str(ROOT / "platform"), str(tmp_path / "sweep.yaml")], check=True)


def test_read_document_refuses_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_bytes(b"\xff")
    with pytest.raises(InvalidSweep, match="cannot be read"):
        read_document(tmp_path / "sweep.yaml")


def test_a_full_sweep_keeps_what_was_written() -> None:
    sweep = parse_sweep(with_value(FORECASTING, line_at(FORECASTING, "seed"), "9"), "x")
    assert (sweep.seed, sweep.budget.max_time, str(sweep.split.val)) == (9, 1800.0, "2w")
    assert sweep.parameters["naive_season"].values == (0, 48, 336)
