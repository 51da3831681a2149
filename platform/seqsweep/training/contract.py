"""What every model promises, whatever it is made of: the clauses that the tests hold seqsweep's own models to, and
`seqsweep validate --contract` a user's.

A clause returns what is wrong, the empty text where it is kept; those of a user's own learner raise InvalidSweep where
there is a line to tell. Shapes: B sequences, T steps, F features, H of a state.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from seqsweep.config.own import Own, parsed
from seqsweep.config.sweep import FitConfig
from seqsweep.config.tasks import ForecastingConfig, own_learner
from seqsweep.data.batch import Prepared
from seqsweep.errors import InvalidSweep, Problem
from seqsweep.models.encoder import Encoder
from seqsweep.models.own import drawing
from seqsweep.own import load, told
from seqsweep.records import Report
from seqsweep.tasks.batch import Batch
from seqsweep.tasks.classification import Classifier
from seqsweep.tasks.forecasting import Forecaster
from seqsweep.tasks.learner import Learner
from seqsweep.tasks.regression import Regressor
from seqsweep.training.export import sketch
from seqsweep.training.fit import Fit, Pack
from seqsweep.training.fold import build_learner, load_weights
from seqsweep.training.predict import predict

LENGTHS = (7, 1, 4, 9, 2)
"""Of the sequences that a model is tried with where theirs differ."""
_CLOSE, _CLOSE_DOUBLE = 1e-6, 1e-9
_CLASSES: dict[str, type[Learner]] = {"forecasting": Forecaster, "classification": Classifier, "regression": Regressor}


def compute_with(threads: int) -> None:
    """Let torch compute with so many threads in this process."""
    torch.set_num_threads(threads)


def encoder_of(config: FitConfig, data: Prepared) -> Encoder:
    """The encoder of a trial as it starts, in evaluation; clauses that are held to it draw the same each time."""
    torch.manual_seed(config.seed)
    encoder: Encoder = build_learner(config, data).encoder.eval()
    return encoder


def one_state_each(model: Encoder, features: int, steps: Sequence[int] = (1, 7)) -> str:
    """One finite state a sequence, of the size that the model tells."""
    for batch in (1, 5):
        for length in steps:
            state_BH = model(torch.randn(batch, length, features))
            if state_BH.shape != (batch, model.output_size):
                return (f"{batch} sequences of {length} steps give {tuple(state_BH.shape)} instead of "
                        f"({batch}, {model.output_size})")
            if not state_BH.isfinite().all():
                return f"{batch} sequences of {length} steps give states that are not finite"
    return ""


def padded_is_alone(model: Encoder, features: int) -> str:
    """A padded sequence gives to 1e-6 what it gives alone, whatever the padding holds."""
    rows = [torch.randn(length, features) for length in LENGTHS]
    for padding in (99.0, -1e6):
        padded_BTF = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        together_BH = model(padded_BTF, torch.tensor(LENGTHS))
        for state_H, row_TF in zip(together_BH, rows, strict=True):
            if not torch.allclose(state_H, model(row_TF.unsqueeze(0), torch.tensor([len(row_TF)]))[0], atol=_CLOSE,
                                  rtol=0):
                return f"a sequence of {len(row_TF)} steps gives another state once it is padded to {max(LENGTHS)}"
    return ""


def padding_teaches_nothing(model: Encoder, features: int) -> str:
    """States and gradients of a batch in training are the same however far, and with what, it is padded."""
    model = copy.deepcopy(model).double()
    x_BTF, length_B = torch.randn(4, 6, features, dtype=torch.float64), torch.tensor([6, 2, 5, 1])
    longer_BTF = torch.cat([x_BTF, torch.full((4, 3, features), 9.0, dtype=torch.float64)], 1)
    for row, length in enumerate(length_B.tolist()):
        longer_BTF[row, length:] = 9.0
    found = []
    for each in (x_BTF, longer_BTF):
        out_BH = model(each, length_B)
        found.append([out_BH, *torch.autograd.grad(out_BH.square().sum(), _trained(model), allow_unused=True)])
    for a, b in zip(*found, strict=True):
        if a is not None and b is not None and not torch.allclose(a, b, atol=_CLOSE_DOUBLE, rtol=0):
            return "what a batch teaches depends on how far it is padded"
    return ""


def gradients(model: Encoder, features: int, lengths: Sequence[int] = (5, 3)) -> str:
    """Every weight has the gradient that differences of the states show, in float64 (`torch.autograd.gradcheck`)."""
    model = copy.deepcopy(model).double().eval()
    x_BTF = torch.randn(len(lengths), max(lengths), features, dtype=torch.float64, requires_grad=True)
    length_B = None if len(set(lengths)) == 1 else torch.tensor(lengths)
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, dict(zip(named, weights, strict=True)), (x, length_B))
        return out

    total = run(x_BTF, *named.values()).sum()
    used = torch.autograd.grad(total, list(named.values()), allow_unused=True) if total.requires_grad else (
        [None] * len(named))
    unused = [name for name, gradient in zip(named, used, strict=True) if gradient is None]
    if unused:
        return f"the states do not depend on {', '.join(unused[:5])}"
    try:
        torch.autograd.gradcheck(run, (x_BTF, *named.values()), fast_mode=True)
    except GradcheckError as error:
        return f"gradients are not those of the forward pass: {str(error).strip().splitlines()[0]}"
    return ""


def is_causal(model: Encoder, features: int, steps: int = 8) -> bool | None:
    """Whether no output depends on later steps; None where the model gives one state for all."""
    x_BTF = torch.randn(2, steps, features)
    half = max(1, steps * 5 // 8)
    other_BTF = torch.cat([x_BTF[:, :half], torch.randn(2, steps - half, features)], 1)
    ours, others = model.outputs(x_BTF), model.outputs(other_BTF)
    return None if ours is None or others is None else torch.equal(ours[:, :half], others[:, :half])


def is_made_as_its_type(config: FitConfig, data: Prepared) -> str:
    """A user's own learner is made from the class of its task's type, and by it."""
    own, wanted = _learner_of(config), _CLASSES[config.task.type]
    made: Any = load(own)
    others = [each.__name__ for each in _CLASSES.values() if isinstance(made, type) and issubclass(made, each)]
    if others and not issubclass(made, wanted):
        line = next((node.lineno for node in parsed(own).body if getattr(node, "name", "") == own.name), 1)
        raise InvalidSweep(Problem(f"{own.file}:{line}", f"{own.name} is made from {others[0]}, which is not of "
                                   f"{config.task.type}", f"class {own.name}({wanted.__name__}): from "
                                   f"seqsweep.tasks.{config.task.type} import {wanted.__name__}"))
    if not isinstance(getattr(build_learner(config, data), "encoder", None), nn.Module):
        raise InvalidSweep(Problem(_begins(own, made.__init__), f"__init__ of {own.name} leaves it without an encoder",
                                   "super().__init__(task, model, data), before anything else in it"))
    return ""


def loss_teaches(config: FitConfig, data: Prepared) -> str:
    """A user's own loss is a finite mean, whose gradient reaches every weight, and its count."""
    own = _learner_of(config)
    fold = Fit(config, (data,)).folds[0]
    learner = fold.learner
    place = _begins(own, type(learner).loss)
    named = {name: weight for name, weight in learner.named_parameters() if weight.requires_grad}
    size = dict.fromkeys(named, 0.0)
    torch.manual_seed(config.seed)
    for weight in named.values():
        weight.data.add_(torch.randn_like(weight), alpha=0.01)  # a head that starts at zero hides the encoder
    for batch in fold.train_loader.batches(fold.order(1), fold.keys(1)):
        shared = {name: each._version for name, each in vars(batch.arrays).items() if each is not None}
        with drawing(batch.x_BLF, batch.key, batch.first):
            with told(own, "forward"):
                output = learner(batch)
            with told(own, "loss"):
                answer = learner.loss(output, batch)
        if wrong := _no_loss(answer):
            raise InvalidSweep(Problem(place, *wrong))
        if changed := [name for name, version in shared.items() if getattr(batch.arrays, name)._version != version]:
            raise InvalidSweep(Problem(place, f"loss changes batch.arrays.{changed[0]}, which all trials share",
                                       f"batch.arrays.{changed[0]}.clone()"))
        found = torch.autograd.grad(answer[0], list(named.values()), allow_unused=True)
        if unused := [name for name, gradient in zip(named, found, strict=True) if gradient is None]:
            raise InvalidSweep(Problem(place, f"the loss does not depend on {', '.join(unused[:5])}",
                                       "a loss made of output, and every weight used; or requires_grad = False"))
        for name, gradient in zip(named, found, strict=True):
            size[name] += float(gradient.abs().sum())
    for part in ("encoder", "head"):
        sizes = [each for name, each in size.items() if name.startswith("encoder.") == (part == "encoder")]
        if sizes and not sum(sizes):
            raise InvalidSweep(Problem(place, f"the gradient of the loss is zero for all weights of the {part}: it "
                                       "teaches nothing", "a loss that changes with output; no round, argmax or sign"))
    return ""


