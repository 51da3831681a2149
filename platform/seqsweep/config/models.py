"""How it is learnt: the recurrent model's parameters. Every field is searchable."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seqsweep.config.base import Config


class RecurrentConfig(Config):
    """A stack of recurrent layers of one cell under a head chosen by the task."""

    cell: Literal["elman", "lstm", "gru"] = "lstm"
    """Elman (1990), LSTM (Hochreiter & Schmidhuber, 1997) or GRU (Cho et al., 2014)."""
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """Activation of the Elman cell; the gated cells ignore it (restrict it with `when: {cell: [elman]}`)."""
    hidden_size: int = Field(default=32, ge=1, le=4096)
    """Units per layer and direction."""
    num_layers: int = Field(default=1, ge=1, le=16)
    """Stacked layers."""
    bidirectional: bool = False
    """Read the sequence in both directions; the two last states are joined."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Rate of units dropped between layers, anew at each step; needs num_layers > 1."""
    variational_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Rate of units dropped at each layer's input and the head's, one mask for all steps (Gal & Ghahramani, 2016)."""
    layer_norm: bool = False
    """Normalise each layer's output over its units (Ba et al., 2016)."""
    init: Literal["default", "xavier", "he", "orthogonal"] = "default"
    """Start of the weights: torch's uniform, Glorot & Bengio (2010), He et al. (2015), or Saxe et al. (2014)."""
    forget_bias: float = Field(default=1.0, ge=-10.0, le=10.0)
    """Start of the LSTM's forget-gate bias (Jozefowicz et al., 2015); the other cells ignore it."""
    pooling: Literal["last", "mean", "max"] = "last"
    """What of the outputs the head reads: the last state, or the mean or maximum over all steps."""
    naive_season: int = Field(default=0, ge=0, le=100_000)
    """Forecasting only: correct a seasonal naive forecast of this many steps; 0 forecasts the level."""
    window_norm: Literal["none", "last", "standard"] = "none"
    """Forecasting only: take each window's last value, or its mean and deviation, out of the targets before the model
    and put it back after (Kim et al., 2022)."""
