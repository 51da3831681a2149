"""Stopped or killed at any point, the same `submit` goes on, and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from shell import SEQSWEEP, answer, environment, seqsweep, until
from small_sweeps import forecasting, settings_in, table, write_series

from seqsweep.config.settings import Settings
from seqsweep.errors import NotFound
from seqsweep.records import TrialRecord
from seqsweep.store.records import Store
from seqsweep.tracking.client import connect

TRIALS, EPOCHS = 6, 100
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Helpers of Ray that look for a dead parent's parent for a minute before they go."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The table of trials of a run that nothing interrupted, in one process."""
    folder = write_sweep(tmp_path_factory.mktemp("whole"), workers=0)
    seqsweep(folder, "submit", "load.yaml")
    return table(settings_in(folder), "load")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_sweep(tmp_path, workers=2)


def write_sweep(folder: Path, workers: int, epochs: int = EPOCHS) -> Path:
    """Six trials of a second or two."""
    write_series(folder / "load.csv")
    parameters = {"learning_rate": {"min": 1e-3, "max": 1e-1, "log": True}, "hidden_size": {"values": [4, 8]},
                  "epochs": {"value": epochs}, "batch_size": {"value": 32}}
    document = forecasting(Path("load.csv"), budget={"max_trials": TRIALS}, resources={"workers": workers},
                           register=None, parameters=parameters)
    (folder / "load.yaml").write_text(yaml.safe_dump(document))
    return folder


class Controller:
    """A `submit` or `resume` under way, in a process group of its own as a terminal gives it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder, self.settings = folder, settings_in(folder)
        self.process = subprocess.Popen(
            [SEQSWEEP, *(words or ("submit", "load.yaml"))], cwd=folder, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
        self.family: set[psutil.Process] = set()

    def trials(self) -> list[TrialRecord]:
        try:
            with Store.open(self.settings.store) as store:
                return store.trials("load")
        except NotFound:
            return []

    def wait_for(self, condition: Callable[[list[TrialRecord]], Any], seconds: float = 90.0) -> Any:
        """Wait until the trials in the store are so."""
        def look() -> Any:
            assert self.process.poll() is None, self.process.communicate()
            return condition(self.trials())
        found = until(look, seconds, every=0.05)
        self.remember()
        return found

    def remember(self) -> None:
        """Which processes there are now, to see later that they are gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def workers(self) -> list[psutil.Process]:
        return [one for one in self.family if called(one).startswith("ray::Worker")]

    def training(self) -> list[psutil.Process]:
        """Workers that have a trial in hand."""
        self.remember()
        return [one for one in self.workers() if called(one) == "ray::Worker.do"]

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Ctrl-C: the signal goes to every process of the group."""
        os.killpg(self.process.pid, number)

    def end(self, seconds: float = 60.0) -> tuple[int, str, str]:
        """Wait for its end: exit code, output, errors; it never shows a traceback."""
        out, err = self.process.communicate(timeout=seconds)
        assert "Traceback" not in out + err, out + err
        return self.process.returncode, out, err


@pytest.fixture
def controllers() -> Iterator[list[Controller]]:
    """Whatever a test leaves behind is killed."""
    started: list[Controller] = []
    yield started
    for controller in started:
        for process in controller.family:
            if process.is_running():
                process.kill()
        if controller.process.poll() is None:
            controller.process.kill()
        controller.process.communicate()


@pytest.fixture
def start(folder: Path, controllers: list[Controller]) -> Callable[..., Controller]:
    def begin(*words: str) -> Controller:
        controllers.append(Controller(folder, *words))
        return controllers[-1]
    return begin


def finished(trials: list[TrialRecord]) -> list[TrialRecord]:
    return [record for record in trials if record.ended is not None]


def called(process: psutil.Process) -> str:
    """Its name, as Ray changes it; empty where it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def gone(processes: set[psutil.Process], seconds: float, but: tuple[str, ...] = ("no process",)) -> None:
    """Wait until none of them is left, other than of these names."""
    def alive(one: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return one.is_running() and one.status() != psutil.STATUS_ZOMBIE and not one.name().startswith(but)
        return False
    try:
        until(lambda: not any(map(alive, processes)), seconds)
    except AssertionError:
        raise AssertionError([(one.pid, called(one)) for one in processes if alive(one)]) from None


def closed_rows(settings: Settings) -> list[tuple[Any, ...]]:
    return [row for row in table(settings, "load", times=True) if row[1] != "running"]


def goes_on_to_the_end(folder: Path, before: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """Submit again, and again: finished trials are untouched, and the end is that of an uninterrupted run."""
    settings = settings_in(folder)
    seqsweep(folder, "submit", "load.yaml")
    after = table(settings, "load", times=True)
    assert [row for row in after if row[0] in {known[0] for known in before}] == before
    assert table(settings, "load") == expected
    assert answer(folder, "status", "load")["trials"] == {"complete": TRIALS}
    assert "nothing to train" in seqsweep(folder, "submit", "load.yaml").stderr
    assert table(settings, "load", times=True) == after
    runs = runs_of(settings)
    assert sorted(run.data.tags.get("seqsweep.trial", "/sweep").partition("/")[2] for run in runs) == [
        *map(str, range(TRIALS)), "sweep"]
    for run in runs:
        if "seqsweep.trial" in run.data.tags:
            curve = connect(settings.tracking_uri).get_metric_history(run.info.run_id, "val_mae")
            assert sorted(point.step for point in curve) == list(range(1, EPOCHS + 1))


def runs_of(settings: Settings) -> list[Any]:
    client = connect(settings.tracking_uri)
    experiment = client.get_experiment_by_name("load")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], max_results=1000))


