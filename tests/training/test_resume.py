"""Going on from bytes is equal to the bit with never having stopped."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import Conflict, InvalidData
from seqsweep.records import Reason, Report
from seqsweep.training.fit import Fit


def _digits(report: Report) -> str:
    return repr({name: value for name, value in report.metrics.items() if name != "seconds"})  # nan equals nan


def check_every_epoch(config: FitConfig, data: tuple[Prepared, ...]) -> Fit:
    """One more epoch from each checkpoint gives the next checkpoint, byte by byte; and so, by induction, do all."""
    fit = Fit(config, data)
    while fit.done is None:
        before = fit.checkpoint()
        report = fit.advance()
        other = Fit(config, data)
        other.restore(before)
        assert other.epoch == fit.epoch - 1
        again = other.advance()
        assert _digits(again) == _digits(report)
        assert other.checkpoint() == fit.checkpoint()
        assert other.done is fit.done
    return fit


@pytest.mark.parametrize(("optimizer", "schedule"), itertools.product(
    ("adam", "adamw", "rmsprop", "sgd"), ("constant", "cosine", "plateau")))
def test_every_optimizer_and_schedule(optimizer: str, schedule: str) -> None:
    check_every_epoch(wave_config(epochs=4, optimizer=optimizer, schedule=schedule, warmup_epochs=1,
                                  weight_decay=1e-3), (wave(),))


def test_a_plateau_that_halves() -> None:
    fit = check_every_epoch(wave_config(epochs=16, optimizer="sgd", learning_rate=2.0, schedule="plateau"), (wave(),))
    assert fit.plateau.factor < 1.0


@pytest.mark.parametrize("cell", ["elman", "lstm", "gru"])
def test_every_cell_with_dropout_and_early_stopping(cell: str) -> None:
    check_every_epoch(wave_config(epochs=8, cell=cell, num_layers=2, dropout=0.2, variational_dropout=0.1, patience=2,
                                  bidirectional=True, layer_norm=True, learning_rate=0.1), (wave(gaps=True),))


def test_folds_and_sequences_of_any_length() -> None:
    check_every_epoch(tones_config(epochs=4, dropout=0.2, num_layers=2), (tones(), tones(seed=1)))


def test_divergence_is_remembered() -> None:
    fit = check_every_epoch(wave_config(epochs=50, optimizer="sgd", learning_rate=10.0, momentum=0.99, clip_norm=0.0,
                                        cell="elman", nonlinearity="relu", task={"loss": "mse"}), (wave(),))
    again = Fit(fit.config, (wave(),))
    again.restore(fit.checkpoint())
    assert again.done is Reason.DIVERGED


SCRIPT = """
import sys
from training_toys import wave, wave_config
from seqsweep.training.fit import Fit
fit = Fit(wave_config(epochs=6, num_layers=2, dropout=0.2), (wave(),))
fit.restore(sys.stdin.buffer.read())
while fit.done is None:
    fit.advance()
sys.stdout.buffer.write(fit.checkpoint())
"""


def test_in_a_fresh_process() -> None:
    fit = Fit(wave_config(epochs=6, num_layers=2, dropout=0.2), (wave(),))
    fit.advance()
    blob = fit.checkpoint()
    while fit.done is None:
        fit.advance()
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "platform")]
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=blob, capture_output=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == fit.checkpoint()


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 0.02}, {"cell": "gru"}])
def test_another_trials_checkpoint_is_refused(change: dict[str, Any]) -> None:
    blob = Fit(wave_config(), (wave(),)).checkpoint()
    with pytest.raises(Conflict, match="another trial"):
        Fit(wave_config(**change), (wave(),)).restore(blob)


def test_a_checkpoint_of_other_data_is_refused() -> None:
    blob = Fit(wave_config(), (wave(),)).checkpoint()
    with pytest.raises(Conflict, match="data differ"):
        Fit(wave_config(), (wave(seed=1),)).restore(blob)


def test_a_damaged_checkpoint_is_refused_and_changes_nothing() -> None:
    fit = Fit(wave_config(), (wave(),))
    blob = fit.checkpoint()
    for damaged in (b"", b"nonsense", blob[:len(blob) // 2], blob[:100] + b"x" * 100 + blob[200:]):
        with pytest.raises(InvalidData, match="no packed weights or checkpoint"):
            fit.restore(damaged)
    assert fit.checkpoint() == blob
