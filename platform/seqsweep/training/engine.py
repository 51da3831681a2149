"""One pass over the data of one trial alone, or of K trials of one shape in step.

Shapes: K trials, S steps of an epoch, B samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seqsweep.config.tasks import own_learner
from seqsweep.data.batch import Ints
from seqsweep.models.linear import Linear
from seqsweep.models.own import drawing
from seqsweep.tasks.batch import Batch
from seqsweep.training.fold import Fold
from seqsweep.training.recorded import Recorder, can_record
from seqsweep.training.rules import Stack

Figures = dict[str, float]


def stacks_rules(device: torch.device) -> bool:
    """Whether the weights of a pack change all at once: a GPU is waited for at each launch, a CPU keeps the bits."""
    return device.type == "cuda"


class Engine(Protocol):
    """Computes losses, gradients and outputs of its folds, which belong to one trial each."""

    folds: list[Fold]

    def batches(self, orders: list[Ints], keys: list[Ints]) -> Iterator[Batch]:
        """Cut the training samples in each trial's order."""
        ...

    def backward(self, batch: Batch, micro: int | None = None) -> tuple[Tensor, Tensor]:
        """Fill the parameters' gradients; return the losses and their weights `(K,)`, not fetched.

        `micro`: compute so many samples at once; the sums over the pieces are those of the batch but for rounding.
        """
        ...

    def update(self, rates: Sequence[float]) -> Tensor:
        """Clip the gradients, change each trial's weights; return the norms `(K,)` before, not fetched."""
        ...

    def clear(self) -> None:
        """Forget the gradients."""
        ...

    def step(self, batch: Batch, rates: Sequence[float], micro: int | None = None) -> Tensor:
        """All three; return losses, their weights and the norms `(3, K)`, not fetched."""
        ...

    def outputs(self, batch: Batch) -> Tensor:
        """Return the outputs `(K, B, ...)` for a batch that all trials see."""
        ...


class Alone:
    """One trial by itself."""

    def __init__(self, fold: Fold) -> None:
        self.folds = [fold]
        self._learner, self._mixed = fold.learner, fold.mixed
        self._own = own_learner(fold.config.task) is not None

    def batches(self, orders: list[Ints], keys: list[Ints]) -> Iterator[Batch]:
        """See Engine."""
        return self.folds[0].train_loader.batches(orders[0], keys[0])

    def backward(self, batch: Batch, micro: int | None = None) -> tuple[Tensor, Tensor]:
        """See Engine."""
        if micro is not None:
            loss, weight = _accumulate(self._loss, batch, micro)
            torch._foreach_div_([p.grad for p in self.folds[0].parameters if p.grad is not None], weight)
            return loss.unsqueeze(0), weight.unsqueeze(0)
        loss, weight = self._loss(batch)
        torch.autograd.backward(loss)
        return loss.detach().unsqueeze(0), weight.unsqueeze(0)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self._random(batch):
            with _precision(self._mixed):
                output = self._learner(batch)
            loss: tuple[Tensor, Tensor] = self._learner.loss(_whole(output), batch)
        return loss

    def _random(self, batch: Batch) -> AbstractContextManager[Any]:
        """What a user's own learner draws by torch depends on the step alone."""
        return drawing(batch.x_BLF, batch.key, batch.first) if self._own else nullcontext()

    def update(self, rates: Sequence[float]) -> Tensor:
        """See Engine."""
        return self.folds[0].update(rates[0]).unsqueeze(0)

    def clear(self) -> None:
        """See Engine."""
        for parameter in self.folds[0].parameters:
            parameter.grad = None

    def step(self, batch: Batch, rates: Sequence[float], micro: int | None = None) -> Tensor:
        """See Engine."""
        return _whole_step(self, batch, rates, micro)

    def outputs(self, batch: Batch) -> Tensor:
        """See Engine."""
        with _precision(self._mixed):
            output: Tensor = self._learner(batch)
        return _whole(output).unsqueeze(0)


