"""What trials have in common: shapes that are trained in step, and those that share a measured program."""

from __future__ import annotations

from collections.abc import Iterator

from seqsweep.config.models import OwnModelConfig, RecurrentConfig
from seqsweep.config.sweep import FitConfig

GATES = {"elman": 1, "gru": 3, "lstm": 4, "peephole": 4, "gru_d": 3, "ode_rnn": 11}
"""Sums of each unit of a cell."""
OWN_OF_MODEL = frozenset({"dropout", "variational_dropout", "init", "forget_bias"})
OWN_OF_TRAINING = frozenset({"epochs", "learning_rate", "weight_decay", "momentum", "clip_norm", "schedule",
                             "warmup_epochs"})
"""Parameters that trials trained in step may differ in: rates, starts and lengths; all others make the shape."""


def shape_key(config: FitConfig) -> str:
    """Return what trials must have in common to be trained in step: all but seeds, rates and lengths of training."""
    model = config.model
    dropped = [] if isinstance(model, OwnModelConfig) else [model.dropout > 0, model.variational_dropout > 0]
    shape = config.model_dump_json(exclude={
        "seed": True, "early_stopping": True, "model": set(OWN_OF_MODEL), "training": set(OWN_OF_TRAINING)})
    return f"{shape} {dropped}"


def bucket(config: FitConfig) -> str:
    """Return the name of the shapes that share a measured program: sizes to the next power of two."""
    model, training = config.model, config.training
    if isinstance(model, OwnModelConfig):
        return model.entry  # torch computes it, whatever its shape
    sizes = {"H": model.hidden_size, "B": training.batch_size, "T": getattr(config.task, "context", None) or 0}
    cell = f"{model.cell} {model.nonlinearity}" if model.cell == "elman" else model.cell
    sizes |= {"C": model.conv_channels} if model.conv_layers else {}
    sizes |= {"N": model.fcn_channels} if model.fcn_channels else {}
    return " ".join((cell, *(f"{name}{_ceil(size)}" for name, size in sizes.items()), training.precision))


def convolutions(model: RecurrentConfig, features: int) -> Iterator[tuple[int, int, int]]:
    """Give inputs, channels and width of a model's convolutions, before its layers and beside them."""
    for layer in range(model.conv_layers):
        yield (model.conv_channels if layer else features), model.conv_channels, model.conv_width
    sizes = (features, model.fcn_channels, 2 * model.fcn_channels, model.fcn_channels)
    for inputs, channels, width in zip(sizes, sizes[1:], (8, 5, 3), strict=False):
        if channels:
            yield inputs, channels, width


def _ceil(size: int) -> int:
    return 1 << (size - 1).bit_length() if size else 0
