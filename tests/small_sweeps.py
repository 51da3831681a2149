"""Small files and the sweeps over them: everything a user would have, and quick to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqsweep.config.settings import Settings
from seqsweep.store.records import Store

CONTEXT, HORIZON = 12, 3


def write_series(path: Path, rows: int = 400, names: tuple[str, ...] = (), seed: int = 0) -> pd.DataFrame:
    """A season of 12 hours and noise, and a promotion, known ahead, that no naive forecast can see."""
    draw, frames = np.random.default_rng(seed), []
    for number, name in enumerate(names or ("",)):
        promo = draw.integers(0, 2, rows)
        load = 10 * (number + 1) + 3 * np.sin(np.arange(rows) * np.pi / 6) + 2 * promo + draw.normal(0, 0.3, rows)
        frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=rows, freq="h"), "load": load.round(3),
                              "promo": promo})
        if names:
            frame.insert(0, "meter", name)
        frames.append(frame)
    whole = pd.concat(frames, ignore_index=True)
    whole.to_csv(path, index=False)
    return whole


def write_classes(path: Path, sequences: int = 150, seed: int = 0) -> pd.DataFrame:
    """Sequences of 5 to 9 steps of two channels, whose trend is their class; three of them from each speaker."""
    draw, frames = np.random.default_rng(seed), []
    for number in range(sequences):
        steps, label = int(draw.integers(5, 10)), number % 2
        trend = (label - 0.5) * np.arange(steps)
        frames.append(pd.DataFrame({"id": number, "speaker": f"s{number // 3}", "label": ("down", "up")[label],
                                    "a": trend + draw.normal(0, 0.4, steps), "b": draw.normal(0, 1, steps)}))
    whole = pd.concat(frames, ignore_index=True)
    whole.to_csv(path, index=False)
    return whole


def write_sensor(path: Path, rows: int = 500, machines: int = 3, seed: int = 0) -> pd.DataFrame:
    """Waves of some machines; `odd` marks three hours of each that are far off, half of them in the last third."""
    draw, frames = np.random.default_rng(seed), []
    for number in range(machines):
        heat = 20 + 5 * np.sin(np.arange(rows) * np.pi / 6 + number) + draw.normal(0, 0.3, rows)
        odd = np.zeros(rows, dtype=int)
        for at in (int(0.6 * rows) + 5 * number, int(0.8 * rows) + 7 * number):
            odd[at:at + 6] = 1
            heat[at + 1:at + 3] += 40
        frames.append(pd.DataFrame({"machine": f"m{number}", "heat": heat.round(3), "odd": odd,
                                    "time": pd.date_range("2024-01-01", periods=rows, freq="h")}))
    whole = pd.concat(frames, ignore_index=True)
    whole.to_csv(path, index=False)
    return whole


def resources(keys: dict[str, Any]) -> dict[str, Any]:
    """In this process, by torch's layers: two sweeps give the same digits."""
    given: dict[str, Any] = keys.pop("resources", {})
    return {"workers": 0, "kernel": "torch"} | given


def forecasting(path: Path, name: str = "load", **keys: Any) -> dict[str, Any]:
    """Four random trials of three epochs in this process; keys replace the sweep's own."""
    return {"name": name, "task": {"type": "forecasting", "target": "load", "horizon": HORIZON, "context": CONTEXT,
                                   "known": ["promo"]},
            "data": {"path": str(path), "time": "time"}, "split": {"by": "time", "val": "15%", "test": "20%"},
            "metric": {"name": "mae"}, "method": "random", "seed": 3,
            "parameters": {"learning_rate": {"min": 1e-2, "max": 1e-1, "log": True}, "hidden_size": {"values": [4, 8]},
                           "epochs": {"value": 3}, "batch_size": {"value": 32}},
            "early_terminate": {"type": "none"}, "budget": {"max_trials": 4}, "resources": resources(keys)} | keys


def classification(path: Path, name: str = "trend", **keys: Any) -> dict[str, Any]:
    """Two random trials of four epochs in this process; keys replace the sweep's own."""
    return {"name": name, "task": {"type": "classification", "features": ["a", "b"]},
            "data": {"path": str(path), "series": "id"}, "split": {"by": "random", "val": "20%", "test": "20%"},
            "metric": {"name": "log_loss"}, "method": "random", "seed": 3,
            "parameters": {"learning_rate": {"min": 1e-2, "max": 1e-1, "log": True}, "hidden_size": {"value": 8},
                           "epochs": {"value": 4}, "batch_size": {"value": 16}},
            "early_terminate": {"type": "none"}, "budget": {"max_trials": 2}, "resources": resources(keys)} | keys


def anomaly(path: Path, name: str = "sensor", **keys: Any) -> dict[str, Any]:
    """Two random trials of three epochs in this process; keys replace the sweep's own."""
    return {"name": name, "task": {"type": "anomaly", "features": ["heat"], "context": 12, "label": "odd",
                                   "alarm_rate": 0.01},
            "data": {"path": str(path), "time": "time", "series": "machine"},
            "split": {"by": "time", "val": "25%", "test": "25%"}, "metric": {"name": "nab"}, "method": "random",
            "seed": 3, "parameters": {"learning_rate": {"min": 1e-2, "max": 3e-2, "log": True},
                                      "hidden_size": {"value": 8}, "epochs": {"value": 3}, "batch_size": {"value": 32}},
            "early_terminate": {"type": "none"}, "budget": {"max_trials": 2}, "resources": resources(keys)} | keys


def settings_in(folder: Path) -> Settings:
    """A store and an MLflow of their own."""
    return Settings(f"sqlite:///{folder / 'seqsweep.db'}", f"sqlite:///{folder / 'mlflow.db'}", "local")


def table(settings: Settings, name: str, *, times: bool = False) -> list[tuple[Any, ...]]:
    """Everything a trial is and gave, to the bit; with `times`, when and where as well."""
    with Store.open(settings.store) as store:
        return [(r.number, str(r.state), dict(r.trial.params), r.trial.seed, r.outcome,
                 [(report.epoch, {k: v for k, v in report.metrics.items() if times or k != "seconds"})
                  for report in r.reports], *((r.started, r.ended, r.times, r.worker, r.revision) if times else ()))
                for r in store.trials(name)]
