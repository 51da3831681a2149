"""Cells for irregular times and missing values: something happens to the state between two rows, then a GRU reads.

Shapes: B sequences, T steps, F features, H hidden units, M features that have been missing, X = 1 + M times: since the
row before, and since each of these features was last seen (for ODE-RNN X = 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqsweep.config.models import RecurrentConfig
from seqsweep.data.batch import ELAPSED, DataInfo, indicator_name, since_name

_STEPS = 2
"""Steps of the solver between two rows."""


@dataclass(frozen=True)
class Clock:
    """Where among the features times stand, and what is known of missing values."""

    elapsed: int
    """The time since the row before, as log(1 + t)."""
    values: tuple[int, ...] = ()
    """The M features that have been missing, filled with what was seen last."""
    missing: tuple[int, ...] = ()
    """The features that tell where."""
    since: tuple[int, ...] = ()
    """The features that tell how long ago they were last seen, as log(1 + t)."""
    means: tuple[float, ...] = ()
    """Their means in the training part."""

    @classmethod
    def of(cls, info: DataInfo) -> Clock | None:
        """Read it off the names of the features; None where times are none of them."""
        place = {name: f for f, name in enumerate(info.features)}
        if ELAPSED not in place:
            return None
        found = [(r, name) for r, name in enumerate(info.columns) if since_name(name) in place]
        scaling = info.scaling[""]
        return cls(place[ELAPSED], tuple(r for r, _ in found), tuple(place[indicator_name(name)] for _, name in found),
                   tuple(place[since_name(name)] for _, name in found),
                   tuple((info.fill_values[r] - scaling.shift[r]) / scaling.scale[r] for r, _ in found))


class Timer(nn.Module):
    """Takes the times out of the features, and lets values that are missing fade where the cell is GRU-D."""

    means_M: Tensor
    values_M: Tensor
    missing_M: Tensor
    since_M: Tensor

    def __init__(self, config: RecurrentConfig, clock: Clock | None) -> None:
        super().__init__()
        self.clock = clock
        self.fades = config.cell == "gru_d" and clock is not None and bool(clock.values)
        missing = len(clock.values) if clock is not None and self.fades else 0
        self.width = 1 + missing
        """The number X of times."""
        if self.fades and clock is not None:
            self.register_buffer("means_M", torch.tensor(clock.means), persistent=False)
            for name in ("values", "missing", "since"):
                self.register_buffer(f"{name}_M", torch.tensor(getattr(clock, name)), persistent=False)
            self.decay_M = nn.Parameter(torch.full((missing,), 0.1))
            self.decay_bias_M = nn.Parameter(torch.zeros(missing))

    def forward(self, x_BTF: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features as they are to be read, and the times `(B, T, X)`.

        Where nothing tells the time, rows are one mean step apart.
        """
        if self.clock is None:
            return x_BTF, torch.ones_like(x_BTF[..., :1])
        elapsed_BT1 = x_BTF[..., self.clock.elapsed].unsqueeze(-1).expm1()
        if not self.fades:
            return x_BTF, elapsed_BT1
        last_BTM, since_BTM = (x_BTF.index_select(-1, places) for places in (self.values_M, self.since_M))
        since_BTM = since_BTM.expm1()
        left_BTM = torch.exp(-torch.relu(since_BTM * self.decay_M + self.decay_bias_M))
        faded_BTM = self.means_M + (last_BTM - self.means_M) * left_BTM
        seen_BTM = torch.where(x_BTF.index_select(-1, self.missing_M) > 0, faded_BTM, last_BTM)
        return (x_BTF.index_copy(-1, self.values_M, seen_BTM),
                torch.cat([elapsed_BT1, since_BTM], -1))


