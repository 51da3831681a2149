"""Sweeps that train for real on Ray while controllers, workers and nodes die; the end is that of a quiet run."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from evidence import Closed, Scene, closed, opened
from shell import environment, until
from small_sweeps import forecasting, write_series
from stub_workers import testimony

TRIALS, EPOCHS = 12, 80
"""Of a second or two each."""
TEMPORARY = ("seconds",)
"""Figures that no two runs have alike."""


@dataclass
class Trainings:
    """Sweeps in folders of their own, one after the other; `address` is the Ray cluster's."""

    folder: Path
    address: str = "local"
    sweeps: int = 0
    faults: int = 0
    resumed: list[float] = field(default_factory=list)
    """Seconds from the start of a resuming process to the first epoch it learnt of."""
    repeated: float = 0.0
    """The most seconds of one trial's epochs that were trained twice because of one fault."""
    _scene: Scene | None = None
    _expected: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expected = quiet(self.folder / "quiet")

    @contextlib.contextmanager
    def controller(self) -> Iterator[Controller]:
        """A controller over the sweep under way, gone when the context ends; then what must be true is looked at."""
        scene = self._scene = self._scene or self._begin()
        before = len(list(testimony(scene.witness, "trained")))
        began = time.monotonic()
        controller = Controller(scene, self.address)
        try:
            yield controller
        finally:
            controller.kill()
        learnt = list(testimony(scene.witness, "trained"))[before:]
        if before and learnt:
            self.resumed.append(float(learnt[0][3]) - began)
        if controller.code == 0:
            self._conclude(scene)
        elif scene.has_begun:
            scene.look()

    def _conclude(self, scene: Scene) -> None:
        scene.conclude(TRIALS)
        found = comparable(scene.closed)
        assert found == self._expected, {key: (found.get(key), self._expected[key]) for key in self._expected
                                         if found.get(key) != self._expected[key]}
        self.repeated = max(self.repeated, most_seconds_repeated(scene.witness))
        self.sweeps += 1
        self._scene = None
        shutil.rmtree(scene.folder)

    def _begin(self) -> Scene:
        folder = self.folder / f"sweep-{self.sweeps}"
        write_training_sweep(folder, workers=2)
        return Scene(folder, folder / "witness")


