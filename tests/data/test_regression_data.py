"""Targets of regression: read, counted, told by a second file; and the samples that end at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from data_cases import SHARED, needs_shared, refusal

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep
from seqsweep.data.batch import Prepared
from seqsweep.data.predict import transform
from seqsweep.data.prepare import prepare
from seqsweep.data.sources import read_frame
from seqsweep.errors import InvalidData
from seqsweep.tasks.metrics import truth_of

LIVES = (5, 3, 8, 4, 6, 7, 9, 5, 4, 6)


def machines(lives: tuple[int, ...] = LIVES, seed: int = 0) -> pd.DataFrame:
    """Machines that ran until they failed, one row an hour, and a wear that rises."""
    draw = np.random.default_rng(seed)
    return pd.concat([pd.DataFrame({"machine": number, "hour": np.arange(life), "wear": np.arange(life) / life,
                                    "heat": draw.normal(size=life)})
                      for number, life in enumerate(lives)], ignore_index=True)


def regress(path: Path, **sections: Any) -> Sweep:
    base: dict[str, Any] = {
        "task": {"type": "regression", "target": "remaining", "context": 3, "features": ["wear", "heat"]},
        "data": {"path": str(path), "series": "machine", "time": "hour"}, "prepare": {},
        "split": {"by": "random", "val": "20%", "test": "20%"}, "metric": {"name": "rmse"}}
    merged = {key: {**base.get(key, {}), **sections.get(key, {})} for key in {**base, **sections}}
    return load_sweep({"name": "test", "parameters": {}, "budget": {"max_trials": 1}} | merged)


def written(folder: Path, frame: pd.DataFrame, name: str = "machines.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def targets(data: Prepared, sweep: Sweep, part: str) -> dict[str, list[float]]:
    """What is to be told at each sample's end, by series."""
    y_N, samples = truth_of(sweep.task, data, part).y, data.parts[part]
    return {name: y_N[samples.series_N == s].round(4).tolist() for s, name in enumerate(data.info.series)
            if (samples.series_N == s).any()}


def test_what_remains_is_counted_to_the_end_of_each_series(tmp_path: Path) -> None:
    sweep = regress(written(tmp_path, machines()))
    (data,) = prepare(sweep)
    told = {name: each for part in data.parts for name, each in targets(data, sweep, part).items()}
    assert told == {str(number): list(range(life - 1, -1, -1)) for number, life in enumerate(LIVES)}
    train = data.parts["train"]
    assert data.first_S is not None
    ends_N = train.start_N + train.length_N - 1
    assert np.array_equal(train.length_N, np.minimum(3, ends_N - data.first_S[train.series_N] + 1))
    assert data.info.features == ("wear", "heat")


@pytest.mark.parametrize(("times", "step"), [
    ([0, 2, 3, 7], [7, 5, 4, 0]), ([0.5, 1.0, 1.25, 2.0], [1.5, 1.0, 0.75, 0]),
    (["2024-01-01", "2024-01-01T12:00", "2024-01-03", "2024-01-08"], [7, 6.5, 5, 0])])
def test_what_remains_is_in_units_of_time_or_days(tmp_path: Path, times: list[Any], step: list[float]) -> None:
    frame = machines((4,) * 10).assign(hour=times * 10)
    sweep = regress(written(tmp_path, frame))
    assert set(map(tuple, targets(prepare(sweep)[0], sweep, "train").values())) == {tuple(step)}


def test_larger_targets_count_as_the_cap(tmp_path: Path) -> None:
    sweep = regress(written(tmp_path, machines()), task={"cap": 4})
    (data,) = prepare(sweep)
    told = targets(data, sweep, "train")
    assert max(max(each) for each in told.values()) == 4
    assert all(each == [min(4, left) for left in range(len(each) - 1, -1, -1)] for each in told.values())


def test_strides_count_back_from_the_last_row(tmp_path: Path) -> None:
    sweep = regress(written(tmp_path, machines()), task={"stride": 2}, split={"stride": 3})
    (data,) = prepare(sweep)
    for part, stride in (("train", 2), ("val", 3), ("test", 3)):
        for name, told in targets(data, sweep, part).items():
            assert told == list(range(LIVES[int(name)] - 1, -1, -1))[::-1][::stride][::-1], part