def is_served(config: FitConfig, data: Prepared) -> str:
    """Built from data without a training part, as it is to be registered and to predict, it tells from the weights what
    it told when it was trained; what is to be told, it is not shown.
    """
    own, fit = _learner_of(config), Fit(config, (data,))
    fit.advance()
    fold = fit.folds[0]
    lengths = [int(length) for samples in data.parts.values() for length in samples.length_N]
    new = sketch(data.info.model_copy(update={"series": data.info.series[:1]}), (min(lengths), max(lengths)))
    served = build_learner(config.model_copy(update={"seed": config.seed + 9}), new)
    try:
        load_weights(served, fold.weights())
    except RuntimeError as error:
        told_first = " ".join(str(error).split())[:300]
        raise InvalidSweep(Problem(_begins(own, type(served).__init__), "built without the training part it is of "
                                   f"another shape: {told_first}")) from error
    batch = next(fold.val_loader.in_order())
    unseen = _unseen(config, data, batch)
    with torch.no_grad(), told(own, "a prediction of new data"):
        before, after = (learner.eval().predict(learner(each), each)
                         for learner, each in ((fold.learner, batch), (served, unseen)))
    return "" if before.shape == after.shape and torch.allclose(before, after, rtol=0, atol=0, equal_nan=True) else (
        "built without the training part, for new data whose truth is not known, it predicts something else")


