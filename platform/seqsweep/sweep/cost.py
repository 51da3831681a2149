"""What an epoch of a trial costs, by its parameters alone: the unit of a deterministic sweep's logical clock.

Fitted by benchmarks/costs.py to whole training steps of the shipped search space, on one CPU thread; pure arithmetic of
shapes, so that it is the same number on every machine. Where it is wrong, workers wait longer, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel

_GATES = {"elman": 1, "gru": 3, "lstm": 4}
_STEPS = 32
"""Steps of a sequence where the task does not say."""
_COSTS = {
    "compiled": {
        "elman": {"step": 4.99e-07, "unit": 0.0, "weight": 5.49e-11, "layer": 6.16e-04},
        "gru": {"step": 2.48e-06, "unit": 1.78e-09, "weight": 3.23e-11, "layer": 4.84e-04},
        "lstm": {"step": 2.54e-06, "unit": 1.38e-09, "weight": 3.22e-11, "layer": 4.87e-04},
    },
    "torch": {
        "elman": {"step": 4.99e-07, "unit": 0.0, "weight": 5.49e-11, "layer": 6.16e-04},
        "gru": {"step": 2.48e-06, "unit": 1.78e-09, "weight": 3.23e-11, "layer": 4.84e-04},
        "lstm": {"step": 2.54e-06, "unit": 1.38e-09, "weight": 3.22e-11, "layer": 4.87e-04},
    },
}
Costs = Mapping[str, Mapping[str, float]]


def cost_model(kernel: Literal["auto", Kernel]) -> Costs:
    """Return the coefficients for a kernel, by cell."""
    return _COSTS["torch" if kernel == "torch" else "compiled"]


def terms(config: FitConfig, features: int = 5) -> dict[str, float]:
    """Return what an optimiser step of a trial consists of, each to be multiplied by its coefficient."""
    model, batch = config.model, config.training.batch_size
    steps = getattr(config.task, "context", _STEPS)
    directions, units = 1 + model.bidirectional, _GATES[model.cell] * model.hidden_size
    inputs = [features] + [directions * model.hidden_size] * (model.num_layers - 1)
    layers = directions * model.num_layers
    return {"step": layers * steps, "unit": layers * steps * batch * units,
            "weight": directions * steps * batch * units * sum(each + model.hidden_size for each in inputs),
            "layer": layers}


def epoch_cost(config: FitConfig, costs: Costs) -> float:
    """Return the cost of one epoch, in seconds a training sample on the machine of the fit."""
    coefficients = costs[config.model.cell]
    return sum(coefficients[name] * value for name, value in terms(config).items()) / config.training.batch_size
