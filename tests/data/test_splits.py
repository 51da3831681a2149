"""No window crosses a part or a series, parts are disjoint, and a hash never moves a row."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import classify, forecast, sequences_table, series_table
from hypothesis import given, settings
from hypothesis import strategies as st

from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.batch import Prepared
from seqsweep.data.prepare import prepare
from seqsweep.data.splits import hash_position
from seqsweep.data.table import TEST, TRAIN, UNUSED, VAL
from seqsweep.data.windows import target_rows, window_origins


@st.composite
def layouts(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Parts of all rows, and the bounds of the series: any mixture of stretches."""
    parts, lengths = [], []
    for _ in range(draw(st.integers(1, 4))):
        stretches = draw(st.lists(st.tuples(st.sampled_from([TRAIN, VAL, TEST, UNUSED]), st.integers(1, 25)),
                                  min_size=1, max_size=5))
        rows = [part for part, count in stretches for _ in range(count)]
        parts += rows
        lengths.append(len(rows))
    return np.array(parts, dtype=np.int8), np.concatenate([[0], np.cumsum(lengths)])


@settings(max_examples=200, deadline=None)
@given(layout=layouts(), context=st.integers(1, 8), horizon=st.integers(1, 6), stride=st.integers(1, 4),
       lead=st.integers(0, 5))
def test_windows_stay_where_they_belong(layout: Any, context: int, horizon: int, stride: int, lead: int) -> None:
    part_T, bounds = layout
    task = ForecastingConfig(target="y", horizon=horizon, context=context, stride=stride)
    series_T = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    found = window_origins(part_T, bounds, task, lead, stride=2)
    assert UNUSED not in found
    for part, origins in found.items():
        for origin in origins:
            assert set(part_T[origin:origin + horizon]) == {part}
            assert origin + horizon <= len(part_T)
            assert origin - context >= bounds[series_T[origin]] + lead
            assert len(set(series_T[origin - context:origin + horizon])) == 1
            if part == TRAIN:
                assert set(part_T[origin - context:origin]) == {TRAIN}
        expected = sorted({row for origin in origins for row in range(origin, origin + horizon)})
        assert target_rows(origins, horizon, len(part_T)).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(layout=layouts(), context=st.integers(1, 8), horizon=st.integers(1, 6))
def test_no_training_window_is_forgotten(layout: Any, context: int, horizon: int) -> None:
    part_T, bounds = layout
    task = ForecastingConfig(target="y", horizon=horizon, context=context)
    series_T = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    fitting = [o for o in range(context, len(part_T) - horizon + 1)
               if set(part_T[o - context:o + horizon]) == {TRAIN}
               and series_T[o - context] == series_T[o + horizon - 1]]
    assert window_origins(part_T, bounds, task, 0, 1).get(TRAIN, np.zeros(0)).tolist() == fitting


def origins_of(data: Prepared, part: str, context: int = 4) -> list[int]:
    return [int(start) + context for start in data.parts[part].start_N]


def test_the_end_of_each_series(tmp_path: Path) -> None:
    series_table(40, series=2).to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(forecast(tmp_path / "t.csv", data={"series": "id"}))
    assert origins_of(data, "train") == [*range(4, 23), *range(44, 63)]
    assert origins_of(data, "val") == [24, 26, 28, 30, 64, 66, 68, 70]
    assert origins_of(data, "test") == [32, 34, 36, 38, 72, 74, 76, 78]


@pytest.mark.parametrize(("val", "test", "first_val", "first_test"), [
    ("20%", "20%", 24, 32), (6, 4, 30, 36), ("6h", "4h", 30, 36), ("6h", 4, 30, 36), ("19%", "11%", 29, 36),
])
def test_sizes(tmp_path: Path, val: Any, test: Any, first_val: int, first_test: int) -> None:
    series_table(40).to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(forecast(tmp_path / "t.csv", data={"time": "t"}, split={"val": val, "test": test}))
    assert origins_of(data, "val")[0] == first_val
    assert origins_of(data, "test")[0] == first_test
    assert origins_of(data, "train")[-1] == first_val - 2


def test_embargo_and_strides(tmp_path: Path) -> None:
    series_table(40).to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(forecast(tmp_path / "t.csv", split={"embargo": 3, "stride": 1}, task={"stride": 5}))
    assert origins_of(data, "test") == [32, 33, 34, 35, 36, 37, 38]
    assert origins_of(data, "val") == list(range(21, 28))
    assert origins_of(data, "train") == [4, 9, 14]


