"""What is submitted, beside what the store has under its name: the same sweep, a new one, a fork, or another one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from typing import Any

from seqsweep import __version__
from seqsweep.config.sweep import Sweep
from seqsweep.errors import Conflict, InvalidSweep, NotFound, Problem
from seqsweep.store.records import Store, SweepRecord

MAY_CHANGE = ("budget", "resources", "retries", "keep", "ensemble", "evaluate", "register", "promote")
"""Keys that may differ between two submissions of one sweep: they change no trial that is there."""
FORKED_FROM, PARENT_UID, TOLD = "forked_from", "forked_from_uid", "forked_trials"
"""Facts of a fork: its parent's name and uid, and how many of the parent's trials its search was told."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST = 160
COMPARED = ("task", "model", "metric")
"""Values of trials are told to a fork only where these, and the prepared data, are the same."""


def enter(store: Store, sweep: Sweep, document: str, parent: str = "") -> SweepRecord:
    """Find or create the sweep's record; one without a trial yet may become another sweep.

    `parent`: the sweep that this one is a fork of. Raises Conflict, with what changed, where the name is that of
    another sweep with trials; NotFound where there is no such parent.
    """
    spec = specification(sweep)
    try:
        record = store.sweep(sweep.name)
    except NotFound:
        facts = _ancestry(store, parent) if parent else {}
        return store.create_sweep(sweep.name, document, json.dumps(spec), identity(spec),
                                  current_facts() | facts)
    if parent and record.facts.get(FORKED_FROM) != parent:
        raise Conflict(Problem(sweep.name, f"is in the store already, and is no fork of {parent}",
                               "give the fork a name that is free"))
    was = specification(Sweep.model_validate_json(record.spec))  # keys that are younger than it have their defaults
    if identity(was) != identity(spec) and store.trials(sweep.name, curves=False, limit=1):
        before, now = _deciding(was), _deciding(spec)
        told = all(before.get(key) == now.get(key) for key in (*COMPARED, "data", "prepare", "split"))
        raise changed(sweep.name, "differs from the sweep stored under this name", differences(before, now), told)
    return record


def changed(name: str, what: str, changes: list[str], told: bool) -> Conflict:
    """The refusal of a sweep that is not what it was: each change on a line, and the ways on.

    `told`: whether a fork's search may be told what its trials gave.
    """
    fork = "which is told the trials of this one that fit" if told else "whose search starts anew"
    return Conflict(Problem(name, "\n    ".join([f"{what}:", *changes]),
                            f"`--fork NAME` makes a new sweep of it, {fork}; or go back to what was submitted before: "
                            f"only {', '.join(MAY_CHANGE[:-1])} and {MAY_CHANGE[-1]} may change"))


def forked(sweep: Sweep, name: str) -> Sweep:
    """The sweep under a new name; its runs and its model stay beside those of the sweep it is a fork of.

    Raises InvalidSweep for a name that is none, Conflict for the sweep's own.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSweep(Problem("--fork", "this is no name for a sweep",
                                   "letters, digits, `.`, `_` and `-`, at most 100, beginning with a letter or digit"))
    if name == sweep.name:
        raise Conflict(Problem("--fork", f"{name} is the sweep itself", "a fork has a name of its own"))
    registration = sweep.registration
    if registration is not None:
        registration = registration.model_copy(update={"model": registration.model or sweep.name})
    return sweep.model_copy(update={"name": name, "experiment": sweep.experiment or sweep.name,
                                    "registration": registration})


def stored_sweep(store: Store, name: str) -> tuple[Sweep, str]:
    """A submitted sweep and its text, as the store holds them. Raises NotFound."""
    record = store.sweep(name)
    return Sweep.model_validate_json(record.spec), record.document


def in_stored_order(sweep: Sweep, record: SweepRecord) -> Sweep:
    """The sweep with its parameters as they were first written: their order is that of the draws, and no change."""
    stored = json.loads(record.spec)["parameters"]
    if stored.keys() != sweep.parameters.keys():
        return sweep
    return sweep.model_copy(update={"parameters": {name: sweep.parameters[name] for name in stored}})


def specification(sweep: Sweep) -> dict[str, Any]:
    """The sweep as plain JSON values, under the names a user writes."""
    spec: dict[str, Any] = sweep.model_dump(mode="json", by_alias=True)
    return spec


def identity(spec: Mapping[str, Any]) -> str:
    """Hash of everything that decides what a trial is and gives."""
    return digest(_deciding(spec))


def _deciding(spec: Mapping[str, Any]) -> dict[str, Any]:
    data = {key: value for key, value in spec["data"].items() if key != "source"}  # a text for readers
    return {key: value for key, value in spec.items() if key not in MAY_CHANGE} | {"data": data}


def digest(value: Any) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, a line each: `task.context: 12 -> 24`."""
    return list(_differences(old, new, path))


def current_facts() -> dict[str, Any]:
    """What the sweep runs on from now: versions and hardware."""
    packages = ("torch", "optuna", "ray", "mlflow", "numpy", "pandas")
    return {"code_version": __version__, "python": platform.python_version(),
            "hardware": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
            "packages": {name: importlib.metadata.version(name) for name in packages}}


def _ancestry(store: Store, parent: str) -> dict[str, str]:
    try:
        record = store.sweep(parent)
    except NotFound as error:
        raise NotFound(Problem("--fork", f"there is no sweep {parent} to fork: {error}",
                               "the YAML names the sweep that is forked, --fork the new one")) from None
    return {FORKED_FROM: record.name, PARENT_UID: record.uid}


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if (entry := new.get("entry")) and old.get("entry") == entry and old.get("code") != new.get("code"):
            hashes = (hashlib.sha256(str(each.get("code")).encode()).hexdigest()[:12] for each in (old, new))
            yield f"{path}.entry: {entry.partition(':')[0]} has changed: sha256 {' -> '.join(hashes)}"
        old, new = ({key: each for key, each in one.items() if key != "code"} for one in (old, new))
        for key in dict.fromkeys([*new, *old]):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    """A JSON value on one line, without the fields that say nothing."""
    if isinstance(value, Mapping):
        value = {key: each for key, each in value.items() if each not in (None, {}, False) and key != "code"}
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
