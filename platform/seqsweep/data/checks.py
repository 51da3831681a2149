"""Checks of the whole table: nothing missing, series long enough, a target that varies, classes in every part."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import MetricConfig, PrepareConfig
from seqsweep.config.tasks import AnomalyConfig, ClassificationConfig, WindowTask
from seqsweep.data.problems import Problems
from seqsweep.data.table import TEST, TRAIN, VAL, Table, target_columns
from seqsweep.errors import Problem

Mask = npt.NDArray[np.bool_]


def check_missing(table: Table, prepare: PrepareConfig, problems: Problems, exempt_TR: Mask | None = None) -> None:
    """Refuse missing values unless `prepare.fill` says what to do with them."""
    if prepare.fill != "refuse":
        return
    missing_TR = np.isnan(table.values_TR)
    if exempt_TR is not None:
        missing_TR &= ~exempt_TR
    for r in np.flatnonzero(missing_TR.any(axis=0)):
        name = table.columns[r]
        problems.add_each("missing values", np.flatnonzero(missing_TR[:, r]), lambda t, name=name: Problem(  # type: ignore[misc]
            table.where(t, name), "the value is missing", "fill it in, or prepare.fill: interpolate, forward, ..."))


def check_lengths(table: Table, task: WindowTask, lead: int, problems: Problems, ahead: int = 0) -> None:
    """Each series must hold one window; `lead` rows at its start are used up by lags.

    `ahead`: how many rows at the end of each are the future, added to what was given; they are not counted.
    """
    needed = lead + task.context + task.horizon - ahead
    horizon = f" + horizon {task.horizon}" if not ahead else ""
    lags = f" + longest lag or difference {lead}" if lead else ""
    problems.add_each("short series", np.flatnonzero(table.length_S - ahead < needed), lambda s: Problem(
        table.where(int(table.bounds[s])), f"{table.named(s)} has {table.length_S[s] - ahead} rows"
        + " up to its last observed target" * bool(ahead),
        f"context {task.context}{horizon}{lags} = {needed} rows at least; "
        + ("give more of its history, or leave the series out" if ahead else
           "leave the series out, or take a smaller context")))


def check_targets(table: Table, task: WindowTask, part_T: npt.NDArray[np.int8], problems: Problems) -> None:
    """A target must vary within the training part."""
    train_T = part_T == TRAIN
    if not train_T.any():
        problems.add("nothing to learn from", table.files[0], f"no row of {len(part_T)} is left for the training part",
                     "more rows, or smaller parts (split.val, split.test)")
        return
    for d, name in enumerate(target_columns(task, table.columns)):
        values = table.values_TR[train_T, d]
        values = values[~np.isnan(values)]
        if not len(values):
            problems.add("empty target", f"{table.files[0]}, column {name}", "no value in the training part",
                         "a target with values")
        elif values.min() == values.max():
            problems.add("constant target", f"{table.files[0]}, column {name}",
                         f"it is {values[0]:g} in the whole training part", "a target that varies")


def check_labelled(table: Table, metric: MetricConfig, task: WindowTask, part_T: npt.NDArray[np.int8],
                   problems: Problems) -> None:
    """Figures that are counted in labelled anomalies need some."""
    if not isinstance(task, AnomalyConfig):
        return
    for name, part, key in ((metric.name, VAL, "metric.name"), (metric.judged.name, TEST, "metric.test")):
        if name != "loss" and (table.window_T is None or not table.window_T[part_T == part].any()):
            words = "validation" if part == VAL else "test"
            problems.add("no labelled anomaly", key, f"{name} counts labelled anomalies, and the {words} part has none",
                         "task.label or data.windows, and a part that holds some; or loss")
        elif name == "nab_cross" and table.window_T is not None and len(np.unique(
                table.series_T[(part_T == part) & (table.window_T > 0)])) < 2:
            problems.add("one labelled series", key, "nab_cross chooses a threshold by the labels of other series, and "
                         "there are none", "several series with labels; or nab")


def check_classes(table: Table, task: ClassificationConfig, part_T: npt.NDArray[np.int8], drawn: frozenset[int],
                  remedy: str, problems: Problems) -> None:
    """Two classes at least, all of them in the training part and in each part that was drawn."""
    label_S, part_S = np.array(table.label_S, dtype=object), part_T[table.first_S]
    classes = set(label_S.tolist())
    if len(classes) == 1:
        problems.add("one class", f"{table.files[0]}, column {task.label}", f"every label is {label_S[0]!r}",
                     "two classes at least")
        return
    for part, name in enumerate(("training", "validation", "test")):
        held = set(label_S[part_S == part].tolist())
        absent = sorted(classes - held)
        if not held or not absent or (part != TRAIN and part not in drawn):
            continue
        listed = ", ".join(f"{label} ({np.sum(label_S == label)} in all)" for label in absent[:5])
        listed += ", ..." if len(absent) > 5 else ""
        right = remedy if drawn else "each class needs sequences to learn from"
        if part == TEST:
            right = f"a larger test part (split.test: 30%), {right.partition(', ')[2]}"
        first = int(table.first_S[np.argmax(label_S == absent[0])])
        problems.add("classes missing from a part", table.where(first, task.label),
                     f"no sequence of class {listed} is among the {np.sum(part_S == part)} of the {name} part", right)


