"""Small problems that train in a moment, as numpy arrays that nobody may write to."""

from typing import Any

import numpy as np
import torch

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import DataInfo, Prepared, Samples

torch.set_num_threads(1)  # more cost more than they give on problems of this size

CONTEXT, HORIZON = 12, 3


def seal(data: Prepared) -> Prepared:
    """Make the arrays read-only, as those of a shared object store are."""
    for array in data.arrays().values():
        array.flags.writeable = False
    return data


def wave(rows: int = 160, seed: int = 0, gaps: bool = False, val_last: bool = True) -> Prepared:
    """A noisy sine of period 12 with its phase known ahead."""
    draw = np.random.default_rng(seed)
    t = np.arange(rows)
    y_T = np.sin(t * 2 * np.pi / 12) + draw.normal(0, 0.1, rows)
    values_TF = np.stack([y_T, np.cos(t * 2 * np.pi / 12)], axis=1).astype(np.float32)
    size = CONTEXT + HORIZON
    early, late = np.arange(0, rows - 50 - size), np.arange(rows - 50, rows - size + 1, HORIZON)
    train_N, val_N = (early, late) if val_last else (np.arange(50, rows - size + 1), np.arange(0, 51 - size, HORIZON))
    parts = {part: Samples(start_N, np.full_like(start_N, size), np.zeros_like(start_N), np.zeros(0, np.int64),
                           start_N.astype(np.uint64))
             for part, start_N in (("train", train_N), ("val", val_N), ("test", late))}
    one = np.ones((1, 1), np.float32)
    info = DataInfo(features=("y", "phase"), targets=(0,), known=(1,), columns=("y",), seasons=(12,),
                    data_hash=f"wave {rows} {seed}")
    observed_TD = draw.random((rows, 1)) < 0.8 if gaps else None
    return seal(Prepared(values_TF, np.zeros((1, 0), np.float32), 5 * one, 2 * one, observed_TD, parts, {}, info))


def tones(rows: int = 60, shortest: int = 4, longest: int = 14, seed: int = 0) -> Prepared:
    """Sequences of two channels whose class is the tone in them."""
    draw = np.random.default_rng(seed)
    length_N = draw.integers(shortest, longest + 1, rows)
    label_N = draw.integers(0, 3, rows)
    pieces = []
    for length, label in zip(length_N, label_N, strict=True):
        phase = np.arange(length) * (0.5 + label) + draw.uniform(0, 6)
        pieces.append(np.stack([np.sin(phase), np.cos(phase)], axis=1) + draw.normal(0, 0.1, (length, 2)))
    start_N = np.concatenate([[0], np.cumsum(length_N)[:-1]])
    parts = {}
    for part, these in (("train", slice(0, rows * 2 // 3)), ("val", slice(rows * 2 // 3, rows))):
        parts[part] = Samples(start_N[these].copy(), length_N[these].copy(), np.arange(rows)[these].copy(),
                              label_N[these].copy(), np.arange(rows)[these].astype(np.uint64))
    none = np.zeros((rows, 0), np.float32)
    info = DataInfo(features=("a", "b"), columns=("a", "b"), classes=("x", "y", "z"), data_hash=f"tones {rows} {seed}")
    return seal(Prepared(np.concatenate(pieces).astype(np.float32), none, none, none, None, parts, {}, info))


def wave_config(seed: int = 0, metric: str = "mae", patience: int | None = None, task: dict[str, Any] | None = None,
                **fields: Any) -> FitConfig:
    """Fields go where they belong: to the model or to the training loop."""
    return _config({"type": "forecasting", "target": "y", "known": ("phase",), "context": CONTEXT, "horizon": HORIZON}
                   | (task or {}), metric, "minimize", seed, patience, fields)


def tones_config(seed: int = 0, metric: str = "accuracy", patience: int | None = None, goal: str = "maximize",
                 task: dict[str, Any] | None = None, **fields: Any) -> FitConfig:
    return _config({"type": "classification"} | (task or {}), metric, goal, seed, patience, fields)


def _config(task: dict[str, Any], metric: str, goal: str, seed: int, patience: int | None,
            fields: dict[str, Any]) -> FitConfig:
    model_fields = set(RecurrentConfig.model_fields)
    base = {"hidden_size": 6, "epochs": 3, "batch_size": 16, "learning_rate": 1e-2}
    both = base | fields
    return FitConfig.model_validate({
        "task": task, "seed": seed, "metric": {"name": metric, "goal": goal},
        "model": {name: value for name, value in both.items() if name in model_fields},
        "training": {name: value for name, value in both.items() if name not in model_fields},
        "early_stopping": None if patience is None else {"patience": patience}})
