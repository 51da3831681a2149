"""One contract for both pools: a worker in this process, and Ray actors."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
from toys import toy_series, toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Event, Lost
from seqsweep.cluster.pool import LocalPool, Pool, RayPool, _fit_into_cluster, open_pool, ray_session
from seqsweep.config.sweep import FitConfig, ResourcesConfig, fit_config
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep, Unavailable
from seqsweep.records import Reason
from seqsweep.training.fit import Fit

BALLAST = 400 * 2**20
"""Bytes of data that no sample uses: more than a whole worker has of its own."""


def config(**params: Any) -> FitConfig:
    usual = {"hidden_size": 4, "epochs": 3, "batch_size": 32, "learning_rate": 0.01}
    return fit_config(toy_sweep(), usual | params, 5)


@pytest.fixture(scope="module")
def data() -> tuple[Prepared, ...]:
    toy = toy_series()
    values_TF = np.zeros((BALLAST // 4, 1), np.float32)
    values_TF[:len(toy.values_TF)] = toy.values_TF
    return (replace(toy, values_TF=values_TF),)


@pytest.fixture(scope="module")
def ray_pool(data: tuple[Prepared, ...]) -> Iterator[RayPool]:
    """One Ray, with room for two more, and a pair of workers for the whole file; no process may be left behind."""
    me = psutil.Process()
    before = set(me.children(recursive=True))
    with ray_session("local", ResourcesConfig(workers=4)):
        pool = open_pool(data, ResourcesConfig(workers=2), most=10)
        assert isinstance(pool, RayPool)
        yield pool
        started = set(me.children(recursive=True)) - before
        pool.close()
    assert len(started) > 4
    _, alive = psutil.wait_procs(list(started), timeout=20)
    assert not alive, alive


@pytest.fixture(params=["local", "ray"])
def pool(request: pytest.FixtureRequest, data: tuple[Prepared, ...]) -> Pool:
    if request.param == "local":
        return LocalPool(data, ResourcesConfig(workers=0))
    ray_pool: RayPool = request.getfixturevalue("ray_pool")
    all_up(ray_pool)
    return ray_pool


def all_up(pool: Pool) -> None:
    """Wait for workers that are still starting; they tell nothing."""
    while len(pool.idle()) < pool.size:
        assert pool.wait(30.0) == []


def ask(pool: Pool, work: Advance, worker: int | None = None) -> Advanced:
    """The one answer to one piece of work."""
    worker = pool.idle()[0] if worker is None else worker
    pool.submit(worker, work)
    assert worker not in pool.idle()
    event = next_event(pool)
    assert event.worker == worker
    assert isinstance(event.answer, Advanced)
    return event.answer


def next_event(pool: Pool) -> Event:
    for _ in range(240):
        if found := pool.wait(0.5):
            assert len(found) == 1
            return found[0]
    raise AssertionError("nothing happened within 120 s")


def pid(answer: Advanced) -> int:
    return int(answer.worker.rsplit(" ", 1)[1])


def curve(answers: list[Advanced]) -> list[dict[str, float]]:
    return [{name: value for name, value in report.metrics.items() if name != "seconds"}
            for answer in answers for report in answer.reports]


def straight(data: tuple[Prepared, ...]) -> list[dict[str, float]]:
    fit = Fit(config(), data)
    return [{name: value for name, value in fit.advance().metrics.items() if name != "seconds"} for _ in range(3)]


def test_a_cluster_that_is_not_there_is_told_soon() -> None:
    began = time.monotonic()
    with (pytest.raises(Unavailable, match=r"no Ray cluster at 127.0.0.1:1: .*\n.*RAY_ADDRESS"),
          ray_session("127.0.0.1:1", ResourcesConfig(workers=1))):
        pass
    assert time.monotonic() - began < 10


def test_a_machine_that_is_no_node_of_the_cluster_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with (socket.create_server(("127.0.0.1", 0)) as listener,
          pytest.raises(Unavailable, match=r"no Ray cluster at .*\n.*ray start .*--num-cpus=0"),
          ray_session(f"127.0.0.1:{listener.getsockname()[1]}", ResourcesConfig(workers=1))):
        pass


def test_a_trial_is_trained_to_its_end_with_the_curve_of_a_plain_loop(pool: Pool, data: tuple[Prepared, ...]) -> None:
    worker = pool.idle()[0]
    first = ask(pool, Advance(0, 1, config(), 0, 2), worker)
    assert (first.trial, first.attempt, first.epoch, first.done, first.last) == (0, 1, 2, None, None)
    assert first.best
    assert first.num_weights > 0
    last = ask(pool, Advance(0, 1, config(), 2, 3), worker)
    assert (last.epoch, last.done) == (3, Reason.FINISHED)
    assert curve([first, last]) == straight(data)


def test_any_worker_goes_on_from_a_checkpoint_to_the_same_curve(pool: Pool, data: tuple[Prepared, ...]) -> None:
    first = ask(pool, Advance(1, 1, config(), 0, 1, want_checkpoint=True), pool.idle()[0])
    assert first.last
    last = ask(pool, Advance(1, 2, config(), 1, 3, checkpoint=first.last), pool.idle()[-1])
    assert curve([first, last]) == straight(data)


def test_a_worker_that_does_not_hold_the_trial_asks_for_a_checkpoint(pool: Pool) -> None:
    answer = ask(pool, Advance(2, 1, config(), 2, 3))
    assert answer.need_checkpoint
    assert answer.reports == ()


def test_an_answer_comes_once_a_slice_is_over(pool: Pool) -> None:
    answer = ask(pool, Advance(3, 1, config(epochs=50), 0, 50, slice_s=0.0))
    assert (answer.epoch, answer.done) == (1, None)


def test_an_error_in_code_comes_back_with_the_remote_trace(pool: Pool) -> None:
    answer = ask(pool, Advance(4, 1, config(), 1, 3, checkpoint=b"no checkpoint"))
    assert answer.failure is not None
    assert answer.failure.reason is Reason.USER_ERROR
    assert "Trace on the worker (most recent call last):" in answer.failure.message
    assert 'worker.py", line' in answer.failure.message
    assert ask(pool, Advance(5, 1, config(), 0, 3)).done is Reason.FINISHED  # the worker lives on


def test_too_little_memory_is_told_as_such(pool: Pool) -> None:
    answer = ask(pool, Advance(6, 1, huge(), 0, 3))
    assert answer.failure is not None
    assert answer.failure.reason is Reason.OUT_OF_MEMORY, answer.failure.message
    assert ask(pool, Advance(7, 1, config(), 0, 3)).done is Reason.FINISHED


def huge() -> FitConfig:
    """A model of 16 TiB: no machine gives that, and none tries for long."""
    model = config().model.model_copy(update={"hidden_size": 2**20})
    return config().model_copy(update={"model": model})


def test_a_worker_that_is_given_up_tells_nothing_and_is_replaced(pool: Pool) -> None:
    worker = pool.idle()[0]
    pool.submit(worker, Advance(8, 1, config(epochs=100_000), 0, 100_000, slice_s=60.0))
    pool.kill(worker)
    all_up(pool)
    assert ask(pool, Advance(9, 1, config(), 0, 3), worker).done is Reason.FINISHED


def test_training_changes_no_data(pool: Pool, data: tuple[Prepared, ...]) -> None:
    before = {name: array[:1000].copy() for name, array in data[0].arrays().items()}
    assert ask(pool, Advance(10, 1, config(window_norm="standard", naive_season=12), 0, 3)).done is Reason.FINISHED
    for name, array in data[0].arrays().items():
        assert np.array_equal(before[name], array[:1000]), name


def test_a_killed_worker_is_lost_and_a_fresh_one_takes_its_place(ray_pool: RayPool) -> None:
    all_up(ray_pool)
    name = ask(ray_pool, Advance(20, 1, config(), 0, 1), 1).worker
    old = int(name.rsplit(" ", 1)[1])
    ray_pool.submit(1, Advance(20, 1, config(epochs=100_000), 0, 100_000, slice_s=60.0))
    time.sleep(0.3)
    os.kill(old, signal.SIGKILL)
    began = time.monotonic()
    event = next_event(ray_pool)
    assert event.worker == 1
    assert isinstance(event.answer, Lost)
    assert event.answer.message == f"{name}: The actor is dead because its worker process has died"
    assert time.monotonic() - began < 10
    assert 1 not in ray_pool.idle()  # the fresh one is still starting
    all_up(ray_pool)
    answer = ask(ray_pool, Advance(20, 2, config(), 0, 3), 1)
    assert answer.done is Reason.FINISHED
    assert pid(answer) != old


def test_a_worker_that_ray_kills_for_memory_is_lost_too(ray_pool: RayPool, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def killed(reference: object) -> None:
        raise ray.exceptions.OutOfMemoryError("the node was running low on memory")  # type: ignore[no-untyped-call]

    all_up(ray_pool)
    ray_pool.submit(0, Advance(21, 1, config(), 0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(ray, "get", killed)
        event = next_event(ray_pool)
    assert isinstance(event.answer, Lost)
    assert event.answer.message.endswith(": the node was running low on memory")
    assert event.answer.reason is Reason.OUT_OF_MEMORY
    all_up(ray_pool)


def test_workers_share_the_data_without_a_copy(ray_pool: RayPool) -> None:
    all_up(ray_pool)
    for worker in (0, 1):
        answer = ask(ray_pool, Advance(30 + worker, 1, config(), 0, 3), worker)
        own = psutil.Process(pid(answer)).memory_full_info().uss
        assert own < BALLAST, f"worker {worker} has {own / 2**20:.0f} MiB of its own"


def test_the_data_are_read_only_in_a_worker(ray_pool: RayPool) -> None:
    import ray

    def writeable(data: tuple[Prepared, ...]) -> list[str]:
        return [name for name, array in data[0].arrays().items() if array.size and array.flags.writeable]

    assert ray.get(ray.remote(num_cpus=0)(writeable).remote(ray_pool._data)) == []


def test_more_workers_than_the_cluster_has_room_for_are_refused(ray_pool: RayPool, data: tuple[Prepared, ...]) -> None:
    with pytest.raises(Unavailable, match=r"resources.workers is 999, but the Ray cluster has room for \d+"):
        open_pool(data, ResourcesConfig(workers=999), most=1)
    with pytest.raises(Unavailable, match="too little for one worker of 1000 CPUs"):
        open_pool(data, ResourcesConfig(cpus_per_worker=1000), most=1)


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_sweep_with_the_reason(ray_pool: RayPool) -> None:
    import ray

    def unreadable() -> None:
        raise OSError("the data are gone")

    whole = ray_pool._data
    ray_pool._data = ray.remote(num_cpus=0)(unreadable).remote()
    try:
        ray_pool.kill(0)
        with pytest.raises(Unavailable, match=r"(?s)5 workers in a row died while starting.*the data are gone"):
            next_event(ray_pool)
    finally:
        ray_pool._data = whole
        ray_pool.kill(0)
    all_up(ray_pool)


@pytest.fixture(scope="module")
def impatient(data: tuple[Prepared, ...], ray_pool: RayPool) -> Iterator[RayPool]:
    """A worker that hangs after two seconds without a step, in the cluster of the others."""
    pool = RayPool(data, ResourcesConfig(workers=1, timeout=2.0), most=1)
    yield pool
    pool.close()


@pytest.mark.slow
def test_a_worker_that_takes_no_step_hangs_and_is_killed(impatient: RayPool) -> None:
    all_up(impatient)
    answer = ask(impatient, Advance(40, 1, config(), 0, 1))
    impatient.submit(0, Advance(40, 1, config(epochs=100_000), 1, 100_000, slice_s=60.0))
    stopped = psutil.Process(pid(answer))
    stopped.suspend()
    event = next_event(impatient)
    assert isinstance(event.answer, Lost)
    assert event.answer.reason is Reason.HUNG
    assert event.answer.message == f"{answer.worker}: no step for 2s (resources.timeout)"
    all_up(impatient)
    stopped.wait(30)
    assert ask(impatient, Advance(40, 2, config(), 0, 3)).done is Reason.FINISHED


def test_an_epoch_may_take_longer_than_the_time_limit(impatient: RayPool) -> None:
    all_up(impatient)
    slow = config(batch_size=1, hidden_size=512, num_layers=4, epochs=1)
    began = time.monotonic()
    assert ask(impatient, Advance(41, 1, slow, 0, 1)).done is Reason.FINISHED
    print(f"one epoch took {time.monotonic() - began:.1f} s")
    assert impatient._slots[0].patience == 2.0  # it has given a sign of life within the epoch


def test_while_the_controller_itself_was_away_no_worker_hangs(impatient: RayPool) -> None:
    all_up(impatient)
    impatient.submit(0, Advance(42, 1, config(epochs=100_000), 0, 100_000, slice_s=5.0))
    assert impatient._slots[0].patience == 120.0  # its first step may compile
    assert impatient.wait(1.0) == []
    time.sleep(3.0)
    event = next_event(impatient)
    assert isinstance(event.answer, Advanced)
    assert event.answer.reports


def test_a_controller_that_froze_while_it_waited_blames_no_worker(
        impatient: RayPool, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    all_up(impatient)
    ask(impatient, Advance(43, 1, config(), 0, 1))
    impatient.submit(0, Advance(43, 1, config(epochs=100_000), 1, 100_000, slice_s=60.0))
    assert impatient._slots[0].patience == 2.0

    def frozen(places: list[Any], **_: object) -> tuple[list[Any], list[Any]]:
        time.sleep(2.5)
        return [], places  # what came meanwhile has not been read

    with monkeypatch.context() as patch:
        patch.setattr(ray, "wait", frozen)
        assert impatient.wait(0.1) == []
    impatient.kill(0)


def test_a_kernel_that_the_workers_cannot_run_is_refused_before_any_trial(
        ray_pool: RayPool, data: tuple[Prepared, ...]) -> None:
    pool = RayPool(data, ResourcesConfig(workers=1, kernel="triton", gpus_per_worker=0.0), most=1)
    try:
        with pytest.raises(InvalidSweep, match=r"triton cannot run on .* cpu"):
            all_up(pool)
    finally:
        pool.close()


def test_a_session_leaves_a_ray_alone_that_was_there_before(ray_pool: RayPool) -> None:
    import ray

    with ray_session("local", ResourcesConfig(workers=1)):
        pass
    assert ray.is_initialized()


@pytest.mark.parametrize(("gpus", "each", "room"), [(2, 0.4, 4), (2, 0.5, 4), (1, 0.1, 10), (4, 1.0, 4), (4, 2.0, 2)])
def test_a_share_of_a_gpu_is_a_share_of_one(gpus: int, each: float, room: int) -> None:
    resources = ResourcesConfig(gpus_per_worker=each)
    assert _fit_into_cluster(resources, {"CPU": 64, "GPU": gpus}) == (room, each)