class Together:
    """K trials whose weights lie in one stack, each slice of it the weights of one trial's own model and optimiser.

    The forward pass is the model's own under `torch.func.vmap`; a slice is computed without a look at the others, so a
    trial's figures do not depend on its neighbours (horizontal fusion: Wang et al., HFTA, 2021).
    """

    def __init__(self, folds: Sequence[Fold]) -> None:
        self.folds = list(folds)
        self._template, self._mixed = _Objective(self.folds[0].learner), self.folds[0].mixed
        for module in self._template.modules():
            if isinstance(module, Linear):
                module.aligned = self.folds[0].device.type == "cpu"
        self._weights: dict[str, Tensor] = {}
        self._gradients: list[Tensor] = []
        self._buffers: dict[str, Tensor] = {}
        self._stack()
        self._rules = Stack([fold.rule for fold in self.folds], [stack.detach() for stack in self._weights.values()],
                            [fold.config.training.clip_norm for fold in self.folds]) \
            if stacks_rules(self.folds[0].device) else None
        self._recorder = Recorder(len(self.folds), self._gradients[0]) \
            if self.folds[0].config.program.recorded and can_record(self.folds[0].device) else None

    def _stack(self) -> None:
        own = [dict(fold.learner.named_parameters()) for fold in self.folds]
        for name in own[0]:
            stack = torch.stack([parameters[name].detach() for parameters in own]).requires_grad_()
            stack.grad = torch.zeros_like(stack)
            self._gradients.append(stack.grad)
            self._weights[f"learner.{name}"] = stack
            for parameters, weight, gradient in zip(own, stack.detach(), stack.grad, strict=True):
                parameters[name].data = weight
                parameters[name].grad = gradient
        buffers = [dict(fold.learner.named_buffers()) for fold in self.folds]
        kept = self.folds[0].learner.state_dict()
        for name in buffers[0]:
            if name.endswith("_rate") or name in kept:
                stack = self._buffers[f"learner.{name}"] = torch.stack([each[name] for each in buffers])
                owner, _, own_name = name.rpartition(".")
                for fold, buffer in zip(self.folds, stack, strict=True):  # training writes into the stack
                    setattr(fold.learner.get_submodule(owner), own_name, buffer)

    def batches(self, orders: list[Ints], keys: list[Ints]) -> Iterator[Batch]:
        """See Engine."""
        return self.folds[0].train_loader.batches(np.stack(orders), np.stack(keys))

    def backward(self, batch: Batch, micro: int | None = None) -> tuple[Tensor, Tensor]:
        """See Engine."""
        if micro is not None:
            loss_K, weight_K = _accumulate(self._losses, batch, micro)
            for gradient in self._gradients:
                gradient.div_(weight_K.view(-1, *(1,) * (gradient.ndim - 1)))
            return loss_K, weight_K
        loss_K, weight_K = self._losses(batch)
        torch.autograd.backward(loss_K.sum())
        return loss_K.detach(), weight_K

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with _precision(self._mixed):
            losses: tuple[Tensor, Tensor] = self._call(batch, 0, loss=True)
        return losses

    def update(self, rates: Sequence[float]) -> Tensor:
        """See Engine."""
        if self._rules:
            first = self._gradients[0]
            rate_K = torch.tensor(rates, dtype=first.dtype).to(first.device, non_blocking=True)
            return self._rules.step(self._gradients, rate_K)
        return torch.stack([fold.update(rate) for fold, rate in zip(self.folds, rates, strict=True)])

    def clear(self) -> None:
        """See Engine."""
        torch._foreach_zero_(self._gradients)

    def step(self, batch: Batch, rates: Sequence[float], micro: int | None = None) -> Tensor:
        """See Engine."""
        if self._recorder and self._rules and micro is None:
            return self._recorder.step(self._step, batch, rates)
        return _whole_step(self, batch, rates, micro)

    @property
    def recorded(self) -> bool:
        """Whether its steps are replayed by now."""
        return self._recorder is not None and self._recorder.recorded

    def _step(self, batch: Batch, rate_K: Tensor) -> Tensor:
        """A step that the host tells nothing but the batch and the rates, which stay where they are."""
        assert self._rules is not None  # noqa: S101 - else nothing is recorded
        loss_K, weight_K = self.backward(batch)
        norm_K = self._rules.step(self._gradients, rate_K)
        self.clear()
        return torch.stack([loss_K, weight_K, norm_K])

    def outputs(self, batch: Batch) -> Tensor:
        """See Engine."""
        with _precision(self._mixed):
            return _whole(self._call(batch, None, loss=False))

    def _call(self, batch: Batch, dim: int | None, *, loss: bool) -> Any:
        """Call the model once for all trials, whose own samples lie in dimension `dim` of what the batch holds."""
        varied = {name: each for name, each in vars(batch).items() if isinstance(each, Tensor) and each.numel()}

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], samples: dict[str, Tensor]) -> Any:
            mine: dict[str, Any] = {**vars(batch), **samples}
            return functional_call(self._template, (weights, buffers), (Batch(**mine), loss))

        return vmap(one, in_dims=(0, 0, dim))(self._weights, self._buffers, varied)


class _Objective(nn.Module):
    """A learner's output or loss, called by name."""

    def __init__(self, learner: Any) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Batch, loss: bool) -> Any:
        output = self.learner(batch)
        return self.learner.loss(_whole(output), batch) if loss else output


