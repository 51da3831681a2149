"""On an NVIDIA GPU: the CPU's digits at the first steps, resume, mixed precision, and no waiting in the loop."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.records import Reason
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


@pytest.mark.parametrize("trials", [1, 3])
@pytest.mark.parametrize(("config", "data"), CASES)
def test_a_step_never_waits_for_the_gpu(config: FitConfig, data: Prepared, trials: int) -> None:
    program = ProgramConfig(kernel="stacked" if trials > 1 else "torch", packed=trials > 1)
    fits = [Fit(config.model_copy(update={"seed": seed, "program": program}), (data,), "cuda")
            for seed in range(trials)]
    pack = Pack(fits)
    pack.advance()  # the first epoch loads kernels
    engine = pack.engines[0]
    batches = engine.batches([fold.order(1) for fold in engine.folds], [fold.keys(1) for fold in engine.folds])
    next(batches)  # the epoch's order is sent once
    torch.cuda.set_sync_debug_mode("error")
    try:
        norms = []
        for batch in batches:
            engine.backward(batch)
            norms.append(engine.update([1e-3] * trials))
            engine.clear()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert norms


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