def test_a_column_may_hold_the_target_and_rows_without_one_end_no_sample(tmp_path: Path) -> None:
    frame = machines().assign(left=lambda f: f["heat"] * 10)
    frame.loc[frame.index % 2 == 1, "left"] = np.nan
    sweep = regress(written(tmp_path, frame), task={"target": "left", "features": []})
    (data,) = prepare(sweep)
    assert data.info.features == ("wear", "heat")
    known = frame.dropna()
    told = {name: each for part in data.parts for name, each in targets(data, sweep, part).items()}
    for name, rows in known.groupby("machine"):
        assert told[str(name)] == pytest.approx(rows["left"].to_list(), abs=1e-4)


def test_the_target_may_be_of_the_whole_sequence(tmp_path: Path) -> None:
    frame = machines().assign(price=lambda f: f["machine"] * 10.0)
    frame.loc[frame["hour"] > 0, "price"] = np.nan  # said once is enough
    sweep = regress(written(tmp_path, frame), task={"target": "price", "context": None})
    (data,) = prepare(sweep)
    told = {name: each for part in data.parts for name, each in targets(data, sweep, part).items()}
    assert told == {str(number): [number * 10.0] for number in range(len(LIVES))}
    assert [life for part in data.parts.values() for life in part.length_N.tolist()] == [
        LIVES[s] for part in data.parts.values() for s in part.series_N]
    frame.loc[frame["machine"] == 3, "price"] = np.nan
    said = refusal(regress(written(tmp_path, frame), task={"target": "price", "context": None}))
    assert "no value for series 3" in said and "column price" in said