def _whole_step(engine: Engine, batch: Batch, rates: Sequence[float], micro: int | None) -> Tensor:
    loss_K, weight_K = engine.backward(batch, micro)
    norm_K = engine.update(rates)
    engine.clear()
    return torch.stack([loss_K, weight_K, norm_K])


Steps = Generator[None, None, list[Figures]]
"""A pass that lets go after every step, so that whoever drives it can tell that it moves; it returns figures."""


def train(engine: Engine, epochs: Sequence[int], factors: Sequence[float], micro: int | None = None) -> Steps:
    """Take one pass over the training part, each trial in its own epoch; return each one's figures.

    `micro`: see `Engine.backward`. A train_loss that is not finite says that the trial ended there: its later steps
    count for nothing. Figures stay on the device until the epoch's end; a CPU has nothing to wait for and looks at each
    step.
    """
    folds = engine.folds
    first = folds[0]
    for fold in folds:
        fold.learner.train()
    orders = [fold.order(epoch) for fold, epoch in zip(folds, epochs, strict=True)]
    keys = [fold.keys(epoch) for fold, epoch in zip(folds, epochs, strict=True)]
    table: list[Tensor] = []
    rates = [0.0] * len(folds)
    alive = [True] * len(folds)
    for step, batch in enumerate(engine.batches(orders, keys)):
        rates = [fold.rate(epoch, step, factor) for fold, epoch, factor in zip(folds, epochs, factors, strict=True)]
        table.append(engine.step(batch, rates, micro))
        if first.device.type == "cpu":
            of_each = zip(alive, *table[-1].tolist(), strict=True)
            alive = [one and all(map(math.isfinite, figures)) for one, *figures in of_each]
            if not any(alive):
                break
        yield
    figures_S3K = torch.stack(table).cpu().double().numpy()
    return [_summary(figures_S3K[:, :, k]) | {"learning_rate": rate} for k, rate in enumerate(rates)]


def validate(engine: Engine, micro: int | None = None) -> Steps:
    """Return each trial's val_loss and every metric of the task as `val_<name>`, the same whatever the batches.

    `micro`: take smaller batches in the measure in which training does.
    """
    folds = engine.folds
    totals: list[dict[str, Any]] = [{} for _ in folds]
    predictions: list[list[Tensor]] = [[] for _ in folds]
    for fold in folds:
        fold.learner.eval()
    size = None if micro is None else folds[0].evaluation_piece(micro)
    for piece in (piece for batch in folds[0].val_loader.in_order() for piece in batch.pieces(size)):
        with torch.no_grad():
            for fold, output, total, kept in zip(folds, engine.outputs(piece), totals, predictions, strict=True):
                prediction = fold.learner.predict(output, piece)
                kept += [prediction.cpu()] if fold.metric else []
                for name, value in fold.learner.sums(prediction, piece).items():
                    total[name] = total[name] + value if name in total else value
        yield
    return [{f"val_{name}": value for name, value in (fold.learner.metrics(total) | _own(fold, kept)).items()}
            for fold, total, kept in zip(folds, totals, predictions, strict=True)]


def _own(fold: Fold, predictions: list[Tensor]) -> Figures:
    """The user's own metric, where there is one."""
    return {fold.config.metric.name: fold.metric(torch.cat(predictions).numpy())} if fold.metric else {}


def _accumulate(loss: Callable[[Batch], tuple[Tensor, Tensor]], batch: Batch, micro: int) -> tuple[Tensor, Tensor]:
    """Add up the gradients of a batch's summed loss piece by piece; return its mean loss and weight, of K or of one."""
    sums, weights = [], []
    for piece in batch.pieces(micro):
        mean, weight = loss(piece)
        torch.autograd.backward((mean * weight).sum())
        sums.append(mean.detach() * weight)
        weights.append(weight.to(mean.dtype))
    total = torch.stack(weights).sum(0)
    return torch.stack(sums).sum(0) / total, total


def _summary(figures_S3: npt.NDArray[np.float64]) -> Figures:
    """Means of one trial's losses and norms, up to the first that is not finite."""
    broken = np.flatnonzero(~np.isfinite(figures_S3).all(1))
    loss_S, weight_S, norm_S = (figures_S3[:broken[0] + 1] if len(broken) else figures_S3).T
    with np.errstate(all="ignore"):
        train_loss = float("nan") if len(broken) else float((loss_S * weight_S).sum() / weight_S.sum())
        return {"train_loss": train_loss, "grad_norm": float(norm_S.mean()), "grad_norm_max": float(norm_S.max())}


def _precision(mixed: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cuda", torch.bfloat16) if mixed else nullcontext()


def _whole(output: Tensor) -> Tensor:
    """Undo mixed precision's halves: losses and figures are taken in float32 or better."""
    return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
