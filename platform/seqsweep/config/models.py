"""How it is learnt: the recurrent model's parameters, every field of which is searchable, or a model of the user's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from seqsweep.config.base import Config
from seqsweep.config.own import Code, Entry, Own
from seqsweep.config.space import Scalar

TIMED = ("gru_d", "ode_rnn")
"""Cells that read the time between rows."""
NaiveSeason = Annotated[int, Field(ge=0, le=100_000)]
Highway = Annotated[int, Field(ge=0, le=100_000)]
WindowNorm = Literal["none", "last", "standard"]


class RecurrentConfig(Config):
    """A stack of recurrent layers of one cell under a head chosen by the task."""

    cell: Literal["elman", "lstm", "gru", "peephole", "gru_d", "ode_rnn"] = "lstm"
    """Elman (1990), LSTM (Hochreiter & Schmidhuber, 1997), GRU (Cho et al., 2014), or an LSTM whose gates also see its
    cells (Gers & Schmidhuber, 2000). For irregular times (`prepare.elapsed`): a GRU whose state, and values not seen
    for long, fade (GRU-D, Che et al., 2018), or whose state follows a differential equation from row to row (ODE-RNN,
    Rubanova et al., 2019)."""
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """Activation of the Elman cell; the gated cells ignore it (restrict it with `when: {cell: [elman]}`)."""
    hidden_size: int = Field(default=32, ge=1, le=4096)
    """Units per layer and direction."""
    num_layers: int = Field(default=1, ge=1, le=16)
    """Stacked layers."""
    bidirectional: bool = False
    """Read the sequence in both directions; the two last states are joined."""
    residual: bool = False
    """Add to each layer's output its input, where they are equally wide: from the second layer on (Wu et al., 2016)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Rate of units dropped between layers, anew at each step; needs num_layers > 1."""
    variational_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Rate of units dropped at each layer's input and the head's, one mask for all steps (Gal & Ghahramani, 2016)."""
    layer_norm: bool = False
    """Normalise each layer's output over its units (Ba et al., 2016)."""
    init: Literal["default", "xavier", "he", "orthogonal"] = "default"
    """Start of the weights: torch's uniform, Glorot & Bengio (2010), He et al. (2015), or Saxe et al. (2014)."""
    forget_bias: float = Field(default=1.0, ge=-10.0, le=10.0)
    """Start of the LSTM's forget-gate bias, with peepholes or without (Jozefowicz et al., 2015); the other cells ignore
    it."""
    pooling: Literal["last", "mean", "max", "attention", "multihead"] = "last"
    """What of the outputs the head reads: the last state, the mean or maximum over all steps, a mean weighted by
    additive attention (Bahdanau et al., 2015; Lin et al., 2017), or what the last state finds in all of them by `heads`
    scaled dot products (Vaswani et al., 2017)."""
    heads: int = Field(default=4, ge=1, le=64)
    """Heads of `pooling: multihead`; each is as wide as a share of the outputs, rounded down."""
    conv_layers: int = Field(default=0, ge=0, le=8)
    """Convolutions over time before the recurrent layers, each output seeing its own step and earlier ones only
    (Sainath et al., 2015)."""
    conv_channels: int = Field(default=32, ge=1, le=1024)
    """Channels of each of these convolutions."""
    conv_width: int = Field(default=5, ge=2, le=101)
    """Steps that each of these convolutions sees."""
    conv_norm: Literal["none", "layer", "batch"] = "none"
    """What follows each of these convolutions: normalisation over the channels of a step (Ba et al., 2016), or over the
    steps of the batch (Ioffe & Szegedy, 2015)."""
    conv_activation: Literal["relu", "gelu", "tanh"] = "relu"
    """Activation of these convolutions."""
    fcn_channels: int = Field(default=0, ge=0, le=1024)
    """Convolutions beside the recurrent layers, whose mean over time is joined to the state (LSTM-FCN, Karim et al.,
    2018): three of so many, twice as many and so many channels, of 8, 5 and 3 steps, with batch norm; 0: none. The
    paper has 128."""
    decoder: Literal["direct", "recurrent"] = "direct"
    """Forecasting only: all steps by one linear map, or step by step by a second layer that reads at each step the
    encoder's state and what is known ahead (Cho et al., 2014). It reads no targets, in training neither."""
    naive_season: NaiveSeason = 0
    """Forecasts only, of anomalies too: correct a seasonal naive forecast of this many steps; 0 forecasts the level."""
    highway: Highway = 0
    """Forecasting only: add a linear map of the last so many steps of each target to its horizon, one map for all
    targets, learnt together with the layers (LSTNet, Lai et al., 2018); 0: none."""
    window_norm: WindowNorm = "none"
    """Windows only: take each window's last value, or its mean and deviation, out of the targets before the model
    and put it back after (Kim et al., 2022)."""


class AroundConfig(Config):
    """What of RecurrentConfig is done around the layers, and so around a model of the user's own too."""

    naive_season: NaiveSeason = 0
    """Forecasts only: see RecurrentConfig."""
    highway: Highway = 0
    """Forecasting only: see RecurrentConfig."""
    window_norm: WindowNorm = "none"
    """Windows only: see RecurrentConfig."""


class OwnModelConfig(AroundConfig):
    """A model of the user's own, with one trial's arguments."""

    entry: Entry
    """`mymodels.py:TinyRNN`."""
    code: Code
    """The file's text."""
    arguments: dict[str, Scalar] = {}
    """Keyword arguments; those that are not here have the defaults that the code gives them."""

    @property
    def own(self) -> Own:
        """The class."""
        return Own(self.entry, self.code)


ModelConfig = RecurrentConfig | OwnModelConfig
