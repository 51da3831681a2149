"""The worker by itself: signs of life within an epoch, memory that runs out, kernels that cannot run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_series, toy_sweep

from seqsweep.cluster.messages import Advance, Advanced, Failure, Probe, Probed
from seqsweep.cluster.pool import LocalPool
from seqsweep.cluster.worker import Worker
from seqsweep.config.sweep import FitConfig, ResourcesConfig, fit_config
from seqsweep.config.training import ProgramConfig
from seqsweep.errors import InvalidSweep
from seqsweep.models.memory import out_of_memory
from seqsweep.records import Reason
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.forecasting import Forecaster


def config(**params: Any) -> FitConfig:
    usual = {"hidden_size": 4, "epochs": 3, "batch_size": 32, "learning_rate": 0.01}
    return fit_config(toy_sweep(), usual | params, 5)


def curve(answers: tuple[Advanced | Probed, ...] | None) -> list[dict[str, float]]:
    assert answers is not None
    (answer,) = answers
    assert isinstance(answer, Advanced)
    return [{name: value for name, value in report.metrics.items() if name != "seconds"} for report in answer.reports]


def test_signs_of_life_come_within_an_epoch_and_change_nothing() -> None:
    expected = curve(Worker((toy_series(),), device="cpu").do((Advance(0, 1, config(), 0, 3),)))
    worker, signs = Worker((toy_series(),), device="cpu"), 0
    answers = worker.do((Advance(0, 1, config(), 0, 3),), pulse=0.0)
    while answers is None:
        signs += 1
        answers = worker.go_on(pulse=0.0)
    assert curve(answers) == expected
    assert signs == 3 * (5 + 1)  # optimiser steps and the validation of each epoch


@pytest.mark.parametrize("mates", [0, 1])
def test_what_is_given_up_within_an_epoch_is_begun_anew(mates: int) -> None:
    worker = Worker((toy_series(),), device="cpu")
    packed = config().model_copy(update={"program": ProgramConfig(kernel="stacked", packed=True)})
    assert worker.do(tuple(Advance(trial, 1, packed, 0, 3) for trial in range(1 + mates)), pulse=0.0) is None
    expected = curve(Worker((toy_series(),), device="cpu").do((Advance(0, 1, packed, 0, 3),)))
    assert curve(worker.do((Advance(0, 1, packed, 0, 3),))) == expected


def test_what_is_held_is_gone_on_with_by_its_own_attempt_and_epoch_alone() -> None:
    worker = Worker((toy_series(),), device="cpu")
    (first,) = worker.do((Advance(0, 1, config(), 0, 1, want_checkpoint=True),)) or ()
    assert isinstance(first, Advanced)
    expected = curve(worker.do((Advance(0, 1, config(), 1, 3),)))
    for attempt, epoch in ((1, 1), (2, 3)):  # it holds attempt 1 after epoch 3
        (answer,) = worker.do((Advance(0, attempt, config(), epoch, 3),)) or ()
        assert isinstance(answer, Advanced)
        assert answer.need_checkpoint
    assert curve(worker.do((Advance(0, 1, config(), 1, 3, checkpoint=first.last),))) == expected


def test_a_long_epoch_in_this_process_lets_the_controller_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqsweep.cluster.pool._PULSE", 0.0)
    pool = LocalPool((toy_series(),), ResourcesConfig(workers=0))
    pool.submit(0, Advance(0, 1, config(), 0, 3))
    quiet = 0
    while not (events := pool.wait(0.1)):
        assert pool.idle() == []
        quiet += 1
    assert quiet == 18
    assert len(curve((events[0].answer,) if isinstance(events[0].answer, Advanced) else ())) == 3
    assert pool.idle() == [0]


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 17"),
    RuntimeError("std::bad_alloc"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    OSError(12, "Cannot allocate memory")], ids=str)
def test_every_word_for_no_memory_is_known(error: Exception) -> None:
    assert out_of_memory(error)


@pytest.mark.parametrize("error", [ValueError("out of memory is no shape"), RuntimeError("shapes differ"), KeyError(1)])
def test_other_errors_are_told_apart(error: Exception) -> None:
    assert not out_of_memory(error)


def too_large(monkeypatch: pytest.MonkeyPatch, most: int, error: Exception) -> None:
    """No memory for a step of more samples than `most`, of all trials of a pack together."""
    forward = Forecaster.forward

    def limited(self: Forecaster, batch: Batch) -> torch.Tensor:
        if self.training and batch.x_BLF.shape[0] > most:
            raise error
        return forward(self, batch)

    monkeypatch.setattr(Forecaster, "forward", limited)


def test_a_probe_leaves_out_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker((toy_series(),), device="cpu")
    too_large(monkeypatch, 8, torch.OutOfMemoryError("CUDA out of memory"))
    (answer,) = worker.do((Probe(0, 1, config(), 4, "stacked"),)) or ()
    assert isinstance(answer, Probed)
    assert (answer.failure, answer.choice and answer.choice.seconds) == (None, {})
    (told,) = worker.do((Advance(0, 1, config(), 0, 3),)) or ()
    assert isinstance(told, Advanced)
    assert told.failure == Failure(Reason.OUT_OF_MEMORY, "OutOfMemoryError: CUDA out of memory")
    pieces = config().model_copy(update={"program": ProgramConfig(micro_batch=8)})
    assert len(curve(worker.do((Advance(0, 2, pieces, 0, 3),)))) == 3


def test_an_error_names_file_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    too_large(monkeypatch, 0, ValueError("the model is wrong"))
    (answer,) = Worker((toy_series(),), device="cpu").do((Advance(0, 1, config(), 0, 3),)) or ()
    assert isinstance(answer, Advanced)
    assert answer.failure is not None
    assert answer.failure.reason is Reason.USER_ERROR
    assert answer.failure.message.rstrip().endswith("ValueError: the model is wrong")
    assert f'File "{__file__}", line ' in answer.failure.message


@pytest.mark.parametrize("number", [1, 4])
def test_a_pack_that_fails_is_told_to_each(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    worker = Worker((toy_series(),), device="cpu")
    packed = config().model_copy(update={"program": ProgramConfig(kernel="stacked", packed=True)})
    too_large(monkeypatch, 8, MemoryError())
    answers = worker.do(tuple(Advance(trial, 1, packed, 0, 3) for trial in range(number))) or ()
    assert [answer.failure and answer.failure.reason for answer in answers] == [Reason.OUT_OF_MEMORY] * number


def test_a_kernel_that_cannot_run_here_is_refused_before_any_work() -> None:
    if torch.cuda.is_available():
        pytest.skip("triton runs on this machine's GPU")
    with pytest.raises(InvalidSweep, match=r"resources.kernel: triton cannot run on .* cpu"):
        LocalPool((toy_series(),), ResourcesConfig(workers=0, kernel="triton"))


LIMITED = """
import resource, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_worker import config
from toys import toy_series
from seqsweep.cluster.messages import Advance
from seqsweep.cluster.worker import Worker
from seqsweep.config.training import ProgramConfig
large = config(batch_size=30_000, hidden_size=64, epochs=1, cell="elman")
worker = Worker((toy_series(60_000),), device="cpu")
small = config(batch_size=30_000, hidden_size=1, epochs=1, cell="elman")
worker.do((Advance(9, 1, small, 0, 1),))  # threads and libraries
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 180 * 2**20, -1))
for attempt, micro in ((1, None), (2, 3750)):
    work = large.model_copy(update={"program": ProgramConfig(micro_batch=micro)})
    (answer,) = worker.do((Advance(0, attempt, work, 0, 1),))
    print(answer.failure.reason if answer.failure else f"trained {answer.reports[0].metrics['val_mae']}")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
(answer,) = worker.do((Advance(0, 3, large, 0, 1),))
print("whole", answer.reports[0].metrics["val_mae"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of the address space")
def test_memory_that_really_runs_out_is_enough_for_micro_batches() -> None:
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", LIMITED, str(here)], capture_output=True, text=True, timeout=120,
                          env={"PYTHONPATH": f"{Path(sys.modules['seqsweep'].__path__[0]).parent}:{here.parent}",
                               "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    first, second, whole = done.stdout.splitlines()
    assert first == "out of memory"
    assert second.startswith("trained ")
    assert np.isclose(float(second.split()[-1]), float(whole.split()[-1]), rtol=1e-4)
