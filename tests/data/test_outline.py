"""What a sketch of a file can tell of its changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_sweeps import forecasting, write_series

from seqsweep.config.loader import load_sweep
from seqsweep.data.batch import Outline
from seqsweep.data.outline import compare, outline
from seqsweep.data.prepare import prepare
from seqsweep.data.sources import Source


def table(rows: int) -> pd.DataFrame:
    frame = pd.DataFrame({"load": np.arange(rows) * 0.5, "meter": [f"m{i % 3}" for i in range(rows)],
                          "time": pd.date_range("2024-01-01", periods=rows, freq="h")})
    frame.index = pd.RangeIndex(2, rows + 2)
    return frame


def sketch(frame: pd.DataFrame, name: str = "load.csv") -> Outline:
    return outline(Source(frame, name), [str(column) for column in frame])


Change = Callable[[pd.DataFrame], pd.DataFrame]
CHANGES: dict[str, tuple[Change, list[str]]] = {
    "nothing": (lambda frame: frame, []),
    "another type": (lambda frame: frame.assign(load=frame["load"].astype("Float64")), []),
    "a value": (lambda frame: frame.assign(load=frame["load"].where(frame.index != 150, -1.0)),
                ["load.csv: columns with other values: load; the first change is in row 150"]),
    "a missing value": (lambda frame: frame.assign(load=frame["load"].where(frame.index != 201)),
                        ["load.csv: columns with other values: load; the first change is in row 201"]),
    "two rows swapped": (lambda frame: frame.iloc[[*range(9), 10, 9, *range(11, 200)]].set_axis(frame.index),
                         ["load.csv: columns with other values: load, meter, time; the first change is in row 11"]),
    "rows at the end": (lambda frame: table(220), ["load.csv: rows 200 -> 220",
                                                   "load.csv: the rows there were are the same"]),
    "rows less": (lambda frame: frame[:120], ["load.csv: rows 200 -> 120",
                                              "load.csv: the rows there were are the same"]),
    "a row at the start": (lambda frame: pd.concat([frame[:1], frame]).set_axis(pd.RangeIndex(2, 203)),
                           ["load.csv: rows 200 -> 201", "load.csv: the first change is in row 3"]),
    "columns": (lambda frame: frame.drop(columns="meter").assign(wind=1.0, sun=2.0),
                ["load.csv: columns added: sun, wind", "load.csv: columns removed: meter"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told(name: str) -> None:
    change, lines = CHANGES[name]
    before = Outline.model_validate_json(sketch(table(200)).model_dump_json())
    assert compare([before], [sketch(change(table(200)))]) == lines


def test_in_a_long_file_the_first_change_is_told_to_some_rows() -> None:
    frame = table(100_000)
    changed = frame.assign(load=frame["load"].where(frame.index != 60_000, -1.0))
    line, = compare([sketch(frame)], [sketch(changed)])
    assert line == "load.csv: columns with other values: load; the first change is in rows 59,906 to 60,417"
    assert len(sketch(frame).model_dump_json()) < 20_000


def test_blocks_of_another_size_can_be_compared() -> None:
    short, long = table(250), table(2_000)
    assert compare([sketch(short)], [sketch(long)])[1] == "load.csv: the rows there were are the same"
    assert compare([sketch(long)], [sketch(short)])[1] == "load.csv: the rows there were are the same"
    long.loc[20, "load"] = -1.0
    assert compare([sketch(short)], [sketch(long)])[1] == "load.csv: the first change is in rows 18 to 25"


def test_a_file_more_or_less_is_told() -> None:
    one, other = sketch(table(20)), sketch(table(20), "test.csv")
    assert compare([one], [one, other]) == ["test.csv: a file more"]
    assert compare([one, other], [one]) == ["test.csv: a file less"]


def test_preparation_sketches_every_file_and_the_columns_that_are_used(tmp_path: Path) -> None:
    frame = write_series(tmp_path / "load.csv")
    frame.assign(unused=1).to_csv(tmp_path / "load.csv", index=False)
    later = frame["time"] + pd.Timedelta(hours=400)
    frame.assign(time=later).to_csv(tmp_path / "test.csv", index=False)
    tree = forecasting(tmp_path / "load.csv", split={"by": "given", "val": "15%"})
    tree["data"] = tree["data"] | {"test": str(tmp_path / "test.csv")}
    sketches = prepare(load_sweep(tree))[0].outlines
    assert [Path(found.file).name for found in sketches] == ["load.csv", "test.csv"]
    assert [set(found.columns) for found in sketches] == [{"load", "promo", "time"}] * 2
    assert [(found.rows, found.last) for found in sketches] == [(400, 401)] * 2
