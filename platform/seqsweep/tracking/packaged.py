"""A trained model with everything needed to predict from new data, as files: JSON and safetensors, no pickle.

    package.json           what was trained, how data were prepared, figures, versions
    weights.safetensors    the weights of each member and fold
    rows.safetensors       hashes of the rows of each part, for the gate
    own/                   files of the user's own code, where there are any; package.json has the hash of each

This module travels inside the package: it imports nothing that a serving machine does not have.
"""

from __future__ import annotations

import json
import math
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, ValidationError
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
from seqsweep.records import model_name
from seqsweep.tracking.attached import apart, together
from seqsweep.training.predict import Member, predict_together
from seqsweep.training.state import pack, scoped, unpack, within

FORMAT_VERSION: Literal[2] = 2
"""In format 1 there is one trial, and no members."""
_FACTS, _WEIGHTS, _ROWS, _OWN = "package.json", "weights.safetensors", "rows.safetensors", "own"


class MemberFacts(Config):
    """What of a member is no array."""

    trial: int
    """Number of the trial."""
    picks: int = Field(ge=1)
    """How often it counts in the mean of the members."""
    fit: FitConfig
    weights: dict[str, Any]
    """What training notes beside the arrays."""


class Facts(Config):
    """Everything of a package that is not an array."""

    format_version: Literal[2] = 2
    seqsweep_version: str = __version__
    sweep: str
    """Name of the sweep."""
    members: tuple[MemberFacts, ...] = Field(min_length=1)
    """The trials whose mean is predicted; mostly there is one."""
    data: DataConfig
    prepare: PrepareConfig
    infos: tuple[DataInfo, ...]
    """How each fold's data were prepared."""
    steps: tuple[int, int] = (0, 0)
    """Least and most rows of a sample; unknown in packages of format 1."""
    figures: dict[str, float] = {}
    """Metrics by part: `best_val_mae`, or of several members `val_mae`, and `test_mae`; only finite ones."""

    @property
    def fit(self) -> FitConfig:
        """What the first member was trained by; task and metric are those of each."""
        return self.members[0].fit

    @property
    def model(self) -> str:
        """`trial 18`, or `ensemble 18 x3 + 4`."""
        return model_name({member.trial: member.picks for member in self.members})

    @property
    def owns(self) -> frozenset[tuple[str, Own]]:
        """The user's own code of every member, beside the section that names it; a prediction runs all but metrics."""
        found = {("prepare", self.prepare.own)}
        for fit in (member.fit for member in self.members):
            model = fit.model.own if isinstance(fit.model, OwnModelConfig) else None
            found |= {("task", own_learner(fit.task)), ("metric", fit.metric.own), ("model", model)}
        return frozenset((section, own) for section, own in found if own is not None)


@dataclass(frozen=True, eq=False)
class Package:
    """What a registered version holds."""

    facts: Facts
    members: tuple[Member, ...]
    row_keys: Mapping[str, Keys]
    """Part -> sorted hashes of the rows whose targets or labels it uses, over all folds."""

    @classmethod
    def of(cls, *, sweep: str, members: Sequence[Member], data: DataConfig, prepare: PrepareConfig,
           prepared: tuple[Prepared, ...], figures: Mapping[str, float]) -> Package:
        """Gather a winner's package; `prepared` are the folds its members were trained on."""
        finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        told = tuple(MemberFacts(trial=member.trial, picks=member.picks, fit=member.fit,
                                 weights=unpack(member.weights)[1]) for member in members)
        lengths = [samples.length_N for fold in prepared for samples in fold.parts.values() if len(samples)]
        facts = Facts(sweep=sweep, members=told, data=data, prepare=prepare,
                      infos=tuple(fold.info for fold in prepared), figures=finite,
                      steps=(min(int(each.min()) for each in lengths), max(int(each.max()) for each in lengths)))
        parts = {part for fold in prepared for part in fold.row_keys}
        keys = {part: np.unique(np.concatenate([fold.row_keys[part] for fold in prepared if part in fold.row_keys]))
                for part in sorted(parts)}
        return cls(facts, tuple(members), keys)

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
        arrays = [scoped(str(number), unpack(member.weights)[0]) for number, member in enumerate(self.members)]
        save_file(_contiguous(dict(ChainMap(*arrays))), folder / _WEIGHTS)
        save_file({part: keys.view(np.int64) for part, keys in self.row_keys.items()}, folder / _ROWS)

    @classmethod
    def read(cls, folder: Path, name: str = "") -> Package:
        """Read what `write` wrote; `name`: what errors call it, the folder by default.

        The user's own code is not run here. Raises InvalidData where a file is missing, damaged or of a later format,
        or own code is not what the package was written with. Format 1 is read, too.
        """
        name = name or str(folder)
        try:
            told = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
            version = _known_format(told, name)
            told = together(_with_members(told) if version == 1 else told, folder / _OWN)
            facts = Facts.model_validate_json(json.dumps(told))
            if not all(isinstance(member.weights.get("folds"), int) for member in facts.members):
                raise ValueError("it does not say of how many folds the weights are")
            weights, rows = load_file(folder / _WEIGHTS), load_file(folder / _ROWS)
        except (OSError, ValueError, TypeError, ValidationError, SafetensorError) as error:
            first_line = str(error).partition("\n")[0]
            raise InvalidData(Problem(name, f"this is no whole model package: {first_line}")) from error
        arrays = scoped("0", weights) if version == 1 else weights
        members = tuple(Member(member.trial, member.fit, pack(within(str(number), arrays), member.weights),
                               member.picks) for number, member in enumerate(facts.members))
        return cls(facts, members, {part: keys.view(np.uint64) for part, keys in rows.items()})

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict from new rows, with the columns and in the units of the training file.

        Its `attrs["remarks"]` say what of the rows was filled or not used. Raises InvalidData, which lists every
        problem of the rows.
        """
        folds = self.transform(frame)
        prediction = predict_together(self.members, folds, "predict")
        table = prediction_table(folds[0], prediction, self.facts.fit.task)
        table.attrs["remarks"] = folds[0].remarks
        return table

    def transform(self, frame: pd.DataFrame, origins: Literal["last", "all"] = "last") -> tuple[Prepared, ...]:
        """Prepare rows as each fold's training data were; see `seqsweep.data.predict.transform`."""
        facts = self.facts
        return tuple(transform(frame, task=facts.fit.task, prepare=facts.prepare, data=facts.data, info=info,
                               origins=origins) for info in facts.infos)


def _contiguous(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Safetensors takes the memory as it lies: a transposed view would be read back wrongly."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _known_format(told: Any, name: str) -> int:
    found = told.get("format_version") if isinstance(told, dict) else None
    if found not in (1, FORMAT_VERSION):
        raise InvalidData(Problem(name, f"the package has format {found}; this seqsweep {__version__} reads "
                                  f"formats 1 and {FORMAT_VERSION}", "install the seqsweep that wrote it, or a later "
                                  "one"))
    return int(found)


def _with_members(told: dict[str, Any]) -> dict[str, Any]:
    """Facts of format 1 as those of format 2."""
    member = {key: told[key] for key in ("trial", "fit", "weights") if key in told}
    rest = {key: value for key, value in told.items() if key not in member}
    return rest | {"format_version": FORMAT_VERSION, "members": [member | {"picks": 1}]}