def test_folds_in_time_move_the_origin(tmp_path: Path) -> None:
    series_table(40).to_csv(tmp_path / "t.csv", index=False)
    folds = prepare(forecast(tmp_path / "t.csv", split={"folds": 3, "val": "10%"}))
    assert [origins_of(fold, "val")[0] for fold in folds] == [20, 24, 28]
    assert [origins_of(fold, "train")[-1] for fold in folds] == [18, 22, 26]
    assert [origins_of(fold, "test") for fold in folds] == [[32, 34, 36, 38]] * 3


def ids_of(data: Prepared, part: str) -> set[str]:
    return {data.info.series[s] for s in data.parts[part].series_N}


def test_the_hash_rule(tmp_path: Path) -> None:
    sequences_table().to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(classify(tmp_path / "t.csv"))
    digit = {name: zlib.crc32(name.encode()) % 10 for name in data.info.series}
    assert ids_of(data, "test") == {name for name in digit if digit[name] == 0}
    assert ids_of(data, "val") == {name for name in digit if digit[name] == 1}
    assert ids_of(data, "train") == {name for name in digit if digit[name] > 1}


@given(h=st.integers(0, 2**32 - 1))
def test_positions(h: int) -> None:
    position = float(hash_position(np.array([h]))[0])
    assert 0 <= position < 10
    assert int(position) == h % 10
    assert round((position - h % 10) * 1000) == h // 10 % 1000


@pytest.mark.parametrize(("val", "test"), [("10%", "20%"), ("30%", "10%"), ("25%", "5%")])
def test_shares_of_a_hash(tmp_path: Path, val: str, test: str) -> None:
    sequences_table(1500).to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(classify(tmp_path / "t.csv", split={"val": val, "test": test}))
    assert len(data.parts["val"]) / 1500 == pytest.approx(float(val[:-1]) / 100, abs=0.03)
    assert len(data.parts["test"]) / 1500 == pytest.approx(float(test[:-1]) / 100, abs=0.03)


