"""Proposes a classifier of whole sequences: which label, which columns, how to split. Shapes: T rows, S sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seqsweep.data.columns import Ints, encode
from seqsweep.errors import InvalidData, Problem
from seqsweep.proposal.columns import Column
from seqsweep.proposal.page import Line, listed, named
from seqsweep.proposal.sections import aside, data_lines, reading, search_lines
from seqsweep.proposal.view import Draft, View

_LABEL_WORDS = frozenset({"label", "class", "target", "y", "category", "outcome", "activity", "diagnosis", "species",
                          "condition", "fault", "type", "gesture", "status", "result"})
_GROUP_WORDS = frozenset({"speaker", "patient", "subject", "user", "person", "participant", "rider", "driver",
                          "machine", "engine", "device", "unit", "site", "session", "household", "animal"})
_PARTS = frozenset({"train", "val", "test"})
_MOST_CLASSES = 50
_MOST_CATEGORIES = 20
_LEAST_SEQUENCES = 20
"""Without a name that says so, a column is taken for a label where so many sequences are short."""
_SHORT = 1000
_FEW = 500
"""Sequences below which a single validation part would be left to chance."""
_SKEWED = 0.8
_SPLITS: tuple[dict[str, Any], ...] = (
    {"folds": 5, "test": "20%"}, {"folds": 3, "test": "20%"}, {"folds": 3, "test": "30%"},
    {"val": "20%", "test": "20%"}, {"val": "30%", "test": "30%"}, {"folds": 2, "test": "30%"},
    {"folds": 2, "test": "40%"})
"""Tried in turn: a rule that draws parts by a hash may leave a part without one of the classes."""


def looks_like_classification(view: View) -> bool:
    """Whether sequences have something that looks like a class."""
    labels = _labels(view)
    if not labels:
        return False
    short = float(np.median(view.order.length_S)) <= _SHORT and view.series >= _LEAST_SEQUENCES
    has_dates = view.order.time is not None and view.order.time.kind == "time"
    return view.sequences or labels[0].like(_LABEL_WORDS) > 0 or (short and not has_dates)


def classification(view: View) -> Iterator[Draft]:
    """Yield drafts, each with another split. Raises InvalidData where there are no sequences or no classes."""
    if view.series < 2:
        raise InvalidData(Problem(view.name, "nothing tells one sequence from the next",
                                  "a column that names the sequence each row belongs to, or a .ts or .npz file"))
    labels = _labels(view)
    if not labels:
        raise InvalidData(Problem(view.name, f"none of its columns has one value in each of {view.series:,} sequences, "
                                  f"and 2 to {_MOST_CLASSES} different ones", "a column of labels"))
    facts = _Facts(view, labels[0], labels[1:])
    for split in facts.splits():
        yield facts.draft(split)


def _labels(view: View) -> list[Column]:
    """Columns that could be the class, the likeliest first."""
    if view.sequences:
        return [column for column in view.columns if column.name == "label" and column.distinct >= 2]
    most = min(_MOST_CLASSES, view.series // 2)
    found = [column for column in view.constants if 2 <= column.distinct <= most and not _tells_part(column)
             and (column.kind == "text" or column.is_whole)]
    return sorted(found, key=lambda column: (-column.like(_LABEL_WORDS), column.like(_GROUP_WORDS),
                                             column.kind != "text", column.distinct))


def _tells_part(column: Column) -> bool:
    """Whether it holds the parts themselves: train, val, test."""
    if column.kind != "text" or column.distinct > len(_PARTS):
        return False
    names = set(encode([column.entries])[1])
    return "train" in names and len(names) > 1 and names <= _PARTS


@dataclass(frozen=True, eq=False)
class _Facts:
    """What the choices are made from."""

    view: View
    label: Column
    others: list[Column]
    """Columns that could be the class too."""

    @cached_property
    def count_C(self) -> Ints:  # noqa: N802
        """Sequences of each class."""
        return np.bincount(self.view.order.code_of(self.label))

    @cached_property
    def groups(self) -> list[Column]:
        """Columns each of whose values stands for several sequences: speakers, patients."""
        return [column for column in self.view.constants if column is not self.label and not column.missing_T.any()
                and column.like(_GROUP_WORDS) and not self._is_label_again(column) and column.distinct >= 5
                and column.distinct <= self.view.series / 1.5]

    def splits(self) -> list[dict[str, Any]]:
        """Splits to try."""
        parts = [column for column in self.view.constants if _tells_part(column)]
        found: list[dict[str, Any]] = [{"by": "given", "key": column.name} for column in parts[:1]]
        if self.view.test:
            found += [{"by": "random"} | {key: value for key, value in split.items() if key != "test"}
                      for split in self._sized()]
        keyed = [{"by": "group", "key": column.name} | split for column in self.groups[:1] for split in self._sized()]
        return [*found, *keyed, *({"by": "random"} | split for split in self._sized())]

    def _sized(self) -> list[dict[str, Any]]:
        """Folds where there are few sequences."""
        many = [] if self.view.series < _FEW else [{"val": "15%", "test": "15%"}]
        return [*many, *_SPLITS]

    def draft(self, split: dict[str, Any]) -> Draft:
        view, label = self.view, self.label
        features, constant = self._features()
        statics, leaks = self._statics(split)
        key = split.get("key")
        unused = [(column.name, reason) for column, reason in (*constant, *leaks) if column.name != key]
        missing = sum(int(column.missing_T.sum()) for column in features)
        others = [column.name for column in self.others if not self._is_label_again(column)]
        task = [Line("type", "classification")]
        if not view.sequences:
            task.append(Line("label", label.name, f"{self._classes()}"
                             + (f"; could also be: {listed(others)}" if others else "")))
        if not view.sequences or len(features) < len(view.columns) - 2:
            task.append(Line("features", [column.name for column in features]))
        if statics:
            task.append(Line("static", [column.name for column in statics],
                             "one value in each sequence. Remove what is not known before the class is: it would give "
                             "the class away, and the file cannot tell"))
        skewed = self.count_C.max() > _SKEWED * self.count_C.sum()
        if skewed:
            task.append(Line("class_weights", "balanced", "most sequences are of one class"))
        test = view.test if split["by"] != "given" and "test" not in split and view.test else ""
        lines = [Line("task", tuple(task)), data_lines(view, test, view.order.set_aside), self._prepare(missing),
                 Line("split", split, self._split_reason(split)),
                 Line("metric", {"name": "balanced_accuracy"}, "each class counts alike; or f1, accuracy, log_loss")
                 if skewed else
                 Line("metric", {"name": "log_loss"}, "an error more or less hides what the likelihood shows; or "
                      "accuracy, balanced_accuracy, f1"),
                 *search_lines(self._parameters(), 40, [16, 32] if view.series > 60 else [8, 16])]
        head = [*reading(view, evenly=False), *([f"The label has {self._classes()}."] if view.sequences else []),
                *aside(view, [label, *features, *statics, *(column for column in view.columns if column.name == key)],
                       unused)]
        return Draft(f"classification of {view.series:,} sequences into {len(self.count_C)} classes by "
                     f"{named(label.name)}", tuple(head), tuple(lines))

    def _classes(self) -> str:
        low, high = int(self.count_C.min()), int(self.count_C.max())
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        return f"{len(self.count_C)} classes of {each} sequences each"

    def _features(self) -> tuple[list[Column], list[tuple[Column, str]]]:
        """Columns of numbers that change within a sequence; and others, with the reason why they are none."""
        constants = {column.name for column in self.view.constants}
        numbers = [column for column in self.view.numbers()
                   if column is not self.label and column.name not in constants]
        features = [column for column in numbers if column.distinct > 1]
        if not features:
            raise InvalidData(Problem(self.view.name, "no column of numbers changes within a sequence",
                                      "columns of measurements beside the label"))
        return features, [(column, "is the same in every row") for column in numbers if column.distinct <= 1]

    def _statics(self, split: dict[str, Any]) -> tuple[list[Column], list[tuple[Column, str]]]:
        statics, unused = [], []
        groups = {column.name for column in self.groups}
        for column in self.view.constants:
            if column is self.label or column.distinct <= 1 or column.name == split.get("key"):
                continue
            if _tells_part(column):
                unused.append((column, "names parts"))
            elif self._is_label_again(column):
                unused.append((column, "says the class in other words"))
            elif column.name in groups or (column.kind == "text" and column.distinct > _MOST_CATEGORIES):
                unused.append((column, "names groups of sequences; `split: {by: group, key: ...}` keeps one together"))
            elif column.is_whole and column.distinct > self.view.series / 2:
                unused.append((column, "numbers the sequences"))
            else:
                statics.append(column)
        return statics, unused

    def _is_label_again(self, column: Column) -> bool:
        """Whether each of its values goes with one class, and each class with one of its values."""
        both_2S = np.stack([self.view.order.code_of(column), self.view.order.code_of(self.label)])
        return int(np.unique(both_2S, axis=1).shape[1]) == column.distinct == self.label.distinct

    def _prepare(self, missing: int) -> Line:
        lines = [Line("scale", "standard")]
        if missing:
            lines = [Line("fill", "interpolate", f"{missing:,} values are missing; or forward, zero, mean"),
                     Line("indicator", True, "a 0/1 column tells where a value was filled"), *lines]
        return Line("prepare", tuple(lines))

    def _split_reason(self, split: dict[str, Any]) -> str:
        folds = f"; {split['folds']} folds, since there are only {self.view.series:,}" if "folds" in split else ""
        if split["by"] == "given":
            return f"{named(split['key'])} names the parts"
        if split["by"] == "group":
            return f"all sequences of one {named(split['key'])} lie in one part: the model will meet new ones{folds}"
        also = f"; by: group, key: {listed([column.name for column in self.groups], 3)} keeps those together" \
            if self.groups else ""
        return f"whole sequences, drawn by a hash{folds}{also}"

    def _parameters(self) -> Sequence[Line]:
        return [Line("bidirectional", {"values": [False, True]}),
                Line("pooling", {"values": ["last", "mean", "max"]}, "what of the steps the class is read from"),
                Line("variational_dropout", {"min": 0.0, "max": 0.4})]
