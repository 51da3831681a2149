"""A step without a row is what a row without values is: nothing that training or prediction reads tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import forecast, series_table
from hypothesis import given, settings
from hypothesis import strategies as st

from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import Prepared
from seqsweep.data.predict import transform
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidData

FULL: dict[str, dict[str, Any]] = {
    "data": {"time": "t", "series": "id"}, "task": {"past": ("p",), "known": ("k",), "static": ("size", "kind")},
    "split": {"val": 12, "test": 12, "stride": 1}}
FILLS = ("forward", "interpolate", "zero", "mean")
TIMES = {
    "hours": pd.date_range("2024-01-01", periods=60, freq="h").astype(str),
    "months": pd.date_range("2019-01-31", periods=60, freq="ME").astype(str),
    "numbers": np.arange(60) * 0.5 + 3}


def without_rows(kind: str, seed: int, share: float = 0.15) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table in which rows lack, and one that has them without values; every series begins and ends with a row."""
    table = series_table(60, series=3, seed=seed)
    table["t"] = np.tile(np.asarray(TIMES[kind]), 3)
    step = np.tile(np.arange(60), 3)
    lost = (np.random.default_rng(seed).random(180) < share) & (step > 1) & (step < 59)
    empty = table.copy()
    empty.loc[lost, ["y", "p", "k"]] = np.nan
    return table[~lost].reset_index(drop=True), empty


def prepared(folder: Path, table: pd.DataFrame, fill: str) -> tuple[Sweep, Prepared]:
    table.to_csv(folder / "t.csv", index=False)
    sweep = forecast(folder / "t.csv", **FULL, prepare={"fill": fill, "indicator": True, "lags": (3,)})
    return sweep, prepare(sweep)[0]


def assert_equal(one: Prepared, other: Prepared) -> None:
    for name in ("values_TF", "static_SC", "shift_SD", "scale_SD", "observed_TD", "times_T", "first_S"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        assert a is None or np.array_equal(a, b), name
    assert one.info.model_copy(update={"added_rows": 0}) == other.info
    for part, samples in one.parts.items():
        assert all(np.array_equal(a, getattr(other.parts[part], name)) for name, a in vars(samples).items())
        assert np.array_equal(one.row_keys[part], other.row_keys[part])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), fill=st.sampled_from(FILLS), kind=st.sampled_from(sorted(TIMES)))
def test_rows_that_lack_are_rows_without_values(tmp_path_factory: pytest.TempPathFactory, seed: int, fill: str,
                                                kind: str) -> None:
    folder = tmp_path_factory.mktemp("gaps")
    table, empty = without_rows(kind, seed)
    (sweep, data), (_, same) = prepared(folder, table, fill), prepared(folder, empty, fill)
    assert data.info.added_rows == len(empty) - len(table)
    assert_equal(data, same)  # the data's hash included
    new, old = ({origins: transform(each, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info,
                                    origins=origins) for origins in ("all",)} for each in (table, empty))
    assert_equal(new["all"], old["all"])
    assert new["all"].info.added_rows == data.info.added_rows


def test_a_forecast_goes_on_from_a_context_with_a_gap(tmp_path: Path) -> None:
    table, _ = without_rows("hours", 1, share=0.0)
    sweep, data = prepared(tmp_path, table, "forward")
    assert data.info.added_rows == 0
    step = np.tile(np.arange(60), 3)
    future = table.assign(**dict.fromkeys(("y", "p"), np.nan))[step >= 58]
    past = table[(step < 58) & (step != 56)]
    frame = pd.concat([past, future]).sort_values(["id", "t"])
    new = transform(frame, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info)
    whole = pd.concat([past, table[step == 56].assign(y=np.nan, p=np.nan, k=np.nan), future]).sort_values(["id", "t"])
    same = transform(whole, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info)
    assert new.info.added_rows == 3
    assert_equal(new, same)


