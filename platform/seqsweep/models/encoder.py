"""What reads the sequences: seqsweep's layers, or a model of the user's own."""

from __future__ import annotations

from seqsweep.config.models import ModelConfig, OwnModelConfig
from seqsweep.models.own import OwnEncoder
from seqsweep.models.recurrent import Recurrent
from seqsweep.models.timed import Clock

Encoder = Recurrent | OwnEncoder


def build_encoder(model: ModelConfig, input_size: int, clock: Clock | None = None) -> Encoder:
    """Return the encoder of a config; `clock`: see `Recurrent`. Raises InvalidSweep where the user's own is none."""
    if isinstance(model, OwnModelConfig):
        return OwnEncoder(model, input_size)
    return Recurrent(model, input_size, clock)