def test_an_interrupt_ends_tidily_and_a_kill_does_no_harm(
        start: Callable[..., Controller], folder: Path, expected: list[tuple[Any, ...]]) -> None:
    """One story, since each start of Ray takes seconds: interrupted, killed, a worker killed, and finished."""
    first = start()
    first.wait_for(lambda trials: len(finished(trials)) >= 1)
    began = time.monotonic()
    first.interrupt()
    code, out, err = first.end()
    print(f"tidy end after {time.monotonic() - began:.1f} s")
    assert code == 130
    assert time.monotonic() - began < 20
    assert "stopping: the epochs in hand are finished and saved; Ctrl-C again stops at once" in err
    assert "go on with:  seqsweep resume load" in out
    assert answer(folder, "status", "load")["state"] == "stopped"
    running = [record for record in first.trials() if record.ended is None]
    assert all(record.checkpoint_epoch == len(record.reports) > 0 for record in running)
    gone(first.family, 20)

    rows = closed_rows(first.settings)
    second = start()
    second.wait_for(lambda trials: len(finished(trials)) > len(rows))
    second.process.kill()
    second.process.wait()
    gone(second.family, 20, but=AGENTS)
    assert all(row in closed_rows(first.settings) for row in rows)  # a trial of a lower number may have ended since

    before = closed_rows(first.settings)
    third = start("resume", "load")
    until(third.training, every=0.05)[0].kill()
    assert third.end(120)[0] == 0
    goes_on_to_the_end(folder, before, expected)


def test_a_second_interrupt_ends_at_once(start: Callable[..., Controller], folder: Path) -> None:
    controller = start()
    controller.wait_for(lambda trials: any(record.ended is None for record in trials))
    controller.interrupt()
    time.sleep(0.3)
    began = time.monotonic()
    controller.interrupt()
    assert controller.process.wait(10) == 130
    print(f"ended at once after {time.monotonic() - began:.1f} s")
    _, _, err = controller.end(20)
    assert "stopped at once; `seqsweep resume load` goes on from the last checkpoints" in err
    gone(controller.family, 20, but=AGENTS)


def test_a_second_controller_is_refused_and_a_stop_comes_from_anywhere(
        tmp_path: Path, controllers: list[Controller]) -> None:
    controllers.append(controller := Controller(write_sweep(tmp_path, workers=0, epochs=100_000)))
    controller.wait_for(lambda trials: any(record.ended is None for record in trials))
    assert "is being run by process" in seqsweep(tmp_path, "submit", "load.yaml", exit_code=6).stderr
    assert answer(tmp_path, "status", "load")["controller"].startswith(f"process {controller.process.pid} on ")
    assert answer(tmp_path, "stop", "load") == {"sweep": "load", "state": "stopping"}
    code, out, _ = controller.end()
    assert code == 130
    assert "go on with:  seqsweep resume load" in out
    assert answer(tmp_path, "status", "load")["state"] == "stopped"
    (running,) = controller.trials()
    assert running.checkpoint_epoch == len(running.reports) > 0


@pytest.mark.slow
def test_a_trial_whose_worker_was_killed_goes_on_and_sigterm_ends_as_tidily_as_ctrl_c(
        tmp_path: Path, controllers: list[Controller]) -> None:
    controllers.append(controller := Controller(write_sweep(tmp_path, workers=2, epochs=100_000)))
    until(controller.training, every=0.05)[0].kill()
    controller.wait_for(lambda trials: any(record.attempts == 1 for record in trials))
    until(lambda: len(controller.training()) == 2)
    controller.process.terminate()
    code, out, err = controller.end()
    assert code == 130
    assert "lost its worker and goes on from epoch 0" in err
    assert "go on with:  seqsweep resume load" in out
    assert all(record.checkpoint_epoch == len(record.reports) > 0 for record in controller.trials())
    gone(controller.family, 20)


