"""The stack: gradients, padding, pooling, dropout, and that every field of its config is read."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.models.padding import reverse
from seqsweep.models.recurrent import Recurrent

CELLS = ("elman", "lstm", "gru")
POOLINGS = ("last", "mean", "max")


def model(**fields: Any) -> Recurrent:
    torch.manual_seed(3)
    return Recurrent(RecurrentConfig.model_validate({"hidden_size": 4} | fields), 3)


@pytest.mark.parametrize(("cell", "bidirectional"), itertools.product(CELLS, (False, True)))
def test_gradients(cell: str, bidirectional: bool) -> None:
    stack = model(cell=cell, hidden_size=3, bidirectional=bidirectional, num_layers=2, layer_norm=True).double()
    x_BTF = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    length_B = torch.tensor([4, 2])

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(dict(stack.named_parameters()), weights, strict=True))
        out: Tensor = torch.func.functional_call(stack, named, (x, length_B))
        return out

    assert torch.autograd.gradcheck(run, (x_BTF, *stack.parameters()))


@pytest.mark.parametrize(("cell", "pooling", "bidirectional", "layer_norm"),
                         itertools.product(CELLS, POOLINGS, (False, True), (False, True)))
def test_padded_sequence_gives_what_it_gives_alone(cell: str, pooling: str, bidirectional: bool,
                                                   layer_norm: bool) -> None:
    stack = model(cell=cell, pooling=pooling, bidirectional=bidirectional, num_layers=2, layer_norm=layer_norm).eval()
    lengths = [7, 1, 4, 9]
    rows = [torch.randn(length, 3) for length in lengths]
    padded_BTF = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=99.0)
    together = stack(padded_BTF, torch.tensor(lengths))
    for state_H, row_TF in zip(together, rows, strict=True):
        torch.testing.assert_close(state_H, stack(row_TF.unsqueeze(0))[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_bidirectional_agrees_with_torchs_own(pooling: str) -> None:
    stack = model(cell="gru", bidirectional=True, pooling=pooling)
    own = nn.GRU(3, 4, batch_first=True, bidirectional=True)
    halves = (dict(stack.forwards[0].named_parameters()), dict(stack.backwards[0].named_parameters()))
    for half, suffix in zip(halves, ("", "_reverse"), strict=True):
        for name, weight in half.items():
            getattr(own, name + suffix).data.copy_(weight.detach())
    x_BTF = torch.randn(2, 6, 3)
    out_BTH, last_2BH = own(x_BTF)
    expected = {"last": torch.cat([last_2BH[0], last_2BH[1]], 1), "mean": out_BTH.mean(1), "max": out_BTH.amax(1)}
    torch.testing.assert_close(stack(x_BTF), expected[pooling], atol=1e-6, rtol=0)


def test_reverse_turns_each_row_within_its_length() -> None:
    x_BTF = torch.arange(8.0).view(2, 4, 1)
    assert reverse(x_BTF, torch.tensor([4, 2])).squeeze(-1).tolist() == [[3, 2, 1, 0], [5, 4, 6, 7]]


KEY = torch.tensor(17, dtype=torch.int32)


def test_dropout_acts_between_layers_in_training_only() -> None:
    x_BTF = torch.randn(2, 5, 3)
    one, two = model(dropout=0.5), model(dropout=0.5, num_layers=2)
    torch.testing.assert_close(one(x_BTF, key=KEY), one(x_BTF), atol=0, rtol=0)
    torch.testing.assert_close(two(x_BTF, key=KEY), two(x_BTF, key=KEY), atol=0, rtol=0)
    assert not torch.equal(two(x_BTF, key=KEY), two(x_BTF, key=KEY + 1))
    assert not torch.equal(two(x_BTF, key=KEY), two(x_BTF))


def test_variational_dropout_keeps_one_mask_for_all_steps() -> None:
    stack = model(cell="elman", variational_dropout=0.5)
    seen: list[Tensor] = []
    stack.forwards[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    stack(torch.ones(50, 6, 3), key=KEY)
    masks_BTF = seen[0]
    assert set(masks_BTF.flatten().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(masks_BTF, masks_BTF[:, :1].expand_as(masks_BTF), atol=0, rtol=0)
    assert len({tuple(row) for row in masks_BTF[:, 0].tolist()}) > 3


def test_layer_norm_evens_out_the_units() -> None:
    state_BH = model(layer_norm=True, hidden_size=16)(torch.randn(4, 5, 3))
    torch.testing.assert_close(state_BH.mean(1), torch.zeros(4), atol=1e-5, rtol=0)


READ_BY_THE_STACK = {"cell": "gru", "nonlinearity": "relu", "hidden_size": 5, "num_layers": 3, "bidirectional": True,
                     "dropout": 0.4, "variational_dropout": 0.3, "layer_norm": True, "init": "xavier",
                     "forget_bias": -1.0, "pooling": "mean", "residual": True, "heads": 2, "conv_layers": 1,
                     "conv_channels": 7, "conv_width": 3, "conv_norm": "layer", "conv_activation": "tanh",
                     "fcn_channels": 2}


@pytest.mark.parametrize("field", READ_BY_THE_STACK)
def test_every_field_changes_the_result(field: str) -> None:
    base: dict[str, Any] = {"num_layers": 2} if field in ("dropout", "residual") else {}
    if field == "nonlinearity":
        base["cell"] = "elman"
    if field == "heads":
        base["pooling"] = "multihead"
    if field in ("conv_channels", "conv_width", "conv_norm", "conv_activation"):
        base["conv_layers"] = 1
    x_BTF = torch.randn(2, 5, 3)
    before = model(**base)
    after = model(**base, **{field: READ_BY_THE_STACK[field]})
    a, b = before(x_BTF, key=KEY), after(x_BTF, key=KEY)
    assert a.shape != b.shape or not torch.allclose(a, b)


def test_no_field_is_left_unread() -> None:
    by_the_task = {"naive_season", "window_norm", "decoder", "highway"}
    assert set(READ_BY_THE_STACK) | by_the_task == set(RecurrentConfig.model_fields)
