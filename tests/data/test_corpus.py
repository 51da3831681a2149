"""Folders and archives of files as one data set, and windows that mark anomalies in them."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidData, InvalidSweep

ROWS = 100


def write_corpus(folder: Path) -> Path:
    """Two series of two machines, the second with a clock that is set back, and windows in two of them."""
    for number, name in enumerate(("east/pump", "east/fan", "west/pump")):
        path = folder / "data" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        times = pd.date_range("2024-01-01", periods=ROWS, freq="h").to_numpy().copy()
        if number == 1:
            times[50:] -= np.timedelta64(2, "h")
        pd.DataFrame({"when": pd.Series(times).dt.strftime("%Y-%m-%d %H:%M:%S"),
                      "value": np.sin(np.arange(ROWS) + number)}).to_csv(path, index=False)
    (folder / "labels.json").write_text(json.dumps({
        "east/pump.csv": [["2024-01-04 00:00:00", "2024-01-04 05:00:00"]], "east/fan.csv": [],
        "west/pump.csv": [["2024-01-03 22:30:00", "2024-01-04 01:30:00"], ["2024-01-05", "2024-01-05 03:00:00"]]}))
    (folder / "data" / "readme.txt").write_text("not a table")
    return folder


def sweep(path: Path, **data: Any) -> Sweep:
    return load_sweep({
        "name": "corpus", "task": {"type": "anomaly", "features": ["value"], "context": 4},
        "data": {"path": str(path), "files": "data/*/*.csv", "time": "when", "windows": "labels.json"} | data,
        "split": {"by": "time", "val": "20%", "test": "40%"}, "metric": {"name": "loss", "test": "nab"},
        "budget": {"max_trials": 1}})


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def test_each_file_is_a_series_named_by_its_path(corpus: Path) -> None:
    (data,) = prepare(sweep(corpus))
    assert data.info.series == ("east/fan.csv", "east/pump.csv", "west/pump.csv")
    assert {part: len(samples) for part, samples in data.parts.items()} == {"train": 3 * 36, "val": 60, "test": 120}
    assert [outline.rows for outline in data.outlines] == [ROWS] * 3


def test_windows_mark_the_rows_between_their_times(corpus: Path) -> None:
    (data,) = prepare(sweep(corpus))
    assert data.window_T is not None
    assert np.flatnonzero(data.window_T == 1).tolist() == list(range(ROWS + 72, ROWS + 78))
    assert np.flatnonzero(data.window_T == 2).tolist() == list(range(2 * ROWS + 71, 2 * ROWS + 74))
    assert np.flatnonzero(data.window_T == 3).tolist() == list(range(2 * ROWS + 96, 2 * ROWS + 100))
    assert data.window_T.max() == 3


def test_files_without_a_header(corpus: Path) -> None:
    for path in sorted(corpus.rglob("*.csv")):
        rows = pd.read_csv(path).assign(when=np.arange(ROWS))
        rows.to_csv(path.with_suffix(".txt"), sep="\t", index=False, header=False)
    document = sweep(corpus).model_dump(mode="json", by_alias=True) | {"metric": {"name": "loss"}}
    document["data"] = {"path": str(corpus), "files": "data/*/*.csv"}
    (plain,) = prepare(load_sweep(document))
    document["data"] |= {"files": "data/*/*.txt", "columns": ["when", "value"]}
    (data,) = prepare(load_sweep(document))
    assert data.info.series == ("east/fan.txt", "east/pump.txt", "west/pump.txt")
    assert np.allclose(data.values_TF, plain.values_TF)


def test_what_remains_is_counted_in_each_file(corpus: Path) -> None:
    document = sweep(corpus).model_dump(mode="json", by_alias=True)
    document |= {"task": {"type": "regression", "target": "remaining", "context": 4, "features": ["value"]},
                 "data": {"path": str(corpus), "files": "data/*/*.csv"}, "metric": {"name": "rmse"},
                 "split": {"by": "given", "key": "part"}}
    for part, path in zip(("train", "val", "test"), sorted(corpus.rglob("*.csv")), strict=True):
        pd.read_csv(path).assign(part=part).to_csv(path, index=False)
    (data,) = prepare(load_sweep(document))
    samples, scaling = data.parts["test"], data.info.target_scaling
    assert scaling is not None
    left_N = samples.target_N * scaling.scale[0] + scaling.shift[0]
    assert left_N.round(3).tolist() == list(range(ROWS - 1, -1, -1))
    assert data.info.series[samples.series_N[0]] == "west/pump.csv"


def test_a_part_that_is_given_in_part_is_completed_in_time(tmp_path: Path) -> None:
    frame = pd.DataFrame({"value": np.sin(np.arange(ROWS)), "part": ["train"] * 70 + ["test"] * 30})
    frame.to_csv(tmp_path / "one.csv", index=False)
    (data,) = prepare(load_sweep({
        "name": "one", "task": {"type": "anomaly", "features": ["value"], "context": 4},
        "data": {"path": str(tmp_path / "one.csv")}, "split": {"by": "given", "key": "part", "val": 10},
        "metric": {"name": "loss"}, "budget": {"max_trials": 1}}))
    assert (data.parts["val"].start_N + 4).tolist() == list(range(60, 70))


@pytest.mark.parametrize("ending", ["tar.gz", "zip", "tar"])
def test_an_archive_is_the_folder_it_holds(corpus: Path, tmp_path: Path, ending: str) -> None:
    kind = {"tar.gz": "gztar", "zip": "zip", "tar": "tar"}[ending]
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), kind, corpus, "."))
    if ending == "tar.gz":  # without a leading ./
        with tarfile.open(archive, "w:gz") as tape:
            for path in sorted(corpus.rglob("*.*")):
                tape.add(path, path.relative_to(corpus).as_posix())
    (packed,), (plain,) = prepare(sweep(archive)), prepare(sweep(corpus))
    assert packed.info.data_hash == plain.info.data_hash
    np.testing.assert_array_equal(packed.values_TF, plain.values_TF)


def test_other_labels_are_other_data(corpus: Path) -> None:
    before = prepare(sweep(corpus))[0]
    labels = json.loads((corpus / "labels.json").read_text())
    labels["west/pump.csv"].pop()
    (corpus / "labels.json").write_text(json.dumps(labels))
    after = prepare(sweep(corpus))[0]
    assert after.info.data_hash != before.info.data_hash


def test_a_share_of_the_first_rows_leaves_the_rest_to_the_test_part(corpus: Path) -> None:
    document = sweep(corpus).model_dump(mode="json", by_alias=True)
    document["split"] |= {"of_rows": 50}
    (data,) = prepare(load_sweep(document))
    assert {part: len(samples) for part, samples in data.parts.items()} == {"train": 3 * 16, "val": 30, "test": 210}


def refusal(changed: Sweep) -> str:
    with pytest.raises(InvalidData) as refused:
        prepare(changed)
    return str(refused.value)


def test_what_is_wrong_is_told_with_its_place(corpus: Path, tmp_path: Path) -> None:
    assert "there is no such folder or archive" in refusal(sweep(tmp_path / "nowhere"))
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    assert "the archive cannot be read" in refusal(sweep(tmp_path / "broken.tar.gz"))
    assert "none of its 5 files fits data/*.csv" in refusal(sweep(corpus, files="data/*.csv"))
    assert "labels.jsn: no windows can be read" in refusal(sweep(corpus, windows="labels.jsn"))
    fan = corpus / "data" / "east" / "fan.csv"
    fan.write_text(fan.read_text().replace(",0.84", ",x0.84", 1))
    assert f"{fan}, row 2, column value: 'x0.84" in refusal(sweep(corpus))


def test_windows_that_fit_nothing_are_refused(corpus: Path) -> None:
    labels = corpus / "labels.json"
    labels.write_text(json.dumps({"east/pmp.csv": []}))
    assert "windows of 'east/pmp.csv', which is no series\n    did you mean 'east/pump.csv'?" in refusal(sweep(corpus))
    labels.write_text(json.dumps({"east/pump.csv": [["2024-01-04", "2024-01-03"]]}))
    assert "is no stretch of time" in refusal(sweep(corpus))
    labels.write_text(json.dumps({"east/pump.csv": "2024-01-04"}))
    assert "it does not hold windows" in refusal(sweep(corpus))
    labels.write_text("{}")
    assert "nab counts labelled anomalies, and the test part has none" in refusal(sweep(corpus))


@pytest.mark.parametrize(("section", "change", "says"), [
    ("data", {"files": "../*.csv"}, "leaves the folder"),
    ("data", {"files": "*.doc"}, "no known ending"),
    ("data", {"series": "machine"}, "files and series do not go together"),
    ("data", {"windows": None}, "nab counts labelled anomalies, and there are no labels"),
    ("data", {"time": None}, "windows are stretches of time, and the rows have none"),
    ("task", {"label": "odd"}, "task.label and data.windows say the same twice"),
    ("metric", {"test": "mae"}, '"mae" is no metric of anomaly'),
    ("split", {"by": "random", "of_rows": 5}, "of_rows has no meaning with by: random"),
])
def test_sections_must_agree(corpus: Path, section: str, change: dict[str, Any], says: str) -> None:
    document = sweep(corpus).model_dump(mode="json", by_alias=True)
    document[section] |= change
    with pytest.raises(InvalidSweep, match=says):
        load_sweep({key: value for key, value in document.items() if value is not None})


def test_labels_in_a_column_are_zero_or_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"value": np.sin(np.arange(ROWS)), "odd": np.arange(ROWS) >= 90})
    document = {"name": "one", "task": {"type": "anomaly", "context": 4, "label": "odd"},
                "data": {"path": str(tmp_path / "one.csv")}, "metric": {"name": "loss", "test": "f1"},
                "budget": {"max_trials": 1}}
    frame.to_csv(tmp_path / "one.csv", index=False)
    (data,) = prepare(load_sweep(document))
    assert data.info.columns == ("value",)
    assert data.window_T is not None
    assert np.flatnonzero(data.window_T).tolist() == list(range(90, 100))
    frame["odd"] = frame["odd"].astype(int) * 2
    frame.to_csv(tmp_path / "one.csv", index=False)
    assert "row 92, column odd" in refusal(load_sweep(document))
