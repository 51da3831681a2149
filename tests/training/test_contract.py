"""What every model promises, whatever it is made of: one suite over the list of named models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from named_models import NAMED
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.config.models import RecurrentConfig
from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import Kernel, ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidData, InvalidSweep
from seqsweep.models.convolutions import BatchNorm
from seqsweep.models.kernels import available
from seqsweep.models.recurrent import Recurrent
from seqsweep.records import Report
from seqsweep.training import contract
from seqsweep.training.export import export
from seqsweep.training.fit import Fit, Pack

FEATURES = 3
every_model = pytest.mark.parametrize("name", NAMED)
with_batch_norm = {name for name, fields in NAMED.items()
                   if fields.get("conv_norm") == "batch" or "fcn_channels" in fields}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def encoder(name: str, **fields: Any) -> Recurrent:
    torch.manual_seed(3)
    return Recurrent(RecurrentConfig.model_validate({"hidden_size": 4} | NAMED[name] | fields), FEATURES)


def trained_a_little(model: Recurrent) -> Recurrent:
    """Running figures that are not those of the start."""
    model(torch.randn(7, 9, FEATURES) * 2 + 1)
    return model.eval()


def fitting(name: str, kernel: Kernel = "torch", packed: bool = False, **fields: Any) -> tuple[FitConfig, Prepared]:
    """A trial of each model: of sequences of several lengths, or of windows where it is for them alone."""
    make: Callable[..., FitConfig] = wave_config if "decoder" in NAMED[name] else tones_config
    config = make(**{"hidden_size": 4, "epochs": 4, **NAMED[name], **fields})
    return (config.model_copy(update={"program": ProgramConfig(kernel=kernel, packed=packed)}),
            wave(90) if "decoder" in NAMED[name] else tones(48))


def curve(report: Report) -> dict[str, float]:
    return {name: value for name, value in report.metrics.items() if name != "seconds"}


@every_model
def test_one_state_of_the_size_it_tells(name: str) -> None:
    assert not contract.one_state_each(encoder(name), FEATURES)


@every_model
def test_a_padded_sequence_gives_what_it_gives_alone(name: str) -> None:
    assert not contract.padded_is_alone(trained_a_little(encoder(name)), FEATURES)


@every_model
def test_padding_teaches_nothing(name: str) -> None:
    assert not contract.padding_teaches_nothing(encoder(name), FEATURES)


@every_model
def test_gradients(name: str) -> None:
    assert not contract.gradients(encoder(name, hidden_size=3), FEATURES)


@every_model
def test_a_state_carried_over_gives_what_one_pass_gives(name: str) -> None:
    model = trained_a_little(encoder(name))
    x_BTF = torch.randn(3, 11, FEATURES)
    if not model.causal:
        with pytest.raises(ValueError, match="no state to go on with"):
            model.resume(x_BTF)
        return
    outputs, carried = [], None
    for stretch_BTF in torch.split(x_BTF, [1, 4, 2, 3, 1], dim=1):
        out_BTH, carried = model.resume(stretch_BTF, carried)
        outputs.append(out_BTH)
    torch.testing.assert_close(torch.cat(outputs, 1), model.outputs(x_BTF), atol=1e-6, rtol=0)


@every_model
def test_a_causal_model_sees_nothing_of_what_comes(name: str) -> None:
    model = trained_a_little(encoder(name))
    assert contract.is_causal(model, FEATURES) == model.causal


@every_model
def test_saved_and_loaded_it_predicts_the_same(name: str) -> None:
    assert not contract.saved_is_loaded(*fitting(name))


@every_model
def test_the_same_seed_gives_the_same(name: str) -> None:
    assert not contract.again_is_the_same(*fitting(name, variational_dropout=0.2))


@every_model
def test_from_a_checkpoint_it_goes_on_as_if_never_stopped(name: str) -> None:
    assert not contract.resumed_is_whole(*fitting(name, dropout=0.0, variational_dropout=0.2))


@every_model
def test_packed_it_is_to_the_bit_what_it_is_alone(name: str) -> None:
    kernel: Kernel = "compiled" if available("compiled") else "stacked"
    made = [fitting(name, kernel, packed=True, seed=k, learning_rate=3e-3 * (k + 1), variational_dropout=0.1 + 0.1 * k)
            for k in range(3)]
    assert not contract.packed_is_alone([config for config, _ in made], made[0][1])


@every_model
@pytest.mark.parametrize("packed", [False, True])
def test_in_float64_every_program_is_torchs_own(name: str, packed: bool) -> None:
    config, data = fitting(name, "compiled" if available("compiled") else "stacked", packed)
    ours, torchs = (Fit(each, (data,), dtype=torch.float64) for each in (config, fitting(name)[0]))
    assert curve(ours.advance()) == pytest.approx(curve(torchs.advance()), rel=1e-9, abs=1e-9)
    for a, b in zip(ours.folds[0].learner.state_dict().values(), torchs.folds[0].learner.state_dict().values(),
                    strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@every_model
def test_micro_batches_add_up_to_the_batch(name: str) -> None:
    """But for batch norm, which sees the piece that it is given."""
    config, data = fitting(name)
    gradients = []
    for micro in (None, 5):
        engine = Pack([Fit(config, (data,), dtype=torch.float64)]).engines[0]
        fold = engine.folds[0]
        engine.backward(next(engine.batches([fold.order(1)], [fold.keys(1)])), micro)
        gradients.append([p.grad for p in fold.parameters])
    same = all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(*gradients, strict=True)
               if a is not None and b is not None)
    assert same == (name not in with_batch_norm)


@every_model
def test_exported_it_computes_the_same(name: str) -> None:
    """Of windows, whose length is fixed, which is what torch.export can do with recurrent layers."""
    data = wave(90)
    config = wave_config(**{"hidden_size": 4, "epochs": 1, "naive_season": 12, **NAMED[name]})
    fit = Fit(config, (data,))
    fit.advance()
    learner = fit.folds[0].learner.eval()
    if NAMED[name].get("cell") == "peephole":
        with pytest.raises(InvalidSweep, match="peephole"):
            export(learner, data)
        return
    program = export(learner, data)
    for batch in fit.folds[0].train_loader.in_order():
        with torch.no_grad():
            torch.testing.assert_close(program.module()(batch.x_BLF), learner(batch), atol=1e-6, rtol=0)


def test_sequences_of_several_lengths_are_not_exported() -> None:
    learner = Fit(tones_config(), (tones(48),)).folds[0].learner
    with pytest.raises(InvalidData, match="4 to 14 steps"):
        export(learner, tones(48))


def test_sequences_of_one_length_are() -> None:
    data = tones(48, 9, 9)
    fold = Fit(tones_config(), (data,)).folds[0]
    batch = next(fold.val_loader.in_order())
    program = export(fold.learner, data)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(batch.x_BLF), fold.learner.eval()(batch), atol=1e-6, rtol=0)


def test_the_list_of_models_with_running_figures_is_right() -> None:
    found = {name for name in NAMED if any(isinstance(module, BatchNorm) for module in encoder(name).modules())}
    assert found == with_batch_norm
