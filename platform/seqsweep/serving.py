"""Registered models at work: fetch a version from the registry, and predict with it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import own_learner
from seqsweep.data.sources import read_frame
from seqsweep.errors import InvalidData, InvalidSweep, NotFound, Problem, Refused, Unavailable
from seqsweep.store.records import Store
from seqsweep.tracking.package import load_package
from seqsweep.tracking.packaged import Package
from seqsweep.tracking.registry import ModelVersion, Registry
from seqsweep.training.export import check_place, export_member, moves_of, save

Tell = Callable[[str], None]


def fetch(reference: str, settings: Settings, tell: Tell = lambda _: None) -> tuple[ModelVersion, Package]:
    """Resolve `electricity@champion`, `electricity/3` or `electricity`, and load its package.

    `tell` hears of code of the user's own that it runs. Raises NotFound, Unavailable, and Refused where the version is
    no seqsweep package, holds a pickle, or would run code that is not what its sweep has in the store.
    """
    registry = Registry(settings.tracking_uri)
    version = registry.resolve(reference)
    with tempfile.TemporaryDirectory(prefix="seqsweep-") as folder:
        package = load_package(registry.download(version, Path(folder)), str(version))
    if package.facts.owns:
        _check_code(str(version), package, settings)
        files = {f"{own.file} (sha256 {own.sha256[:12]})" for section, own in package.facts.owns if section != "metric"}
        if files:
            tell(f"{version} runs code of its own, as the sweep {package.facts.sweep} has it: "
                 f"{', '.join(sorted(files))}")
    return version, package


def _check_code(version: str, package: Package, settings: Settings) -> None:
    """Raise Refused unless all code that the package would run is that of its sweep in the store.

    Who can write to the registry could otherwise run anything here.
    """
    name = package.facts.sweep
    try:
        with Store.open_existing(settings.store) as store:
            sweep = Sweep.model_validate_json(store.sweep(name).spec)
    except NotFound as error:
        raise Refused(Problem(version, f"would run code of its own, and its sweep {name} is not in this store to tell "
                              "whether it is the sweep's", "the SEQSWEEP_STORE of the sweep; or MLflow's own serving, "
                              "which runs what a model brings")) from error
    known = sweep.owns
    for section, own in package.facts.owns:
        if known.get(section) != own:
            raise Refused(Problem(version, f"would run {own.entry}, which is not the code that the sweep {name} has in "
                                  "the store", "register the sweep's winner again"))


def predict(reference: str, frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Predict from rows shaped like the training file; raises InvalidData listing every problem of the rows."""
    return fetch(reference, settings)[1].predict(frame)


def predict_file(reference: str, path: Path, settings: Settings, tell: Tell = lambda _: None) -> pd.DataFrame:
    """Predict from a `.csv`, `.txt`, `.parquet`, `.npz` or `.ts` file; ids are read as they are written.

    `tell`: see `fetch`.
    """
    _, package = fetch(reference, settings, tell)
    data = package.facts.data
    found = package.predict(read_frame(path, text=(data.series,) if data.series else (), names=data.columns))
    for remark in found.attrs["remarks"]:
        tell(f"{path}: {remark}")
    return found


def export_file(reference: str, path: Path, settings: Settings) -> dict[str, Any]:
    """Write a registered model as a program, `.pt2` (torch.export) or `.onnx`, and tell what it reads and gives.

    Beside it, `FILE.json` holds that, and all else that preparing a sample and reading the answer takes.
    Raises Refused where its model cannot be one, Unavailable where it cannot be written, InvalidData for another
    ending, NotFound where there is no such folder.
    """
    check_place(path)
    version, package = fetch(reference, settings)
    facts = package.facts
    try:
        if not max(facts.steps):
            raise InvalidData(Problem("", "its package was written before the length of samples was noted",
                                      "register it anew"))
        if len(package.members) > 1:
            raise InvalidSweep(Problem("ensemble", f"it is the mean of {len(package.members)} trials' models",
                                       "a sweep without an ensemble"))
        program = export_member(package.members[0], facts.infos[0], facts.steps)
    except (InvalidData, InvalidSweep) as error:
        raise Refused(*(Problem(str(version), problem.what, problem.right) for problem in error.problems)) from error
    info, member = facts.infos[0], package.members[0]
    told = {"model": str(version), "file": str(path), "steps": facts.steps[0], "features": list(info.features),
            "known": [info.features[f] for f in info.known], "static": list(info.static_features),
            "gives": "logits" if info.classes else "scaled values", "classes": list(info.classes)}
    beside = {**told, "quantiles_move_by": moves_of(member), "task": member.fit.task.model_dump(mode="json"),
              "prepare": facts.prepare.model_dump(mode="json"),
              **({"learner": member.fit.learner} if own_learner(member.fit.task) else {}),
              "data": info.model_dump(mode="json", exclude={"features", "known", "data_hash"})}
    try:
        save(program, path)
        path.with_name(f"{path.name}.json").write_text(json.dumps(beside, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unavailable(Problem(str(path), f"it cannot be written: {error.strerror or error}")) from error
    return told