def tells_what_the_type_tells(config: FitConfig, data: Prepared) -> str:
    """Predictions of a user's own learner are shaped as those of its type, finite, and have the type's metrics."""
    usual = config.model_copy(update={"task": config.task.model_copy(update={"entry": None, "code": None})})
    found = []
    for each in (config, usual):
        fold = Fit(each, (data,)).folds[0]
        batch = next(fold.val_loader.in_order())
        with torch.no_grad():
            prediction = fold.learner.eval().predict(fold.learner(batch), batch)
            found.append((prediction, set(fold.learner.metrics(fold.learner.sums(prediction, batch)))))
    (ours, names), (usual_ones, wanted) = found
    if ours.shape != usual_ones.shape:
        return f"predict gives {tuple(ours.shape)} instead of {tuple(usual_ones.shape)}"
    if not ours.isfinite().all():
        return "predictions of an untrained model are not finite"
    return f"metrics without {', '.join(sorted(wanted - names))}" if wanted - names else ""


def saved_is_loaded(config: FitConfig, data: Prepared) -> str:
    """Put into a model of another start, the weights give the same outputs to the bit."""
    fit = Fit(config, (data,))
    fit.advance()
    same = build_learner(config.model_copy(update={"seed": config.seed + 9}), data)
    load_weights(same, fit.folds[0].weights())
    batch = next(fit.folds[0].val_loader.in_order())
    with torch.no_grad():
        equal = torch.equal(same.eval()(batch), fit.folds[0].learner.eval()(batch))
    if not equal:
        return "the weights do not say all: loaded into another model they give other outputs"
    if fit.best is not None and len(predict(config, fit.best_weights(), data, "val")) != len(data.parts["val"]):
        return "the saved weights predict another number of samples"
    return ""


def again_is_the_same(config: FitConfig, data: Prepared) -> str:
    """The same seed gives the same figures and weights to the bit, another trial between its epochs or not."""
    ours, again = Fit(config, (data,)), Fit(config, (data,))
    other = Fit(config.model_copy(update={"seed": config.seed + 1}), (data,))
    for epoch in (1, 2):
        first = _curve(ours.advance())
        other.advance()
        torch.manual_seed(epoch)  # a process draws random numbers for other things too
        if first != _curve(again.advance()) or ours.checkpoint() != again.checkpoint():
            return f"trained again with the same seed, epoch {epoch} gives other figures or weights"
        if ours.done is not None:
            break
    return ""


