"""The registry, on SQLite and on one real server: what a version is, who holds an alias, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from seqsweep.errors import Conflict, NotFound, Unavailable
from seqsweep.tracking.address import masked
from seqsweep.tracking.registry import ModelVersion, Registry, Story

STORY = Story("Forecasts load.", "**trial 1 wins**", {"cell": "gru"}, (Metric("test_mae", 0.25, 7_000, 3),))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def run_id(database: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    client = MlflowClient(database, database)
    experiment = client.create_experiment("energy", artifact_location=str(tmp_path_factory.mktemp("artifacts")))
    return str(client.create_run(experiment).info.run_id)


@pytest.fixture
def registry(database: str) -> Registry:
    return Registry(database)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "weights.txt").write_text("1 2 3")
    return folder


def register(registry: Registry, folder: Path, run_id: str, name: str, key: str) -> ModelVersion:
    return registry.register(name, folder, run_id=run_id, key=key, alias="challenger",
                             tags={"trial": key[-1]}, story=STORY)


def promote(registry: Registry, name: str, version: int) -> ModelVersion:
    return registry.promote(name, version, "champion", by="ada", why="better", figures={"mae": 0.5})


def test_registering_makes_a_version_that_holds_the_alias_and_can_be_downloaded(
        registry: Registry, package: Path, run_id: str, tmp_path: Path) -> None:
    version = register(registry, package, run_id, "one", "s:1")
    assert (version.name, version.version, version.aliases, version.run_id) == ("one", 1, ("challenger",), run_id)
    assert version.tags["trial"] == "1"
    assert (registry.download(version, tmp_path / "copy") / "weights.txt").read_text() == "1 2 3"


def test_a_version_and_its_model_tell_what_they_are(registry: Registry, package: Path, run_id: str,
                                                    database: str) -> None:
    register(registry, package, run_id, "told", "e:1")
    client = MlflowClient(database, database)
    version = client.get_model_version("told", "1")
    assert client.get_registered_model("told").description == "Forecasts load."
    assert version.description == "**trial 1 wins**"
    model, = client.search_logged_models([client.get_run(run_id).info.experiment_id], filter_string="name = 'told'")
    assert model.params == {"cell": "gru"}
    assert model.tags["mlflow.modelVersions"] == '[{"name": "told", "version": 1}]'
    assert (7_000, 3, 0.25) in [(point.timestamp, point.step, point.value)
                                for point in client.get_metric_history(run_id, "test_mae")]

    client.update_registered_model("told", "a person's own words")
    register(registry, package, run_id, "told", "e:2")
    assert client.get_registered_model("told").description == "a person's own words"


def test_registering_twice_makes_one_version(registry: Registry, package: Path, run_id: str, database: str) -> None:
    first = register(registry, package, run_id, "twice", "t:1")
    assert register(registry, package, run_id, "twice", "t:1") == first
    outputs = MlflowClient(database, database).get_run(run_id).outputs
    assert outputs is not None
    models = [output.model_id for output in outputs.model_outputs]
    assert len(models) == len(set(models))


def test_an_upload_cut_off_is_gone_on_with(registry: Registry, package: Path, run_id: str, database: str,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise ConnectionError("cut off")

    with monkeypatch.context() as broken:
        broken.setattr(registry._client, "finalize_logged_model", cut)
        with pytest.raises(Unavailable, match="cut off"):
            register(registry, package, run_id, "cut", "c:1")
    with monkeypatch.context() as broken:
        broken.setattr(registry._client, "create_model_version", cut)
        with pytest.raises(Unavailable, match="cut off"):
            register(registry, package, run_id, "cut", "c:1")

    def no_alias(*_: object) -> None:
        raise ConnectionError("no alias")

    with monkeypatch.context() as broken:
        broken.setattr(registry._client, "log_model_artifacts", cut)  # they are there
        broken.setattr(registry._client, "set_registered_model_alias", no_alias)
        with pytest.raises(Unavailable, match="no alias"):
            register(registry, package, run_id, "cut", "c:1")
    version = register(registry, package, run_id, "cut", "c:1")
    assert (version.version, version.aliases) == (1, ("challenger",))
    client = MlflowClient(database, database)
    models = client.search_logged_models([client.get_run(run_id).info.experiment_id], filter_string="name = 'cut'")
    assert [model.status.value for model in models] == ["READY"]
    assert [(metric.key, metric.value) for metric in models[0].metrics or []] == [("test_mae", 0.25)]


def test_registering_an_old_trial_again_does_not_take_the_alias_from_a_newer_one(
        registry: Registry, package: Path, run_id: str) -> None:
    register(registry, package, run_id, "older", "o:1")
    register(registry, package, run_id, "older", "o:2")
    assert register(registry, package, run_id, "older", "o:1").aliases == ()
    assert registry.resolve("older@challenger").version == 2


def test_references(registry: Registry, package: Path, run_id: str) -> None:
    for key in ("r:1", "r:2"):
        register(registry, package, run_id, "refs", key)
    promote(registry, "refs", 1)
    assert registry.resolve("refs@champion").version == 1
    assert registry.resolve("refs/1") == registry.resolve("refs@champion")
    assert registry.resolve("refs").version == 2
    for missing, says in (("refs@king", "2 @challenger, 1 @champion"), ("refs/7", "2 @challenger, 1 @champion"),
                          ("nobody", "refs"), ("refs@", "electricity@champion"), ("refs/x", "electricity@champion"),
                          ("", "electricity@champion"), ("o'brien", "electricity@champion")):
        with pytest.raises(NotFound, match=says):
            registry.resolve(missing)


def test_promotion_tells_its_story_and_is_done_once(registry: Registry, package: Path, run_id: str) -> None:
    for key in ("p:1", "p:2"):
        register(registry, package, run_id, "story", key)
    assert registry.holder("story", "champion") is None
    promote(registry, "story", 1)
    champion = promote(registry, "story", 2)
    assert set(champion.aliases) == {"champion", "challenger"}
    assert champion.tags["champion.previous"] == "[1]"
    assert champion.tags["champion.promoted_by"] == "ada"
    assert champion.tags["champion.reason"] == "better"
    assert champion.tags["champion.figures"] == '{"mae": 0.5}'
    assert promote(registry, "story", 2) == champion


def test_rollback_goes_back_step_by_step_even_where_a_version_was_champion_twice(
        registry: Registry, package: Path, run_id: str) -> None:
    for key in ("b:1", "b:2", "b:3"):
        register(registry, package, run_id, "back", key)
    for version in (1, 2, 1, 3):
        promote(registry, "back", version)
    held = [registry.rollback("back", "champion", by="ada", why="drift").version for _ in range(3)]
    assert held == [1, 2, 1]
    with pytest.raises(Conflict, match="first champion"):
        registry.rollback("back", "champion", by="ada", why="drift")
    assert registry.resolve("back@champion").version == 1
    assert registry.resolve("back/1").tags["champion.restored_from"] == "2"
    with pytest.raises(NotFound, match="no canary"):
        registry.rollback("back", "canary", by="ada", why="drift")


def test_rollback_passes_over_deleted_versions(registry: Registry, package: Path, run_id: str, database: str) -> None:
    for number in (1, 2, 3):
        register(registry, package, run_id, "deleted", f"d:{number}")
        promote(registry, "deleted", number)
    MlflowClient(database, database).delete_model_version("deleted", "2")
    assert registry.rollback("deleted", "champion", by="ada", why="drift").version == 1


def test_a_crash_before_the_alias_changes_no_champion(registry: Registry, package: Path, run_id: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ConnectionError("gone")

    for key in ("x:1", "x:2"):
        register(registry, package, run_id, "crash", key)
    promote(registry, "crash", 1)
    promote(registry, "crash", 2)
    with monkeypatch.context() as broken:
        broken.setattr(registry._client, "set_registered_model_alias", crash)
        with pytest.raises(Unavailable):
            promote(registry, "crash", 1)
        with pytest.raises(Unavailable):
            registry.rollback("crash", "champion", by="ada", why="drift")
    assert registry.resolve("crash@champion").version == 2
    assert registry.rollback("crash", "champion", by="ada", why="drift").version == 1
    with pytest.raises(Conflict):
        registry.rollback("crash", "champion", by="ada", why="drift")


def test_a_crash_in_the_story_changes_no_champion(registry: Registry, package: Path, run_id: str,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise ConnectionError("gone")

    for key in ("y:1", "y:2"):
        register(registry, package, run_id, "untold", key)
    promote(registry, "untold", 1)
    promote(registry, "untold", 2)
    with monkeypatch.context() as broken:
        broken.setattr(registry._client, "set_model_version_tag", crash)
        with pytest.raises(Unavailable):
            promote(registry, "untold", 1)
        assert registry.resolve("untold@champion").version == 2
        with pytest.raises(Unavailable):
            registry.rollback("untold", "champion", by="ada", why="drift")
    assert registry.resolve("untold@champion").version == 2


def test_a_dead_server_is_told_quickly_and_without_the_password() -> None:
    began = time.monotonic()
    for uri in ("http://ada:secret@127.0.0.1:9", "postgresql+psycopg://ada:secret@127.0.0.1:9/mlflow"):
        with pytest.raises(Unavailable) as told:
            Registry(uri)
        assert "secret" not in str(told.value)
        assert "ada:***@127.0.0.1:9" in str(told.value)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("uri", ["http://ada:secret@127.0.0.1:port", "http://ada:secret/9@127.0.0.1:1",
                                 "http://ada:secret@[127.0.0.1"])
def test_a_url_that_cannot_be_read_is_told_without_its_password(uri: str) -> None:
    with pytest.raises(Unavailable, match="MLFLOW_TRACKING_URI: this is not a URL") as told:
        Registry(uri)
    assert "secret" not in "".join(traceback.format_exception(told.value))


@pytest.mark.parametrize(("text", "shown"), [
    ("postgresql://u:p@h/db", "postgresql://u:***@h/db"),
    ("cannot reach http://u:p@ss@h:1/x now", "cannot reach http://u:***@h:1/x now"),
    ("http://h:1/?a=1&token=abc (no answer)", "http://h:1/?a=1&token=*** (no answer)"),
    ("postgresql://h/db?password=p%20q&x=1", "postgresql://h/db?password=***&x=1"),
    ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
])
def test_passwords_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
               "--artifacts-destination", str(tmp_path / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _await(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
    raise AssertionError("the server did not start")


@pytest.mark.slow
def test_a_real_server_tells_the_same_story(server: str, package: Path, tmp_path: Path) -> None:
    client = MlflowClient(server, server)
    run_id = client.create_run(client.create_experiment("energy")).info.run_id
    registry = Registry(server)
    first = register(registry, package, run_id, "served", "s:1")
    assert register(registry, package, run_id, "served", "s:1") == first
    register(registry, package, run_id, "served", "s:2")
    promote(registry, "served", 1)
    promote(registry, "served", 2)
    assert registry.rollback("served", "champion", by="ada", why="drift").version == 1
    assert (registry.download(first, tmp_path / "copy") / "weights.txt").read_text() == "1 2 3"
    with pytest.raises(NotFound, match="served"):
        registry.resolve("nobody")
