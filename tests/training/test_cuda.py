"""On an NVIDIA GPU: the CPU's digits at the first steps, resume, mixed precision, and no waiting in the loop."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel, ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.models.kernels import available
from seqsweep.records import Reason
from seqsweep.training import probe
from seqsweep.training.engine import Together
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.predict import predict

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

CASES = [(wave_config(epochs=2, cell=cell, bidirectional=both), wave(gaps=both))
         for cell, both in itertools.product(("elman", "lstm", "gru"), (False, True))]
CASES += [(tones_config(epochs=2, cell="gru", bidirectional=True, pooling=pooling), tones())
          for pooling in ("last", "mean", "max")]
CASES += [(wave_config(epochs=2, optimizer=rule, window_norm="standard", naive_season=12), wave())
          for rule in ("adamw", "rmsprop", "sgd")]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """PyTorch lets cuDNN round factors to TF32; these tests compare digits."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("config", "data"), CASES)
def test_first_epoch_agrees_with_the_cpu(config: FitConfig, data: Prepared) -> None:
    ours, theirs = (Fit(config, (data,), device).advance().metrics for device in ("cuda", "cpu"))
    for name in ("train_loss", "val_loss", "grad_norm", "grad_norm_max"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name


@pytest.mark.parametrize(("config", "data"), CASES[:2] + CASES[6:7])
def test_weights_predict_alike_on_both(config: FitConfig, data: Prepared) -> None:
    fit = Fit(config, (data,), "cuda")
    fit.advance()
    on_gpu, on_cpu = (predict(config, fit.best_weights(), data, "val", device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_resuming_goes_on_as_if_never_stopped(optimizer: str) -> None:
    config = wave_config(epochs=4, optimizer=optimizer, num_layers=2, dropout=0.2, schedule="cosine")
    fit = Fit(config, (wave(),), "cuda")
    fit.advance()
    other = Fit(config, (wave(),), "cuda")
    other.restore(fit.checkpoint())
    for _ in range(3):
        ours, theirs = fit.advance().metrics, other.advance().metrics
        for name in ("train_loss", "val_loss", "learning_rate"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name


def pack_of(config: FitConfig, data: Prepared, trials: int, program: ProgramConfig) -> Pack:
    return Pack([Fit(config.model_copy(update={"seed": seed, "program": program}), (data,), "cuda")
                 for seed in range(trials)])


PROGRAMS = [(1, ProgramConfig()), (3, ProgramConfig(kernel="stacked", packed=True)),
            (3, ProgramConfig(kernel="stacked", packed=True, recorded=True))]


@pytest.mark.parametrize(("trials", "program"), PROGRAMS, ids=str)
@pytest.mark.parametrize(("config", "data"), CASES)
def test_a_step_never_waits_for_the_gpu(config: FitConfig, data: Prepared, trials: int, program: ProgramConfig) -> None:
    pack = pack_of(config, data, trials, program)
    pack.advance()  # the first epoch loads kernels, and records
    engine = pack.engines[0]
    for fold in engine.folds:
        fold.learner.train()  # validation is over, and cuDNN has no way back from it
    batches = engine.batches([fold.order(1) for fold in engine.folds], [fold.keys(1) for fold in engine.folds])
    next(batches)  # the epoch's order is sent once
    try:
        torch.cuda.set_sync_debug_mode("error")
        norms = []
        for batch in batches:
            norms.append(engine.step(batch, [1e-3] * trials))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert norms


@pytest.mark.parametrize("kernel", ["stacked", "triton"])
@pytest.mark.parametrize(("config", "data"), CASES)
def test_a_recorded_pack_trains_as_one_that_is_not(config: FitConfig, data: Prepared, kernel: Kernel) -> None:
    if not available(kernel, "cuda"):
        pytest.skip("Triton is not installed")
    rates = config.model_copy(update={"training": config.training.model_copy(update={
        "schedule": "cosine", "warmup_epochs": 1, "epochs": 4})})
    plain, graph = (pack_of(rates, data, 3, ProgramConfig(kernel=kernel, packed=True, recorded=recorded))
                    for recorded in (False, True))
    for _ in range(4):
        for ours, theirs in zip(graph.advance(), plain.advance(), strict=True):
            for name in ("train_loss", "val_loss", "grad_norm", "learning_rate"):
                assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-3), name
    assert all(engine.recorded for engine in graph.engines if isinstance(engine, Together))


def test_a_member_of_a_recorded_pack_leaves_and_its_memory_is_freed() -> None:
    program = ProgramConfig(kernel="stacked", packed=True, recorded=True)
    fits = pack_of(wave_config(epochs=40, cell="gru"), wave(), 4, program).fits
    taken = []
    for members in [(0, 1, 2, 3), (0, 2, 3), (3, 0, 1)] * 4:
        Pack([fits[k] for k in members]).advance()
        torch.cuda.synchronize()
        taken.append(torch.cuda.memory_allocated())
    assert max(taken[3:]) <= 1.5 * max(taken[:3])


def test_the_probe_finds_that_graphs_keep_the_figures() -> None:
    choice = probe.choose(wave_config(cell="gru"), (wave(),), "cuda", 3, "stacked")
    assert choice.program == ProgramConfig(kernel="stacked", packed=True, recorded=True)
    choice = probe.choose(wave_config(cell="gru", precision="mixed"), (wave(),), "cuda", None)
    assert any("graph" in name for name in choice.seconds)


def test_mixed_precision_trains() -> None:
    fit = Fit(wave_config(epochs=10, precision="mixed"), (wave(),), "cuda")
    values = [fit.advance().metrics["val_loss"] for _ in range(10)]
    assert values[-1] < 0.6 * values[0]
    exact = Fit(wave_config(epochs=10), (wave(),), "cuda").advance().metrics["train_loss"]
    first = Fit(wave_config(epochs=10, precision="mixed"), (wave(),), "cuda").advance().metrics["train_loss"]
    assert first == pytest.approx(exact, rel=0.05)
    assert first != exact


def test_divergence_is_found_at_the_epochs_end() -> None:
    data = wave()
    values_TF = data.values_TF.copy()
    values_TF[20, 0] = np.nan
    fit = Fit(wave_config(), (Prepared(**(vars(data) | {"values_TF": values_TF})),), "cuda")
    assert math.isnan(fit.advance().metrics["train_loss"])
    assert fit.done is Reason.DIVERGED


def test_the_processs_random_numbers_are_left_alone() -> None:
    torch.cuda.manual_seed(1)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(1)
    Fit(wave_config(num_layers=2, dropout=0.2), (wave(),), "cuda").advance()
    assert torch.equal(torch.rand(3, device="cuda"), expected)
