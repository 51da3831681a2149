"""Programs in files: what they hold, that they compute the same, and what cannot be one."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from named_models import NAMED
from training_toys import tones, tones_config, wave, wave_config

from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidData, InvalidSweep, NotFound, Unavailable
from seqsweep.training.export import check_place, export_member, save
from seqsweep.training.fit import Fit
from seqsweep.training.predict import Member


def trained(name: str = "gru", folds: int = 1) -> tuple[Fit, Member, Prepared]:
    torch.set_num_threads(1)
    data = wave(90)
    config = wave_config(**{"hidden_size": 4, "epochs": 1, "naive_season": 12, **NAMED[name]})
    fit = Fit(config, (data,) * folds)
    fit.advance()
    return fit, Member(0, config, fit.best_weights()), data


def samples(fit: Fit) -> tuple[Any, Any]:
    """The validation part, and what the model itself makes of it."""
    batch = next(fit.folds[0].val_loader.in_order())
    with torch.no_grad():
        return batch.x_BLF, fit.folds[0].learner.eval()(batch).numpy()


def test_a_pt2_file_computes_the_same_and_holds_no_pickle(tmp_path: Path) -> None:
    fit, member, data = trained()
    path = tmp_path / "model.pt2"
    save(export_member(member, data.info, (15, 15)), path)
    x_BLF, expected = samples(fit)
    found = torch.export.load(path).module()(x_BLF)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-6)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert any(name.endswith("model.json") for name in held)
    tensors = ("/data/weights/", "/data/constants/")  # raw numbers, which may begin with any byte
    others = {name: content for name, content in held.items() if not any(folder in name for folder in tensors)}
    assert not [name for name, content in others.items() if content[:1] == b"\x80" or content[:2] == b"PK"]
    assert not any(b'"use_pickle": true' in content for content in held.values())


@pytest.mark.parametrize("name", ["gru", "lstm", "multihead", "cnn-rnn, batch norm", "encoder-decoder"])
def test_onnx_computes_the_same_for_any_number_of_samples(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: seqsweep[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    fit, member, data = trained(name)
    path = tmp_path / "model.onnx"
    save(export_member(member, data.info, (15, 15)), path)
    x_BLF, expected = samples(fit)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    for count in (1, len(x_BLF)):
        (found,) = session.run(["output"], {given.name: x_BLF[:count].numpy()})
        np.testing.assert_allclose(found, expected[:count], atol=1e-5, rtol=0)


def test_without_what_writes_onnx_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, member, data = trained()
    program = export_member(member, data.info, (15, 15))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r"pip install 'seqsweep\[onnx\]'"):
        save(program, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_what_cannot_be_a_program_is_refused_with_the_reason(tmp_path: Path) -> None:
    _, member, data = trained("peephole")
    with pytest.raises(InvalidSweep, match="peephole"):
        export_member(member, data.info, (15, 15))
    _, member, data = trained(folds=2)
    with pytest.raises(InvalidSweep, match="the mean of 2 folds"):
        export_member(member, data.info, (15, 15))
    fit = Fit(tones_config(), (tones(48),))
    fit.advance()
    with pytest.raises(InvalidData, match="4 to 14 steps"):
        export_member(Member(0, tones_config(), fit.best_weights()), tones(48).info, (4, 14))
    with pytest.raises(InvalidData, match=r"no \.pkl\n.*\.pt2 or \.onnx"):
        check_place(tmp_path / "model.pkl")
    with pytest.raises(NotFound, match="no folder"):
        check_place(tmp_path / "nowhere" / "model.pt2")
