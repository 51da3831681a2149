"""New data are prepared as the training data were, to the bit, and predictions come back as tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import SHARED, classify, forecast, needs_shared, sequences_table, series_table
from truths import truth

from seqsweep.config.sweep import Sweep
from seqsweep.data.batch import DataInfo, Prepared
from seqsweep.data.predict import transform
from seqsweep.data.prepare import prepare
from seqsweep.data.results import prediction_table
from seqsweep.data.sources import read_frame
from seqsweep.errors import InvalidData

FULL: dict[str, Any] = {
    "data": {"time": "t", "series": "id"}, "task": {"past": ("p",), "known": ("k",), "static": ("size", "kind")},
    "prepare": {"calendar": ("hour", "weekday"), "lags": (1, 3), "differences": (2,), "fill": "forward",
                "indicator": True}}


def trained(tmp_path: Path, table: pd.DataFrame, **sections: Any) -> tuple[Sweep, Prepared]:
    table.to_csv(tmp_path / "t.csv", index=False)
    sweep = forecast(tmp_path / "t.csv", **sections)
    return sweep, prepare(sweep)[0]


def renew(frame: pd.DataFrame, sweep: Sweep, info: DataInfo, **options: Any) -> Prepared:
    info = DataInfo.model_validate_json(info.model_dump_json())
    return transform(frame, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=info, **options)


def refused(frame: pd.DataFrame, sweep: Sweep, info: DataInfo, **options: Any) -> str:
    with pytest.raises(InvalidData) as caught:
        renew(frame, sweep, info, **options)
    return str(caught.value)


def gapped(seed: int = 0) -> pd.DataFrame:
    table = series_table(40, series=3, seed=seed)
    rng = np.random.default_rng(seed)
    table["p"] = table["p"].where(rng.random(120) > 0.2)
    return table


def test_every_test_window_comes_out_equal_to_the_bit(tmp_path: Path) -> None:
    table = gapped()
    sweep, data = trained(tmp_path, table, **FULL)
    step = table.groupby("id").cumcount()
    for k in range(4):
        origin = 32 + 2 * k
        frame = table[step < origin + 2].copy()
        future = step[frame.index] >= origin
        frame.loc[future, ["y", "p"]] = np.nan
        new = renew(frame, sweep, data.info)
        samples = new.parts["predict"]
        assert samples.start_N.tolist() == [origin - 4 + s * (origin + 2) for s in range(3)]
        assert np.array_equal(samples.key_N, data.parts["test"].key_N[k::4])
        assert np.array_equal(new.static_SC, data.static_SC)
        assert np.array_equal(new.shift_SD, data.shift_SD)
        known = list(data.info.known)
        for s in range(3):
            mine = slice(samples.start_N[s], samples.start_N[s] + 6)
            theirs = slice(40 * s + origin - 4, 40 * s + origin + 2)
            assert np.array_equal(new.values_TF[mine][:4], data.values_TF[theirs][:4])
            assert np.array_equal(new.values_TF[mine][:, known], data.values_TF[theirs][:, known])
            unknown = np.delete(new.values_TF[mine][4:], known, axis=1)
            assert not unknown.any()


def test_all_origins_equal_the_prepared_rows(tmp_path: Path) -> None:
    table = gapped()
    sweep, data = trained(tmp_path, table, **FULL)
    new = renew(table, sweep, data.info, origins="all")
    assert np.array_equal(new.values_TF, data.values_TF)
    assert len(new.parts["predict"]) == 3 * (40 - 3 - 4 - 2 + 1)
    at = np.isin(new.parts["predict"].key_N, data.parts["test"].key_N)
    assert np.array_equal(new.parts["predict"].start_N[at], data.parts["test"].start_N)
    assert np.isin(data.row_keys["test"], new.row_keys["predict"]).all()
    y, observed = truth(new, "predict", sweep.task)
    assert np.array_equal(y[at], truth(data, "test", sweep.task)[0])
    assert observed.all()


def test_future_rows_are_made_where_nothing_must_be_known(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    sweep, data = trained(tmp_path, table, data={"time": "t", "series": "id"},
                          prepare={"calendar": ("hour", "weekday"), "lags": (2,)})
    step = table.groupby("id").cumcount()
    new = renew(table[step < 38], sweep, data.info)
    known = list(data.info.known)
    for s in range(2):
        assert np.array_equal(new.values_TF[40 * s + 38:40 * s + 40, known],
                              data.values_TF[40 * s + 38:40 * s + 40, known])
        assert np.array_equal(new.values_TF[40 * s:40 * s + 38], data.values_TF[40 * s:40 * s + 38])
    assert data.times_T is not None
    assert new.times_T is not None
    assert np.array_equal(new.times_T, data.times_T)
    _, observed = truth(new, "predict", sweep.task)
    assert not observed.any()
    given = table.assign(y=table["y"].where(step < 38))
    assert np.array_equal(renew(given, sweep, data.info).values_TF, new.values_TF)


def test_unseen_series_are_scaled_by_their_first_rows(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    sweep, data = trained(tmp_path, table, data={"series": "id"})
    strange = pd.DataFrame({"id": "new", "y": [100.0, 102, 104, 106]})
    new = renew(strange, sweep, data.info)
    assert new.shift_SD[0, 0] == 103
    assert new.values_TF[:4, 0].mean() == pytest.approx(0, abs=1e-6)
    assert new.values_TF[:4, 0].std() == pytest.approx(1, abs=1e-6)
    constant = renew(strange.assign(y=7.0), sweep, data.info)
    assert constant.scale_SD[0, 0] == np.float32(data.info.scaling[""].scale[0])
    both = renew(pd.concat([table, strange]), sweep, data.info)
    assert np.array_equal(both.shift_SD[:2], data.shift_SD)
    assert both.info.series == ("s0", "s1", "new")


def test_whole_unseen_series_equal_those_of_the_test_part(tmp_path: Path) -> None:
    table = series_table(12, series=40)
    sweep, data = trained(tmp_path, table, data={"series": "id"}, split={"by": "random", "val": None, "test": None})
    names = {data.info.series[s] for s in data.parts["test"].series_N}
    assert not names & set(data.info.scaling)
    new = renew(table[table["id"].isin(names)], sweep, data.info, origins="all")
    rows = np.isin(np.repeat(data.info.series, 12), list(names))
    assert np.array_equal(new.values_TF, data.values_TF[rows])


def test_unknown_categories_are_zeros(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    sweep, data = trained(tmp_path, table, data={"series": "id"}, task={"static": ("kind",)})
    new = renew(table.assign(kind="c"), sweep, data.info)
    assert new.static_SC.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("edit", "words"), [
    (lambda t: t.drop(columns="p"), ["data: there is no column 'p'"]),
    (lambda t: t.drop(columns="k"), ["there is no column 'k'"]),
    (lambda t: t[:0], ["no rows"]),
    (lambda t: t.astype({"y": object}).assign(y="x"), ["data, row 0, column y", "'x'"]),
    (lambda t: t[t["y"].notna()], ["series s0 has 0 rows after its last observed target", "2 rows with k filled in"]),
    (lambda t: t.iloc[33:40], ["series s0 has 5 rows up to its last observed target", "difference 3 = 7 rows",
                               "more of its history"]),
    (lambda t: t.assign(k=t["k"].where(t["y"].notna())), ["row 38, column k", "missing"]),
    (lambda t: t.iloc[::2], ["data, row 2", "but a step is h"]),
    (lambda t: t.assign(t=range(40)), ["column t", "it holds numbers", "timestamps, as in training"]),
])
def test_refusals(tmp_path: Path, edit: Any, words: list[str]) -> None:
    table = series_table(40)
    sections = {**FULL, "prepare": {**FULL["prepare"], "fill": "refuse"}}
    sweep, data = trained(tmp_path, table, **sections)
    table.loc[38:, ["y", "p"]] = np.nan
    renew(table, sweep, data.info)
    message = refused(edit(table), sweep, data.info)
    for word in words:
        assert word in message, message


def test_steps_of_numbers_must_be_those_of_training(tmp_path: Path) -> None:
    table = series_table(40).assign(t=range(40))
    sweep, data = trained(tmp_path, table, data={"time": "t"})
    assert "a step is 2" in refused(table.assign(t=range(0, 80, 2)), sweep, data.info)
    new = renew(table.assign(t=range(60, 100)), sweep, data.info)
    assert new.times_T is not None
    assert new.times_T.tolist() == list(range(60, 102))


def test_the_table_of_forecasts(tmp_path: Path) -> None:
    table = series_table(40, series=2)
    sweep, data = trained(tmp_path, table, data={"time": "t", "series": "id"},
                          task={"target": ("y", "p"), "quantiles": (0.1, 0.5)})
    new = renew(table, sweep, data.info)
    values = np.arange(2 * 2 * 2 * 2, dtype=float).reshape(2, 2, 2, 2)
    result = prediction_table(new, values, sweep.task)
    assert list(result.columns) == ["series", "time", "ahead", "target", "q0.1", "q0.5"]
    assert result["series"].tolist() == ["s0"] * 4 + ["s1"] * 4
    assert result["target"].tolist() == ["y", "p"] * 4
    assert result["ahead"].tolist() == [1, 1, 2, 2] * 2
    assert result["time"].iloc[[0, 2]].tolist() == [pd.Timestamp("2024-01-02 16:00"), pd.Timestamp("2024-01-02 17:00")]
    assert result["q0.5"].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]


def test_the_table_without_times_counts_steps(tmp_path: Path) -> None:
    sweep, data = trained(tmp_path, series_table(40))
    result = prediction_table(renew(series_table(40), sweep, data.info), np.zeros((1, 2, 1, 1)), sweep.task)
    assert list(result.columns) == ["step", "ahead", "target", "prediction"]
    assert result["step"].tolist() == [40, 41]


def test_new_sequences(tmp_path: Path) -> None:
    table = sequences_table()
    table.to_csv(tmp_path / "t.csv", index=False)
    sweep = classify(tmp_path / "t.csv", prepare={"fill": "interpolate"})
    (data,) = prepare(sweep)
    new = renew(table.drop(columns="label"), sweep, data.info)
    assert np.array_equal(new.values_TF, data.values_TF)
    assert set(new.parts["predict"].label_N) == {-1}
    labelled = renew(table, sweep, data.info)
    y, observed = truth(labelled, "predict", sweep.task)
    assert observed.all()
    assert y.tolist() == [i % 2 for i in range(120)]
    at = np.isin(labelled.parts["predict"].key_N, data.row_keys["test"])
    assert np.array_equal(labelled.parts["predict"].label_N[at], data.parts["test"].label_N)
    result = prediction_table(new, np.tile([0.25, 0.75], (120, 1)), sweep.task)
    assert list(result.columns) == ["series", "class", "p:x", "p:y"]
    assert set(result["class"]) == {"y"}
    assert result["series"].iloc[3] == "q3"


@needs_shared
def test_japanese_vowels_again() -> None:
    folder = SHARED / "ucr_uea"
    sweep = classify(folder / "JapaneseVowels_TRAIN.ts", split={"val": "20%"},
                     data={"series": None, "test": str(folder / "JapaneseVowels_TEST.ts")})
    (data,) = prepare(sweep)
    new = renew(read_frame(folder / "JapaneseVowels_TEST.ts"), sweep, data.info)
    test = data.parts["test"]
    assert np.array_equal(new.values_TF, data.values_TF[test.start_N[0]:])
    assert np.array_equal(new.parts["predict"].key_N, test.key_N)
    assert np.array_equal(new.parts["predict"].label_N, test.label_N)


def test_transform_needs_pandas_numpy_and_pydantic_only() -> None:
    code = ("import sys, seqsweep.data.predict, seqsweep.data.results, seqsweep.data.sources\n"
            "heavy = {'torch', 'optuna', 'mlflow', 'ray', 'sqlalchemy', 'sklearn'} & set(sys.modules)\n"
            "sys.exit(', '.join(sorted(heavy)) or None)")
    root = Path(__file__).parents[2] / "platform"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=120)
    assert result.returncode == 0, result.stderr