class TimedCell(nn.Module):
    """A GRU (Cho et al., 2014) whose state changes between rows; weights are named and ordered as torch's.

    Its input's last X columns are times. A layer that reads backwards is given sequences that are reversed, where the
    time before a row is that which was after it.
    """

    def __init__(self, input_size: int, hidden_size: int, times: int, backwards: bool) -> None:
        super().__init__()
        self.hidden_size, self.times, self.backwards = hidden_size, times, backwards
        bound = hidden_size ** -0.5
        self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0 = (
            nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) for shape in (
                (3 * hidden_size, input_size), (3 * hidden_size, hidden_size), (3 * hidden_size,), (3 * hidden_size,)))

    def between(self, state_BH: Tensor, time_BX: Tensor) -> Tensor:
        """Return the state before the next row."""
        raise NotImplementedError

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs `(B, T, H)` and the state after them `(1, B, H)`, from a state or from zeros."""
        time_BTX = x_BTF[..., -self.times:]
        if self.backwards:
            time_BTX = torch.cat([torch.zeros_like(time_BTX[:, :1]), time_BTX[:, :-1]], 1)
        read_BTG = x_BTF[..., :-self.times] @ self.weight_ih_l0.mT + self.bias_ih_l0
        state_BH = x_BTF.new_zeros(x_BTF.shape[0], self.hidden_size) if state is None else state.squeeze(0)
        outputs = []
        for read_BG, time_BX in zip(read_BTG.unbind(1), time_BTX.unbind(1), strict=True):
            state_BH = self.between(state_BH, time_BX)
            own_BG = state_BH @ self.weight_hh_l0.mT + self.bias_hh_l0
            (r_read, z_read, n_read), (r_own, z_own, n_own) = read_BG.chunk(3, -1), own_BG.chunk(3, -1)
            reset, keep = torch.sigmoid(r_read + r_own), torch.sigmoid(z_read + z_own)
            state_BH = torch.lerp(torch.tanh(n_read + reset * n_own), state_BH, keep)
            outputs.append(state_BH)
        return torch.stack(outputs, 1), state_BH.unsqueeze(0)


class GruD(TimedCell):
    """GRU-D (Che et al., 2018): the state decays with time, and a value that is missing (see `Timer`) from what was
    seen last to the mean. That it is missing, and since when, are features besides.
    """

    def __init__(self, input_size: int, hidden_size: int, times: int, backwards: bool) -> None:
        super().__init__(input_size, hidden_size, times, backwards)
        self.fade = nn.Linear(times, hidden_size)

    def between(self, state_BH: Tensor, time_BX: Tensor) -> Tensor:
        """Let the state fade."""
        return state_BH * torch.exp(-torch.relu(self.fade(time_BX)))


class OdeRnn(TimedCell):
    """ODE-RNN (Rubanova et al., 2019): between rows the state follows `dh/dt = f(h)`, a network of one hidden layer.

    Runge and Kutta's fourth order in a fixed number of steps, scaled to each sequence's own time: rows of a batch need
    no common clock, and no solver has to be installed where a model is served.
    """

    def __init__(self, input_size: int, hidden_size: int, times: int, backwards: bool) -> None:
        super().__init__(input_size, hidden_size, times, backwards)
        self.inner, self.outer = (nn.Linear(hidden_size, hidden_size) for _ in range(2))

    def flow(self, state_BH: Tensor) -> Tensor:
        """Return the state's change in one unit of time."""
        change_BH: Tensor = torch.tanh(self.outer(torch.tanh(self.inner(state_BH))))
        return change_BH

    def between(self, state_BH: Tensor, time_BX: Tensor) -> Tensor:
        """Follow the flow until the next row."""
        step_B1 = time_BX[:, :1] / _STEPS
        for _ in range(_STEPS):
            a = self.flow(state_BH)
            b = self.flow(state_BH + step_B1 / 2 * a)
            c = self.flow(state_BH + step_B1 / 2 * b)
            d = self.flow(state_BH + step_B1 * c)
            state_BH = state_BH + step_B1 / 6 * (a + 2 * b + 2 * c + d)
        return state_BH


TIMED_CELLS: dict[str, type[TimedCell]] = {"gru_d": GruD, "ode_rnn": OdeRnn}
"""By the name of `cell`."""
