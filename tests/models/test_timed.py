"""Cells for irregular times: against their papers' equations, step by step, and what every encoder promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqsweep.config.models import TIMED, RecurrentConfig
from seqsweep.data.batch import DataInfo, Scaling
from seqsweep.models.recurrent import Recurrent
from seqsweep.models.timed import Clock, OdeRnn

INFO = DataInfo(features=("a", "b", "missing:b", "time:elapsed", "since:b"), columns=("a", "b"), fill_values=(1.0, 7.0),
                scaling={"": Scaling(shift=(0.0, 3.0), scale=(1.0, 2.0))}, data_hash="")
cells = pytest.mark.parametrize("cell", TIMED)


def encoder(cell: str, **fields: Any) -> Recurrent:
    torch.manual_seed(3)
    return Recurrent(RecurrentConfig.model_validate({"hidden_size": 4, "cell": cell} | fields), 5, Clock.of(INFO))


def visits(batch: int, steps: int, seed: int = 0) -> Tensor:
    """Rows of two columns, the second of which is missing now and then, at irregular times."""
    torch.manual_seed(seed)
    a, last = torch.randn(2, batch, steps)
    missing = (torch.rand(batch, steps) < 0.4).double()
    gap, since = torch.rand(2, batch, steps) * 3
    gap[:, 0] = since[:, 0] = 0
    return torch.stack([a, last, missing, gap.log1p(), since.log1p()], -1).float()


def test_the_clock_is_read_off_the_names_of_the_features() -> None:
    assert Clock.of(INFO) == Clock(3, (1,), (2,), (4,), (2.0,))
    assert Clock.of(INFO.model_copy(update={"features": ("a", "b", "missing:b")})) is None


def test_gru_d_is_that_of_the_paper() -> None:
    model, x_BTF = encoder("gru_d"), visits(3, 6)
    cell: Any = model.forwards[0]
    timer: Any = model.timer
    timer.decay_M.data.fill_(0.7)
    timer.decay_bias_M.data.fill_(0.1)
    gru = nn.GRUCell(5, 4)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(gru, name).data.copy_(getattr(cell, f"{name}_l0"))
    for row_TF, state_H in zip(x_BTF, model(x_BTF), strict=True):
        h = torch.zeros(1, 4)
        for a, last, missing, gap, since in row_TF.tolist():
            gap, since = torch.tensor(gap).expm1(), torch.tensor(since).expm1()
            gamma = torch.exp(-torch.clamp(0.7 * since + 0.1, min=0))
            b = gamma * last + (1 - gamma) * 2.0 if missing else last
            fade = torch.exp(-torch.clamp(cell.fade.weight @ torch.stack([gap, since]) + cell.fade.bias, min=0))
            h = gru(torch.tensor([[a, b, missing, gap.log1p(), since.log1p()]]), h * fade)
        torch.testing.assert_close(state_H, h[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("gap", [0.0, 0.3, 1.0, 4.0])
def test_ode_rnn_follows_its_equation(gap: float) -> None:
    """Against many small steps of Euler's; torchdiffeq's adaptive solver agrees, where it is installed."""
    torch.manual_seed(0)
    cell = OdeRnn(5, 4, 1, False).double()
    start_BH, time_B1 = torch.randn(2, 4, dtype=torch.float64), torch.full((2, 1), gap, dtype=torch.float64)
    with torch.no_grad():
        end_BH = cell.between(start_BH, time_B1)
        euler_BH = start_BH
        for _ in range(20_000):
            euler_BH = euler_BH + gap / 20_000 * cell.flow(euler_BH)
        torch.testing.assert_close(end_BH, euler_BH, atol=2e-3, rtol=0)
        if gap == 0.0:
            assert torch.equal(end_BH, start_BH)


def test_ode_rnn_agrees_with_torchdiffeq() -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")
    torch.manual_seed(0)
    cell = OdeRnn(5, 4, 1, False).double()
    start_BH = torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        exact_BH = torchdiffeq.odeint(lambda _, h: cell.flow(h), start_BH, torch.tensor([0.0, 1.5]), method="dopri5",
                                      rtol=1e-9, atol=1e-9)[-1]
        torch.testing.assert_close(cell.between(start_BH, torch.full((2, 1), 1.5)), exact_BH, atol=1e-3, rtol=0)


@cells
@pytest.mark.parametrize("fields", [{}, {"num_layers": 2, "layer_norm": True}, {"bidirectional": True, "num_layers": 2},
                                    {"pooling": "mean"}, {"bidirectional": True, "pooling": "max"}])
def test_a_padded_sequence_gives_what_it_gives_alone(cell: str, fields: dict[str, Any]) -> None:
    model, lengths = encoder(cell, **fields).eval(), [7, 1, 4, 9]
    rows = [visits(1, length, length)[0] for length in lengths]
    together = model(nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(lengths))
    for state_H, row_TF in zip(together, rows, strict=True):
        torch.testing.assert_close(state_H, model(row_TF.unsqueeze(0))[0], atol=1e-6, rtol=0)


@cells
def test_a_state_carried_over_gives_what_one_pass_gives(cell: str) -> None:
    model, x_BTF = encoder(cell, num_layers=2), visits(3, 9)
    outputs, carried = [], None
    for stretch_BTF in torch.split(x_BTF, [1, 4, 2, 2], dim=1):
        out_BTH, carried = model.resume(stretch_BTF, carried)
        outputs.append(out_BTH)
    torch.testing.assert_close(torch.cat(outputs, 1), model.outputs(x_BTF), atol=1e-6, rtol=0)


@cells
def test_time_matters_to_each_direction_only_between_the_rows_it_has_read(cell: str) -> None:
    """Of a later gap the forward states before it know nothing, nor the backward ones after it."""
    model, x_BTF = encoder(cell, bidirectional=True), visits(2, 6)
    later_BTF = x_BTF.clone()
    later_BTF[:, 3, 3] += 0.5  # the time between the third row and the fourth; nothing else
    changed_BTH = model.outputs(later_BTF) != model.outputs(x_BTF)
    assert not changed_BTH[:, :3, :4].any() and changed_BTH[:, 3:, :4].any(-1).all()
    # the backward layer reads the feature itself at the fourth row, and the time when it comes to the third
    assert not changed_BTH[:, 4:, 4:].any() and changed_BTH[:, :4, 4:].any(-1).all()


@cells
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients(cell: str, bidirectional: bool) -> None:
    model = encoder(cell, hidden_size=3, bidirectional=bidirectional, num_layers=2).double()
    x_BTF, length_B = visits(2, 4).double(), torch.tensor([4, 2])

    def run(*weights: Tensor) -> Tensor:
        named = dict(zip(dict(model.named_parameters()), weights, strict=True))
        out: Tensor = torch.func.functional_call(model, named, (x_BTF, length_B))
        return out

    assert torch.autograd.gradcheck(run, tuple(model.parameters()), fast_mode=True)
