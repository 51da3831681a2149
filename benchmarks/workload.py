"""One job for all contestants: a series that anyone has, a recurrent model on it, and a plain PyTorch loop.

Shapes: N windows, B of them in a batch, L = context + horizon rows, F = 1 feature, H hidden units.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SPACE = {"learning_rate": (1e-4, 3e-2), "weight_decay": (1e-6, 1e-2), "clip_norm": (0.1, 10.0)}
"""What is searched, each on a log scale: nothing that changes what an epoch costs."""


@dataclass(frozen=True)
class Workload:
    """How many trials of what size. The default is the README's."""

    cell: str = "lstm"
    hidden: int = 32
    trials: int = 40
    epochs: int = 4
    windows: int = 3_110
    context: int = 96
    horizon: int = 24
    batch: int = 64
    val_windows: int = 20
    val_stride: int = 24
    workers: int = 2

    @property
    def train_rows(self) -> int:
        """Rows of the training part."""
        return self.windows + self.context + self.horizon - 1

    @property
    def val_rows(self) -> int:
        """Rows of the validation part, whose windows reach back for their context."""
        return (self.val_windows - 1) * self.val_stride + self.horizon

    @property
    def setup(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)

    def values(self) -> npt.NDArray[np.float64]:
        """Return an hourly series with a daily and a weekly season and an AR(1) noise; the same on every machine."""
        rows = self.train_rows + self.val_rows + self.horizon  # one more window for the test part
        t, noise_T = np.arange(rows), np.random.default_rng(0).normal(0, 1.0, rows)
        for row in range(1, rows):
            noise_T[row] += 0.8 * noise_T[row - 1]
        return 100 + 10 * np.sin(t * 2 * np.pi / 24) + 5 * np.sin(t * 2 * np.pi / 168) + noise_T

    def write_series(self, path: Path) -> None:
        """Write the series as a CSV of `time` and `load`."""
        values_T = self.values()
        hours = np.datetime64("2024-01-01T00", "h") + np.arange(len(values_T))
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["time", "load"])
            writer.writerows((f"{hour}:00:00", f"{value:.4f}") for hour, value in zip(hours, values_T, strict=True))

    def sweep(self, resources: Mapping[str, Any] | None = None, early_terminate: str = "none") -> str:
        """Return the sweep's YAML: `series.csv` in the working folder, nothing evaluated or registered."""
        more = "".join(f", {key}: {value}" for key, value in (resources or {}).items())
        searched = "\n".join(f"  {name}: {{min: {low}, max: {high}, log: true}}" for name, (low, high) in SPACE.items())
        return f"""\
version: 1
name: benchmark
task: {{type: forecasting, target: load, horizon: {self.horizon}, context: {self.context}}}
data: {{path: series.csv, time: time}}
split: {{by: time, val: {self.val_rows}, test: {self.horizon}, stride: {self.val_stride}}}
metric: {{name: mae}}
parameters:
  cell: {{value: {self.cell}}}
  hidden_size: {{value: {self.hidden}}}
  num_layers: {{value: 1}}
  batch_size: {{value: {self.batch}}}
  epochs: {{value: {self.epochs}}}
{searched}
early_terminate: {{type: {early_terminate}}}
budget: {{max_trials: {self.trials}}}
resources: {{workers: {self.workers}{more}}}
evaluate: {{baselines: none}}
register: null
"""


def read_series(path: Path) -> npt.NDArray[np.float64]:
    """Read the column `load`."""
    with path.open(newline="") as file:
        return np.array([float(row["load"]) for row in csv.DictReader(file)])


def draw(trial: int) -> dict[str, float]:
    """Draw a trial's parameters at random from SPACE."""
    rng = np.random.default_rng([7, trial])
    return {name: math.exp(rng.uniform(math.log(low), math.log(high))) for name, (low, high) in SPACE.items()}


def epochs(work: Workload, values_T: npt.NDArray[np.float64], params: Mapping[str, float],
           seed: int) -> Iterator[dict[str, float]]:
    """Train as one would by hand, epoch by epoch: batches gathered from one array, a fused optimiser, no DataLoader.

    Yields `train_loss` in scaled units and `val_mae` in data units after each epoch, without an end.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    mean, std = values_T[:work.train_rows].mean(), values_T[:work.train_rows].std()
    scaled_T = torch.tensor((values_T - mean) / std, dtype=torch.float32)
    windows_NLF = scaled_T.unfold(0, work.context + work.horizon, 1).unsqueeze(-1)
    first = work.train_rows - work.context
    val_NLF = windows_NLF[first:first + work.val_windows * work.val_stride:work.val_stride]
    layer = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}[work.cell](1, work.hidden, batch_first=True)
    head = nn.Linear(work.hidden, work.horizon)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=params["learning_rate"], weight_decay=params["weight_decay"],
                                 fused=True)
    while True:
        total = torch.zeros(())
        for rows_B in torch.randperm(work.windows).split(work.batch):
            x_BLF = windows_NLF.index_select(0, rows_B)
            out_BTH, _ = layer(x_BLF[:, :work.context])
            loss = nn.functional.l1_loss(head(out_BTH[:, -1]), x_BLF[:, work.context:, 0])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, params["clip_norm"])
            optimizer.step()
            total += loss.detach() * len(rows_B)
        with torch.inference_mode():
            out_NTH, _ = layer(val_NLF[:, :work.context])
            val_mae = (head(out_NTH[:, -1]) - val_NLF[:, work.context:, 0]).abs().mean() * std
        yield {"train_loss": total.item() / work.windows, "val_mae": val_mae.item()}
