"""A small series and a sweep over it, for tests that train for real and must be quick."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from seqsweep.config.sweep import Sweep
from seqsweep.data.batch import DataInfo, Prepared, Samples

CONTEXT, HORIZON = 12, 3
RESOURCES = {"workers": 0, "kernel": "torch"}


def toy_series(rows: int = 260, seed: int = 0) -> Prepared:
    """A noisy sine of period 12, windows of 12 + 3, split 60/20/20 by time."""
    draw = np.random.default_rng(seed)
    y_T = np.sin(np.arange(rows) * 2 * np.pi / 12) + draw.normal(0, 0.1, rows)
    borders = [CONTEXT, int(0.6 * rows), int(0.8 * rows), rows]
    parts, keys = {}, {}
    for part, first, last in zip(("train", "val", "test"), borders, borders[1:], strict=False):
        origins = np.arange(first, last - HORIZON + 1, 1 if part == "train" else HORIZON)
        whole = np.full(len(origins), CONTEXT + HORIZON)
        parts[part] = Samples(origins - CONTEXT, whole, np.zeros(len(origins), np.int64), np.zeros(0, np.int64),
                              origins.astype(np.uint64))
        keys[part] = np.arange(first, last, dtype=np.uint64)
    one = np.ones((1, 1), np.float32)
    info = DataInfo(features=("y",), targets=(0,), columns=("y",), seasons=(12,), data_hash="toy")
    return Prepared(y_T.astype(np.float32)[:, None], np.zeros((1, 0), np.float32), 0 * one, one, None, parts, keys,
                    info)


def toy_sweep(**keys: Any) -> Sweep:
    """Six random trials of three epochs on `toy_series`; keys replace the sweep's own."""
    document: dict[str, Any] = {
        "name": "toy", "task": {"type": "forecasting", "target": "y", "horizon": HORIZON, "context": CONTEXT},
        "data": {"path": "toy.csv"}, "metric": {"name": "mae", "goal": "minimize"}, "method": "random", "seed": 3,
        "parameters": {"learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"values": [4, 8]},
                       "epochs": {"value": 3}, "batch_size": {"value": 32}},
        "early_terminate": {"type": "none"}, "budget": {"max_trials": 6}, "resources": RESOURCES}
    keys["resources"] = RESOURCES | keys.get("resources", {})
    return Sweep.model_validate_json(json.dumps(document | keys))
