"""The doctor finds each planted fault, and nothing where there is none; a repair mends what is safe."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sealing import seal_all
from small_sweeps import forecasting, settings_in, table, write_series
from sqlalchemy import text

import seqsweep
from seqsweep.config.settings import Settings
from seqsweep.doctor.examination import examine
from seqsweep.doctor.findings import Finding, Kind
from seqsweep.errors import Conflict, NotFound
from seqsweep.pipeline import project
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.repair import repair
from seqsweep.store.records import Store, SweepState


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of four trials that registered its winner."""
    folder = tmp_path_factory.mktemp("finished")
    write_series(folder / "load.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        seqsweep.submit(forecasting(folder / "load.csv", keep={"checkpoints": 2}), settings_in(folder))
    return folder


@pytest.fixture
def settings(finished: Path, tmp_path: Path) -> Settings:
    """Copies of its store and its MLflow, to be spoilt."""
    for file in finished.glob("*.db"):
        with closing(sqlite3.connect(file)) as whole, closing(sqlite3.connect(tmp_path / file.name)) as copy:
            whole.backup(copy)
    return settings_in(tmp_path)


def change(settings: Settings, *statements: str) -> None:
    """Change the store as a faulty writer would: every row well sealed."""
    if settings.store.startswith("sqlite"):
        with closing(sqlite3.connect(settings.store.removeprefix("sqlite:///"))) as connection, connection:
            for statement in statements:  # without foreign keys
                assert connection.execute(statement).rowcount, statement
    with Store.open(settings.store) as store, store._database.write() as transaction:
        for statement in statements if not store._database.is_sqlite else ():
            assert transaction.execute(text(statement)).rowcount, statement
        seal_all(transaction)


def change_mlflow(settings: Settings, statement: str) -> None:
    with closing(sqlite3.connect(settings.tracking_uri.removeprefix("sqlite:///"))) as connection, connection:
        assert connection.execute(statement).rowcount, statement


def told(findings: list[Finding] | tuple[Finding, ...]) -> list[str]:
    return [f"{finding.kind}: {finding.where}: {finding.what}" for finding in findings]


def test_a_healthy_sweep_has_no_findings(settings: Settings) -> None:
    assert examine("load", settings) == []
    assert repair("load", settings).done == ()
    with pytest.raises(NotFound, match="did you mean load"):
        examine("lod", settings)


BEST = "(SELECT id FROM seqsweep_trials ORDER BY value LIMIT 1)"
WORST = "(SELECT id FROM seqsweep_trials ORDER BY value DESC LIMIT 1)"

IN_THE_STORE = [
    (["DELETE FROM seqsweep_reports WHERE trial_id = 2", "DELETE FROM seqsweep_checkpoints WHERE trial_id = 2",
      "DELETE FROM seqsweep_trials WHERE number = 1"], "lost: load: there is no trial 1"),
    (["DELETE FROM seqsweep_reports WHERE trial_id = 4", "DELETE FROM seqsweep_trials WHERE number = 3"],
     "lost: load: it is finished with 3 of 4 trials"),
    (["UPDATE seqsweep_sweeps SET spec = replace(spec, '\"max_trials\": 4', '\"max_trials\": 3')"],
     "contradicting: load: it has 4 trials, and budget.max_trials is 3"),
    (["UPDATE seqsweep_trials SET params = (SELECT params FROM seqsweep_trials WHERE number = 0) WHERE number = 2"],
     "duplicated: trial 2: it has the parameters of trial 0"),
    (["UPDATE seqsweep_trials SET revision = 3"], "contradicting: load: 4 trials have revision 3"),
    (["UPDATE seqsweep_trials SET revision = 300 WHERE number = 0"], "contradicting: trial 0: its revision is 300"),
    (["UPDATE seqsweep_trials SET state = 'running', ended = NULL, reason = NULL, value = NULL, best_epoch = NULL "
      "WHERE number = 3"], "contradicting: trial 3: it is running, and the sweep is finished"),
    (["UPDATE seqsweep_trials SET reason = 'diverged' WHERE number = 3"],
     "contradicting: trial 3: it is complete, for the reason 'diverged'"),
    (["DELETE FROM seqsweep_reports WHERE trial_id = 1 AND epoch = 2"], "lost: trial 0: its curve lacks epoch 2"),
    (["DELETE FROM seqsweep_reports WHERE trial_id = 1 AND epoch = 3"],
     "lost: trial 0: it finished its 3 epochs, and its curve has 2"),
    (["INSERT INTO seqsweep_reports SELECT trial_id, 4, reported, metrics FROM seqsweep_reports WHERE epoch = 3"],
     "contradicting: trial 0: its curve has 4 epochs, and it was to train 3"),
    (["UPDATE seqsweep_trials SET value = value / 2 WHERE number = 1"], "contradicting: trial 1: its value is"),
    (["UPDATE seqsweep_trials SET value = NULL, best_epoch = NULL WHERE number = 1"],
     "contradicting: trial 1: its value is none, and the best of its curve"),
    (["UPDATE seqsweep_reports SET metrics = replace(metrics, '\"val_mae\"', '\"val_mea\"') WHERE trial_id = 1"],
     "contradicting: trial 0: its value is"),
    (["UPDATE seqsweep_trials SET params = replace(params, '\"epochs\": 3', '\"epochs\": 300') WHERE number = 2"],
     "contradicting: trial 2: epochs is 300, which the sweep does not allow"),
    (["UPDATE seqsweep_trials SET params = replace(params, '\"epochs\"', '\"epocs\"') WHERE number = 2"],
     "contradicting: trial 2: it has epocs, which the sweep does not search"),
    (["UPDATE seqsweep_trials SET params = '[]' WHERE number = 2"],
     "damaged: trial 2, params: what is stored is no JSON"),
    ([f"DELETE FROM seqsweep_checkpoints WHERE trial_id = {BEST}"],
     "lost: trial 2: it is the best, and its weights are not in the store"),
    (["DELETE FROM seqsweep_stages WHERE stage = 'evaluate'"],
     "lost: load: it is finished, and its stage evaluate has"),
    (["UPDATE seqsweep_stages SET value = replace(value, '4', '5') WHERE stage = 'search'"],
     "contradicting: stage search: it told of {'complete': 5}, and there are {'complete': 4}"),
    (["UPDATE seqsweep_stages SET value = replace(value, '\"winner\": 2', '\"winner\": 7') WHERE stage = 'evaluate'"],
     "contradicting: stage evaluate: its winner is trial 7, which is not there"),
    (["UPDATE seqsweep_stages SET value = replace(value, '\"winner\": 2', '\"winner\": 1') WHERE stage = 'evaluate'"],
     "contradicting: stage evaluate: its winner is trial 1, and trial 2 is better"),
    (["UPDATE seqsweep_stages SET value = replace(value, '\"trial 2\"', '\"trial 3\"') WHERE stage = 'evaluate'"],
     "contradicting: stage evaluate: its row of the winner is not that of trial 2"),
    (["DELETE FROM seqsweep_test_uses"], "lost: stage evaluate: that the test part judged trial 2 was not counted"),
    (["INSERT INTO seqsweep_test_uses (data_hash, sweep, model, created) SELECT data_hash, sweep, model, created FROM "
      "seqsweep_test_uses"], "duplicated: trial 2 of load: its use of the test part was counted 2 times"),
    (["DELETE FROM seqsweep_leases"], "lost: load: it has no lease row"),
    (["UPDATE seqsweep_sweeps SET data_hash = NULL"],
     "contradicting: load: it has 4 trials, and no hash of their data"),
    (["UPDATE seqsweep_stages SET value = replace(value, 'load/1', 'load/9') WHERE stage = 'register'"],
     "lost: stage register: it names load/9, which is not in the registry"),
]


@pytest.mark.parametrize(("statements", "expected"), IN_THE_STORE, ids=[expected for _, expected in IN_THE_STORE])
def test_faults_of_the_store_are_found_and_left_for_a_person(settings: Settings, statements: list[str],
                                                             expected: str) -> None:
    change(settings, *statements)
    found = examine("load", settings)
    assert any(finding.is_fault and line.startswith(expected)
               for finding, line in zip(found, told(found), strict=True)), told(found)


MENDED_IN_THE_STORE = [
    ("INSERT INTO seqsweep_reports VALUES (77, 1, 1.0, '{}')", "orphaned: table seqsweep_reports: 1 row of"),
    ("INSERT INTO seqsweep_checkpoints VALUES (77, 'last', 1, '', '')", "orphaned: table seqsweep_checkpoints: 1 row"),
    ("INSERT INTO seqsweep_stages VALUES (77, 'search', '', '{}', 1.0, '')", "orphaned: table seqsweep_stages: 1 row"),
    ("INSERT INTO seqsweep_checkpoints SELECT trial_id, 'last', 1, '', '' FROM seqsweep_checkpoints LIMIT 1",
     "damaged: trial"),
    (f"INSERT INTO seqsweep_checkpoints SELECT {WORST}, kind, epoch, sha256, blob FROM seqsweep_checkpoints LIMIT 1",
     "damaged: trial"),
]


@pytest.mark.parametrize(("statement", "expected"), MENDED_IN_THE_STORE, ids=[e for _, e in MENDED_IN_THE_STORE])
def test_faults_of_the_store_that_a_repair_mends(settings: Settings, statement: str, expected: str) -> None:
    change(settings, statement)
    before = table(settings, "load", times=True)
    assert any(line.startswith(expected) for line in told(examine("load", settings)))
    mended = repair("load", settings)
    assert len(mended.done) == 1
    assert [*mended.failed, *told(mended.left)] == []
    assert table(settings, "load", times=True) == before


OF_RUN = "run_uuid = (SELECT run_uuid FROM runs WHERE name = 'load-1')"

IN_MLFLOW = [
    ("UPDATE runs SET status = 'RUNNING' WHERE name = 'load-1'", "lost: MLflow, trial 1: it is complete, and its run"),
    ("UPDATE runs SET status = 'RUNNING' WHERE name = 'load'",
     "lost: MLflow, load: the sweep is finished, and its run"),
    ("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'load-1'", "lost: MLflow, trial 1: it has no run"),
    ("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'load'", "lost: MLflow, load: the sweep has no run"),
    (f"UPDATE params SET value = '7' WHERE key = 'hidden_size' AND {OF_RUN}",
     "contradicting: MLflow, trial 1: its parameter hidden_size is 7, and the store has"),
    (f"DELETE FROM params WHERE key = 'hidden_size' AND {OF_RUN}",
     "contradicting: MLflow, trial 1: its run lacks the parameter hidden_size"),
    (f"UPDATE metrics SET value = 7 WHERE key = 'val_mae' AND step = 2 AND {OF_RUN}",
     "contradicting: MLflow, trial 1: val_mae at epoch 2 is 7.0, and the store has"),
    (f"DELETE FROM metrics WHERE key = 'val_mae' AND step = 2 AND {OF_RUN}",
     "contradicting: MLflow, trial 1: val_mae has no point at epoch 2"),
    ("INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics WHERE key = 'val_mae' "
     f"AND step = 2 AND {OF_RUN}", "contradicting: MLflow, trial 1: val_mae has more than one point at epoch 2"),
    ("INSERT INTO metrics SELECT key, value, timestamp, run_uuid, 9, is_nan FROM metrics WHERE key = 'val_mae' "
     f"AND step = 2 AND {OF_RUN}", "contradicting: MLflow, trial 1: val_mae has a point at epoch 9"),
    (f"UPDATE metrics SET value = value / 2 WHERE key = 'best_val_mae' AND {OF_RUN}",
     "contradicting: MLflow, trial 1: best_val_mae is"),
    (f"UPDATE tags SET value = 'failed' WHERE key = 'seqsweep.state' AND {OF_RUN}",
     "contradicting: MLflow, trial 1: its tag state is 'failed'"),
    (f"UPDATE tags SET value = 'x' WHERE key = 'mlflow.parentRunId' AND {OF_RUN}",
     "lost: MLflow, trial 1: its run is not under the sweep's run"),
    (f"UPDATE tags SET value = replace(value, '/1', '/9') WHERE key = 'seqsweep.trial' AND {OF_RUN}",
     "orphaned: MLflow, trial 9: it has a run, and is not in the store"),
]


@pytest.mark.parametrize(("statement", "expected"), IN_MLFLOW, ids=[expected for _, expected in IN_MLFLOW])
def test_faults_of_mlflow_that_a_repair_mends(settings: Settings, statement: str, expected: str) -> None:
    change_mlflow(settings, statement)
    found = examine("load", settings)
    assert any(line.startswith(expected) for line in told(found)), told(found)
    mended = repair("load", settings)
    assert [*mended.failed, *told(mended.left)] == []


def test_the_run_that_a_version_hangs_on_is_left(settings: Settings) -> None:
    change_mlflow(settings, "UPDATE metrics SET value = 7 WHERE key = 'val_mae' AND step = 2 AND "
                            "run_uuid = (SELECT run_uuid FROM runs WHERE name = 'load-2')")
    (left,) = repair("load", settings).left
    assert (left.where, left.right) == ("MLflow, trial 2", "a registered version hangs on this run, so it is left")


def test_two_runs_of_one_trial_are_found_and_one_is_kept(settings: Settings) -> None:
    client = MlflowClient(settings.tracking_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'load'")
    for run in client.search_runs([experiment.experiment_id]):
        client.create_run(experiment.experiment_id, tags=run.data.tags, run_name=run.info.run_name)
    expected = ["MLflow, the sweep: it has 2 runs", *(f"MLflow, trial {n}: it has 2 runs" for n in range(4))]
    assert set(expected) <= {line.removeprefix("duplicated: ") for line in told(examine("load", settings))}
    mended = repair("load", settings)
    assert [*mended.failed, *told(mended.left)] == []


IN_THE_REGISTRY: list[tuple[Callable[[MlflowClient], object], str]] = [
    (lambda client: client.delete_model_version("load", "1"), "lost: stage register: it names load/1"),
    (lambda client: client.set_model_version_tag("load", "1", "seqsweep.key", "else/1"),
     "contradicting: stage register: it names load/1, which is not the winner"),
    (lambda client: client.delete_run(str(client.get_model_version("load", "1").run_id)), "orphaned: load/1: its run"),
]


@pytest.mark.parametrize(("spoil", "expected"), IN_THE_REGISTRY, ids=[each[1] for each in IN_THE_REGISTRY])
def test_faults_of_the_registry_are_found(settings: Settings, spoil: Callable[[MlflowClient], object],
                                          expected: str) -> None:
    spoil(MlflowClient(settings.tracking_uri))
    assert any(line.startswith(expected) for line in told(examine("load", settings)))


def test_an_alias_that_leads_nowhere_is_deleted(settings: Settings) -> None:
    change_mlflow(settings, "INSERT INTO registered_model_aliases (name, alias, version, workspace) "
                            "SELECT name, 'champion', 9, workspace FROM registered_models")
    assert told(examine("load", settings)) == [
        "orphaned: load@champion: it leads to version 9, which is not there"]
    assert repair("load", settings).left == ()


def test_files_of_a_version_that_are_gone(settings: Settings, finished: Path) -> None:
    change_mlflow(settings, "UPDATE model_versions SET source = replace(source, 'models', 'nowhere')")
    assert [line.partition(" /")[0] for line in told(examine("load", settings))] == [
        "lost: load/1: its files are not in"]


def test_a_damaged_trial_is_forgotten_and_trained_anew(settings: Settings, finished: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(settings, "load")
    with Store.open(settings.store) as store, store._database.write() as connection:
        connection.execute(text("UPDATE seqsweep_trials SET seed = seed + 1 WHERE number = 1"))
    assert told(examine("load", settings)) == [
        "damaged: trial 1: its record or its curve is not what was written"]
    assert {finding.kind for finding in repair("load", settings).left} <= {Kind.NOTE}
    monkeypatch.chdir(finished)
    seqsweep.submit(forecasting(finished / "load.csv", keep={"checkpoints": 2}), settings)
    assert examine("load", settings) == []
    assert table(settings, "load") == before  # random search draws the same for a number


def test_what_several_findings_ask_for_is_done_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(settings.store) as store, store._database.write() as connection:
        connection.execute(text("UPDATE seqsweep_trials SET seed = seed + 1 WHERE number = 1"))
    monkeypatch.setattr("seqsweep.repair.examine", lambda *words: examine(*words) * 2)
    mended = repair("load", settings)
    assert mended.failed == ()
    assert sum("is not what was written" in line for line in mended.done) == 1


def test_weights_of_the_winner_come_back_by_training_it_again(settings: Settings, finished: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    before = table(settings, "load")
    change(settings, "DELETE FROM seqsweep_stages WHERE stage = 'register'")
    MlflowClient(settings.tracking_uri).delete_model_version("load", "1")  # it would have them
    with Store.open(settings.store) as store, store._database.write() as connection:
        connection.execute(text("UPDATE seqsweep_checkpoints SET blob = sha256"))
    assert [line for line in told(examine("load", settings)) if "trial 2" in line] == [
        "damaged: trial 2: its best checkpoint, of epoch 3, is not what was written"]
    assert not [finding for finding in repair("load", settings).left if finding.is_fault]
    monkeypatch.chdir(finished)
    seqsweep.submit(forecasting(finished / "load.csv", keep={"checkpoints": 2}), settings)
    assert not [finding for finding in examine("load", settings) if finding.is_fault]
    assert table(settings, "load") == before


# -- while it runs, and on every store


def begin(store: Store, max_trials: int = 3) -> None:
    """A controller of this process at work: one trial ended, one under way."""
    spec = {"name": "wind", "metric": {"name": "mae", "goal": "minimize"}, "budget": {"max_trials": max_trials},
            "parameters": {"lr": {"min": 0.0, "max": 1.0}}, "data": {"path": "a.csv"}, "keep": {"checkpoints": 1}}
    store.create_sweep("wind", "name: wind\n", json.dumps(spec), "hash", {})
    lease = store.acquire("wind")
    store.update_sweep(lease, state=SweepState.RUNNING, data_hash="d1")
    for number in range(2):
        store.start_trial(lease, Trial(number, {"lr": 0.1 + number / 10}, number))
        store.save_progress(lease, number, [Report(1, {"val_mae": 0.5}), Report(2, {"val_mae": 0.4})], last=b"l2",
                            best=b"b2", epoch=2)
    store.close_trial(lease, 0, Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.3, 3), [Report(3, {"val_mae": 0.3})],
                      best=b"b3", keep=1, sign=1, extra={})


@pytest.fixture
def running(store: Store, store_url: str, finished: Path, tmp_path: Path) -> Iterator[Settings]:
    shutil.copy(finished / "mlflow.db", tmp_path / "mlflow.db")
    begin(store)
    yield Settings(store_url, f"sqlite:///{tmp_path}/mlflow.db", "local")


def test_a_sweep_that_runs_is_healthy_though_mlflow_is_behind(running: Settings, store: Store) -> None:
    assert examine("wind", running) == []
    project("wind", running)
    assert examine("wind", running) == []
    change(running, "UPDATE seqsweep_checkpoints SET blob = 'x' WHERE kind = 'last'")
    with pytest.raises(Conflict, match="is being run by process"):
        repair("wind", running)


def test_a_killed_sweep_is_healthy_and_the_doctor_says_how_to_go_on(running: Settings, store: Store) -> None:
    change(running, "UPDATE seqsweep_leases SET pid = 2000000000")
    found = examine("wind", running)
    assert {finding.kind for finding in found} == {Kind.NOTE}
    assert found[0].what == "it says running, and no controller holds it"
    project("wind", running)
    assert [finding.what for finding in examine("wind", running)] == [found[0].what]
    change(running, "UPDATE seqsweep_checkpoints SET blob = 'x' WHERE kind = 'last'")
    assert told(examine("wind", running))[1:] == [
        "damaged: trial 1: its last checkpoint, of epoch 2, is not what was written; it goes on from epoch 0"]
    assert [finding.what for finding in repair("wind", running).left] == [found[0].what]


def test_mlflow_that_is_down_is_said_and_the_rest_is_checked(settings: Settings, free_port: int) -> None:
    change(settings, "DELETE FROM seqsweep_test_uses")
    found = examine("load", Settings(settings.store, f"http://me:s3cret@127.0.0.1:{free_port}", "local"))
    assert [finding.kind for finding in found] == [Kind.LOST, Kind.UNCHECKED]
    assert "s3cret" not in str(found)
    assert not found[1].is_fault
