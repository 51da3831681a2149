"""`submit --fork`: a new sweep under a new name that is told what the old one found, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_sweeps import forecasting, settings_in, table, write_series
from sqlalchemy import update

import seqsweep
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.errors import Conflict, InvalidSweep, NotFound
from seqsweep.forks import tell_parent
from seqsweep.store import seals
from seqsweep.store.records import Store
from seqsweep.store.tables import sweeps
from seqsweep.submission import PARENT_UID, enter, forked
from seqsweep.tracking.client import connect
from seqsweep.tracking.runs import find_run

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forks")
    write_series(folder / "load.csv")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


def sweep(place: Path, **keys: Any) -> dict[str, Any]:
    """As `forecasting`, asked of TPE."""
    return forecasting(place / "load.csv", **{"method": "tpe", "budget": {"max_trials": 5}} | keys)


def wider(place: Path, **keys: Any) -> dict[str, Any]:
    tree = sweep(place, **keys)
    tree["parameters"] = tree["parameters"] | {
        "learning_rate": {"min": 1e-3, "max": 1.0, "log": True}, "hidden_size": {"values": [4, 8, 16]}}
    return tree


@pytest.fixture(scope="module")
def parent(place: Path, settings: Settings) -> seqsweep.SweepResult:
    return seqsweep.submit(sweep(place), settings)


def facts(settings: Settings, name: str) -> dict[str, Any]:
    with Store.open(settings.store) as store:
        return dict(store.sweep(name).facts)


def told(settings: Settings, name: str) -> list[dict[str, Any]]:
    with Store.open(settings.store) as store:
        stage = store.stage(name, "fork")
        assert stage is not None
        return list(stage.value.get("trials", ()))


def test_a_wider_sweep_is_refused_with_the_way_to_fork_it_and_the_fork_is_told(
        place: Path, settings: Settings, parent: seqsweep.SweepResult, capsys: Said) -> None:
    before = table(settings, "load", times=True)
    with pytest.raises(Conflict) as refused:
        seqsweep.submit(wider(place), settings)
    assert "\n    parameters.hidden_size.values: [4, 8] -> [4, 8, 16]\n" in str(refused.value)
    assert "\n    parameters.learning_rate.max: 0.1 -> 1.0\n" in str(refused.value)
    assert "`--fork NAME`" in str(refused.value)
    capsys.readouterr()
    fork = seqsweep.submit(wider(place), settings, fork="load2")
    assert "5 of the 5 ended trials of load fit and are told" in capsys.readouterr().err
    assert (fork.name, fork.state, len(fork.trials)) == ("load2", "finished", 5)
    assert table(settings, "load", times=True) == before
    assert [known["params"] for known in told(settings, "load2")] == [params for _, _, params, *_ in before]
    assert (facts(settings, "load2")["forked_from"], facts(settings, "load2")["forked_trials"]) == ("load", 5)
    assert fork.status()["forked_from"] == "load, 5 of whose trials it was told"
    assert parent.status()["forked_from"] is None


def test_the_forks_runs_stand_beside_the_parents_and_its_model_is_the_next_version(
        place: Path, settings: Settings, parent: seqsweep.SweepResult) -> None:
    fork = seqsweep.submit(wider(place), settings, fork="load2")
    assert (parent.model, fork.model) == ("load/1", "load/2")
    client = connect(settings.tracking_uri)
    with Store.open(settings.store) as store:
        runs = [find_run(settings.tracking_uri, store.sweep(name)) for name in ("load", "load2")]
        uid = store.sweep("load").uid
    first, second = [client.get_run(run or "") for run in runs]
    assert first.info.experiment_id == second.info.experiment_id
    tags = second.data.tags
    assert (tags["seqsweep.forked_from"], tags["seqsweep.forked_from_uid"], tags["seqsweep.forked_trials"]) == (
        "load", uid, "5")


@pytest.mark.slow
def test_a_fork_goes_on_under_its_name_and_needs_its_parent_no_more(place: Path, settings: Settings) -> None:
    seqsweep.submit(sweep(place, name="gone", register=None), settings)
    small = wider(place, name="gone", register=None, budget={"max_trials": 3})
    seqsweep.submit(small, settings, fork="kept")
    first, known = table(settings, "kept", times=True), told(settings, "kept")
    straight = seqsweep.submit(small | {"budget": {"max_trials": 6}}, settings, fork="straight")
    with Store.open(settings.store) as store, store._database.write() as connection:
        record = store.sweep("gone")
        connection.execute(update(sweeps).where(sweeps.c.id == record.id).values(name="another", uid="another"))
        seals.renew(connection, sweeps, sweeps.c.id == record.id)
    grown = seqsweep.submit(small | {"budget": {"max_trials": 6}}, settings, fork="kept")
    assert table(settings, "kept", times=True)[:3] == first
    assert told(settings, "kept") == known
    assert list(grown.trials["learning_rate"]) == list(straight.trials["learning_rate"])
    assert len(grown.trials) == 6


def test_a_fork_that_was_told_is_not_told_again(place: Path, settings: Settings, parent: seqsweep.SweepResult) -> None:
    """Killed before its first trial, it goes on with what it was told, whatever has become of its parent."""
    fork = forked(load_sweep(wider(place)), "again")
    with Store.open(settings.store) as store:
        enter(store, fork, "", "load")
        with store.acquire("again") as lease:
            store.update_sweep(lease, data_hash=store.sweep("load").data_hash)
            assert "5 of the 5 ended trials" in tell_parent(store, lease, fork)
            known = told(settings, "again")
            store.update_sweep(lease, facts={PARENT_UID: "that of a sweep that is gone"})
            assert tell_parent(store, lease, fork) == ""
    assert told(settings, "again") == known
    assert len(known) == 5


def test_on_other_data_nothing_is_told_and_that_is_said(place: Path, settings: Settings, capsys: Said) -> None:
    write_series(place / "moving.csv")
    tree = forecasting(place / "moving.csv", "moving", budget={"max_trials": 2}, register=None)
    seqsweep.submit(tree, settings)
    write_series(place / "moving.csv", rows=420)
    words = r"moving\.csv: rows 400 -> 420\n.*the first change is in rows 2 to 3\n.*`--fork NAME`"
    with pytest.raises(Conflict, match=words):
        seqsweep.submit(tree | {"budget": {"max_trials": 3}}, settings)
    capsys.readouterr()
    assert len(seqsweep.submit(tree, settings, fork="moved").trials) == 2
    said = capsys.readouterr().err
    assert "values of moving cannot be compared (the data have changed): the search starts anew" in said
    assert told(settings, "moved") == []
    assert facts(settings, "moved")["forked_trials"] == 0


def test_on_another_metric_nothing_is_told(place: Path, settings: Settings, parent: seqsweep.SweepResult,
                                           capsys: Said) -> None:
    tree = sweep(place, metric={"name": "rmse"}, budget={"max_trials": 1}, register=None)
    seqsweep.submit(tree, settings, fork="squared")
    assert 'cannot be compared (metric.name: "mae" -> "rmse")' in capsys.readouterr().err
    assert told(settings, "squared") == []


@pytest.mark.parametrize(("name", "error", "words"), [
    ("load", Conflict, "a name of its own"), ("../load2", InvalidSweep, "no name for a sweep"),
    ("%2e%2e", InvalidSweep, "no name for a sweep"), ("a\0b", InvalidSweep, "no name"), ("", InvalidSweep, "no name"),
    ("stranger", Conflict, "is no fork of load")])
def test_a_name_that_cannot_be_a_forks_is_refused(place: Path, settings: Settings, parent: seqsweep.SweepResult,
                                                  name: str, error: type[Exception], words: str) -> None:
    if name == "stranger":
        seqsweep.submit(sweep(place, name="stranger", budget={"max_trials": 1}, register=None), settings)
    with pytest.raises(error, match=words):
        seqsweep.submit(sweep(place), settings, fork=name)


def test_what_is_not_there_cannot_be_forked(place: Path, settings: Settings, parent: seqsweep.SweepResult) -> None:
    loaded = load_sweep(sweep(place, name="laod"))
    with pytest.raises(NotFound, match=r"--fork: there is no sweep laod to fork: .*did you mean load\?"):
        seqsweep.submit(loaded, settings, fork="load3")
    with Store.open(settings.store) as store:
        assert "load3" not in {record.name for record in store.sweeps()}


def test_another_sweep_whose_record_is_damaged_keeps_none_from_running(place: Path, settings: Settings) -> None:
    alone = Settings(f"sqlite:///{place / 'damaged.db'}", settings.tracking_uri, "local")
    with Store.open(alone.store) as store:
        store.create_sweep("broken", "", "{}", "", {})
        with store._database.write() as connection:
            connection.execute(update(sweeps).values(spec="{ }"))
    tree = sweep(place, name="whole", budget={"max_trials": 1}, register=None)
    assert seqsweep.submit(tree, alone).state == "finished"