def test_a_series_may_be_cut_in_time_where_the_target_is_a_column(tmp_path: Path) -> None:
    frame = machines((40,)).assign(left=lambda f: f["heat"] * 2)[["hour", "wear", "heat", "left"]]
    sweep = regress(written(tmp_path, frame), task={"target": "left"}, split={"by": "time"},
                    data={"series": None})
    (data,) = prepare(sweep)
    train, val, test = (data.parts[part] for part in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (24, 8, 8)
    assert val.start_N[0] == 22  # the past of a validation sample is known by then
    assert train.length_N[:3].tolist() == [1, 2, 3]


CUT = (3, 6, 4)


def cut_machines(folder: Path) -> tuple[Path, Path]:
    """Machines of a second file, numbered from 0 again, that were cut off, and what remained to them."""
    lives = (9, 8, 7)
    frame = machines(lives, seed=1)
    cut = frame[frame["hour"] < np.array(CUT)[frame["machine"]]]
    rul = folder / "rul.txt"
    rul.write_text("".join(f"{life - rows} \n" for life, rows in zip(lives, CUT, strict=True)))
    return written(folder, cut, "cut.csv"), rul


def test_a_second_file_tells_what_remained_at_the_last_rows(tmp_path: Path) -> None:
    test, rul = cut_machines(tmp_path)
    sweep = regress(written(tmp_path, machines()), data={"test": str(test), "test_target": str(rul)},
                    split={"test": None})
    (data,) = prepare(sweep)
    assert targets(data, sweep, "test") == {"test/0": [6.0], "test/1": [2.0], "test/2": [3.0]}
    assert data.parts["test"].length_N.tolist() == [3, 3, 3]
    assert set(targets(data, sweep, "train")) | set(targets(data, sweep, "val")) == {str(n) for n in range(10)}


@pytest.mark.parametrize(("text", "said"), [
    ("6\n2\n", "2 numbers; 3: one for each series"), ("6\n2\nmany\n", "row 3: 'many'; a finite number"),
    ("6 1\n2 1\n3 1\n", "2 columns")])
def test_a_second_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    test, rul = cut_machines(tmp_path)
    rul.write_text(text)
    told = refusal(regress(written(tmp_path, machines()), data={"test": str(test), "test_target": str(rul)},
                           split={"test": None}))
    assert all(each in told for each in said.split("; "))


def test_a_target_that_does_not_vary_is_refused(tmp_path: Path) -> None:
    frame = machines().assign(left=3.0)
    assert "it is 3 in the whole training part" in refusal(regress(written(tmp_path, frame), task={"target": "left"}))
    said = refusal(regress(written(tmp_path, machines()), task={"cap": 0.0}))
    assert "a larger task.cap" in said


def test_no_row_before_the_end_of_a_sample_shows_what_comes_after(tmp_path: Path) -> None:
    """Later rows of the held series change neither the sample nor what it is told."""
    frame = machines()
    frame.loc[[3, 14, 30], "heat"] = np.nan
    sweep = regress(written(tmp_path, frame), prepare={"fill": "interpolate"})
    (whole,) = prepare(sweep)
    early = frame[frame["hour"] < 3]
    cut, all_ = (transform(each, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=whole.info,
                           origins="all") for each in (early, frame))
    rows = {key: values for key, values in _rows(all_).items() if key in _rows(cut)}
    assert len(rows) == len(early)
    ahead = {int(key) for key in cut.parts["predict"].key_N[np.isnan(early["heat"]).to_numpy()]}
    for key, values in _rows(cut).items():
        assert key in ahead or np.array_equal(rows[key], values)


def _rows(data: Prepared) -> dict[int, npt.NDArray[Any]]:
    samples = data.parts["predict"]
    return {int(key): data.values_TF[start:start + length]
            for key, start, length in zip(samples.key_N, samples.start_N, samples.length_N, strict=True)}


def test_new_rows_are_prepared_as_the_training_rows_were(tmp_path: Path) -> None:
    frame = machines()
    sweep = regress(written(tmp_path, frame))
    (data,) = prepare(sweep)
    arguments: dict[str, Any] = {"task": sweep.task, "prepare": sweep.prepare, "data": sweep.data, "info": data.info}
    last = transform(frame, **arguments).parts["predict"]
    assert (last.start_N + last.length_N).tolist() == np.cumsum(LIVES).tolist()
    every = transform(frame, **arguments, origins="all")
    order = {int(key): n for n, key in enumerate(every.parts["predict"].key_N)}
    for samples in data.parts.values():
        for n, key in enumerate(samples.key_N):
            m = order[int(key)]
            assert np.array_equal(
                data.values_TF[samples.start_N[n]:samples.start_N[n] + samples.length_N[n]],
                every.values_TF[every.parts["predict"].start_N[m]:][:every.parts["predict"].length_N[m]])


def test_a_table_without_a_header_is_read_by_the_names_given(tmp_path: Path) -> None:
    frame = machines()
    for name, text in (("m.txt", frame.to_csv(sep=" ", header=False, index=False).replace("\n", "  \n")),
                       ("m.csv", frame.to_csv(header=False, index=False)),
                       ("m.tab.txt", frame.to_csv(sep="\t", index=False))):
        (tmp_path / name).write_text(text)
        read = read_frame(tmp_path / name, names=("machine", "hour", "wear", "heat"))
        assert read.to_numpy() == pytest.approx(frame.to_numpy())
        assert list(read.columns) == list(frame.columns)
        assert read.index[0] == (2 if "tab" in name else 1)
    sweep = regress(tmp_path / "m.txt", data={"columns": ["machine", "hour", "wear", "heat"]})
    (data,), (other,) = prepare(sweep), prepare(regress(written(tmp_path, frame)))
    assert np.array_equal(data.values_TF, other.values_TF)


@pytest.mark.parametrize(("text", "said"), [
    ("1 2 3\n4 5 6\n", "t.txt:1: 3 columns; data.columns names 2"), ("1 2\n3\n4 5 6\n", "t.txt"),
    ("a,b\n1,2\n", "separated by spaces or tabs")])
def test_a_broken_table_without_a_header_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InvalidData) as caught:
        read_frame(tmp_path / "t.txt", names=("a", "b"))
    assert all(each in str(caught.value) for each in said.split("; "))


def test_numbers_in_the_first_line_without_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("1 2\n3 4\n")
    with pytest.raises(InvalidData, match=r"t.txt:1: the first line holds numbers\n.*data.columns"):
        read_frame(tmp_path / "t.txt")


@needs_shared
def test_turbofan_engines() -> None:
    sweep = load_sweep(Path(__file__).parents[2] / "pipelines" / "remaining_life.yaml")
    places = {key: str(SHARED / value.removeprefix("../shared/data/")) for key in ("path", "test", "test_target")
              if (value := getattr(sweep.data, key))}
    (data,) = prepare(sweep.model_copy(update={"data": sweep.data.model_copy(update=places)}))
    y_N = truth_of(sweep.task, data, "test").y
    assert len(y_N) == 100 and y_N[:3] == pytest.approx([112, 98, 69], abs=1e-4) and y_N.max() == pytest.approx(125)
    assert data.parts["test"].length_N.tolist() == [30] * 100
