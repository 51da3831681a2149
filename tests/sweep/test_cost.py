"""The unit of the logical clock: from parameters alone, and every model has one."""

from __future__ import annotations

import json
from itertools import product
from typing import get_args

import pytest
from toys import toy_sweep

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import fit_config
from seqsweep.config.training import Kernel
from seqsweep.records import Scalar
from seqsweep.sweep.cost import cost_model, epoch_cost

CELLS = get_args(RecurrentConfig.model_fields["cell"].annotation)


def cost(kernel: Kernel = "compiled", **params: Scalar) -> float:
    return epoch_cost(fit_config(toy_sweep(), params, 0), cost_model(kernel))


@pytest.mark.parametrize(("kernel", "cell"), product(get_args(Kernel), CELLS))
def test_more_to_compute_costs_more(kernel: Kernel, cell: str) -> None:
    small = cost(kernel, cell=cell)
    assert 0 < small < cost(kernel, cell=cell, hidden_size=64) < cost(kernel, cell=cell, hidden_size=64, num_layers=2)
    assert small < cost(kernel, cell=cell, bidirectional=True)
    assert small < cost(kernel, cell=cell, batch_size=16)
    assert small < cost(kernel, cell=cell, conv_layers=2, conv_channels=8)
    assert small < cost(kernel, cell=cell, fcn_channels=4)
    assert small < cost(kernel, cell=cell, decoder="recurrent")


def test_it_is_the_same_number_after_a_way_through_the_store() -> None:
    config = fit_config(toy_sweep(), {"hidden_size": 7, "batch_size": 48, "num_layers": 3, "dropout": 0.1}, 0)
    costs = cost_model("auto")
    assert epoch_cost(config, json.loads(json.dumps(costs))) == epoch_cost(config, costs)