@pytest.mark.parametrize("split", [{"folds": 1}, {"folds": 3, "by": "group", "key": "id"}])
def test_no_row_moves_as_data_grow(tmp_path: Path, split: dict[str, Any]) -> None:
    table = sequences_table(240)
    small = table[table["id"].isin([f"q{i}" for i in range(120)])]
    found = []
    for name, rows in (("small", small), ("large", table.iloc[::-1])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        found.append(prepare(classify(tmp_path / f"{name}.csv", split=split)))
    for before, after in zip(*found, strict=True):
        for part in ("train", "val", "test"):
            assert ids_of(before, part) == ids_of(after, part) & set(before.info.series)
            assert set(before.row_keys[part]) <= set(after.row_keys[part])


@pytest.mark.parametrize("by", ["random", "group"])
def test_folds_share_out_what_is_not_test(tmp_path: Path, by: str) -> None:
    sequences_table(200).to_csv(tmp_path / "t.csv", index=False)
    key = {"key": "id"} if by == "group" else {}
    folds = prepare(classify(tmp_path / "t.csv", split={"folds": 4, "by": by, **key}))
    held = [ids_of(fold, "val") for fold in folds]
    assert sum(map(len, held)) == len(set().union(*held)) == 200 - len(ids_of(folds[0], "test"))
    for fold, val in zip(folds, held, strict=True):
        assert ids_of(fold, "test") == ids_of(folds[0], "test")
        assert ids_of(fold, "train").isdisjoint(val | ids_of(fold, "test"))


def labels_of(data: Prepared, part: str) -> Counter[int]:
    return Counter(data.parts[part].label_N.tolist())


def test_each_fold_has_its_share_of_each_class(tmp_path: Path) -> None:
    sequences_table(203).to_csv(tmp_path / "t.csv", index=False)
    folds = prepare(classify(tmp_path / "t.csv", split={"folds": 7}))
    shares = [labels_of(fold, "val") for fold in folds]
    assert len(shares[0]) > 1
    for label in shares[0]:
        counts = [share[label] for share in shares]
        assert max(counts) - min(counts) <= 1
    sizes = [share.total() for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_as_many_folds_as_a_class_has_sequences(tmp_path: Path) -> None:
    table = sequences_table(60)
    kinds = table.groupby("label")["id"].unique()
    kept = [name for names in kinds for name in [n for n in names if zlib.crc32(n.encode()) % 10][:5]]
    table[table["id"].isin(kept)].to_csv(tmp_path / "t.csv", index=False)
    test = table[~table["id"].isin(kept)]
    test.to_csv(tmp_path / "test.csv", index=False)
    folds = prepare(classify(tmp_path / "t.csv", data={"test": str(tmp_path / "test.csv")}, split={"folds": 5}))
    assert all(set(labels_of(fold, "val").values()) == {1} for fold in folds)


def test_copies_of_a_sequence_are_in_one_fold(tmp_path: Path) -> None:
    lines = [f"{i},{i + 1},{i % 7}:{'xy'[i % 2]}" for i in range(60)]
    path = tmp_path / "t.ts"
    path.write_text("\n".join(["@univariate true", "@classLabel true x y", "@data", *lines, *lines]) + "\n")
    folds = prepare(classify(path, data={"series": None}, split={"folds": 5}))
    assert sum(len(fold.parts["val"]) for fold in folds) > 60
    for fold in folds:
        assert set(fold.row_keys["val"]).isdisjoint(fold.row_keys["train"])


def test_copies_under_other_ids_are_in_one_fold(tmp_path: Path) -> None:
    table = sequences_table(60)
    pd.concat([table, table.assign(id="copy of " + table["id"])]).to_csv(tmp_path / "t.csv", index=False)
    for fold in prepare(classify(tmp_path / "t.csv", split={"folds": 4})):
        names = {part: {name.removeprefix("copy of ") for name in ids_of(fold, part)} for part in ("train", "val")}
        assert names["train"].isdisjoint(names["val"])


def test_groups_stay_together(tmp_path: Path) -> None:
    table = sequences_table(300)
    table["speaker"] = "g" + (table["id"].str[1:].astype(int) % 60).astype(str)
    table.to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(classify(tmp_path / "t.csv", split={"by": "group", "key": "speaker"}))
    assert "speaker" not in data.info.features
    groups = {part: {int(name[1:]) % 60 for name in ids_of(data, part)} for part in data.parts}
    assert groups["test"] == {g for g in range(60) if zlib.crc32(f"g{g}".encode()) % 10 == 0}
    assert groups["train"].isdisjoint(groups["test"] | groups["val"])


def test_whole_series_by_hash_in_forecasting(tmp_path: Path) -> None:
    series_table(12, series=40).to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(forecast(tmp_path / "t.csv", data={"series": "id"},
                               split={"by": "random", "val": None, "test": None}))
    expected = {f"s{i}" for i in range(40) if zlib.crc32(f"s{i}".encode()) % 10 == 0}
    assert ids_of(data, "test") == expected
    assert len(data.parts["train"]) == 7 * len(ids_of(data, "train"))


def test_parts_given_by_a_column(tmp_path: Path) -> None:
    table = sequences_table(60)
    number = table["id"].str[1:].astype(int)
    table["part"] = np.select([number < 10, number < 20], ["val", "test"], "train")
    table.to_csv(tmp_path / "t.csv", index=False)
    (data,) = prepare(classify(tmp_path / "t.csv", split={"by": "given", "key": "part"}))
    assert ids_of(data, "val") == {f"q{i}" for i in range(10)}
    assert ids_of(data, "test") == {f"q{i}" for i in range(10, 20)}
    assert data.info.features == ("a", "b")


@pytest.mark.parametrize("by", ["random", "given"])
def test_a_test_file_leaves_validation_to_be_drawn(tmp_path: Path, by: str) -> None:
    table = sequences_table(100)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.assign(id="u" + table["id"]).to_csv(tmp_path / "u.csv", index=False)
    (data,) = prepare(classify(tmp_path / "t.csv", data={"test": str(tmp_path / "u.csv")},
                               split={"by": by, "val": "20%"}))
    assert ids_of(data, "test") == {f"uq{i}" for i in range(100)}
    assert ids_of(data, "val") == {f"q{i}" for i in range(100) if zlib.crc32(f"q{i}".encode()) % 10 < 2}


@pytest.mark.parametrize("by", ["time", "given"])
def test_a_test_file_continues_each_series(tmp_path: Path, by: str) -> None:
    table = series_table(20, series=2)
    late = table["t"] >= "2024-01-01 16:00"
    table[~late].to_csv(tmp_path / "t.csv", index=False)
    table[late].to_csv(tmp_path / "u.csv", index=False)
    (data,) = prepare(forecast(tmp_path / "t.csv", data={"series": "id", "time": "t", "test": str(tmp_path / "u.csv")},
                               split={"by": by, "test": None, "val": 4}))
    assert origins_of(data, "test") == [16, 18, 36, 38]
    assert origins_of(data, "val") == [12, 14, 32, 34]
    assert data.info.series == ("s0", "s1")
