"""Lets a registered champion predict another sweep's test part, prepared the champion's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.sweep import DataConfig
from seqsweep.config.tasks import (
    AnomalyConfig,
    ClassificationConfig,
    ForecastingConfig,
    RegressionConfig,
    TaskConfig,
    WindowTask,
)
from seqsweep.data.batch import Keys, Prepared, Samples
from seqsweep.data.columns import with_timestamps
from seqsweep.data.sources import read_sources, told_apart
from seqsweep.errors import InvalidData
from seqsweep.evaluation.gate import Champion
from seqsweep.tracking.packaged import Package
from seqsweep.training.predict import predict_together

Predictions = npt.NDArray[Any]


def champion_on(name: str, package: Package, task: TaskConfig, data: DataConfig, prepared: Prepared,
                device: str = "cpu") -> Champion:
    """Read the candidate's data, prepare them as the champion's were, and predict the candidate's test part with it.

    `task`, `data`, `prepared`: the candidate's. The prediction is None where the champion was made for another task or
    its columns are not in the data. Windows and rows are matched by their keys. Raises InvalidData where the data
    cannot be read.
    """
    keys = [package.row_keys[part] for part in ("train", "val") if part in package.row_keys]
    seen = np.unique(np.concatenate(keys)) if keys else np.zeros(0, dtype=np.uint64)
    rows = _rows(package, data)
    order = prepared.info.dates
    if order and order != package.facts.infos[0].dates and data.time is not None:
        rows = with_timestamps(rows, data.time, order)  # as the candidate reads them
    try:
        prediction = _predict(package, rows, prepared.parts["test"], device)
    except InvalidData as error:
        return Champion(name, None, seen, str(error.problems[0]))
    return Champion(name, _aligned(package, task, prediction, prepared), seen)


def _predict(package: Package, rows: pd.DataFrame, test: Samples, device: str) -> Predictions:
    """Raise InvalidData where some sample of the test part cannot be made from the rows."""
    if isinstance(package.facts.fit.task, AnomalyConfig):
        folds = package.transform(rows, "all")
        judged = predict_together(package.members, folds, "predict", device)
        return judged[_places(folds[0].parts["predict"].key_N, test.key_N)]
    folds = tuple(_test_part(fold, test.key_N) for fold in package.transform(rows, "all"))
    return predict_together(package.members, folds, "test", device)


def _rows(package: Package, data: DataConfig) -> pd.DataFrame:
    """The candidate's files in one table; of files with whole sequences the one that holds the test part."""
    series, task = package.facts.data.series, package.facts.fit.task
    sources = read_sources(data, {series} if series else ())
    if isinstance(task, RegressionConfig):
        sources = told_apart(sources, series)
    if not isinstance(task, WindowTask):
        sources = tuple(source for source in sources if source.part == "test") or sources
    if len(sources) == 1:
        return sources[0].frame
    frame = pd.concat([source.frame for source in sources], ignore_index=True)
    frame.attrs = dict(sources[0].frame.attrs)
    return frame


def _test_part(fold: Prepared, key_N: Keys) -> Prepared:
    """Keep the samples with these keys, in this order."""
    samples = fold.parts["predict"]
    found_N = _places(samples.key_N, key_N)
    return replace(fold, parts={"test": Samples(**{field: array[found_N] if len(array) else array
                                                   for field, array in vars(samples).items()})})


def _places(has_M: Keys, wanted_N: Keys) -> npt.NDArray[np.intp]:
    """Where the wanted keys are; raises InvalidData where one is missing."""
    order = np.argsort(has_M)
    place_N = np.searchsorted(has_M, wanted_N, sorter=order).clip(max=max(0, len(order) - 1))
    found_N = order[place_N] if len(order) else order
    if not np.array_equal(has_M[found_N], wanted_N):
        raise InvalidData("not every test sample can be prepared the champion's way")
    return found_N


def _aligned(package: Package, task: TaskConfig, prediction: Predictions, prepared: Prepared) -> Predictions | None:
    """Bring the champion's outputs into the candidate's order; None where the tasks differ."""
    champions = package.facts.fit.task
    if isinstance(task, ForecastingConfig) and isinstance(champions, ForecastingConfig):
        same = (champions.targets, champions.horizon) == (task.targets, task.horizon)
        return prediction[..., _quantiles(champions.quantiles, task.quantiles)] if same else None
    if isinstance(task, ClassificationConfig) and isinstance(champions, ClassificationConfig):
        return _classes(prediction, package.facts.infos[0].classes, prepared.info.classes)
    if isinstance(task, AnomalyConfig) and isinstance(champions, AnomalyConfig):
        return prediction if set(package.facts.infos[0].columns) == set(prepared.info.columns) else None
    if isinstance(task, RegressionConfig) and isinstance(champions, RegressionConfig):
        return prediction if champions.target == task.target else None
    return None


def _quantiles(has: tuple[float, ...], wanted: tuple[float, ...]) -> list[int]:
    """Places of the wanted quantiles, or of the median alone, which stands for a point forecast."""
    if not has:
        return [0]
    return [has.index(each) for each in wanted if each in has] if set(wanted) <= set(has) and wanted else [
        has.index(0.5)]


def _classes(probability_NC: Predictions, has: tuple[str, ...], wanted: tuple[str, ...]) -> Predictions:
    """A class the champion does not know gets probability 0."""
    aligned_NC = np.zeros((len(probability_NC), len(wanted)))
    for place, name in enumerate(wanted):
        if name in has:
            aligned_NC[:, place] = probability_NC[:, has.index(name)]
    return aligned_NC