class Controller:
    """A controller's process, and those that it started."""

    def __init__(self, scene: Scene, address: str) -> None:
        script = Path(__file__).with_name("training_controller.py")
        self._log = scene.folder / "log"
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, script, scene.folder, scene.witness], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, env=environment(RAY_ADDRESS=address), start_new_session=True)
        self._family: set[psutil.Process] = set()

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self.process.poll()

    @property
    def said(self) -> str:
        """Its log, and that of earlier controllers of this sweep."""
        return self._log.read_text(errors="replace")

    def training(self) -> list[psutil.Process]:
        """Workers that have a trial in hand."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family |= set(psutil.Process(self.process.pid).children(recursive=True))
        return [one for one in self._family if _name(one) in ("ray::Worker.do", "ray::Worker.go_on")]

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself within that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        assert "Traceback" not in self.said, self.said
        return True

    def kill(self) -> None:
        """As `kill -9`; its Ray follows by itself."""
        self.training()
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(AssertionError):
            until(lambda: not any(_name(one).startswith(("ray::Worker", "raylet")) for one in self._family), 30.0)


def kill_controllers(trainings: Trainings, draw: random.Random, more: Callable[[], bool]) -> None:
    """The controller killed at random moments, then left to end."""
    while more():
        with trainings.controller() as controller:
            if controller.wait(draw.uniform(1.0, 14.0)):
                assert controller.code == 0, controller.said
            else:
                trainings.faults += 1
    finish(trainings)


def kill_workers(trainings: Trainings, draw: random.Random, more: Callable[[], bool]) -> None:
    """A worker that trains killed every second or two; the controller never."""
    while more():
        with trainings.controller() as controller:
            while not controller.wait(draw.uniform(0.3, 1.5)) and more():
                if found := controller.training():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        draw.choice(found).kill()
                        trainings.faults += 1
            if controller.wait(120.0):
                assert controller.code == 0, controller.said


def finish(trainings: Trainings) -> None:
    """The sweep under way goes on to its end."""
    if trainings._scene is not None:
        with trainings.controller() as controller:
            assert controller.wait(240.0), controller.said
            assert controller.code == 0, controller.said


def remove_nodes(trainings: Trainings, draw: random.Random, more: Callable[[], bool]) -> None:
    """A node removed under its worker, and another one added a little later, again and again."""
    with nodes() as (trainings.address, tell):
        while more():
            with trainings.controller() as controller:
                scene = trainings._scene
                assert scene is not None
                known = 0
                while controller.code is None and more():
                    # both workers are heard of before a node goes
                    until(lambda: controller.code is not None
                          or len(list(testimony(scene.witness, "trained"))) > known + 60, 90.0)  # noqa: B023
                    if controller.code is None:
                        tell("remove")
                        trainings.faults += 1
                        time.sleep(draw.uniform(0.0, 4.0))
                        tell("add")
                        known = len(list(testimony(scene.witness, "trained")))
                assert controller.wait(240.0), controller.said
                assert controller.code == 0, controller.said


@contextlib.contextmanager
def nodes() -> Iterator[tuple[str, Any]]:
    """A Ray cluster of two nodes of one CPU each: its address, and a way to `remove` and `add` the second one."""
    process = subprocess.Popen([sys.executable, Path(__file__).with_name("two_nodes.py")], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
                               start_new_session=True)
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin, process.stdout

    def tell(word: str) -> None:
        stdin.write(word + "\n")
        stdin.flush()
        assert stdout.readline().split() == ["done", word]

    try:
        yield stdout.readline().split()[1], tell
    finally:
        stdin.close()
        process.wait(60)


def quiet(folder: Path) -> dict[int, Any]:
    """The trials of a run in one process that nothing disturbs."""
    if not (folder / "seqsweep.db").exists():
        write_training_sweep(folder, workers=0)
        scene = Scene(folder, folder / "witness")
        controller = Controller(scene, "local")
        assert controller.wait(240.0), controller.said
        assert controller.code == 0, controller.said
    with opened(f"sqlite:///{folder}/seqsweep.db") as store:
        return comparable(closed(store))


def comparable(found: Closed) -> dict[int, Any]:
    """What must be equal to the bit, whatever happened on the way."""
    return {number: (trial.params, trial.seed, trial.state, trial.reason, trial.value, trial.best_epoch,
                     [(epoch, {name: value for name, value in json.loads(metrics).items() if name not in TEMPORARY})
                      for epoch, metrics, _ in trial.curve]) for number, trial in found.items()}


def most_seconds_repeated(witness: Path) -> float:
    """The longest time that one trial's epochs had taken which were trained once more."""
    learnt: dict[str, list[tuple[int, float]]] = {}
    most = 0.0
    for _, trial, epoch, at in testimony(witness, "trained"):
        earlier = learnt.setdefault(trial, [])
        again = [time for known, time in earlier if known >= int(epoch)]
        if again:
            kept = [time for known, time in earlier if known < int(epoch)]
            most = max(most, again[-1] - max([*kept[-1:], again[0]]))
            learnt[trial] = [(known, time) for known, time in earlier if known < int(epoch)]
        learnt[trial].append((int(epoch), float(at)))
    return most


def write_training_sweep(folder: Path, workers: int) -> None:
    """Random trials, which are the same whoever trains them when; the winner is registered."""
    folder.mkdir(parents=True)
    write_series(folder / "load.csv")
    document = forecasting(
        Path("load.csv"), budget={"max_trials": TRIALS}, resources={"workers": workers}, retries=100,
        register={"alias": "challenger"},
        parameters={"learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"values": [4, 8]},
                    "epochs": {"value": EPOCHS}, "batch_size": {"value": 32}})
    (folder / "load.yaml").write_text(yaml.safe_dump(document))


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else ""
    return ""
