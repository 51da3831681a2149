"""Sweeps of stub workers that are killed, or whose disk is full, until so many faults have been survived."""

from __future__ import annotations

import math
import random
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from evidence import Scene, most_repeated, stub_curves
from nursery import End, Nursery, Order
from small_sweeps import forecasting, write_series
from stub_workers import testimony

TRIALS = 40
PACE, CHECKPOINT_EVERY, SLICE = 0.004, 0.2, 0.012
"""Seconds of an epoch of a stub, between two checkpoints, and of a worker's answer."""
INTERVAL = round(CHECKPOINT_EVERY / PACE)
"""Epochs in one checkpoint interval; writes that wait for the store may add some."""

POINTS = (
    "ensure_layout", "create_sweep", "acquire", "update_sweep.running", "put_stage.data", "update_sweep.data_hash",
    "update_sweep.facts", "start_trial", "save_progress", "close_trial", "mlflow.create_experiment",
    "mlflow.create_run", "mlflow.set_experiment_tag", "mlflow.log_batch", "mlflow.log_inputs", "mlflow.set_terminated",
    "update_sweep.active_seconds", "put_stage.search", "touch_test", "put_stage.evaluate", "mlflow.log_text",
    "mlflow.update_run", "mlflow.create_registered_model", "mlflow.create_logged_model", "mlflow.log_outputs",
    "mlflow.log_model_artifacts", "mlflow.finalize_logged_model", "mlflow.create_model_version",
    "mlflow.set_logged_model_tags", "mlflow.set_registered_model_alias", "put_stage.register", "put_stage.promote",
    "update_sweep.finished", "release")
"""Every commit point of a sweep, in the order in which a run reaches them."""
UNLOOKED_FOR = ("update_sweep.failed", "renew")
"""Commit points of a run that could not go on, and of one whose stages take longer than a lease lasts."""


def phases(point: str) -> tuple[str, ...]:
    """When a fault can strike: a transaction of the store is also seen from within."""
    return ("before", "after") if point.startswith("mlflow.") else ("before", "within", "after")


@dataclass
class Stubs:
    """Sweeps of stub workers in folders of their own, one after the other; `tracking` is an empty MLflow to copy."""

    nursery: Nursery
    folder: Path
    tracking: Path | None = None
    store: str = ""
    """URL of the one sweep's store; empty: a file for each sweep."""
    max_trials: int = TRIALS
    disk: bool = False
    """Each sweep lies on a small file system of its own."""
    sweeps: int = 0
    faults: int = 0
    repeated: int = 0
    """The most epochs that one kill cost."""
    reached: set[str] = field(default_factory=set)
    """Commit points that were seen."""
    _scene: Scene | None = field(default=None)

    def run(self, **order: Any) -> End:
        """One controller over the sweep under way; after it, what must be true after each fault."""
        scene = self._scene = self._scene or self._begin()
        usual = Order(str(scene.folder), scene.settings.store, str(scene.witness), PACE, CHECKPOINT_EVERY, SLICE)
        end = self.nursery.run(replace(usual, **order))
        (scene.folder / "filler").unlink(missing_ok=True)  # of a controller that ended before it was taken away
        assert "Traceback" not in end.said, end.said
        if scene.has_begun:
            scene.look()
        return end

    def finish(self) -> None:
        """The sweep goes on to its end, and a second time does nothing; then everything must be true."""
        if self._scene is None:
            return
        for _ in range(2):
            end = self.run()
            assert end.code == 0, end
        self.conclude()

    def conclude(self) -> None:
        """The sweep has ended: everything must be true."""
        scene = self._scene
        assert scene is not None
        scene.conclude(self.max_trials)
        stub_curves(scene.closed)
        self.repeated = max(self.repeated, most_repeated(scene.witness))
        self.sweeps += 1
        self.leave()

    def leave(self) -> None:
        """Forget the sweep, whether it has ended or not."""
        if self._scene is not None:
            if self.disk:
                subprocess.run(["umount", "--lazy", self._scene.folder], check=True)
            shutil.rmtree(self._scene.folder)
            self.reached |= {point for _, point, _ in testimony(self.witness, "reached")}
            self.witness.unlink(missing_ok=True)
        self._scene = None

    def _begin(self) -> Scene:
        folder = self.folder / f"sweep-{uuid.uuid4().hex[:8]}"  # MLflow remembers what it opened under a name
        folder.mkdir(parents=True)
        if self.disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "seqsweep-chaos", folder], check=True)
        write_stub_sweep(folder, self.max_trials)
        if self.tracking:
            shutil.copy(self.tracking, folder / "mlflow.db")
        return Scene(folder, self.witness, self.store)

    @property
    def witness(self) -> Path:
        """What the controllers of the sweep under way noted, on no full disk."""
        return self.folder / "witness"


def write_stub_sweep(folder: Path, max_trials: int) -> None:
    """A sweep of TPE and asha over two dimensions, which registers and promotes its winner."""
    write_series(folder / "load.csv", rows=120)
    document = forecasting(
        Path("load.csv"), method="tpe", budget={"max_trials": max_trials}, register={"alias": "challenger"},
        early_terminate={"type": "asha", "min_epochs": 1}, promote={"to": "champion"},
        parameters={"learning_rate": {"min": 1e-4, "max": 1e-1, "log": True}, "epochs": {"value": 81},
                    "weight_decay": {"min": 0.0, "max": 1.0}, "hidden_size": {"value": 4}})
    (folder / "sweep.yaml").write_text(yaml.safe_dump(document))


def random_kills(stubs: Stubs, draw: random.Random, more: Callable[[], bool], longest: float = 3.0) -> None:
    """The controller killed after 5 ms to `longest` seconds, as often in each tenfold of time."""
    while more():
        delay = math.exp(draw.uniform(math.log(0.005), math.log(longest)))
        end = stubs.run(kill_after=delay)
        if end.code == -9:
            stubs.faults += 1
        else:
            assert end.code == 0, end
            stubs.conclude()
    stubs.finish()


def struck_points(stubs: Stubs, act: str, wanted: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Strike each point once, mostly while an earlier fault is being recovered from; returns those that were struck."""
    struck = []
    for point, phase in wanted:
        for fresh in (False, True):  # some points are reached by a new sweep alone, or not again by one that has ended
            if fresh:
                stubs.leave()
            end = stubs.run(point=point, phase=phase, act=act)
            assert end.code in (-9, 0) if act == "kill" else end.code in (0, 9), end
            if [point, phase] in (words for _, *words in testimony(stubs.witness, "struck")):
                struck.append((point, phase))
                stubs.faults += 1
                break
    stubs.finish()
    return struck
