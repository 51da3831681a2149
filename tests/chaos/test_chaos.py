"""Whatever dies, whenever: nothing that had ended is lost, nothing is there twice, and the sweep ends as it should.

The short form of `make chaos`, which strikes a thousand times.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import empty_tracking, strike
from nursery import Nursery
from series import POINTS, UNLOOKED_FOR, Stubs, phases, random_kills, struck_points
from trainings import Trainings, finish, kill_controllers, kill_workers, remove_nodes

CHOSEN = ("create_sweep", "start_trial", "save_progress", "close_trial", "mlflow.create_run", "put_stage.search",
          "mlflow.create_model_version", "update_sweep.finished")
"""Commit points of the short form; the long one strikes at all."""
FEW = 16
"""Trials of its sweeps."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return empty_tracking(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def seed() -> int:
    """Printed where a test fails; `CHAOS_SEED` repeats it."""
    drawn = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(2**32)))
    print(f"CHAOS_SEED={drawn}")
    return drawn


@pytest.mark.slow
def test_a_controller_killed_at_random_moments_loses_nothing(
        nursery: Nursery, tracking: Path, tmp_path: Path, seed: int) -> None:
    stubs = Stubs(nursery, tmp_path, tracking)
    random_kills(stubs, random.Random(seed), lambda: stubs.faults < 10, longest=1.0)
    assert stubs.sweeps


@pytest.mark.slow
@pytest.mark.postgres
def test_a_controller_killed_over_postgres_loses_nothing(
        nursery: Nursery, tracking: Path, tmp_path: Path, seed: int, postgres_url: str) -> None:
    stubs = Stubs(nursery, tmp_path, tracking, postgres_url, FEW)
    wanted = [("start_trial", "within"), ("close_trial", "within"), ("close_trial", "after")]
    assert struck_points(stubs, "kill", wanted) == wanted


def test_a_controller_killed_at_its_commit_points_loses_nothing(
        nursery: Nursery, tracking: Path, tmp_path: Path) -> None:
    """Each kill but the first comes while an earlier one is recovered from."""
    stubs = Stubs(nursery, tmp_path, tracking, max_trials=FEW)
    wanted = [(point, phases(point)[len(point) % len(phases(point))]) for point in CHOSEN]
    assert struck_points(stubs, "kill", wanted) == wanted
    assert stubs.reached <= set(POINTS)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a file system that is full is mounted by root alone")
def test_a_disk_that_is_full_at_a_commit_point_fails_no_trial(
        nursery: Nursery, tracking: Path, tmp_path: Path) -> None:
    stubs = Stubs(nursery, tmp_path, tracking, max_trials=FEW, disk=True)
    try:
        points = ("close_trial", "mlflow.create_run", "put_stage.search")
        wanted = [(point, "before") for point in points]
        assert struck_points(stubs, "fill", wanted) == wanted
    finally:
        stubs.leave()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("act", ["kill", "fill"])
def test_every_commit_point_is_survived(nursery: Nursery, tracking: Path, tmp_path: Path, act: str) -> None:
    """And every transaction of a sweep has a name among them."""
    if act == "fill" and os.geteuid() != 0:
        pytest.skip("a file system that is full is mounted by root alone")
    stubs = Stubs(nursery, tmp_path, tracking, disk=act == "fill")
    try:
        struck = strike(stubs, act, [], 1, lambda: True)
    finally:
        stubs.leave()
    assert set(struck) == {f"{point} {phase}" for point in POINTS for phase in phases(point)}
    assert stubs.reached - set(UNLOOKED_FOR) == set(POINTS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_controllers_and_workers_killed_while_they_train(tmp_path: Path, seed: int) -> None:
    trainings = Trainings(tmp_path)
    kill_controllers(trainings, random.Random(seed), lambda: trainings.faults < 4)
    kill_workers(trainings, random.Random(seed), lambda: trainings.faults < 12)
    finish(trainings)
    assert trainings.sweeps


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_removed_while_its_worker_trains(tmp_path: Path, seed: int) -> None:
    trainings = Trainings(tmp_path)
    remove_nodes(trainings, random.Random(seed), lambda: trainings.faults < 2)
    assert trainings.sweeps
