"""A trained model as a program for runtimes without seqsweep, whose data come prepared and scaled."""

from __future__ import annotations

import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from seqsweep.config.tasks import AnomalyConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples
from seqsweep.errors import InvalidData, InvalidSweep, NotFound, Problem, Unavailable
from seqsweep.models.recurrent import Recurrent
from seqsweep.tasks.batch import Arrays, Batch
from seqsweep.tasks.classification import Classifier
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tasks.learner import Learner
from seqsweep.tasks.regression import Regressor
from seqsweep.training.fold import build_learner, load_weights
from seqsweep.training.predict import CALIBRATION, Member
from seqsweep.training.state import unpack, within


def export_member(member: Member, info: DataInfo, steps: tuple[int, int]) -> ExportedProgram:
    """Return a trained trial's program; see `export`. `steps`: least and most rows of its samples.

    Raises InvalidSweep also for a trial of several folds, for a detector of anomalies, and for a user's own learner
    that predicts in its own way.
    """
    arrays, meta = unpack(member.weights)
    if meta["folds"] > 1:
        raise InvalidSweep(Problem("split.folds", f"it is the mean of {meta['folds']} folds' models, which scale their "
                                   "data each in its own way", "a sweep without folds"))
    if isinstance(member.fit.task, AnomalyConfig):
        raise InvalidSweep(Problem("task", "it tells errors, and a score holds them against those of a thousand rows "
                                   "before, which is no part of the model", "predict"))
    data = sketch(info, steps)
    learner = build_learner(member.fit, data)
    if type(learner).predict not in _PREDICTS:
        raise InvalidSweep(Problem("task.entry", f"{type(learner).__name__} has a predict of its own; a program ends "
                                   "where predict begins", "what it does in forward; or the predict of its type"))
    load_weights(learner, within("0", arrays))
    return export(learner, data)


_PREDICTS = (Classifier.predict, Forecaster.predict, Regressor.predict)
"""What whoever runs a program does with its answers, by what is told of it."""


def moves_of(member: Member) -> list[list[float]] | None:
    """Return by how much a calibration moves each quantile of each target, `(D, Q)` in scaled units.

    It is no part of the program; what crosses is sorted afterwards. None where there is none.
    """
    moves = within(CALIBRATION, unpack(member.weights)[0]).get("0")
    return None if moves is None else moves.tolist()


def save(program: ExportedProgram, path: Path) -> None:
    """Write a program: `.pt2` holds JSON and raw tensors and no pickle, `.onnx` is ONNX.

    Raises Unavailable where what writes ONNX is not installed.
    """
    SAVERS[path.suffix](program, path)


def check_place(path: Path) -> None:
    """Raise InvalidData for an ending that `save` does not know, NotFound where there is no such folder."""
    if path.suffix not in SAVERS:
        raise InvalidData(Problem(str(path), f"a program is no {path.suffix or 'file without an ending'}",
                                  " or ".join(SAVERS)))
    if not path.parent.is_dir():
        raise NotFound(Problem(str(path), f"there is no folder {path.parent}"))


def _save_pt2(program: ExportedProgram, path: Path) -> None:
    program.example_inputs = None  # they would be pickled
    written = io.BytesIO()
    torch.export.save(program, written)
    path.write_bytes(written.getvalue())  # torch's own error of a file that cannot be written is a RuntimeError


def _save_onnx(program: ExportedProgram, path: Path) -> None:
    if importlib.util.find_spec("onnxscript") is None:
        raise Unavailable(Problem(str(path), "ONNX is written by onnxscript, which is not installed",
                                  "pip install 'seqsweep[onnx]'; or a .pt2 file, which needs torch alone"))
    told = logging.getLogger("torch.onnx")
    level = told.level
    try:
        told.setLevel(logging.ERROR)  # it tells of each library that it could do without
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = torch.onnx.export(program, dynamo=True, verbose=False, output_names=["output"])
    finally:
        told.setLevel(level)
    assert converted is not None  # noqa: S101  as it is with dynamo=True
    converted.save(path)


SAVERS: dict[str, Callable[[ExportedProgram, Path], None]] = {".pt2": _save_pt2, ".onnx": _save_onnx}
"""How a program is written, by the ending of the file."""


def export(learner: Learner, data: Prepared) -> ExportedProgram:
    """Return a program of prepared samples `(B, L, F)`, and `(B, C)` where there are statics, for any B.

    It gives what `learner` gives: forecasts in scaled units, or logits. torch.export fixes the time axis of recurrent
    layers: raises InvalidData where the samples of `data` differ in length, and InvalidSweep for cells that it cannot
    follow.
    """
    lengths = {int(length) for samples in data.parts.values() for length in samples.length_N}
    if len(lengths) != 1:
        raise InvalidData(Problem("", f"the sequences have {min(lengths)} to {max(lengths)} steps, and torch.export "
                                  "fixes the time axis of recurrent layers", "windows, or sequences of one length"))
    learner = copy.deepcopy(learner).eval()
    for module in learner.modules():
        if isinstance(module, Recurrent):
            if module.config.cell == "peephole":
                raise InvalidSweep(Problem("cell", "torch.export cannot follow peephole cells", "elman, gru or lstm"))
            module.kernel = "torch"
    x_BLF = torch.zeros(2, lengths.pop(), data.values_TF.shape[1])
    inputs = (x_BLF, *([torch.zeros(2, data.static_SC.shape[1])] if data.static_SC.shape[1] else []))
    batch = {0: Dim("batch")}
    with warnings.catch_warnings():  # torch's layers keep a list of their weights beside them
        warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights", UserWarning)
        return torch.export.export(_Plain(learner), inputs, dynamic_shapes=(batch,) * len(inputs))


def sketch(info: DataInfo, steps: tuple[int, int]) -> Prepared:
    """Data of the right shape that hold nothing: a sample of the least and one of the most rows."""
    targets = max(1, len(info.targets))
    none, two = np.zeros(0, dtype=np.int64), np.zeros(2, dtype=np.int64)
    one_SD = np.ones((1, targets), dtype=np.float32)
    samples = Samples(two, np.array(steps), two, none, two.astype(np.uint64))
    return Prepared(np.zeros((max(steps), len(info.features)), dtype=np.float32),
                    np.zeros((1, len(info.static_features)), dtype=np.float32), 0 * one_SD, one_SD, None,
                    {"predict": samples}, {}, info)


class _Plain(nn.Module):
    """A learner that is called with tensors."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, x_BLF: Tensor, static_BC: Tensor | None = None) -> Tensor:
        none, series_B = x_BLF.new_zeros(0), torch.arange(x_BLF.shape[0], device=x_BLF.device)  # len() would fix it
        static = x_BLF.new_zeros(x_BLF.shape[0], 0) if static_BC is None else static_BC
        arrays = Arrays(none, static, none, none, None, none)
        output: Tensor = self.learner(Batch(arrays, x_BLF, None, series_B, series_B, None))
        return output
