"""What MLflow has of a sweep, found and deleted wherever it lies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from servers import mlflow_server
from shell import until
from test_runs import fill

from seqsweep.errors import NotFound, Unavailable
from seqsweep.records import Trial
from seqsweep.store.deletion import delete_sweep
from seqsweep.store.records import Store
from seqsweep.tracking.projecting import Projecting
from seqsweep.tracking.registry import Registry
from seqsweep.tracking.runs import project
from seqsweep.tracking.traces import Traces


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/seqsweep.db") as opened:
        yield opened


def runs(client: MlflowClient, uid: str, view: int = ViewType.ACTIVE_ONLY) -> list[str]:
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return sorted(run.info.run_name for run in client.search_runs(ids, f"tags.seqsweep.uid = '{uid}'", view))


def tags(client: MlflowClient) -> str:
    return " ".join(key for experiment in client.search_experiments() for key in experiment.tags)


def check(store: Store, uri: str, package: Path) -> None:
    """Runs in two experiments, three versions of two models, one of another sweep; all of one sweep goes but those."""
    uid = fill(store).sweep.uid
    project(store, "wind", uri)
    client = MlflowClient(uri, uri)
    elsewhere = client.create_experiment("elsewhere")
    client.create_run(elsewhere, tags={"seqsweep.uid": uid}, run_name="before")
    client.create_run(elsewhere, tags={"seqsweep.uid": "f" * 32}, run_name="another")
    package.mkdir()
    (package / "MLmodel").write_text("flavors: {}\n")
    run, registry = Traces(uri, uid).runs()[-1], Registry(uri)
    for name, key in (("wind", f"{uid}/1"), ("storm", f"{uid}/ensemble 1 x2 + 2"), ("wind", f"{'f' * 32}/1")):
        registry.register(name, package, run_id=run, key=key, alias="challenger", tags={"sweep": "wind"})
    registry.promote("wind", 1, "champion", by="ada", why="", figures={})

    traces = Traces(uri, uid)
    assert len(traces.runs()) == len(runs(client, uid)) == 6
    assert [(str(version), version.aliases) for version in traces.versions()] == [
        ("storm/1", ("challenger",)), ("wind/1", ("champion",))]
    assert uid in tags(client)
    seen: list[tuple[int, int]] = []
    assert traces.delete_runs(lambda done, of: seen.append((done, of))) == 6
    assert seen == [(number, 6) for number in range(6)]
    assert traces.runs() == runs(client, uid) == []
    assert runs(client, uid, ViewType.DELETED_ONLY) == ["before", "wind", *(f"wind-{number}" for number in range(4))]
    assert runs(client, "f" * 32) == ["another"]
    assert uid not in tags(client)
    assert len(traces.versions()) == 2
    assert traces.delete_runs() == 0


def test_a_sweep_is_found_in_every_experiment_and_model(store: Store, tmp_path: Path) -> None:
    check(store, f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "package")


@pytest.mark.slow
def test_and_on_a_server(store: Store, tmp_path: Path, free_port: int) -> None:
    uri = f"http://127.0.0.1:{free_port}"
    with mlflow_server(tmp_path, free_port):
        until(lambda: answers(uri), 120)
        check(store, uri, tmp_path / "package")
    with pytest.raises(Unavailable, match="MLflow does not answer"):
        Traces(uri, "0" * 32)


def answers(uri: str) -> bool:
    try:
        return bool(MlflowClient(uri, uri).search_experiments())
    except Exception:
        return False


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no MLflow database"):
        Traces(f"sqlite:///{tmp_path}/mlflow.db", "0" * 32)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("again", [False, True], ids=["gone", "another has its name"])
@pytest.mark.parametrize(("call", "which"), [("create_run", "wind-4"), ("log_batch", "wind-4"), ("update_run", "wind")])
def test_what_a_frozen_writer_made_of_a_deleted_sweep_goes_too(
        store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, which: str, again: bool) -> None:
    """Frozen in a call to MLflow, while the sweep is deleted and perhaps begun anew: as many have held it then."""
    lease, uri = fill(store), f"sqlite:///{tmp_path}/mlflow.db"
    store.start_trial(lease, Trial(4, {"cell": "gru"}, 44))
    real, told, new = getattr(MlflowClient, call), list[str](), list[str]()

    def frozen(self: MlflowClient, run_id: str, *words: Any, **named: Any) -> Any:
        name = named.get("run_name") or self.get_run(run_id).info.run_name
        if name == which and not told:
            told.append(name)
            Traces(uri, lease.sweep.uid).delete_runs()
            delete_sweep(store, lease)
            if again:
                new.append(fill(store).sweep.uid)
                project(store, "wind", uri)
        return real(self, run_id, *words, **named)

    monkeypatch.setattr(MlflowClient, call, frozen)
    projecting = Projecting({"store": f"sqlite:///{tmp_path}/seqsweep.db", "name": "wind", "uri": uri, "every": 0.05,
                             "uid": lease.sweep.uid, "token": lease.token}, io.StringIO())
    projecting.ask(1, last=False)
    projecting.work()
    assert told
    client = MlflowClient(uri, uri)
    assert runs(client, lease.sweep.uid) == []
    if again:
        assert runs(client, new[0]) == ["wind", *(f"wind-{number}" for number in range(4))]
