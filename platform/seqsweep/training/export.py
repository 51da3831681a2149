"""A trained model as a torch.export program, for runtimes without seqsweep. The data come to it prepared and scaled."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidData, InvalidSweep, Problem
from seqsweep.models.recurrent import Recurrent
from seqsweep.tasks.batch import Arrays, Batch
from seqsweep.tasks.learner import Learner


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
