"""A batch in pieces: the same gradients but for rounding, the same masks to the bit, and the same bits every time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel, ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import Conflict
from seqsweep.models.dropout import dropout
from seqsweep.models.kernels import available
from seqsweep.records import Report
from seqsweep.training.fit import Fit, Pack

DROPPED: dict[str, Any] = {"num_layers": 2, "dropout": 0.3, "variational_dropout": 0.2}
CASES: dict[str, tuple[Callable[..., FitConfig], Prepared, dict[str, Any]]] = {
    "gaps and quantiles": (wave_config, wave(gaps=True), {"task": {"quantiles": (0.1, 0.5, 0.9)}} | DROPPED),
    "normed": (wave_config, wave(), {"cell": "gru", "window_norm": "standard", "naive_season": 12}),
    "varied lengths": (tones_config, tones(), {"cell": "gru", "pooling": "mean", "bidirectional": True} | DROPPED),
    "weighted classes": (tones_config, tones(60, 9, 9), {"task": {"class_weights": "balanced"}} | DROPPED),
}
PROGRAMS: tuple[tuple[Kernel, bool], ...] = (("torch", False), ("stacked", True), ("compiled", False))


def in_pieces(config: FitConfig, kernel: Kernel, packed: bool, micro: int | None, whole_epochs: int = 0) -> FitConfig:
    if not available(kernel):
        pytest.skip(f"no library for the kernel {kernel}")
    program = ProgramConfig(kernel=kernel, packed=packed, micro_batch=micro, whole_epochs=whole_epochs)
    return config.model_copy(update={"program": program})


def gradients(config: FitConfig, data: Prepared) -> tuple[list[float], list[torch.Tensor]]:
    """Of the first step, in float64: loss and weight, and the parameters' gradients."""
    engine = Pack([Fit(config, (data,), dtype=torch.float64)]).engines[0]
    fold = engine.folds[0]
    batch = next(iter(engine.batches([fold.order(1)], [fold.keys(1)])))
    loss, weight = engine.backward(batch, config.program.micro_batch)
    return [float(loss), float(weight)], [p.grad.clone() for p in fold.parameters if p.grad is not None]


def curve(fit: Fit, epochs: int) -> list[dict[str, float]]:
    return [without_clock(fit.advance()) for _ in range(epochs)]


def without_clock(report: Report) -> dict[str, float]:
    return {name: value for name, value in report.metrics.items() if name != "seconds"}


@pytest.mark.parametrize(("kernel", "packed"), PROGRAMS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_the_batch(case: str, kernel: Kernel, packed: bool) -> None:
    make, data, fields = CASES[case]
    whole = gradients(in_pieces(make(**fields), kernel, packed, None), data)
    for micro in (5, 8, 15):
        found = gradients(in_pieces(make(**fields), kernel, packed, micro), data)
        assert found[0] == pytest.approx(whole[0], rel=1e-12)
        for ours, theirs in zip(found[1], whole[1], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("kernel", "packed"), PROGRAMS)
@pytest.mark.parametrize("case", CASES)
def test_an_epoch_gives_the_same_figures(case: str, kernel: Kernel, packed: bool) -> None:
    make, data, fields = CASES[case]
    whole, pieces = (Fit(in_pieces(make(**fields), kernel, packed, micro), (data,), dtype=torch.float64)
                     for micro in (None, 5))
    assert without_clock(pieces.advance()) == pytest.approx(without_clock(whole.advance()), rel=1e-9)


def test_masks_are_those_of_the_batch_to_the_bit() -> None:
    x, rate, key = torch.ones(16, 7, 5), torch.tensor(0.4), torch.tensor(77, dtype=torch.int32)
    for steps in (7, 1):
        whole = dropout(x, rate, key, 3, (16, steps, 5))
        pieces = [dropout(x[first:first + 5], rate, key, 3, (min(5, 16 - first), steps, 5), first)
                  for first in range(0, 16, 5)]
        assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize(("kernel", "packed"), PROGRAMS)
def test_pieces_repeat_to_the_bit_and_go_on_from_checkpoints(kernel: Kernel, packed: bool) -> None:
    data, base = (wave(),), wave_config(epochs=4, **DROPPED)
    config = in_pieces(base, kernel, packed, 5)
    expected = curve(Fit(config, data), 4)
    first = Fit(config, data)
    assert curve(first, 2) == expected[:2]
    second = Fit(config, data)
    second.restore(first.checkpoint())
    assert curve(second, 2) == expected[2:]


@pytest.mark.parametrize(("kernel", "packed"), PROGRAMS)
def test_a_trial_of_whole_batches_goes_on_in_pieces(kernel: Kernel, packed: bool) -> None:
    """And its curve comes again from its parameters, its seed and its program alone."""
    data, base = (wave(),), wave_config(epochs=4, **DROPPED)
    whole = Fit(in_pieces(base, kernel, packed, None), data)
    before = curve(whole, 2)
    rest = Fit(in_pieces(base, kernel, packed, 5, whole_epochs=2), data)
    rest.restore(whole.checkpoint())
    assert curve(Fit(rest.config, data), 4) == before + curve(rest, 2)


def test_an_interrupted_epoch_gives_the_same_bits() -> None:
    data, config = (wave(), wave(seed=1, val_last=False)), wave_config(epochs=2, **DROPPED)
    expected = curve(Fit(config, data), 2)
    pack, reports, pauses = Pack([Fit(config, data)]), list[Report](), 0
    while len(reports) < 2:
        found = pack.go_on(0.0)
        pauses += found is None
        reports += found or []
    assert [without_clock(report) for report in reports] == expected
    steps = sum(fold.train_loader.steps + fold.val_loader.steps for fold in pack.fits[0].folds)
    assert pauses == 2 * steps
    assert all(0 < report.metrics["seconds"] < math.inf for report in reports)


def test_a_trial_in_pieces_is_trained_alone() -> None:
    config = in_pieces(wave_config(), "stacked", True, 5)
    with pytest.raises(Conflict, match="cannot be trained in step"):
        Pack([Fit(config, (wave(),)), Fit(config, (wave(),))])
