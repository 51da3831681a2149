"""What a probe chooses, and that it stands by what it is told."""

from typing import Any

import pytest
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel, ProgramConfig
from seqsweep.errors import InvalidSweep
from seqsweep.models.kernels import available
from seqsweep.training import probe
from seqsweep.training.fit import Fit

needs_numba = pytest.mark.skipif(not available("compiled"), reason="numba is not installed")


@needs_numba
def test_it_measures_every_program_and_the_choice_trains() -> None:
    config = wave_config(cell="gru", num_layers=2, dropout=0.1)
    choice = probe.choose(config, (wave(),), "cpu", None)
    assert {"torch", "compiled"} <= set(choice.seconds)
    assert all(0 < seconds < 10 for seconds in choice.seconds.values())
    Fit(config.model_copy(update={"program": choice.program}), (wave(),)).advance()


@needs_numba
@pytest.mark.parametrize("fields", [{"cell": "peephole"}, {"fcn_channels": 4, "conv_layers": 1},
                                    {"cell": "gru", "decoder": "recurrent"}], ids=str)
def test_models_of_more_than_plain_layers_are_measured_too(fields: dict[str, Any]) -> None:
    config = wave_config(**fields)
    choice = probe.choose(config, (wave(),), "cpu", None)
    assert {"torch", "compiled"} <= set(choice.seconds)
    Fit(config.model_copy(update={"program": choice.program}), (wave(),)).advance()


@needs_numba
def test_the_fastest_is_taken_but_a_pack_must_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {("torch", 1): 1.0, ("compiled", 1): 1.0, ("compiled", 4): 1.0}

    def seconds(run: probe._Run) -> float:
        return figures[run._engine.folds[0].config.program.kernel, run._size] * 1e-4

    monkeypatch.setattr(probe._Run, "seconds", seconds)

    def chosen(**changed: float) -> tuple[str, int]:
        figures.update({("torch", 1): 1.0, ("compiled", 1): 1.0, ("compiled", 4): 1.0})
        figures.update({("compiled", 4) if name == "x4" else (name, 1): value for name, value in changed.items()})
        choice = probe.choose(wave_config(cell="gru"), (wave(),), "cpu", None)
        return choice.program.kernel, choice.pack

    assert chosen() == ("torch", 1)
    assert chosen(compiled=0.98) == ("torch", 1)
    assert chosen(compiled=0.9) == ("compiled", 1)
    assert chosen(compiled=0.9, x4=0.7) == ("compiled", 1)
    assert chosen(compiled=0.9, x4=0.5) == ("compiled", 4)
    assert chosen(torch=0.3, x4=0.5) == ("torch", 1)


@pytest.mark.parametrize(("pack", "kernel", "expected"), [
    (1, "torch", (ProgramConfig(), 1)), (None, "torch", (ProgramConfig(), 1)),
    (3, "stacked", (ProgramConfig(kernel="stacked", packed=True), 3)),
    (1, "stacked", (ProgramConfig(kernel="stacked"), 1))])
def test_what_the_user_asked_for(pack: int | None, kernel: Kernel, expected: tuple[ProgramConfig, int]) -> None:
    choice = probe.choose(tones_config(cell="gru"), (tones(),), "cpu", pack, kernel)
    assert (choice.program, choice.pack) == expected


def test_a_kernel_that_cannot_run_here_is_refused() -> None:
    with pytest.raises(InvalidSweep, match="triton cannot run on cpu here"):
        probe.choose(wave_config(), (wave(),), "cpu", 1, "triton")


@pytest.mark.parametrize(("kernel", "there", "expected"), [
    (None, True, "compiled"), (None, False, "torch"), ("stacked", True, "stacked")])
def test_without_a_clock_the_program_follows_from_a_rule(monkeypatch: pytest.MonkeyPatch, kernel: Kernel | None,
                                                         there: bool, expected: str) -> None:
    monkeypatch.setattr(probe, "available", lambda name, device: name != "compiled" or there)
    monkeypatch.setattr(probe, "_measure", None)
    choice = probe.choose(wave_config(cell="gru"), (wave(),), "cpu", 1, kernel, timed=False)
    assert (choice.program.kernel, choice.pack, choice.seconds) == (expected, 1, {})


def test_triton_is_left_out_where_it_fails_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: FitConfig, data: object, device: str, program: ProgramConfig, size: int) -> None:
        if program.kernel == "triton":
            raise RuntimeError("Failed to find C compiler")
        raise MemoryError

    monkeypatch.setattr(probe, "_run", broken)
    programs = [(ProgramConfig(kernel=kernel), 1) for kernel in ("triton", "stacked")]
    assert probe._measure(wave_config(), (wave(),), "cpu", programs, None) == {}
    with pytest.raises(RuntimeError, match="C compiler"):
        probe._measure(wave_config(), (wave(),), "cpu", programs[:1], "triton")
