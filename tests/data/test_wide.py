"""Tables of a row a series: what they become, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import DataConfig
from seqsweep.data.prepare import prepare
from seqsweep.data.sources import read_sources
from seqsweep.data.wide import melted, steps_of
from seqsweep.errors import InvalidData, InvalidSweep


def wide(**keys: object) -> DataConfig:
    return DataConfig.model_validate({"path": "x.csv", "layout": "wide", **keys})


def written(path: Path, series: int = 3, rows: int = 60, first: int = 0, season: int = 6) -> Path:
    """Waves in rows that get shorter by one each; `first`: the step they begin at."""
    lines = ["id," + ",".join(f"V{step + 2}" for step in range(rows))]
    for s in range(series):
        values = [f"{10 * s + np.sin((first + step) * 2 * np.pi / season):.4f}" for step in range(rows - s)]
        lines.append(f"H{s}," + ",".join(values + [""] * s))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_become_series_and_keep_what_is_said_of_them() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "d_1": [1.0, np.nan], "d_2": [np.nan, 4.0], "d_3": [3.0, np.nan],
                          "region": ["x", "y"]}, index=[2, 3])
    long = melted(frame, wide(series="id"), "x.csv")
    assert list(long.columns) == ["id", "region", "value"]
    assert long["id"].tolist() == ["a", "a", "a", "b"]  # b begins later, and ends earlier
    assert long["region"].tolist() == ["x", "x", "x", "y"]
    np.testing.assert_array_equal(long["value"], [1.0, np.nan, 3.0, 4.0])
    assert long.index.tolist() == [2, 2, 2, 3]


def test_dates_become_times_under_the_name_asked_for() -> None:
    frame = pd.DataFrame({"page": ["a"], "2024-01-01": [1.0], "2024-01-02": [2.0]})
    assert melted(frame, wide(series="page", time="day"), "x.csv")["day"].tolist() == ["2024-01-01", "2024-01-02"]
    assert "day" not in melted(frame, wide(series="page"), "x.csv")


def test_rows_without_a_name_are_counted() -> None:
    frame = pd.DataFrame({"label": ["u", "v"], "t1": [1.0, 2.0], "t2": [1.0, 2.0]})
    assert melted(frame, wide(), "x.csv")["series"].tolist() == [1, 1, 2, 2]


def test_steps_are_the_longest_stretch_that_counts_up() -> None:
    assert steps_of(["V1", "store2", "V2", "V3", "V4", "V9"]) == ["V2", "V3", "V4"]
    assert steps_of(["a", "b"]) == []
    assert steps_of(["7", "8", "9"]) == ["7", "8", "9"]
    assert steps_of(["2024-01-01", "x1", "x2", "x3", "2024-01-02"]) == ["2024-01-01", "2024-01-02"]


@pytest.mark.parametrize(("frame", "keys", "said"), [
    ({"id": ["a"], "x": [1.0], "y": [2.0]}, {"series": "id"}, "no columns that follow one another"),
    ({"id": ["a", "a"], "V1": [1, 2], "V2": [1, 2]}, {"series": "id"}, "series a for the second time"),
    ({"id": ["a"], "V1": ["one"], "V2": [1]}, {"series": "id"}, "row 0, column V1: 'one'"),
    ({"id": ["a"], "V1": [np.inf], "V2": [1]}, {"series": "id"}, "row 0, column V1"),
    ({"id": ["a", "b"], "V1": [1.0, np.nan], "V2": [1.0, np.nan]}, {"series": "id"}, "no value in the whole row"),
    ({"id": ["a"], "V1": [1], "V2": [1]}, {"series": "ids"}, "there is no column 'ids'"),
    ({"id": ["a"], "V1": [1], "V2": [1]}, {"series": "id", "time": "day"}, "V1 to V2 are no dates"),
    ({"id": ["a"], "V1": [1], "V2": [1], "value": [3]}, {"series": "id"}, "a column 'value' already"),
])
def test_bad_tables_are_refused_by_place(frame: dict[str, list[object]], keys: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidData, match=r"x\.csv") as refused:
        melted(pd.DataFrame(frame), wide(**keys), "x.csv")
    assert said in str(refused.value)


def sweep_of(tmp_path: Path, **data: object) -> dict[str, object]:
    return {"name": "w", "task": {"type": "forecasting", "target": "value", "horizon": 4, "context": 8},
            "data": {"path": str(written(tmp_path / "train.csv")), "layout": "wide", "series": "id", **data},
            "split": {"by": "time", "val": 4}, "metric": {"name": "mase", "season": 6}, "budget": {"max_trials": 1}}


def test_a_test_file_goes_on_where_the_first_ends(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("id,V1,V2,V3,V4\nH1,9,8,7,6\nH0,1,2,3,4\n")
    sweep = load_sweep(sweep_of(tmp_path, test=str(tmp_path / "test.csv")))
    data, = prepare(sweep)
    test = data.parts["test"]
    assert len(test) == 2  # H2 has no test row, and no window
    at = {data.info.series[s]: start + 8 for s, start in zip(test.series_N, test.start_N, strict=True)}
    assert set(at) == {"H0", "H1"}
    for name, values in (("H0", [1, 2, 3, 4]), ("H1", [9, 8, 7, 6])):
        s = data.info.series.index(name)
        y = data.values_TF[at[name]:at[name] + 4, 0] * data.scale_SD[s, 0] + data.shift_SD[s, 0]
        np.testing.assert_allclose(y, values, rtol=1e-4)


def test_wide_and_long_prepare_alike(tmp_path: Path) -> None:
    sweep = load_sweep(sweep_of(tmp_path))
    read_sources(sweep.data)[0].frame.to_csv(tmp_path / "long.csv", index=False)
    long = load_sweep(sweep_of(tmp_path, path=str(tmp_path / "long.csv"), layout="long"))
    (one,), (other,) = prepare(sweep), prepare(long)
    np.testing.assert_array_equal(one.values_TF, other.values_TF)
    assert one.info.data_hash == other.info.data_hash and one.info.mase_season == 6


@pytest.mark.parametrize(("data", "said"), [({"files": "*.csv"}, "files are not read beside layout: wide"),
                                            ({"windows": "w.json"}, "windows are not read beside layout: wide")])
def test_what_does_not_go_with_wide_is_refused(tmp_path: Path, data: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSweep, match=said):
        load_sweep(sweep_of(tmp_path, **data))
