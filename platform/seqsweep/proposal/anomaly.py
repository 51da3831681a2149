"""Proposes to look for anomalies: rows that do not follow from the rows before them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seqsweep.errors import InvalidData, Problem
from seqsweep.proposal.columns import Column
from seqsweep.proposal.page import Line
from seqsweep.proposal.sections import aside, data_lines, reading, search_lines
from seqsweep.proposal.view import Draft, View

_LABEL_WORDS = frozenset({"label", "anomaly", "anomalous", "outlier", "fault", "attack", "class", "alarm", "event",
                          "failure", "fraud"})
_MOST_ANOMALIES = 0.3
_CONTEXT = 48
_STEPS_AN_EPOCH = 300_000


def anomaly(view: View) -> Iterator[Draft]:
    """Yield drafts, judged by labels first if there are any. Raises InvalidData where nothing varies."""
    features = [column for column in view.numbers() if column.distinct > 1 and column not in view.constants
                and not _is_label(column)]
    if not features:
        raise InvalidData(Problem(view.name, "no column of numbers varies: there is nothing to watch",
                                  "columns of measurements"))
    label = next((column for column in view.numbers() if _is_label(column)), None)
    for metric in (("f1", "loss") if label else ("loss",)):
        for scale in (1, 4):
            yield _draft(view, features, label, metric, scale)


def _is_label(column: Column) -> bool:
    """Whether it is 1 in a few rows, 0 in all others, and called so."""
    value = column.value_T
    return column.like(_LABEL_WORDS) > 0 and set(np.unique(value).tolist()) == {0.0, 1.0} and \
        float(value.mean()) <= _MOST_ANOMALIES


def _draft(view: View, features: list[Column], label: Column | None, metric: str, scale: int) -> Draft:
    shortest = int(view.order.length_S.min())
    context = max(2, min(_CONTEXT, shortest // 10) // scale)
    stride = max(1, int(view.rows * 0.6 * context) // _STEPS_AN_EPOCH)
    task = [Line("type", "anomaly"), Line("features", [column.name for column in features], "what is watched"),
            Line("context", context, "rows the model sees before the one it judges"),
            Line("scorer", "forecast", "or autoencoder"),
            Line("alarm_rate", 0.001, "share of the validation rows that may be alarms: sets the threshold")]
    if label:
        task.append(Line("label", label.name, "1 where a row is anomalous; nothing is trained on it"))
    if stride > 1:
        task.append(Line("stride", stride, "rows from one training window to the next"))
    missing = sum(int(column.missing_T.sum()) for column in features)
    fill = [Line("fill", "forward", f"{missing:,} values are missing; no later row is looked at")] if missing else []
    why = "against the label" if metric != "loss" else "no labels that could judge: the error of the model itself"
    lines = [Line("task", tuple(task)), data_lines(view, ordered_by=view.order.set_aside),
             Line("prepare", (*fill, Line("scale", "standard"))),
             Line("split", {"by": "time", "val": "20%", "test": "40%"}, "the first rows are taken for normal"),
             Line("metric", {"name": metric}, why),
             *search_lines([Line("window_norm", {"values": ["none", "last"]})], 10, [128, 256])]
    used = [*features, *([label] if label else [])]
    return Draft(f"anomalies in {len(features)} column{'s' * (len(features) > 1)}",
                 (*reading(view, evenly=False), *aside(view, used, [])), tuple(lines))
