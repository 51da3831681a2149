"""The column decides what is the day between slashes, over all its files; new rows follow what training decided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import forecast, refusal, series_table

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep
from seqsweep.data.batch import DataInfo, Prepared
from seqsweep.data.predict import transform
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidData

ORDERS = {"day_first": "%d/%m/%Y %H:%M", "month_first": "%m/%d/%Y %I:%M %p"}
WORDS = {"day_first": "the day first", "month_first": "the month first"}
HASH = "39d71f1b647f6ca5db90f0103199ccea66410beeef4d9f3d46ebdc82218ed5aa"


def hourly(length: int = 400, first: str = "2024-01-05", form: str = "", series: int = 1) -> pd.DataFrame:
    table = series_table(length, series)
    times = pd.date_range(first, periods=length, freq="h")
    table["t"] = np.tile(times.strftime(form) if form else times.astype(str), series)
    return table


def swept(path: Path, table: pd.DataFrame, **data: Any) -> Sweep:
    table.to_csv(path, index=False)
    return forecast(path, data={"time": "t"} | data)


def renew(frame: pd.DataFrame, sweep: Sweep, info: DataInfo) -> Prepared:
    info = DataInfo.model_validate_json(info.model_dump_json())
    return transform(frame, task=sweep.task, prepare=sweep.prepare, data=sweep.data, info=info)


def refused(frame: pd.DataFrame, sweep: Sweep, info: DataInfo) -> str:
    with pytest.raises(InvalidData) as caught:
        renew(frame, sweep, info)
    return str(caught.value)


# -- the column decides


@pytest.mark.parametrize("order", ORDERS)
def test_slashes_are_read_as_iso_is(order: str, tmp_path: Path) -> None:
    (plain,) = prepare(swept(tmp_path / "iso.csv", hourly()))
    (data,) = prepare(swept(tmp_path / "slashes.csv", hourly(form=ORDERS[order])))
    assert data.info == plain.info.model_copy(update={"dates": order})
    assert data.info.data_hash == plain.info.data_hash
    assert data.times_T is not None and plain.times_T is not None
    assert np.array_equal(data.times_T, plain.times_T)
    assert (data.remarks, plain.remarks) == ((), ())


def test_one_row_decides_for_all_series(tmp_path: Path) -> None:
    """Only the last series reaches the 13th."""
    table = pd.concat([hourly(100, "2024-02-01", ORDERS["day_first"]).assign(id="a"),
                       hourly(300, "2024-02-01", ORDERS["day_first"]).assign(id="b")])
    (data,) = prepare(swept(tmp_path / "t.csv", table, series="id"))
    assert data.info.dates == "day_first" and data.times_T is not None
    assert data.times_T[0] == pd.Timestamp("2024-02-01").value
    message = refusal(swept(tmp_path / "t.csv", table[table["id"] == "a"], series="id"))
    assert "t.csv, row 2, column t: '01/02/2024 00:00': which number is the day? None of 100 rows" in message
    assert "data.dates: day_first or month_first; or ISO 8601" in message


@pytest.mark.parametrize("decides", ["t.csv", "val.csv", "test.csv"])
def test_one_file_decides_for_all_files(decides: str, tmp_path: Path) -> None:
    files = {"t.csv": "2024-02-01", "val.csv": "2024-03-01", "test.csv": "2024-04-01"}
    for name, first in files.items():
        hourly(300 if name == decides else 60, first, ORDERS["month_first"]).assign(id=name).to_csv(tmp_path / name)
    sweep = forecast(tmp_path / "t.csv", data={"time": "t", "series": "id", "val": str(tmp_path / "val.csv"),
                                               "test": str(tmp_path / "test.csv")},
                     split={"by": "given", "val": None, "test": None})
    (data,) = prepare(sweep)
    assert data.info.dates == "month_first" and data.times_T is not None and data.first_S is not None
    assert [str(pd.Timestamp(data.times_T[row]).date()) for row in data.first_S] == list(files.values())


@pytest.mark.parametrize(("times", "words"), [
    (["31/12/2024", "1/1/2025", "1/31/2025"], ["row 2, column t: '31/12/2024' has the day first, and other rows have",
                                               "row 4, column t: '1/31/2025' has the month first", "one order in the"]),
    (["12/30/24", "12/31/24"], ["row 2, column t: '12/30/24' has a year of two digits", "a year of four; or ISO 8601"]),
    (["1/1/2024", "1/2/2024", "1/3/2024"], ["row 3, column t: '1/2/2024': which number is the day? None of 3 rows has",
                                            "row 4, column t", "data.dates: day_first or month_first; or ISO 8601"]),
    (["1/1/2024", "2/2/2024"], ["row 2, column t: '1/1/2024': which number is the day?"]),
    (["1/30/2024", "2/30/2024"], ["row 3, column t: time '2/30/2024'", "month/day/year in all rows"]),
    (["12/31/2024", "2025-01-01", "2.1.2025"], ["row 3, column t: time '2025-01-01'", "row 4", "month/day/year in"]),
    (["2024-12-31", "1/1/2025"], ["row 3, column t: time '1/1/2025'", "in all rows alike"]),
    (["31.12.2024", "1/1/2025"], ["row 3, column t: time '1/1/2025'", "in all rows alike"]),
    (["12/31/2024", "", "1/2/2025"], ["row 3, column t: time nan"]),
    (["13/13/2024", "14/14/2024"], ["row 2, column t: '13/13/2024': which number is the day?"]),
    ([" " * 60 + "12/31/2024", "1/2/2025"], ["row 2, column t: time '    ", "in all rows alike"]),
])
def test_what_is_refused(times: list[str], words: list[str], tmp_path: Path) -> None:
    message = refusal(swept(tmp_path / "t.csv", pd.DataFrame({"t": times, "y": range(len(times))})))
    for word in words:
        assert word in message, message


def test_files_with_and_without_slashes(tmp_path: Path) -> None:
    hourly(60, "2024-04-01").to_csv(tmp_path / "test.csv")  # ISO
    sweep = swept(tmp_path / "t.csv", hourly(form=ORDERS["day_first"]), test=str(tmp_path / "test.csv"))
    assert "times stand between slashes here, and not in" in refusal(sweep)


def test_files_of_two_orders_are_named(tmp_path: Path) -> None:
    hourly(400, "2024-04-01", ORDERS["month_first"]).to_csv(tmp_path / "test.csv", index=False)
    sweep = swept(tmp_path / "t.csv", hourly(form=ORDERS["day_first"]), test=str(tmp_path / "test.csv"))
    message = refusal(sweep)
    assert "t.csv, row 194, column t: '13/01/2024 00:00' has the day first" in message
    assert "test.csv, row 290, column t: '04/13/2024 12:00 AM' has the month first" in message


def test_a_folder_of_files_decides_together_and_windows_are_read_alike(tmp_path: Path) -> None:
    data = {}
    for form in ("%Y-%m-%d %H:%M", "%d/%m/%Y %H:%M"):
        folder = tmp_path / ("iso" if "-" in form else "slashes")
        folder.mkdir()
        for name, rows in (("fan", 60), ("pump", 320)):
            times = pd.date_range("2024-02-01", periods=rows, freq="h").strftime(form)
            pd.DataFrame({"when": times, "value": np.sin(np.arange(rows))}).to_csv(folder / f"{name}.csv", index=False)
        window = [pd.Timestamp(f"2024-02-{day}").strftime(form) for day in ("02", "03")]
        (folder / "windows.json").write_text(json.dumps({"fan.csv": [window], "pump.csv": [window]}))
        (data[folder.name],) = prepare(load_sweep({
            "name": "fans", "task": {"type": "anomaly", "features": ["value"], "context": 4},
            "data": {"path": str(folder), "files": "*.csv", "time": "when", "windows": "windows.json"},
            "split": {"by": "time", "val": "20%", "test": "40%"}, "metric": {"name": "loss", "test": "nab"},
            "budget": {"max_trials": 1}}))
    assert data["slashes"].info == data["iso"].info.model_copy(update={"dates": "day_first"})
    assert data["slashes"].window_T is not None and data["iso"].window_T is not None
    assert data["slashes"].window_T.any() and np.array_equal(data["slashes"].window_T, data["iso"].window_T)


def test_data_without_slashes_have_the_hash_they_had(tmp_path: Path) -> None:
    """What was stored before slashes were read."""
    rows = np.arange(60)
    times = pd.date_range("2024-01-01", periods=60, freq="h").astype(str)
    table = pd.DataFrame({"t": times, "y": rows % 12 + rows / 8})
    assert prepare(swept(tmp_path / "t.csv", table))[0].info.data_hash == HASH


# -- the sweep says it


@pytest.mark.parametrize("order", ORDERS)
def test_a_key_for_what_cannot_decide(order: str, tmp_path: Path) -> None:
    table = hourly(100, form=ORDERS[order])
    (plain,) = prepare(swept(tmp_path / "iso.csv", hourly(100)))
    (data,) = prepare(swept(tmp_path / "t.csv", table, dates=order))
    assert data.info == plain.info.model_copy(update={"dates": order})
    assert data.remarks == ()


def test_a_key_that_is_not_needed_is_told(tmp_path: Path) -> None:
    (data,) = prepare(swept(tmp_path / "t.csv", hourly(form=ORDERS["day_first"]), dates="day_first"))
    assert data.info.dates == "day_first"
    assert data.remarks == (
        f"data.dates is not needed: 13/01/2024 00:00 in {tmp_path / 't.csv'}, row 194, says the day first",)
    (data,) = prepare(swept(tmp_path / "t.csv", hourly(), dates="day_first"))
    assert data.info.dates == ""
    assert data.remarks == ("data.dates is not needed: no time of the data has the year behind two slashes",)


def test_a_key_that_rows_contradict(tmp_path: Path) -> None:
    message = refusal(swept(tmp_path / "t.csv", hourly(form=ORDERS["day_first"]), dates="month_first"))
    assert "t.csv, row 194, column t: '13/01/2024 00:00' has 13 in the month's place" in message
    assert "the month first, as data.dates: month_first says; or ISO 8601" in message
    assert "203 more of the same kind" in message


# -- new rows


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("key", [False, True])
def test_new_rows_follow_training(order: str, key: bool, tmp_path: Path) -> None:
    """Two days of a new month decide nothing by themselves."""
    table = hourly(100 if key else 400, form=ORDERS[order])
    sweep = swept(tmp_path / "t.csv", table, **({"dates": order} if key else {}))
    (data,) = prepare(sweep)
    new = renew(hourly(48, "2024-05-03", ORDERS[order]), sweep, data.info)
    assert new.times_T is not None
    assert pd.Timestamp(new.times_T[0]) == pd.Timestamp("2024-05-03")
    assert new.info.dates == order
    iso = renew(hourly(48, "2024-05-03"), sweep, data.info)
    assert iso.times_T is not None
    assert np.array_equal(iso.times_T, new.times_T) and np.array_equal(iso.values_TF, new.values_TF)


@pytest.mark.parametrize("order", ORDERS)
def test_new_rows_that_contradict_training(order: str, tmp_path: Path) -> None:
    sweep = swept(tmp_path / "t.csv", hourly(form=ORDERS[order]))
    (data,) = prepare(sweep)
    other = next(each for each in ORDERS if each != order)
    message = refused(hourly(48, "2024-05-30", ORDERS[other]), sweep, data.info)
    assert "data, row 0, column t: '" in message and "' has 30 in the month's place" in message
    assert f"{WORDS[order]}, as in the training data; or ISO 8601" in message


def test_new_rows_decide_where_training_had_no_slashes(tmp_path: Path) -> None:
    """As in a model of a time when slashes were not read: its facts say nothing of them."""
    sweep = swept(tmp_path / "t.csv", hourly())
    (data,) = prepare(sweep)
    assert "dates" not in json.loads(data.info.model_dump_json())
    assert "dates" not in sweep.model_dump(mode="json")["data"]
    new = renew(hourly(48, "2024-05-30", ORDERS["month_first"]), sweep, data.info)
    assert new.times_T is not None and new.times_T[0] == pd.Timestamp("2024-05-30").value
    message = refused(hourly(48, "2024-05-03", ORDERS["month_first"]), sweep, data.info)
    assert "'05/03/2024 12:00 AM': which number is the day? None of 48 rows has one above 12 there, and the training " \
           "data do not tell" in message
    assert "data.dates" not in message
