"""Registered models at work: fetch a version from the registry, and predict with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd

from seqsweep.config.settings import Settings
from seqsweep.data.sources import read_frame
from seqsweep.tracking.package import load_package
from seqsweep.tracking.packaged import Package
from seqsweep.tracking.registry import ModelVersion, Registry


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
