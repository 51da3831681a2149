"""Trials trained in step: each to the bit as alone under the same program, and close to torch's own."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel, ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import Conflict
from seqsweep.models.kernels import available
from seqsweep.records import Reason, Report
from seqsweep.training.fit import Fit, Pack

EPOCHS = 3
KERNELS: tuple[Kernel, ...] = ("stacked", "compiled")


def program(kernel: Kernel, packed: bool = True) -> dict[str, Any]:
    if not available(kernel):
        pytest.skip(f"no library for the kernel {kernel}")
    return {"program": ProgramConfig(kernel=kernel, packed=packed)}


def own(k: int, kernel: Kernel, make: Callable[..., FitConfig] = wave_config, **fields: Any) -> FitConfig:
    """Trial k of one shape: its own seed, rates and length."""
    rates = {"learning_rate": 3e-3 * (k + 1), "weight_decay": 1e-3 * k, "clip_norm": 0.2 * k, "dropout": 0.1 + 0.1 * k,
             "variational_dropout": 0.05 + 0.1 * k, "epochs": EPOCHS + k, "warmup_epochs": k % 2,
             "schedule": ("constant", "cosine", "plateau")[k % 3], "init": ("default", "orthogonal")[k % 2]}
    return make(seed=k, num_layers=2, **(rates | fields)).model_copy(update=program(kernel))


def curve(reports: Sequence[Report]) -> list[dict[str, float]]:
    """Figures without the clock; nan is equal to nan."""
    return [{name: -math.pi if math.isnan(value) else value for name, value in report.metrics.items()
             if name != "seconds"} for report in reports]


def alone(config: FitConfig, data: tuple[Prepared, ...], epochs: int = EPOCHS) -> list[dict[str, float]]:
    fit = Fit(config, data)
    return curve([fit.advance() for _ in range(epochs)])


def together(configs: Sequence[FitConfig], data: tuple[Prepared, ...], epochs: int = EPOCHS) -> list[Any]:
    pack = Pack([Fit(config, data) for config in configs])
    epochs_of_all = [pack.advance() for _ in range(epochs)]
    return [curve(reports) for reports in zip(*epochs_of_all, strict=True)]


CASES: dict[str, tuple[Callable[..., FitConfig], tuple[Prepared, ...], dict[str, Any]]] = {
    "elman": (wave_config, (wave(),), {"cell": "elman"}),
    "relu": (wave_config, (wave(),), {"cell": "elman", "nonlinearity": "relu", "optimizer": "sgd", "momentum": 0.5}),
    "gru": (wave_config, (wave(),), {"cell": "gru", "hidden_size": 16, "optimizer": "adamw"}),
    "lstm": (wave_config, (wave(),), {"cell": "lstm", "hidden_size": 9, "batch_size": 19}),
    "bidirectional": (wave_config, (wave(),), {"cell": "gru", "bidirectional": True, "layer_norm": True}),
    "normed": (wave_config, (wave(),), {"cell": "gru", "window_norm": "standard", "naive_season": 12}),
    "highway": (wave_config, (wave(),), {"cell": "gru", "highway": 7}),
    "gaps and quantiles": (wave_config, (wave(gaps=True),), {"cell": "gru", "task": {"quantiles": (0.1, 0.5, 0.9)}}),
    "folds": (wave_config, (wave(), wave(seed=1, val_last=False)), {"cell": "elman"}),
    "varied lengths": (tones_config, (tones(),), {"cell": "gru", "pooling": "mean", "bidirectional": True}),
    "classes": (tones_config, (tones(60, 9, 9),), {"cell": "lstm", "task": {"class_weights": "balanced"}}),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_a_trial_is_to_the_bit_what_it_is_alone(case: str, kernel: Kernel) -> None:
    make, data, fields = CASES[case]
    configs = [own(k, kernel, make, **fields) for k in range(4)]
    expected = [alone(config, data) for config in configs]
    assert len({str(each) for each in expected}) == 4
    for members in ([0, 1], [3, 1, 2, 0], [2, 2, 2]):
        assert together([configs[k] for k in members], data) == [expected[k] for k in members], members


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_one_epoch_in_float64_is_torchs_own(case: str, kernel: Kernel) -> None:
    make, data, fields = CASES[case]
    ours = own(2, kernel, make, **fields)
    theirs = ours.model_copy(update={"program": ProgramConfig()})
    ours_fit, theirs_fit = (Fit(config, data, dtype=torch.float64) for config in (ours, theirs))
    ((a,), (b,)) = curve([ours_fit.advance()]), curve([theirs_fit.advance()])
    assert a == pytest.approx(b, rel=1e-9, abs=1e-9)
    for x, y in zip(ours_fit.folds[0].parameters, theirs_fit.folds[0].parameters, strict=True):
        torch.testing.assert_close(x.detach(), y.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_may_go_and_another_come(kernel: Kernel) -> None:
    data = (wave(),)
    configs = [own(k, kernel, cell="gru") for k in range(3)]
    expected = [alone(config, data) for config in configs]
    fits = [Fit(config, data) for config in configs]
    curves: list[list[Report]] = [[], [], []]
    for members in ([0, 1], [1, 0, 2], [2, 0, 1], [2]):
        for k, report in zip(members, Pack([fits[k] for k in members]).advance(), strict=True):
            curves[k].append(report)
    assert [curve(reports) for reports in curves] == expected


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_checkpoint_goes_on_in_another_pack(kernel: Kernel) -> None:
    data = (wave(),)
    configs = [own(k, kernel, cell="gru") for k in range(3)]
    expected = [alone(config, data) for config in configs]
    first = Pack([Fit(config, data) for config in configs[:2]])
    first.advance()
    second = [Fit(config, data) for config in configs]
    second[1].restore(first.fits[1].checkpoint())
    pack = Pack(second)
    reports = [pack.advance() for _ in range(2)]
    assert curve([each[1] for each in reports]) == expected[1][1:]
    assert curve([each[2] for each in reports]) == expected[2][:2]
    weights = Fit(configs[0], data)
    weights.advance()
    assert weights.best_weights() == first.fits[0].best_weights()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_weights_that_change_all_at_once_as_on_a_gpu(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (wave(),)
    momentum: dict[str, Any] = {"momentum": 0.5} if optimizer == "sgd" else {}
    configs = [own(k, "stacked", cell="gru", optimizer=optimizer, **momentum) for k in range(3)]

    def curves(members: Sequence[Sequence[int]]) -> list[list[Report]]:
        fits = [Fit(config, data, dtype=torch.float64) for config in configs]
        found: list[list[Report]] = [[], [], []]
        for packed in members:
            for k, report in zip(packed, Pack([fits[k] for k in packed]).advance(), strict=True):
                found[k].append(report)
        return found

    expected = curves([[0], [0], [1], [1], [2], [2]])
    monkeypatch.setattr("seqsweep.training.engine.stacks_rules", lambda device: True)
    for ours, theirs in zip(curves([[0, 1], [1, 2, 0], [2]]), expected, strict=True):
        for mine, other in zip(curve(ours), curve(theirs), strict=True):
            assert mine == pytest.approx(other, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_that_diverges_leaves_its_neighbours_alone(kernel: Kernel) -> None:
    data = (wave(),)
    wild = own(1, kernel, cell="elman", nonlinearity="relu", optimizer="sgd", momentum=0.99, learning_rate=10.0,
               clip_norm=0.0, hidden_size=16, task={"loss": "mse"}, schedule="constant", warmup_epochs=0)
    tame = own(2, kernel, cell="elman", nonlinearity="relu", optimizer="sgd", momentum=0.5, clip_norm=0.1,
               hidden_size=16, task={"loss": "mse"})
    expected = alone(tame, data)
    fits = [Fit(wild, data), Fit(tame, data)]
    reports: list[Report] = []
    pack = Pack(fits)
    while fits[1].epoch < EPOCHS:
        reports.append(pack.advance()[-1])
        if fits[0].done:
            pack = Pack(fits[1:])
    assert fits[0].done is Reason.DIVERGED
    assert curve(reports) == expected
    by_itself = Fit(wild, data)
    while by_itself.done is None:
        by_itself.advance()
    assert by_itself.epoch == fits[0].epoch


@pytest.mark.parametrize("change", [{"hidden_size": 7}, {"batch_size": 8}, {"optimizer": "sgd"}, {"cell": "lstm"},
                                    {"dropout": 0.0}])
def test_other_shapes_are_refused(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"cell": "gru", "dropout": 0.2}
    fits = [Fit(own(0, "stacked", **(base | each)), (wave(),)) for each in ({}, change)]
    with pytest.raises(Conflict, match="different shapes"):
        Pack(fits)


def test_programs_that_are_not_packed_are_refused() -> None:
    config = wave_config(cell="gru").model_copy(update=program("stacked", packed=False))
    with pytest.raises(Conflict, match="programs"):
        Pack([Fit(config, (wave(),)), Fit(config, (wave(),))])


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_first_twenty_steps_agree_with_torch(kernel: Kernel, cell: str) -> None:
    """In float32 rounding grows with every step, so the weights are compared while it is small."""
    config = wave_config(cell=cell, hidden_size=16, batch_size=5, learning_rate=3e-3)
    fits = [Fit(config.model_copy(update=each), (wave(),)) for each in (program(kernel), {})]
    engines = [Pack([fit]).engines[0] for fit in fits]
    for step, batches in enumerate(zip(*(engine.batches([fit.folds[0].order(1)], [fit.folds[0].keys(1)])
                                         for engine, fit in zip(engines, fits, strict=True)), strict=True)):
        if step == 20:
            break
        losses = []
        for engine, fit, batch in zip(engines, fits, batches, strict=True):
            losses.append(float(engine.backward(batch)[0]))
            fit.folds[0].update(3e-3)
            engine.clear()
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for a, b in zip(fits[0].folds[0].parameters, fits[1].folds[0].parameters, strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-3, atol=1e-4)
