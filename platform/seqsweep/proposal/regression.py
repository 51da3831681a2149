"""Proposes a regression: a number for each sequence, or at each row what is left until the last one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqsweep.errors import InvalidData, Problem
from seqsweep.proposal.columns import Column
from seqsweep.proposal.page import Line, listed
from seqsweep.proposal.sections import aside, data_lines, reading, search_lines
from seqsweep.proposal.view import Draft, View

_TARGET_WORDS = frozenset({"target", "y", "value", "score", "rating", "rul", "remaining", "life", "yield", "price",
                           "weight", "severity", "quality", "duration"})
_ROW_WORDS = frozenset({"target", "y", "rul", "remaining"})
_LEAST_VALUES = 10
"""A target has so many different values, or it is a class."""
_CONTEXT = 30
_SAMPLES = 10_000
"""Training samples that an epoch has at the most."""
_SPLITS = ("20%", "30%", "40%")


def regression(view: View) -> Iterator[Draft]:
    """Yield drafts with ever larger validation and test parts. Raises InvalidData where there are no sequences."""
    if view.series < 2:
        raise InvalidData(Problem(view.name, "nothing tells one sequence from the next",
                                  "a column that names the sequence each row belongs to"))
    facts = _Facts(view)
    for part in _SPLITS:
        yield facts.draft(part)


@dataclass(frozen=True, eq=False)
class _Facts:
    """What the choices are made from."""

    view: View

    def targets(self) -> list[Column]:
        """Columns with a number a sequence, the likeliest first; else columns of numbers that a name calls targets."""
        series = self.view.series
        found = [column for column in self.view.constants if column.kind == "number"
                 and column.distinct >= min(_LEAST_VALUES, series)
                 and not (column.is_whole and column.distinct == series)]
        found.sort(key=lambda column: (-column.like(_TARGET_WORDS), column.is_whole))
        return found or [column for column in self.view.numbers() if column.distinct >= _LEAST_VALUES
                         and column.like(_ROW_WORDS)]

    def draft(self, part: str) -> Draft:
        """A draft with a validation and a test part of this share."""
        view, targets = self.view, self.targets()
        target = targets[0] if targets else None
        whole = target is not None and target in view.constants
        features = [column for column in view.numbers() if column.distinct > 1 and column not in view.constants
                    and column is not target]
        if not features:
            raise InvalidData(Problem(view.name, "no column of numbers changes within a sequence",
                                      "columns of measurements"))
        statics = [column for column in view.constants if column is not target and column.distinct > 1
                   and (column.kind == "number" or column.distinct <= view.series // 4)]
        also = f"; could also be: {listed([column.name for column in targets[1:]])}" if targets[1:] else ""
        task = [Line("type", "regression"), Line("target", target.name if target else "remaining", (
            f"one number a sequence{also}" if whole else f"the number at each row{also}" if target else
            "no column is the number to tell: what is left until the last row of its series, where each failed"))]
        if not whole:
            context = min(_CONTEXT, max(2, int(np.median(view.order.length_S)) // 4))
            task.append(Line("context", context, "rows the model sees before it tells"))
            if (stride := view.rows // _SAMPLES) > 1:
                task.append(Line("stride", stride, "rows from the end of one training sample to the next"))
            if target is None:
                cap = int(np.median(view.order.length_S)) // 2
                task.append(Line("cap", float(max(cap, context)), "more counts as this: nothing tells it so early"))
        task.append(Line("features", [column.name for column in features]))
        if statics:
            task.append(Line("static", [column.name for column in statics],
                             "one value in each sequence. Remove what is not known when the number is to be told"))
        missing = sum(int(column.missing_T.sum()) for column in features)
        prepare = [Line("fill", "interpolate", f"{missing:,} values are missing; or forward, zero, mean"),
                   Line("indicator", True)] if missing else []
        split: dict[str, Any] = {"by": "random", "val": part, "test": part}
        lines = [Line("task", tuple(task)), data_lines(view, ordered_by=view.order.set_aside),
                 Line("prepare", (*prepare, Line("scale", "standard"))),
                 Line("split", split, "whole sequences, drawn by a hash"),
                 Line("metric", {"name": "rmse"}, "in units of the target; or mae, r2"),
                 *search_lines([Line("bidirectional", {"values": [False, True]})])]
        summary = f"regression of {target.name if target else 'what remains'} of {view.series:,} sequences"
        used = [*features, *statics, *([target] if target else [])]
        return Draft(summary, (*reading(view, evenly=False), *aside(view, used, [])), tuple(lines))
