"""How long and how fast it is learnt: optimiser, schedule, early stopping. Every field of Training is searchable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from seqsweep.config.base import Config


class TrainingConfig(Config):
    """The training loop's parameters."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    """Passes over the training part at the most."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Sequences or windows an optimiser step sees."""
    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """Step size at the peak of the schedule."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=10.0)
    """L2 penalty: added to the gradient, decoupled in AdamW (Loshchilov & Hutter, 2019)."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """Update rule."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of SGD; the other optimisers ignore it."""
    clip_norm: float = Field(default=1.0, ge=0.0, le=1e6)
    """Largest norm of the whole gradient (Pascanu et al., 2013); 0 does not clip."""
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """Learning rate after the warm-up: constant, half a cosine to 0 at `epochs` (Loshchilov & Hutter, 2017), or halved
    after 3 epochs without a better validation loss."""
    warmup_epochs: int = Field(default=0, ge=0, le=10_000)
    """Epochs over which the learning rate rises linearly, step by step."""
    precision: Literal["float32", "mixed"] = "float32"
    """Mixed precision: bfloat16 autocast on a GPU; float32 on a CPU, where it does not pay."""


class EarlyStoppingConfig(Config):
    """When a trial ends by itself."""

    patience: int = Field(default=5, ge=1, le=100_000)
    """Epochs without a better validation metric."""
    min_delta: float = Field(default=0.0, ge=0.0)
    """How much better counts as better, in units of the metric."""


Kernel = Literal["torch", "compiled", "stacked", "triton"]
"""How recurrent layers are computed; see `models/kernels.py`."""


class ProgramConfig(Config):
    """How a trial is computed: no hyperparameter, but programs round differently, so a trial keeps the one it has."""

    kernel: Kernel = "torch"
    packed: bool = False
    """Trained in step with others of its shape; its figures do not depend on which, or how many."""
    recorded: bool = False
    """On a GPU its steps are replayed from a CUDA graph; elsewhere, and where that cannot be, they are taken alike."""
    micro_batch: int | None = None
    """Samples computed at once where a batch did not fit into memory; their gradients add up to those of the batch."""
    whole_epochs: int = 0
    """Epochs that were trained with whole batches before."""

    def __str__(self) -> str:
        pieces = f", micro-batches of {self.micro_batch}" if self.micro_batch else ""
        return f"{self.kernel}{', packed' * self.packed}{', as a graph' * self.recorded}{pieces}"


@dataclass(frozen=True)
class Choice:
    """What a probe found for trials of a shape."""

    program: ProgramConfig
    pack: int
    """Trials in step at the most."""
    seconds: dict[str, float]
    """Of one trial's optimiser step, by program; empty where there was nothing to choose."""