def resumed_is_whole(config: FitConfig, data: Prepared) -> str:
    """From a checkpoint it goes on to the bit as if it had never been stopped."""
    whole, stopped, resumed = (Fit(config, (data,)) for _ in range(3))
    whole.advance()
    stopped.advance()
    resumed.restore(stopped.checkpoint())
    if whole.done is None and _curve(resumed.advance()) != _curve(whole.advance()):
        return "going on from a checkpoint gives other figures than never having stopped"
    return "" if resumed.checkpoint() == whole.checkpoint() else "a checkpoint does not hold all it goes on from"


def packed_is_alone(configs: Sequence[FitConfig], data: Prepared) -> str:
    """Trained in step with others, in any order, a trial is to the bit what it is alone."""
    fits = [Fit(config, (data,)) for config in configs]
    reports = [Pack(fits).advance(), Pack(fits[::-1]).advance()[::-1]]
    for k, config in enumerate(configs):
        alone = Fit(config, (data,))
        if [_curve(alone.advance()), _curve(alone.advance())] != [_curve(each[k]) for each in reports]:
            return f"trial {k} of a pack has other figures than alone"
        if alone.checkpoint() != fits[k].checkpoint():
            return f"trial {k} of a pack has other weights than alone"
    return ""


def _learner_of(config: FitConfig) -> Own:
    own = own_learner(config.task)
    assert own is not None  # noqa: S101  these clauses are those of a user's own learner
    return own


def _begins(own: Own, function: Any) -> str:
    """`mine.py:12`, where a function of the user's file begins; the class where it is of another file."""
    code = getattr(function, "__code__", None)
    return f"{own.file}:{code.co_firstlineno}" if code and code.co_filename.startswith(own.file) else own.entry


def _no_loss(answer: Any) -> tuple[str, str] | None:
    """What is wrong with what a loss returns, and what is right; None where nothing is."""
    both = "two tensors: return mean, torch.full_like(mean, len(output))"
    if not (isinstance(answer, tuple) and len(answer) == 2):
        return f"loss returns {_kind(answer)}", both
    mean, count = answer
    if not (isinstance(mean, Tensor) and mean.ndim == 0 and mean.dtype.is_floating_point):
        return f"the mean that loss returns is {_kind(mean)}", "a scalar tensor of floating point numbers"
    if not mean.requires_grad:
        return "the mean that loss returns has no gradient", "a tensor made of output, without detach() or item()"
    if not mean.isfinite():
        return f"the loss of a model that has learnt nothing is {float(mean.detach())}", "a finite number"
    if not (isinstance(count, Tensor) and count.ndim == 0):
        return f"the count that loss returns is {_kind(count)}", both
    if count.requires_grad or not count.isfinite() or count < 0:
        return f"the count that loss returns is {count}", "what the mean is of: a number of samples, without gradient"
    return None


def _kind(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"a tensor {tuple(answer.shape)} of {answer.dtype}" if answer.ndim else "one scalar tensor"
    return f"({', '.join(map(_kind, answer))})" if isinstance(answer, tuple) else f"{answer!r:.60}"


def _unseen(config: FitConfig, data: Prepared, batch: Batch) -> Batch:
    """The batch as it would come with new data: without its truth, and of the horizon what is known ahead."""
    x_BLF, observed_BLD = batch.x_BLF, batch.observed_BLD
    if isinstance(config.task, ForecastingConfig):
        ahead = slice(config.task.context, None)
        known_F = torch.zeros(x_BLF.shape[2], dtype=torch.bool)
        known_F[list(data.info.known)] = True
        x_BLF = x_BLF.clone()
        x_BLF[:, ahead] *= known_F
        if observed_BLD is not None:
            observed_BLD = observed_BLD.clone()
            observed_BLD[:, ahead] = False
    return replace(batch, x_BLF=x_BLF, observed_BLD=observed_BLD, label_B=torch.full_like(batch.label_B, -1),
                   target_B=torch.zeros_like(batch.target_B))


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def _curve(report: Report) -> dict[str, str]:
    """Figures to the bit, nan being equal to itself."""
    return {name: repr(value) for name, value in report.metrics.items() if name != "seconds"}
