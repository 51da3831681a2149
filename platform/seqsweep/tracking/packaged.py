"""A trained model with everything needed to predict from new data, as files: JSON and safetensors, no pickle.

    package.json           what was trained, how data were prepared, figures, versions
    weights.safetensors    the weights of all folds
    rows.safetensors       hashes of the rows of each part, for the gate
    own/                   files of the user's own code, where there are any; package.json has the hash of each

This module travels inside the package: it imports nothing that a serving machine does not have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from seqsweep import __version__
from seqsweep.config.base import Config
from seqsweep.config.models import OwnModelConfig
from seqsweep.config.own import Own
from seqsweep.config.sweep import DataConfig, FitConfig, PrepareConfig
from seqsweep.config.tasks import WindowTask, own_learner
from seqsweep.data.batch import DataInfo, Keys, Prepared
from seqsweep.data.predict import transform
from seqsweep.data.results import prediction_table
from seqsweep.errors import InvalidData, Problem
from seqsweep.tracking.attached import apart, together
from seqsweep.training.predict import predict
from seqsweep.training.state import pack, unpack

FORMAT_VERSION: Literal[1] = 1
_FACTS, _WEIGHTS, _ROWS, _OWN = "package.json", "weights.safetensors", "rows.safetensors", "own"


class Facts(Config):
    """Everything of a package that is not an array."""

    format_version: Literal[1] = 1
    seqsweep_version: str = __version__
    sweep: str
    """Name of the sweep."""
    trial: int
    """Number of the trial."""
    fit: FitConfig
    data: DataConfig
    prepare: PrepareConfig
    infos: tuple[DataInfo, ...]
    """How each fold's data were prepared."""
    weights: dict[str, Any]
    """What training notes beside the arrays."""
    figures: dict[str, float] = {}
    """Metrics by part: `best_val_mae`, `test_mae`; only finite ones."""

    @property
    def owns(self) -> dict[str, Own]:
        """The user's own code, by the section of the sweep that names it; a prediction runs all but the metric."""
        model = self.fit.model
        found = {"task": own_learner(self.fit.task), "metric": self.fit.metric.own,
                 "model": model.own if isinstance(model, OwnModelConfig) else None, "prepare": self.prepare.own}
        return {section: own for section, own in found.items() if own is not None}


@dataclass(frozen=True, eq=False)
class Package:
    """What a registered version holds."""

    facts: Facts
    weights: bytes
    """As `seqsweep.training.fit.Fit.best_weights` gave them."""
    row_keys: Mapping[str, Keys]
    """Part -> sorted hashes of the rows whose targets or labels it uses, over all folds."""

    @classmethod
    def of(cls, *, sweep: str, trial: int, fit: FitConfig, data: DataConfig, prepare: PrepareConfig,
           prepared: tuple[Prepared, ...], weights: bytes, figures: Mapping[str, float]) -> Package:
        """Gather a winner's package; `prepared` are the folds it was trained on."""
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        facts = Facts(sweep=sweep, trial=trial, fit=fit, data=data, prepare=prepare,
                      infos=tuple(fold.info for fold in prepared), weights=unpack(weights)[1], figures=finite)
        parts = {part for fold in prepared for part in fold.row_keys}
        keys = {part: np.unique(np.concatenate([fold.row_keys[part] for fold in prepared if part in fold.row_keys]))
                for part in sorted(parts)}
        return cls(facts, weights, keys)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that new rows may have: series, time, values and statics."""
        task, data = self.facts.fit.task, self.facts.data
        # Sequence formats call the column that tells one sequence from the next `series`, and so do folders of files.
        several = data.files is not None or data.layout == "wide" or not isinstance(task, WindowTask)
        series = data.series or ("series" if several else None)
        info = self.facts.infos[0]
        return info.raw or (*(name for name in (series, data.time) if name), *info.columns, *task.static)

    @property
    def data_hash(self) -> str:
        """Identity of the training data: the first fold's."""
        return self.facts.infos[0].data_hash

    def write(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        facts, files = apart(self.facts.model_dump(mode="json"))
        (folder / _FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        for file, code in files.items():
            (folder / _OWN / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / _OWN / file).write_bytes(code.encode())
        save_file(_contiguous(unpack(self.weights)[0]), folder / _WEIGHTS)
        save_file({part: keys.view(np.int64) for part, keys in self.row_keys.items()}, folder / _ROWS)

    @classmethod
    def read(cls, folder: Path, name: str = "") -> Package:
        """Read what `write` wrote; `name`: what errors call it, the folder by default.

        The user's own code is not run here. Raises InvalidData where a file is missing, damaged or of a later format,
        or own code is not what the package was written with.
        """
        name = name or str(folder)
        try:
            text = (folder / _FACTS).read_text(encoding="utf-8")
            _require_format(text, name)
            facts = Facts.model_validate_json(json.dumps(together(json.loads(text), folder / _OWN)))
            weights, rows = load_file(folder / _WEIGHTS), load_file(folder / _ROWS)
        except (OSError, ValueError, ValidationError, SafetensorError) as error:
            first_line = str(error).partition("\n")[0]
            raise InvalidData(Problem(name, f"this is no whole model package: {first_line}")) from error
        return cls(facts, pack(weights, facts.weights), {part: keys.view(np.uint64) for part, keys in rows.items()})

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict from new rows, with the columns and in the units of the training file.

        Raises InvalidData, which lists every problem of the rows.
        """
        folds = self.transform(frame)
        prediction = predict(self.facts.fit, self.weights, folds, "predict")
        return prediction_table(folds[0], prediction, self.facts.fit.task)

    def transform(self, frame: pd.DataFrame, origins: Literal["last", "all"] = "last") -> tuple[Prepared, ...]:
        """Prepare rows as each fold's training data were; see `seqsweep.data.predict.transform`."""
        facts = self.facts
        return tuple(transform(frame, task=facts.fit.task, prepare=facts.prepare, data=facts.data, info=info,
                               origins=origins) for info in facts.infos)


def _contiguous(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Safetensors takes the memory as it lies: a transposed view would be read back wrongly."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _require_format(text: str, name: str) -> None:
    found = json.loads(text).get("format_version")
    if found != FORMAT_VERSION:
        raise InvalidData(Problem(name, f"the package has format {found}; this seqsweep {__version__} reads "
                                  f"format {FORMAT_VERSION}", "install the seqsweep that wrote it, or a later one"))
