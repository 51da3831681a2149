"""What is true now of what a sweep registered: a table of sweeps and a repeated `submit` ask the registry."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from small_sweeps import forecasting, settings_in, write_series

import seqsweep
from seqsweep.config.settings import Settings
from seqsweep.errors import Outage
from seqsweep.promotion import promote
from seqsweep.result import sweep_rows
from seqsweep.tracking import standing
from seqsweep.tracking.registry import Registry

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("standing")
    write_series(folder / "load.csv")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def sweep(place: Path, name: str, **keys: Any) -> dict[str, Any]:
    """The gate refuses it: it is to be twice as good as the best baseline."""
    return forecasting(place / "load.csv", name, **{"budget": {"max_trials": 1},
                                                    "promote": {"to": "champion", "margin": 0.99}} | keys)


def client(settings: Settings) -> MlflowClient:
    return MlflowClient(settings.tracking_uri, settings.tracking_uri)


def row(settings: Settings, name: str) -> dict[str, Any]:
    return next(each for each in sweep_rows(settings) if each["sweep"] == name)


def test_what_is_next_follows_a_promotion_that_the_sweep_did_not_ask_for(place: Path, settings: Settings) -> None:
    first = seqsweep.submit(sweep(place, "unasked", promote=None), settings)
    assert first.standing == ""
    assert [command for command, _ in first.next_commands()][2:] == [
        "seqsweep promote unasked", "seqsweep predict unasked@challenger --data new.csv"]
    promote("unasked", settings, margin=-0.9, require=("beats_champion",))
    assert first.standing.startswith("unasked/1 is champion, promoted by hand by ")
    assert [command for command, _ in first.next_commands()][2:] == ["seqsweep predict unasked@champion --data new.csv"]


def test_after_a_promotion_by_hand_a_submit_says_who_is_champion(place: Path, settings: Settings, capsys: Said) -> None:
    first = seqsweep.submit(sweep(place, "hand"), settings)
    assert "hand/1 stays a candidate" in first.gate
    assert first.standing == ""
    assert first.summary()["standing"] is None
    capsys.readouterr()
    seqsweep.submit(sweep(place, "hand"), settings)
    assert "unchanged: hand/1 stays a candidate" in capsys.readouterr().err
    assert [command for command, _ in first.next_commands()][2:] == [
        "seqsweep promote hand", "seqsweep predict hand@challenger --data new.csv"]

    promote("hand", settings, margin=-0.9, require=("beats_champion",), why="the season begins")
    again = seqsweep.submit(sweep(place, "hand"), settings)
    said = capsys.readouterr().err
    assert "stays a candidate" not in said
    assert "promote   hand/1 is champion, promoted by hand by " in said
    assert again.standing.startswith("hand/1 is champion, promoted by hand by ")
    assert again.standing.endswith("Z: the season begins")
    assert again.summary()["standing"] == again.standing
    assert [command for command, _ in again.next_commands()][2:] == ["seqsweep predict hand@champion --data new.csv"]
    assert row(settings, "hand")["versions"] == [{"version": "hand/1", "aliases": ["challenger", "champion"]}]
    down = seqsweep.SweepResult("hand", replace(settings, tracking_uri="http://127.0.0.1:1"))
    assert down.standing == ""


def test_a_champion_that_another_followed_or_that_was_rolled_back_is_none(place: Path, settings: Settings) -> None:
    free = {"promote": {"to": "champion", "require": []}, "register": {"model": "shared"}}
    first = seqsweep.submit(sweep(place, "first", **free), settings)
    assert (first.gate.splitlines()[0], first.standing) == ("gate: shared/1 is now champion", "")
    second = seqsweep.submit(sweep(place, "second", seed=4, **free), settings)
    assert second.standing == ""
    assert first.standing.startswith("shared/1 is champion no longer: shared/2 is, promoted by ")
    assert first.standing.endswith("Z: sweep second")
    assert [(row(settings, name)["model"], row(settings, name)["versions"]) for name in ("first", "second")] == [
        ("shared/1", [{"version": "shared/1", "aliases": []}]),
        ("shared/2", [{"version": "shared/2", "aliases": ["challenger", "champion"]}])]
    Registry(settings.tracking_uri).rollback("shared", "champion", by="ada", why="drift")
    assert first.standing == ""
    assert second.standing.startswith("shared/2 is champion no longer: shared/1 is, restored by hand by ada at ")
    assert second.standing.endswith("Z: drift")
    client(settings).delete_registered_model_alias("shared", "champion")
    assert second.standing == "shared/2 is champion no longer: no version is"
    assert "seqsweep promote shared" in [command for command, _ in second.next_commands()]


def test_an_alias_that_was_given_in_mlflow(place: Path, settings: Settings) -> None:
    result = seqsweep.submit(sweep(place, "ui"), settings)
    client(settings).set_registered_model_alias("ui", "champion", "1")
    assert result.standing == "ui/1 is champion, an alias given to it in MLflow"


def test_an_older_version_of_the_sweep_that_is_champion_is_listed_too(place: Path, settings: Settings) -> None:
    result = seqsweep.submit(sweep(place, "grown", promote=None), settings)
    promote("grown", settings, require=())
    stored = Registry(settings.tracking_uri).resolve("grown/1")
    source = client(settings).get_model_version("grown", "1").source or ""
    client(settings).create_model_version("grown", source, stored.run_id, {"seqsweep.key": "another sweep/1"})
    assert row(settings, "grown")["versions"] == [{"version": "grown/1", "aliases": ["challenger", "champion"]}]
    uid = stored.tags["seqsweep.key"].partition("/")[0]
    found = standing.versions_now(settings.tracking_uri, {uid: "grown/2", "other": "nobody/1"})
    assert {key: [str(version) for version in versions] for key, versions in found.items()} == {
        uid: ["grown/2", "grown/1"], "other": []}
    client(settings).delete_model_version("grown", "1")
    assert result.model == "grown/1"
    assert row(settings, "grown")["versions"] == []


def test_where_mlflow_cannot_tell_that_is_said_and_no_database_is_made(place: Path, settings: Settings) -> None:
    seqsweep.submit(sweep(place, "listed", promote=None), settings)
    seqsweep.submit(sweep(place, "plain", promote=None, register=None), settings)
    for uri, says in (("http://127.0.0.1:1", "MLflow does not answer: "),
                      (f"sqlite:///{place}/none.db", "there is no MLflow database here, so no registered model")):
        found = row(replace(settings, tracking_uri=uri), "listed")
        assert (found["model"], found["versions"]) == ("listed/1", None)
        assert found["registry"].startswith(says)
        none = row(replace(settings, tracking_uri=uri), "plain")
        assert (none["model"], none["versions"], none["registry"]) == (None, None, None)
    assert not (place / "none.db").exists()
    assert row(settings, "listed")["registry"] is None


def test_a_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "PATIENCE", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(Outage, match="MLflow does not answer within 2 s"):
            standing.versions_now(f"http://127.0.0.1:{mute.getsockname()[1]}", {"uid": "load/1"})
        assert time.monotonic() - began < 30
