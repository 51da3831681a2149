"""The registry beside the store: what was registered is there, once, and what is there came from somewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from seqsweep.doctor.findings import Finding, Kind, Remedy
from seqsweep.doctor.stored import Stored
from seqsweep.doctor.sweeps import winner


def check_registry(stored: Stored, client: MlflowClient, sweeps: set[str]) -> Iterator[Finding]:
    """Findings about the sweep's registered model. `sweeps`: the uids of all sweeps of the store."""
    name = _model(stored)
    if not name:
        return
    try:
        aliases = client.get_registered_model(name).aliases
        versions = _versions(client, name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        aliases, versions = {}, []
    yield from _stage(stored, name, versions)
    yield from _own(stored, versions)
    for version in versions:
        yield from _version(stored, client, version, sweeps)
    known = {str(version.version) for version in versions}
    for alias, number in aliases.items():
        if str(number) not in known:
            yield Finding(Kind.ORPHANED, f"{name}@{alias}", f"it leads to version {number}, which is not there", "",
                          Remedy.DROP_ALIAS, (name, alias))


def _model(stored: Stored) -> str:
    register = stored.spec.get("register")
    return str(register.get("model") or stored.sweep["name"]) if isinstance(register, dict) else ""


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    found, token = list[ModelVersion](), None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _stage(stored: Stored, name: str, versions: list[ModelVersion]) -> Iterator[Finding]:
    """What the stage `register` names is in the registry, and of the winner."""
    value: dict[str, Any] = (stored.stages.get("register") or {}).get("value") or {}
    if not value or not stored.has_ended:
        return
    again = f"`seqsweep resume {stored.sweep['name']}` registers the winner again"
    version = next((each for each in versions if f"{name}/{each.version}" == value.get("version")), None)
    if version is None:
        yield Finding(Kind.LOST, "stage register", f"it names {value.get('version')}, which is not in the registry",
                      again)
        return
    model = winner(stored)
    if version.tags.get("seqsweep.key") != f"{stored.sweep['uid']}/{model.removeprefix('trial ')}":
        yield Finding(Kind.CONTRADICTING, "stage register", f"it names {value['version']}, which is not the winner, "
                                                            f"{model}", again)
    if version.run_id != value.get("run"):
        yield Finding(Kind.CONTRADICTING, "stage register", f"{value['version']} is of another run than it says", again)


def _own(stored: Stored, versions: list[ModelVersion]) -> Iterator[Finding]:
    """Each version of this sweep is of trials that have a value, and not of what another version is of."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for version in versions:
        by_key[version.tags.get("seqsweep.key", "")].append(f"{version.name}/{version.version}")
    valued = {str(trial["number"]) for trial in stored.trials
              if trial["state"] in ("complete", "pruned") and trial["value"] is not None}
    for key, names in by_key.items():
        uid, _, model = key.partition("/")
        if uid != stored.sweep["uid"]:
            continue
        shown = model if model.startswith("ensemble ") else f"trial {model}"
        if len(names) > 1:
            yield Finding(Kind.DUPLICATED, shown, f"it is registered as {' and '.join(sorted(names))}")
        members = {member.partition(" x")[0] for member in model.removeprefix("ensemble ").split(" + ")}
        if not members <= valued:
            yield Finding(Kind.ORPHANED, names[0], f"it is of {shown}, and the store has no such trial with a value")


def _version(stored: Stored, client: MlflowClient, version: ModelVersion, sweeps: set[str]) -> Iterator[Finding]:
    where, uid = f"{version.name}/{version.version}", version.tags.get("seqsweep.key", "").partition("/")[0]
    if not uid:
        return  # registered by other means
    if uid not in sweeps:
        yield Finding(Kind.NOTE, where, "it is of a sweep that is not in this store")
        return
    if uid != stored.sweep["uid"]:
        return  # a sweep that shares the model, with an examination of its own
    if not _has_run(client, version.run_id):
        yield Finding(Kind.ORPHANED, where, f"its run {version.run_id} is not in MLflow",
                      f"`seqsweep project {stored.sweep['name']}` brings it back where it was deleted in MLflow; else "
                      "delete the version there, and `seqsweep resume` registers the winner anew")
    if version.status != "READY":
        yield Finding(Kind.CONTRADICTING, where, f"its status is {version.status}")
    if (folder := _folder(version.source)) and not (folder / "MLmodel").is_file():
        yield Finding(Kind.LOST, where, f"its files are not in {folder}")


def _has_run(client: MlflowClient, run_id: str | None) -> bool:
    try:
        return run_id is not None and bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _folder(source: str | None) -> Path | None:
    """Where a version's files lie, if that is a folder of this machine."""
    parts = urlsplit(source or "")
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") and parts.path.startswith("/") else None