@pytest.mark.parametrize("verb", [("plan", "load.yaml"), ("submit", "load.yaml")])
def test_ctrl_c_before_anything_has_begun(tmp_path: Path, verb: tuple[str, ...]) -> None:
    write_sweep(tmp_path, workers=0)
    process = subprocess.Popen([SEQSWEEP, *verb], cwd=tmp_path, env=environment(), text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_again_and_again(start: Callable[..., Controller], folder: Path, seed: int,
                                                  expected: list[tuple[Any, ...]]) -> None:
    """Whenever the controller or a worker dies: during the start, in training, at a stop, while runs are written."""
    draw, settings = random.Random(seed), settings_in(folder)
    before: list[tuple[Any, ...]] = []
    for _ in range(6):
        controller = start()
        end = time.monotonic() + draw.uniform(1.0, 16.0)
        while time.monotonic() < end and controller.process.poll() is None:
            time.sleep(0.1)
        if controller.process.poll() is None:
            controller.remember()
            victim = draw.choice(["controller", "controller", "worker", "interrupt", "raylet"])
            if victim == "worker" and controller.workers():
                draw.choice(controller.workers()).kill()
                time.sleep(draw.uniform(0, 4))
            elif victim == "interrupt":
                controller.interrupt()
                time.sleep(draw.uniform(0, 3))
            elif victim == "raylet":
                for one in controller.family:
                    if called(one) == "raylet":
                        one.kill()
                time.sleep(draw.uniform(0, 4))
        controller.process.kill()
        controller.process.wait()
        gone(controller.family, 30, but=AGENTS)
        if (folder / "seqsweep.db").exists() and controller.trials():
            rows = closed_rows(settings)
            assert [row for row in rows if row[0] in {known[0] for known in before}] == before
            before = rows
    goes_on_to_the_end(folder, before, expected)


@pytest.mark.slow
def test_after_a_kill_rays_last_helpers_go_too(start: Callable[..., Controller]) -> None:
    controller = start()
    controller.wait_for(lambda trials: any(record.ended is None for record in trials))
    controller.process.kill()
    gone(controller.family, 100)


def test_a_reader_that_goes_away_ends_no_sweep(tmp_path: Path) -> None:
    """As in `seqsweep submit load.yaml 2>&1 | head -1`, at the start and once all is done."""
    write_sweep(tmp_path, workers=0, epochs=2)
    for _ in range(2):
        process = subprocess.Popen([SEQSWEEP, "submit", "load.yaml"], cwd=tmp_path, env=environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(120) == 0
        found = answer(tmp_path, "status", "load")
        assert (found["state"], found["message"], found["trials"]) == ("finished", "", {"complete": TRIALS})


@pytest.mark.parametrize("ignored", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_terminal_that_is_closed_stops_a_sweep_tidily_but_for_nohup(tmp_path: Path, ignored: bool) -> None:
    write_sweep(tmp_path, workers=0, epochs=EPOCHS if ignored else 50 * EPOCHS)
    words = ["nohup", SEQSWEEP] if ignored else [SEQSWEEP]
    process = subprocess.Popen([*words, "submit", "load.yaml"], cwd=tmp_path, env=environment(), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    settings = settings_in(tmp_path)

    def training() -> bool:
        with contextlib.suppress(NotFound), Store.open(settings.store) as store:
            return any(record.ended is None for record in store.trials("load"))
        return False

    until(training)
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=120)
    found = answer(tmp_path, "status", "load")
    assert found["state"] == ("finished" if ignored else "stopped"), said
    assert "Traceback" not in said


def test_the_status_of_a_sweep_whose_controller_is_gone_says_so(tmp_path: Path) -> None:
    write_sweep(tmp_path, workers=0, epochs=EPOCHS)
    process = subprocess.Popen([SEQSWEEP, "submit", "load.yaml"], cwd=tmp_path, env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    until(lambda: (tmp_path / "seqsweep.db").exists() and answer(tmp_path, "list") and
          answer(tmp_path, "status", "load")["trials"])
    assert answer(tmp_path, "status", "load")["controller"].startswith("process ")
    process.kill()
    process.wait()
    assert answer(tmp_path, "status", "load")["controller"] == (
        "none: it ended without a word; `seqsweep resume load` goes on")
