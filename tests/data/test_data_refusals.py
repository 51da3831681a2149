"""Bad input is refused before any trial: which file, row and column, what was found, and what would do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import classify, forecast, refusal, sequences_table, series_table

Change = Callable[[pd.DataFrame], Any]


def cell(row: int, column: str, value: Any) -> Change:
    """Put a value into one cell; rows count as in the CSV file, where the first has number 2."""
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[row - 2, column] = value
        return table
    return change


FULL: dict[str, dict[str, Any]] = {
    "data": {"time": "t", "series": "id"}, "task": {"past": ("p",), "known": ("k",), "static": ("size", "kind")}}

FORECAST: list[tuple[str, Change, dict[str, Any], list[str]]] = [
    ("text", cell(7, "y", "high"), {}, ["row 7, column y", "'high'", "a number is needed"]),
    ("text in a static", cell(7, "size", "big"), {}, ["column size"]),
    ("missing", cell(7, "y", None), {}, ["row 7, column y", "missing", "prepare.fill"]),
    ("missing covariate", cell(9, "k", None), {}, ["row 9, column k", "missing"]),
    ("infinite", cell(7, "p", "inf"), {}, ["row 7, column p", "inf", "finite"]),
    ("endless", cell(7, "k", "9" * 400), {}, ["row 7, column k", "inf", "finite"]),
    ("missing id", cell(7, "id", None), {}, ["row 7, column id", "the id is missing"]),
    ("unreadable time", cell(7, "t", "yesterday"), {}, ["row 7, column t", "'yesterday'", "ISO 8601"]),
    ("missing time", cell(7, "t", None), {}, ["row 7, column t", "ISO 8601"]),
    ("unsorted", lambda t: t.iloc[[0, 2, 1, *range(3, len(t))]], {},
     ["row 4", "2024-01-01 01:00:00 after 2024-01-01 02:00:00", "series s0", "sorted by time"]),
    ("duplicate", cell(4, "t", "2024-01-01 01:00:00"), {}, ["row 4", "for the second time", "one row a time"]),
    ("irregular", lambda t: t.drop(index=5), {},
     ["row 7", "a step is h", "prepare.fill: forward or interpolate, which adds missing rows too (1)"]),
    ("between two steps", cell(7, "t", "2024-01-01 05:30:00"), {"prepare": {"fill": "forward"}},
     ["row 7", "05:30:00", "a step is h", "a row for each step"]),
    ("most rows lack", lambda t: t[(t.index % 4 == 0) | (t.index % 40 < 9)], {"prepare": {"fill": "forward"}},
     ["a step is h", "a row for each step"]),
    ("wrong freq", lambda t: t, {"data": {"freq": "30min"}}, ["row 3", "a step is 30min", "data.freq"]),
    ("short", lambda t: pd.concat([t, t[:5].assign(id="new")]), {},
     ["row 82", "series new has 5 rows", "context 4 + horizon 2 = 6 rows"]),
    ("short for lags", lambda t: t, {"prepare": {"lags": (36,)}}, ["has 40 rows", "36 = 42"]),
    ("missing column", lambda t: t.rename(columns={"p": "pp"}), {},
     ["there is no column 'p'", "did you mean 'pp'", "columns: id, t, y"]),
    ("static changes", cell(7, "kind", "z"), {}, ["row 7, column kind", "'z', but 'a' above in series s0"]),
    ("static number changes", cell(7, "size", 9), {}, ["row 7, column size", "9, but 0 above"]),
    ("static missing", lambda t: t.assign(kind=t["kind"].where(t["id"] != "s1")), {},
     ["row 42, column kind", "no value for series s1"]),
    ("series not told apart", lambda t: t, {"data": {"series": None}, "task": {"static": ()}},
     ["sorted by time; if the file holds several series, data.series"]),
    ("constant target", lambda t: t.assign(y=3.5), {}, ["column y", "3.5 in the whole training part", "varies"]),
    ("empty", lambda t: t[:0], {}, ["no rows"]),
    ("start beside time", lambda t: t, {"data": {"start": "2024-01-01", "freq": "h"}}, ["data.start", "only one"]),
    ("parts too small", lambda t: t, {"split": {"val": 1}}, ["validation part", "no window fits into its 2 rows"]),
    ("nothing left", lambda t: t, {"split": {"val": "60%", "test": "40%"}}, ["leave nothing to train on"]),
    ("parts beyond the data", lambda t: t, {"split": {"val": 500}}, ["no row of", "smaller parts (split.val"]),
    ("no room to train", lambda t: t, {"split": {"val": 30, "test": 8}}, ["training part", "4 context and 2 horizon"]),
    ("hash of rows", lambda t: t, {"split": {"by": "random", "val": 9}}, ["split.val", "9 cannot be drawn", "10%"]),
    ("group without name", lambda t: t, {"split": {"by": "group", "key": "p"}},
     ["row 3, column p", "one value for the whole series"]),
    ("huge", cell(7, "p", 1e300), {}, ["row 7, column p: 1e+300", "up to 1e+30"]),
    ("too large once scaled", lambda t: t.assign(p=np.where(t.index == 39, 1e25, 1e-25 * t["p"])), {},
     ["row 41, column p", "32 bits"]),
]


@pytest.mark.parametrize(("change", "sections", "words"), [case[1:] for case in FORECAST],
                         ids=[case[0] for case in FORECAST])
def test_forecasting(tmp_path: Path, change: Change, sections: dict[str, Any], words: list[str]) -> None:
    path = tmp_path / "t.csv"
    change(series_table(series=2)).to_csv(path, index=False)
    merged = {key: {**FULL.get(key, {}), **sections.get(key, {})} for key in {**FULL, **sections}}
    message = refusal(forecast(path, **merged))
    for word in words:
        assert word in message, message


def test_the_good_table_is_not_refused(tmp_path: Path) -> None:
    from seqsweep.data.prepare import prepare

    series_table(series=2).to_csv(tmp_path / "t.csv", index=False)
    assert len(prepare(forecast(tmp_path / "t.csv", **FULL))) == 1


def test_one_refusal_lists_everything(tmp_path: Path) -> None:
    table = series_table().astype({"y": object, "p": object})
    table.loc[3:30, "y"] = "bad"
    table.loc[5, "p"] = np.inf
    table.loc[6, "t"] = "never"
    table.to_csv(tmp_path / "t.csv", index=False)
    message = refusal(forecast(tmp_path / "t.csv", data={"time": "t"}, task={"past": ("p",)}))
    assert message.count("'bad'") == 5
    assert "23 more of the same kind (text in number columns)" in message
    assert "row 7, column p: inf" in message
    assert "row 8, column t" in message


@pytest.mark.parametrize(("sections", "words"), [
    ({"prepare": {"calendar": ("hour",)}}, ["prepare.calendar", "the rows have no times", "data.start"]),
    ({"data": {"start": "2024-01-01"}}, ["data.start", "it needs data.freq"]),
    ({"data": {"start": "soon", "freq": "h"}}, ["'soon'", "ISO 8601"]),
    ({"split": {"val": "14d"}}, ["split.val", "the rows have no times"]),
    ({"split": {"by": "random", "val": None, "test": None}}, ["there is one only", "split: {by: time}"]),
    ({"split": {"by": "group", "val": None, "test": None}}, ["nothing names the groups", "split.key"]),
    ({"split": {"by": "given", "val": None, "test": None}}, ["no part is given", "data.val"]),
    ({"split": {"folds": 5}}, ["leave nothing to train on"]),
])
def test_settings_that_do_not_fit_one_series(tmp_path: Path, sections: dict[str, Any], words: list[str]) -> None:
    series_table().to_csv(tmp_path / "t.csv", index=False)
    message = refusal(forecast(tmp_path / "t.csv", **sections))
    for word in words:
        assert word in message, message


CLASSIFY: list[tuple[str, Change, dict[str, Any], list[str]]] = [
    ("one class", lambda t: t.assign(label="x"), {}, ["column label", "every label is 'x'", "two classes"]),
    ("no label column", lambda t: t.drop(columns="label"), {}, ["there is no column 'label'"]),
    ("label changes", cell(3, "label", "z"), {}, ["row 3, column label", "'z', but 'x' above in series q0"]),
    ("label missing", lambda t: t.assign(label=t["label"].where(t["id"] != "q3")), {},
     ["column label", "no value for series q3"]),
    ("text feature", cell(5, "a", "n/a?"), {}, ["row 5, column a", "'n/a?'"]),
    ("rare class", lambda t: t.assign(label=np.where(t["id"] == "q7", "rare", t["label"])), {},
     ["no sequence of class rare (1 in all) is among the", "split."]),
    ("too few", lambda t: t[t["id"].isin([f"q{i}" for i in range(4)])], {}, ["part", "4 sequences"]),
    ("by time", lambda t: t, {"split": {"by": "time"}}, ["split.by: time", "random, group or given"]),
    ("lags", lambda t: t, {"prepare": {"lags": (1,)}}, ["prepare", "no lags and differences"]),
    ("no series", lambda t: t, {"data": {"series": None}}, ["data.series"]),
    ("embargo", lambda t: t, {"split": {"embargo": 3}}, ["split.embargo"]),
    ("folds and val", lambda t: t, {"split": {"folds": 3, "val": "20%"}}, ["split.val", "one of the folds"]),
    ("bad part", lambda t: t.assign(part="training"), {"split": {"by": "given", "key": "part"}},
     ["row 2, column part", "'training'", "train, val or test"]),
    ("no numbers", lambda t: t[["id", "label"]], {}, ["no column is left to read"]),
]


@pytest.mark.parametrize(("change", "sections", "words"), [case[1:] for case in CLASSIFY],
                         ids=[case[0] for case in CLASSIFY])
def test_classification(tmp_path: Path, change: Change, sections: dict[str, Any], words: list[str]) -> None:
    path = tmp_path / "t.csv"
    change(sequences_table()).to_csv(path, index=False)
    message = refusal(classify(path, **sections))
    for word in words:
        assert word in message, message


def test_an_id_in_two_files(tmp_path: Path) -> None:
    table = sequences_table()
    for name in ("t.csv", "u.csv"):
        table.to_csv(tmp_path / name, index=False)
    message = refusal(classify(tmp_path / "t.csv", data={"test": str(tmp_path / "u.csv")}))
    assert "u.csv: id q0 is also in another file" in message


def test_a_size_beside_a_given_part(tmp_path: Path) -> None:
    table = sequences_table()
    table.to_csv(tmp_path / "t.csv", index=False)
    table.assign(id="u" + table["id"]).to_csv(tmp_path / "u.csv", index=False)
    sections = {"data": {"test": str(tmp_path / "u.csv")}, "split": {"test": "20%"}}
    assert "split.test: a size is set, but the test part is given" in refusal(classify(tmp_path / "t.csv", **sections))


def test_a_class_only_in_a_given_test_file(tmp_path: Path) -> None:
    table = sequences_table()
    table.to_csv(tmp_path / "t.csv", index=False)
    table.assign(id="u" + table["id"], label="new").to_csv(tmp_path / "u.csv", index=False)
    message = refusal(classify(tmp_path / "t.csv", data={"test": str(tmp_path / "u.csv")}))
    assert re.search(r"no sequence of class new \(120 in all\) is among the \d+ of the training part", message)
    assert "u.csv, row 2, column label" in message


def test_times_that_go_back_in_the_test_file(tmp_path: Path) -> None:
    table = series_table()
    table[:30].to_csv(tmp_path / "t.csv", index=False)
    table[25:].to_csv(tmp_path / "u.csv", index=False)
    sections = {"data": {"time": "t", "test": str(tmp_path / "u.csv")}, "split": {"test": None}}
    assert "u.csv, row 2: 2024-01-02 01:00:00 after 2024-01-02 05:00:00" in refusal(
        forecast(tmp_path / "t.csv", **sections))