def test_business_days_may_be_filled_to_days(tmp_path: Path) -> None:
    days = pd.bdate_range("2024-01-01", periods=120)
    table = pd.DataFrame({"t": days.astype(str), "y": np.random.default_rng(0).normal(size=120)})
    table.to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(forecast(tmp_path / "t.csv", data={"time": "t"}, prepare={"fill": "forward"}))
    assert data.info.added_rows == 46  # 23 weekends
    assert data.info.freq == "D"
    assert data.observed_TD is not None
    assert int(data.observed_TD.sum()) == 120


def test_a_prediction_may_lack_more_rows_at_the_trained_step(tmp_path: Path) -> None:
    table, _ = without_rows("numbers", 2, share=0.0)
    sweep, data = prepared(tmp_path, table, "forward")
    step = np.tile(np.arange(60), 3)
    kept = np.isin(step, [*range(40), *range(57, 60)])  # 17 rows lack in the end, with 1 of 3 steps trained ones
    frame = table[kept & (step >= 38)]
    new = transform(frame, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info, origins="all")
    assert new.info.added_rows == 3 * 17
    twice = table[step % 2 == 0]  # no step is as trained: they are others
    with pytest.raises(InvalidData, match="a step is 1"):
        transform(twice, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=data.info, origins="all")


def test_a_dense_series_lets_no_other_be_filled(tmp_path: Path) -> None:
    hours = pd.DataFrame({"id": "a", "t": pd.date_range("2024-01-01", periods=500, freq="h").astype(str)})
    days = pd.DataFrame({"id": "b", "t": pd.date_range("2024-01-01", periods=10, freq="D").astype(str)})
    table = pd.concat([hours, days], ignore_index=True)
    table["y"] = np.random.default_rng(0).normal(size=len(table))
    table.to_csv(tmp_path / "t.csv", index=False)
    sweep = forecast(tmp_path / "t.csv", data={"time": "t", "series": "id"}, prepare={"fill": "forward"})
    with pytest.raises(InvalidData, match="too many rows lack"):
        prepare(sweep)


def test_a_prediction_tells_what_it_filled_and_what_it_left_out(tmp_path: Path) -> None:
    table, _ = without_rows("hours", 3, share=0.0)
    sweep, data = prepared(tmp_path, table, "forward")
    task, series, step = sweep.task, table["id"].to_numpy(), np.tile(np.arange(60), 3)
    assert isinstance(task, ForecastingConfig)
    names, end, horizon, context = data.info.series, 50, task.horizon, task.context

    def told(frame: pd.DataFrame) -> tuple[str, ...]:
        return transform(frame, task=task, prepare=sweep.prepare, data=sweep.data, info=data.info).remarks

    future = table.assign(y=table["y"].where(step < end))
    assert told(future[step < end + horizon]) == ()
    assert told(future[step < end + horizon].replace({"id": {names[0]: "new"}})) == (
        "not among the series of the training data: new",)
    # an empty cell is told as a row that lacks
    gap = (series == names[0]) & (step >= end - 3) & (step < end - 1)
    lacking = f"series {names[0]}: 2 of the {context} rows before the forecast lack values, and were filled"
    assert told(future.assign(y=future["y"].mask(gap))[step < end + horizon]) == (lacking,)
    assert told(future[(step < end + horizon) & ~gap]) == ("2 rows were missing, and filled", lacking)
    # the forecast begins after the last target, not where rows are given for it
    late = future[(step < end - 4) | (step >= end)]
    at = pd.Timestamp("2024-01-01") + pd.Timedelta(hours=end - 5)
    said = told(late[late["id"] == names[1]])
    beyond = 60 - (end - 4) - horizon
    assert said == (
        "4 rows were missing, and filled",
        f"series {names[1]}: {min(4, horizon)} of the {horizon} rows of the forecast lack k, and were filled; it "
        f"begins after the last y ({at})",
        f"series {names[1]}: {beyond} given rows come after the forecast, which ends {horizon} steps after the "
        f"last y ({at + pd.Timedelta(hours=horizon)}); they are not used")
