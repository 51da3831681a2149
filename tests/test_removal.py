"""A sweep's end: what goes, what stays and still works, and that a deletion that is killed is ended by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from shell import environment
from small_sweeps import forecasting, settings_in, table, write_series
from sqlalchemy import text

import seqsweep as package
from seqsweep import removal
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.doctor.examination import examine
from seqsweep.doctor.findings import Kind
from seqsweep.errors import Conflict, NotFound, Outage, Unavailable
from seqsweep.promotion import promote
from seqsweep.removal import delete, survey
from seqsweep.repair import repair
from seqsweep.serving import predict
from seqsweep.store import deletion
from seqsweep.store.records import Store
from seqsweep.submission import enter, forked
from seqsweep.tracking.client import connect
from seqsweep.tracking.registry import Registry
from seqsweep.tracking.traces import Traces

OWN = """from torch import nn

class Tiny(nn.Module):
    def __init__(self, input_size: int, width: int = 4):
        super().__init__()
        self.rnn = nn.GRU(input_size, width, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole file, since MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("removal")
    write_series(folder / "load.csv")
    return folder


@pytest.fixture
def settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(place)
    return settings_in(place)


def sweep(place: Path, name: str, **keys: Any) -> dict[str, Any]:
    return forecasting(place / "load.csv", name, **{"budget": {"max_trials": 2}, "register": None} | keys)


def uid_of(settings: Settings, name: str) -> str:
    with Store.open(settings.store) as store:
        return store.sweep(name).uid


def names(settings: Settings) -> set[str]:
    with Store.open(settings.store) as store:
        return {record.name for record in store.sweeps()}


def deleted_runs(settings: Settings, uid: str) -> int:
    client = connect(settings.tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return len(client.search_runs(ids, f"tags.seqsweep.uid = '{uid}'", ViewType.DELETED_ONLY))


def rows(place: Path) -> pd.DataFrame:
    return pd.read_csv(place / "load.csv").assign(load=lambda frame: frame["load"].where(frame.index < 397))


def test_what_goes_what_stays_and_a_new_beginning(place: Path, settings: Settings) -> None:
    """An ensemble, which hangs on the sweep's own run, stays champion after `mlflow gc` has ended that run."""
    document = sweep(place, "load", register={"alias": "challenger"}, budget={"max_trials": 6}, ensemble={"size": 5},
                     promote={"to": "champion", "require": []})
    document["parameters"]["learning_rate"] = {"min": 3e-3, "max": 3e-2, "log": True}
    first = package.submit(document, settings)
    assert len(first.ensemble) > 1
    uid, before = uid_of(settings, "load"), predict("load@champion", rows(place), settings)
    found = survey("load", settings)
    assert (found.uid, found.state, found.trials, found.runs) == (uid, "finished", 6, 7)
    gone = delete("load", settings)
    assert gone == replace(found, forks={})
    assert gone.summary() == {"sweep": "load", "trials": 6, "runs": 7, "forks": {}, "unasked": None, "versions": [
        {"version": "load/1", "aliases": ["challenger", "champion"]}]}
    assert names(settings) == set()
    assert Traces(settings.tracking_uri, uid).runs() == []
    assert deleted_runs(settings, uid) == 7
    with pytest.raises(NotFound, match="no sweep named load"):
        delete("load", settings)

    collected = subprocess.run([sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", settings.tracking_uri],
                               env=environment(MLFLOW_TRACKING_URI=settings.tracking_uri), capture_output=True,
                               text=True, check=True).stdout
    assert collected.count("has been permanently deleted") == 7
    assert deleted_runs(settings, uid) == 0
    pd.testing.assert_frame_equal(predict("load@champion", rows(place), settings), before)
    with pytest.raises(NotFound, match="the candidate's sweep is not in this store"):
        promote("load/1", settings, to="other")

    again = package.submit(document, settings)
    assert (len(again.trials), again.model, again.state) == (6, "load/2", "finished")
    assert uid_of(settings, "load") != uid
    assert [(finding.kind, finding.where) for finding in examine("load", settings)] == [(Kind.NOTE, "load/1")]
    assert len(Traces(settings.tracking_uri, uid_of(settings, "load")).runs()) == 7
    with Store.open(settings.store) as store:
        assert store.test_uses(store.sweep("load").data_hash or "") == 2


KILLED = """
import os, signal, sys
from mlflow import MlflowClient
from sqlalchemy import Engine, event
from seqsweep.config.settings import Settings
from seqsweep.removal import delete

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def run(self, run_id, real=MlflowClient.delete_run, done=[]):
    done.append(run_id)
    kill() if len(done) > 1 else real(self, run_id)

if sys.argv[1] == "runs":
    MlflowClient.delete_run = run
else:
    @event.listens_for(Engine, "before_cursor_execute")
    def arrive(connection, cursor, statement, *_):
        kill() if "DELETE FROM seqsweep_sweeps" in statement else None
delete("killed", Settings(sys.argv[2], sys.argv[3], "local"))
"""


@pytest.mark.parametrize("when", ["runs", "rows"])
@pytest.mark.parametrize("then", ["delete", "repair"])
def test_one_that_is_killed_is_ended_by_the_next_or_undone_by_a_repair(place: Path, settings: Settings, when: str,
                                                                       then: str) -> None:
    package.submit(sweep(place, "killed"), settings)
    uid, trials = uid_of(settings, "killed"), table(settings, "killed", times=True)
    done = subprocess.run([sys.executable, "-c", KILLED, when, settings.store, settings.tracking_uri], check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    assert len(Traces(settings.tracking_uri, uid).runs()) == (2 if when == "runs" else 0)
    assert table(settings, "killed", times=True) == trials
    assert {finding.kind for finding in examine("killed", settings)} == {Kind.LOST}
    if then == "repair":
        assert repair("killed", settings).left == ()
        assert len(Traces(settings.tracking_uri, uid).runs()) == 3
    delete("killed", settings)
    assert "killed" not in names(settings)
    assert Traces(settings.tracking_uri, uid).runs() == []


def test_while_a_controller_is_at_work_nothing_is_deleted(place: Path, settings: Settings) -> None:
    package.submit(sweep(place, "held"), settings)
    with Store.open(settings.store) as store, store.acquire("held"):
        for verb in (survey, delete):
            with pytest.raises(Conflict, match=f"sweep held is being run by process {os.getpid()} on "):
                verb("held", settings)
    assert len(Traces(settings.tracking_uri, uid_of(settings, "held")).runs()) == 3
    with pytest.raises(Conflict, match="another sweep has its name now"):
        delete("held", settings, uid="0" * 32)
    assert len(package.open_sweep("held", settings).trials) == 2


def test_a_sweep_that_is_taken_between_its_runs_and_its_rows_is_not_deleted(
        place: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    package.submit(sweep(place, "taken"), settings)
    trials, real = table(settings, "taken", times=True), deletion.delete_sweep

    def late(store: Store, lease: Any) -> None:
        lease.release()
        with store.acquire("taken"):
            real(store, lease)

    monkeypatch.setattr(removal, "delete_sweep", late)
    with pytest.raises(Conflict, match="no longer holds it, nothing was written"):
        delete("taken", settings)
    assert table(settings, "taken", times=True) == trials


def test_what_a_frozen_controller_made_meanwhile_goes_too(place: Path, settings: Settings,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    package.submit(sweep(place, "straggler"), settings)
    uid, real = uid_of(settings, "straggler"), deletion.delete_sweep

    def late(store: Store, lease: Any) -> None:
        client = connect(settings.tracking_uri)
        client.create_run("0", tags={"seqsweep.uid": uid})
        real(store, lease)

    monkeypatch.setattr(removal, "delete_sweep", late)
    delete("straggler", settings)
    assert Traces(settings.tracking_uri, uid).runs() == []


def test_a_fork_keeps_what_it_was_told_and_one_that_was_not_told_is_waited_for(place: Path, settings: Settings) -> None:
    tree = sweep(place, "parent")
    package.submit(tree, settings)
    package.submit(tree, settings, fork="told")
    with Store.open(settings.store) as store:
        enter(store, forked(load_sweep(tree), "untold"), "", "parent")
        known = store.stage("told", "fork")
        assert known is not None
        with store.acquire("told") as lease:  # as an older seqsweep, whose sweeps had fewer keys, has it
            store.put_stage(lease, "fork", "another", known.value)
    for verb in (survey, delete):
        with pytest.raises(Conflict, match=r"its fork untold was not told its trials yet\n.*`seqsweep resume untold`"):
            verb("parent", settings)
    delete("untold", settings)
    assert delete("parent", settings).forks == {"told": 2}
    grown = package.submit(tree | {"budget": {"max_trials": 3}}, settings, fork="told")
    assert (grown.state, len(grown.trials)) == ("finished", 3)
    with Store.open(settings.store) as store:
        assert store.stages("told")["fork"].value == known.value
    assert grown.status()["forked_from"] == "parent, 2 of whose trials it was told"
    assert examine("told", settings) == []


def test_code_of_ones_own_that_a_version_runs_is_kept(place: Path, settings: Settings) -> None:
    (place / "mine.py").write_text(OWN)
    parameters = {"width": {"value": 4}, "epochs": {"value": 1}}
    package.submit(sweep(place, "mine", model={"entry": "mine.py:Tiny"}, register={"alias": "challenger"},
                         parameters=parameters, budget={"max_trials": 1}), settings)
    for verb in (survey, delete):
        with pytest.raises(Conflict, match=r"mine/1: it runs code of its own, mine\.py, and `predict` .* only while") \
                as refused:
            verb("mine", settings)
    assert "MlflowClient().delete_model_version('mine', '1')" in str(refused.value)
    assert len(predict("mine", rows(place), settings)) == 3
    MlflowClient(settings.tracking_uri, settings.tracking_uri).delete_model_version("mine", "1")
    assert delete("mine", settings).versions == ()


def test_without_mlflow_nothing_is_deleted_unless_its_runs_are_kept(place: Path, settings: Settings) -> None:
    package.submit(sweep(place, "away"), settings)
    uid, down = uid_of(settings, "away"), replace(settings, tracking_uri="http://127.0.0.1:1")
    for verb in (survey, delete):
        with pytest.raises(Outage, match=r"(?s)MLflow does not answer.*away: nothing was deleted.*--keep-runs") as told:
            verb("away", down)
        assert uid in str(told.value)
    assert "away" in names(settings)
    gone = delete("away", down, keep_runs=True)
    assert (gone.trials, gone.runs, gone.versions) == (2, None, None)
    assert "MLflow does not answer" in gone.unasked
    assert "away" not in names(settings)
    assert len(Traces(settings.tracking_uri, uid).runs()) == 3


def test_an_mlflow_that_goes_away_meanwhile_leaves_the_sweep(place: Path, settings: Settings,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    package.submit(sweep(place, "half"), settings)

    def fail(self: MlflowClient, run_id: str) -> None:
        raise ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_run", fail)
        with pytest.raises(Unavailable, match=r"(?s)the server is gone.*the sweep is still in the store"):
            delete("half", settings)
    assert "half" in names(settings)
    assert delete("half", settings).runs == 3


def test_kept_runs_stay_and_versions_are_told(place: Path, settings: Settings) -> None:
    package.submit(sweep(place, "kept", register={"alias": "challenger"}), settings)
    uid = uid_of(settings, "kept")
    gone = delete("kept", settings, keep_runs=True)
    assert (gone.runs, [str(version) for version in gone.versions or ()], gone.unasked) == (None, ["kept/1"], "")
    assert len(Traces(settings.tracking_uri, uid).runs()) == 3
    assert str(Registry(settings.tracking_uri).resolve("kept@challenger")) == "kept/1"


def test_where_mlflow_was_deleted_none_is_made(place: Path, settings: Settings) -> None:
    package.submit(sweep(place, "bare"), settings)
    gone = delete("bare", replace(settings, tracking_uri=f"sqlite:///{place}/none.db"))
    assert (gone.trials, gone.runs, gone.versions) == (2, 0, ())
    assert not (place / "none.db").exists()


def test_while_mlflow_cannot_tell_code_of_ones_own_is_kept(place: Path, settings: Settings) -> None:
    (place / "vouch.py").write_text(OWN)
    parameters = {"width": {"value": 4}, "epochs": {"value": 1}}
    package.submit(sweep(place, "vouch", model={"entry": "vouch.py:Tiny"}, register={"alias": "challenger"},
                         parameters=parameters, budget={"max_trials": 1}), settings)
    down = replace(settings, tracking_uri="http://127.0.0.1:1")
    for verb in (survey, delete):
        with pytest.raises(Unavailable, match=r"vouch/1: it runs code of its own, and MLflow cannot tell"):
            verb("vouch", down, keep_runs=True)
    assert len(predict("vouch@challenger", rows(place), settings)) == 3


def test_one_that_was_frozen_leaves_the_runs_of_who_took_the_sweep(place: Path, settings: Settings,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    package.submit(sweep(place, "frozen"), settings)
    uid, real = uid_of(settings, "frozen"), MlflowClient.delete_run
    others = list[Any]()

    def freeze(self: MlflowClient, run_id: str) -> None:
        real(self, run_id)
        if not others:
            with Store.open(settings.store) as store, store._database.write() as connection:
                connection.execute(text("UPDATE seqsweep_leases SET expires = 0"))
            others.append(Store.open(settings.store))
            others.append(others[0].acquire("frozen"))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_run", freeze)
        with pytest.raises(Conflict, match=r"(?s)no longer holds it.*`seqsweep project frozen` writes them again"):
            delete("frozen", settings)
    others[1].release()
    others[0].close()
    assert len(Traces(settings.tracking_uri, uid).runs()) == 2


def test_a_killed_one_of_a_registered_version_can_be_undone(place: Path, settings: Settings) -> None:
    package.submit(sweep(place, "killed", register={"alias": "challenger"}), settings)
    uid = uid_of(settings, "killed")
    done = subprocess.run([sys.executable, "-c", KILLED, "rows", settings.store, settings.tracking_uri], check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    found = examine("killed", settings)
    assert {finding.kind for finding in found} == {Kind.LOST, Kind.ORPHANED}
    assert any("`seqsweep project killed` brings it back" in str(vars(finding)) for finding in found)
    assert repair("killed", settings).left == ()
    assert examine("killed", settings) == []
    assert len(Traces(settings.tracking_uri, uid).runs()) == 3
    delete("killed", settings)
    assert Traces(settings.tracking_uri, uid).runs() == []
