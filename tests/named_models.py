"""Every kind of model by name: what the contract suite holds to its promises. A new kind is a new line here."""

from __future__ import annotations

from typing import Any

NAMED: dict[str, dict[str, Any]] = {
    "elman": {"cell": "elman"},
    "relu elman": {"cell": "elman", "nonlinearity": "relu", "init": "orthogonal"},
    "gru": {"cell": "gru", "num_layers": 2},
    "lstm": {"cell": "lstm", "num_layers": 2, "layer_norm": True},
    "peephole": {"cell": "peephole", "num_layers": 2, "init": "xavier"},
    "gru-d": {"cell": "gru_d", "num_layers": 2, "init": "orthogonal"},
    "ode-rnn": {"cell": "ode_rnn", "bidirectional": True},
    "bidirectional": {"cell": "gru", "num_layers": 2, "bidirectional": True},
    "bidirectional peephole": {"cell": "peephole", "bidirectional": True, "pooling": "max"},
    "residual": {"cell": "lstm", "num_layers": 3, "residual": True, "layer_norm": True, "pooling": "mean"},
    "attention": {"cell": "gru", "pooling": "attention"},
    "bidirectional attention": {"cell": "lstm", "pooling": "attention", "bidirectional": True},
    "multihead": {"cell": "lstm", "pooling": "multihead", "heads": 3, "bidirectional": True},
    "more heads than units": {"cell": "elman", "pooling": "multihead", "heads": 9},
    "cnn-rnn": {"cell": "gru", "conv_layers": 2, "conv_channels": 5, "conv_width": 3, "conv_norm": "layer",
                "conv_activation": "gelu"},
    "cnn-rnn, batch norm": {"cell": "gru", "conv_layers": 2, "conv_channels": 4, "conv_width": 4, "conv_norm": "batch",
                            "conv_activation": "tanh"},
    "lstm-fcn": {"cell": "lstm", "fcn_channels": 3},
    "lstm-fcn with attention": {"cell": "lstm", "fcn_channels": 2, "pooling": "attention"},
    "encoder-decoder": {"cell": "gru", "decoder": "recurrent"},
    "cnn-rnn with a highway": {"cell": "gru", "conv_layers": 1, "conv_channels": 4, "highway": 5},
    "peephole encoder-decoder": {"cell": "peephole", "decoder": "recurrent", "num_layers": 2},
}
"""Fields of RecurrentConfig, beside a small `hidden_size`."""
