"""What an epoch of a trial costs, by its parameters alone: the unit of a deterministic sweep's logical clock.

Fitted by benchmarks/costs.py to whole training steps of the shipped search space, on one CPU thread; pure arithmetic of
shapes, so that it is the same number on every machine. Where it is wrong, workers wait longer, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from seqsweep.config.models import OwnModelConfig, RecurrentConfig
from seqsweep.config.shapes import GATES, convolutions
from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel

_STEPS = 32
"""Steps of a sequence where the task does not say."""
_PEEPHOLE = {"call": 1.0e-4, "layer": 5.2e-4, "step": 5.9e-5, "multiplication": 6.0e-11, "unit": 7.8e-9}
"""The same for every kernel: it computes itself."""
_COSTS: dict[str, dict[str, dict[str, float]]] = {
    "compiled": {"peephole": _PEEPHOLE} | {
        cell: {"call": 3.7e-4, "layer": 2.9e-4, "parameter": 3.1e-9, "multiplication": 2.8e-11, "unit": 1.25e-9,
               "dropped": 7.1e-9} for cell in ("elman", "gru", "lstm")},
    "torch": {
        "elman": {"call": 4.4e-4, "parameter": 1.2e-8, "step": 2.9e-5, "multiplication": 5.9e-11, "unit": 6.4e-9,
                  "dropped": 4.1e-9},
        "gru": {"parameter": 9.6e-9, "step": 9.2e-5, "multiplication": 5.7e-11, "unit": 7.2e-9},
        "lstm": {"call": 3.8e-4, "layer": 4.5e-4, "parameter": 4.3e-9, "multiplication": 2.2e-11, "unit": 3.3e-9,
                 "dropped": 3.9e-9},
        "peephole": _PEEPHOLE,
    },
}
"""Seconds by kernel, cell and term; seqsweep's own kernel takes as long for each cell's weight."""
Costs = Mapping[str, Mapping[str, float]]


def cost_model(kernel: Literal["auto", Kernel]) -> Costs:
    """Return the coefficients for a kernel, by cell."""
    return _COSTS["torch" if kernel == "torch" else "compiled"]


def terms(config: FitConfig, features: int = 5) -> dict[str, float]:
    """Return what an optimiser step of a trial consists of, each to be multiplied by its coefficient.

    `features`: columns of the input, of which the parameters say nothing.
    """
    model, batch = config.model, config.training.batch_size
    if isinstance(model, OwnModelConfig):
        model = RecurrentConfig()  # nothing is known of it
    steps = getattr(config.task, "context", None) or _STEPS
    directions, units = 1 + model.bidirectional, GATES[model.cell] * model.hidden_size
    first = model.conv_channels if model.conv_layers else features
    inputs = [first] + [directions * model.hidden_size] * (model.num_layers - 1)
    layers, rows = directions * model.num_layers, batch * steps
    weights = directions * units * sum(each + model.hidden_size for each in inputs)
    convolved = sum(math.prod(each) for each in convolutions(model, features))
    ahead = getattr(config.task, "horizon", 0) if model.decoder == "recurrent" else 0
    decoder = units * (1 + directions) * model.hidden_size if ahead else 0
    return {"call": 1.0, "layer": layers + (ahead > 0), "parameter": weights + convolved + decoder,
            "step": layers * steps + ahead, "multiplication": rows * (weights + convolved) + batch * ahead * decoder,
            "unit": rows * layers * units + batch * ahead * units,
            "dropped": rows * (model.num_layers - 1) * directions * model.hidden_size * (model.dropout > 0)}


def epoch_cost(config: FitConfig, costs: Costs) -> float:
    """Return the cost of one epoch, in seconds a training sample on the machine of the fit."""
    cell = "" if isinstance(config.model, OwnModelConfig) else config.model.cell
    coefficients = costs.get(cell, _COSTS["torch"]["gru"])  # computed step by step, as torch's GRU is
    step = sum(coefficients.get(name, 0.0) * value for name, value in terms(config).items())
    return step / config.training.batch_size
