"""The fused layers against cells written out in plain tensor operations, and how weights start."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.models.cells import build_cell
from seqsweep.models.peephole import Peephole

Cell = Literal["elman", "lstm", "gru"]
CELLS: tuple[Cell, ...] = ("elman", "lstm", "gru")


def elman_step(x: Tensor, h: Tensor, w: dict[str, Tensor], nonlinearity: str) -> Tensor:
    a = w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
    return torch.tanh(a) if nonlinearity == "tanh" else a.clamp(min=0)


def lstm_step(x: Tensor, h: Tensor, c: Tensor, w: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    i, f, g, o = (w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(x: Tensor, h: Tensor, w: dict[str, Tensor]) -> Tensor:
    r_x, z_x, n_x = (w["weight_ih_l0"] @ x + w["bias_ih_l0"]).chunk(3)
    r_h, z_h, n_h = (w["weight_hh_l0"] @ h + w["bias_hh_l0"]).chunk(3)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    n = torch.tanh(n_x + r * n_h)
    return (1 - z) * n + z * h


def by_hand(config: RecurrentConfig, layer: nn.RNNBase, x_TF: Tensor) -> Tensor:
    w = {name: p.detach() for name, p in layer.named_parameters()}
    h = c = torch.zeros(config.hidden_size, dtype=x_TF.dtype)
    outputs = []
    for x in x_TF:
        if config.cell == "lstm":
            h, c = lstm_step(x, h, c, w)
        elif config.cell == "gru":
            h = gru_step(x, h, w)
        else:
            h = elman_step(x, h, w, config.nonlinearity)
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.parametrize(("cell", "nonlinearity"), [("elman", "tanh"), ("elman", "relu"), ("lstm", "tanh"),
                                                    ("gru", "tanh")])
def test_layer_is_the_cell_of_the_paper(cell: Cell, nonlinearity: Literal["tanh", "relu"]) -> None:
    torch.manual_seed(1)
    config = RecurrentConfig(cell=cell, nonlinearity=nonlinearity, hidden_size=5)
    layer = build_cell(config, 3)
    assert isinstance(layer, nn.RNNBase)
    x_BTF = torch.randn(2, 11, 3)
    for x_TF, out_TH in zip(x_BTF, layer(x_BTF)[0], strict=True):
        torch.testing.assert_close(out_TH, by_hand(config, layer, x_TF), atol=1e-6, rtol=0)


def test_peepholes_see_the_cells() -> None:
    """Gers & Schmidhuber (2000): input and forget gate see the cell before, the output gate the new one."""
    torch.manual_seed(1)
    layer = Peephole(3, 5).double()
    w = {name: p.detach() for name, p in layer.named_parameters()}
    enter, forget, leave = w["peephole_l0"].chunk(3)
    x_BTF = torch.randn(2, 11, 3, dtype=torch.float64)
    for x_TF, out_TH in zip(x_BTF, layer(x_BTF)[0], strict=True):
        h = c = torch.zeros(5, dtype=torch.float64)
        for x, out_H in zip(x_TF, out_TH, strict=True):
            i, f, g, o = (w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["weight_hh_l0"] @ h).chunk(4)
            c = torch.sigmoid(f + forget * c) * c + torch.sigmoid(i + enter * c) * torch.tanh(g)
            h = torch.sigmoid(o + leave * c) * torch.tanh(c)
            torch.testing.assert_close(out_H, h, atol=1e-12, rtol=0)


def test_without_peepholes_it_is_the_lstm() -> None:
    torch.manual_seed(1)
    layer, lstm = Peephole(3, 5), nn.LSTM(3, 5, batch_first=True)
    with torch.no_grad():
        layer.peephole_l0.zero_()
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
            getattr(layer, name).copy_(getattr(lstm, name))
        dict(lstm.named_parameters())["bias_hh_l0"].zero_()
    x_BTF = torch.randn(2, 11, 3)
    torch.testing.assert_close(layer(x_BTF)[0], lstm(x_BTF)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal_start_is_orthogonal_per_gate(cell: Cell) -> None:
    torch.manual_seed(1)
    layer = build_cell(RecurrentConfig(cell=cell, hidden_size=8, init="orthogonal"), 8)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        blocks = torch.split(dict(layer.named_parameters())[name].detach(), 8)
        assert len(blocks) == {"elman": 1, "gru": 3, "lstm": 4}[cell]
        for block in blocks:
            torch.testing.assert_close(block @ block.T, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("init", "bound"), [("xavier", math.sqrt(6 / (4 + 32))), ("he", math.sqrt(6 / 4))])
@pytest.mark.parametrize("cell", CELLS)
def test_fans_are_those_of_one_gate(cell: Cell, init: Literal["xavier", "he"], bound: float) -> None:
    torch.manual_seed(1)
    layer = build_cell(RecurrentConfig(cell=cell, hidden_size=32, init=init, forget_bias=0.0), 4)
    parameters = dict(layer.named_parameters())
    for block in torch.split(parameters["weight_ih_l0"], 32):
        assert 0.9 * bound < float(block.detach().abs().max()) <= bound
    assert not parameters["bias_ih_l0"].any()
    assert not parameters["bias_hh_l0"].any()


@pytest.mark.parametrize("init", ["default", "orthogonal"])
def test_forget_gate_starts_at_its_bias(init: Literal["default", "orthogonal"]) -> None:
    torch.manual_seed(1)
    layer = build_cell(RecurrentConfig(cell="lstm", hidden_size=6, init=init, forget_bias=2.5), 3)
    parameters = dict(layer.named_parameters())
    whole = (parameters["bias_ih_l0"] + parameters["bias_hh_l0"]).detach()
    assert whole[6:12].tolist() == [2.5] * 6
    assert float(whole[:6].abs().max()) < 1
