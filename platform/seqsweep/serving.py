"""Registered models at work: fetch a version from the registry, and predict with it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from seqsweep.config.settings import Settings
from seqsweep.data.sources import read_frame
from seqsweep.errors import InvalidData, InvalidSweep, Problem, Refused
from seqsweep.tracking.package import load_package
from seqsweep.tracking.packaged import Package
from seqsweep.tracking.registry import ModelVersion, Registry
from seqsweep.training.export import check_place, export_member, save


def fetch(reference: str, settings: Settings) -> tuple[ModelVersion, Package]:
    """Resolve `electricity@champion`, `electricity/3` or `electricity`, and load its package.

    Raises NotFound, Unavailable, and Refused where the version is no seqsweep package or holds a pickle.
    """
    registry = Registry(settings.tracking_uri)
    version = registry.resolve(reference)
    with tempfile.TemporaryDirectory(prefix="seqsweep-") as folder:
        return version, load_package(registry.download(version, Path(folder)), str(version))


def predict(reference: str, frame: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Predict from rows shaped like the training file; raises InvalidData listing every problem of the rows."""
    return fetch(reference, settings)[1].predict(frame)


def predict_file(reference: str, path: Path, settings: Settings) -> pd.DataFrame:
    """Predict from a `.csv`, `.txt`, `.parquet`, `.npz` or `.ts` file; ids are read as they are written."""
    _, package = fetch(reference, settings)
    data = package.facts.data
    return package.predict(read_frame(path, text=(data.series,) if data.series else (), names=data.columns))


def export_file(reference: str, path: Path, settings: Settings) -> dict[str, Any]:
    """Write a registered model as a program, `.pt2` (torch.export) or `.onnx`, and tell what it reads and gives.

    Raises Refused where its model cannot be one, Unavailable where ONNX cannot be written, InvalidData for another
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
    save(program, path)
    info = facts.infos[0]
    return {"model": str(version), "file": str(path), "steps": facts.steps[0], "features": list(info.features),
            "static": list(info.static_features), "gives": "logits" if info.classes else "scaled values",
            "classes": list(info.classes)}
