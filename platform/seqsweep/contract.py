"""A sweep's own code, or seqsweep's models in its place, held to the contract on the sweep's own data before any trial.

Nothing is stored; the user's code runs in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from seqsweep.config.own import Own
from seqsweep.config.sweep import FitConfig, MetricConfig, Sweep, fit_config, goal_sign
from seqsweep.config.tasks import ForecastingConfig, WindowTask, own_learner
from seqsweep.config.training import ProgramConfig
from seqsweep.data.batch import Prepared, Samples
from seqsweep.data.prepare import prepare
from seqsweep.errors import Problem, SeqsweepError
from seqsweep.own import place_of
from seqsweep.search.brain import Brain
from seqsweep.tasks.metrics import Truth, truth_of
from seqsweep.tasks.own import OwnMetric
from seqsweep.training import contract

_SAMPLES = 24
"""Of each part, that are trained on."""
_LOSS = {task: f"loss(self, output, batch) returns the mean and its count; output is {output}, and the truth {truth}"
         for task, output, truth in (
             ("classification", "logits (B, C)", "batch.label_B"),
             ("forecasting", "(B, horizon, D, Q), scaled", "self._future(batch), where self._observed(batch)"),
             ("regression", "(B,), scaled", "batch.target_B"))}
_SERVED = {"classification": "there is no part but predict: what is learnt from the training part goes into a buffer, "
                             "saved with the weights: self.register_buffer(NAME, of(data) if \"train\" "
                             "in data.parts else torch.ones(len(data.info.classes)))"} | dict.fromkeys(
    ("forecasting", "regression"), "what it is built of is the same for new data; truth is read in loss alone")


@dataclass(frozen=True)
class Clause:
    """One promise, and whether it is kept."""

    name: str
    says: str
    """What is promised; where it is not kept, what is wrong."""
    kept: bool = True
    where: str = ""
    right: str = ""

    @property
    def problem(self) -> Problem:
        """As an error tells it."""
        return Problem(self.where, f"{self.name}: {self.says}", self.right)


def examine(sweep: Sweep) -> tuple[Clause, ...]:
    """Hold the model of a trial drawn at random, and the sweep's own metric and preparation, to their promises.

    Raises InvalidData where the data cannot be prepared, InvalidSweep where own code fails at once.
    """
    contract.compute_with(sweep.resources.cpus_per_worker)  # as its workers do: threads change how sums are rounded
    return tuple(_clauses(sweep))


def _clauses(sweep: Sweep) -> Iterator[Clause]:
    data = _few(prepare(sweep)[0])
    if own := sweep.prepare.own:
        later = "" if sweep.task.type == "classification" else ", none depends on later ones"
        yield Clause("prepare", f"{own.name} keeps the rows, their order and what tells them apart{later}")
    if own := sweep.metric.own:
        yield from _metric(sweep, own, data)
    trial = Brain(sweep.model_copy(update={"method": "random"})).ask(0)
    config = fit_config(sweep, trial.params if trial else {}, sweep.seed)
    loss = MetricConfig(name="loss", goal="minimize")  # an own metric is judged by itself
    config = config.model_copy(update={"early_stopping": None, "metric": loss, "training": config.training.model_copy(
        update={"epochs": 4, "warmup_epochs": 0, "batch_size": min(8, config.training.batch_size)})})
    yield from _model(sweep, config, data)


def _model(sweep: Sweep, config: FitConfig, data: Prepared) -> Iterator[Clause]:
    learner = own_learner(sweep.task)
    owns = [own for own in (sweep.model.own if sweep.model else None, learner) if own]
    own = owns[0] if owns else None
    right = f"see {own.file}" if own else ""

    def judged(name: str, says: str, check: Callable[[], str], right: str = right, own: Own | None = own) -> Clause:
        try:
            wrong = check()
        except Exception as error:  # of the user's code
            if isinstance(error, SeqsweepError) and len(error.problems) == 1:
                (problem,) = error.problems
                return Clause(name, problem.what, False, problem.where, problem.right or right)
            places = [place_of(each, error) for each in owns]
            where = next((place for place in places if ":" in place), places[0] if places else "")
            says = str(error) if isinstance(error, SeqsweepError) else f"{type(error).__name__}: {error}"
            return Clause(name, says, False, where, right)
        return Clause(name, wrong or says, not wrong, own.entry if wrong and own else "", right if wrong else "")

    if learner:
        yield (made := judged("task", f"{learner.name} is made as {sweep.task.type} makes its own",
                              lambda: contract.is_made_as_its_type(config, data), own=learner))
        if not made.kept:
            return
        yield judged("predictions", f"those of {sweep.task.type}, with its metrics",
                     lambda: contract.tells_what_the_type_tells(config, data),
                     "predict, sums and metrics as the class it is made from has them", learner)
    encoder = contract.encoder_of(config, data)
    inputs = len(data.info.features)
    windows = isinstance(sweep.task, WindowTask)
    steps = (sweep.task.context,) if isinstance(sweep.task, WindowTask) else (1, 7)
    yield judged("states", f"one of {encoder.output_size} numbers a sequence",
                 lambda: contract.one_state_each(encoder, inputs, steps))
    if windows:
        yield Clause("padding", "windows have one length: there is none")
    else:
        advice = "leave out what lies behind each length: forward(self, x, lengths)" if own else ""
        yield judged("padding", "a padded sequence gives what it gives alone",
                     lambda: contract.padded_is_alone(encoder, inputs), advice)
        yield judged("padding in training", "it teaches nothing",
                     lambda: contract.padding_teaches_nothing(encoder, inputs), advice)
    lengths = (min(5, steps[0]),) * 2 if windows else (5, 3)
    reached = judged("gradients", "every weight has one, and it is that of the forward pass",
                     lambda: contract.gradients(encoder, inputs, lengths),
                     "every weight used in forward, or requires_grad = False; no detach, no round" if own else "")
    yield reached
    if own and not reached.kept:
        return  # it cannot be trained
    if learner:
        yield (taught := judged("loss", "a mean whose gradient reaches every weight, and its count",
                                lambda: contract.loss_teaches(config, data), _LOSS[sweep.task.type], learner))
        if not taught.kept:
            return
    yield judged("seed", "the same seed gives the same to the bit", lambda: contract.again_is_the_same(config, data),
                 "random numbers of torch alone, not of random or numpy; nothing kept from call to call" if own else "")
    yield judged("checkpoint", "going on from one is to the bit as never having stopped",
                 lambda: contract.resumed_is_whole(config, data),
                 "what changes in training as a parameter or a buffer (register_buffer)" if own else "")
    yield judged("weights", "saved and loaded it gives the same", lambda: contract.saved_is_loaded(config, data),
                 "what a forward pass needs as a parameter or a buffer (register_buffer)" if own else "")
    if learner:
        yield judged("serving", "without the training part, and the truth, it predicts the same",
                     lambda: contract.is_served(config, data), _SERVED[sweep.task.type], learner)
    if sweep.model:
        yield Clause("packs", "none: trials are trained one at a time, by torch as it is written")
    elif learner:
        yield Clause("packs", "none: trials are trained one at a time; seqsweep's layers as resources.kernel says")
    else:
        packed = [config.model_copy(update={"seed": k, "program": ProgramConfig(kernel="stacked", packed=True)})
                  for k in range(3)]
        yield judged("packs", "several in step are what each is alone", lambda: contract.packed_is_alone(packed, data))
    causal = contract.is_causal(encoder, inputs, steps[-1]) if steps[-1] > 1 else None
    directions = {None: "one state for all steps", True: "causal: no output depends on later steps",
                  False: "outputs depend on later steps, too: of what has been seen, never of what is forecast"}
    yield Clause("direction", directions[causal])


def _metric(sweep: Sweep, own: Own, data: Prepared) -> Iterator[Clause]:
    """Truth told as a prediction must be as good as any; the same twice, and in whatever order the samples come."""
    truth, sign = truth_of(sweep.task, data, "val"), goal_sign(sweep)
    metric, best, worse = OwnMetric(own, sweep.task, truth), *_predictions(sweep, truth)
    order = np.arange(len(best))[::-1].copy()
    try:
        perfect, noisy = metric(best), metric(worse)
        again, turned = metric(worse), metric(worse, order)
    except SeqsweepError as error:
        yield Clause("metric", str(error), False)
        return
    except Exception as error:
        yield Clause("metric", f"{type(error).__name__}: {error}", False, place_of(own, error))
        return
    if not np.isfinite([perfect, noisy]).all():
        unknown = " (unobserved targets are nan in the truth)" if truth.observed_NHD is not None else ""
        yield Clause("metric", f"{own.name} is {noisy} for a guess, {perfect} for the truth itself", False, own.entry,
                     f"a finite number{unknown}")
    elif sign * perfect > sign * noisy:
        yield Clause("metric", f"the truth itself has {perfect:.6g}, a guess {noisy:.6g}: that is {sweep.metric.goal}d "
                     "by bad predictions", False, own.entry, f"goal: {'max' if sign > 0 else 'min'}imize, or "
                     f"another sign in {own.name}")
    elif again != noisy or not np.isclose(turned, noisy, rtol=1e-9):
        yield Clause("metric", f"{own.name} gives {noisy:.9g}, then {again:.9g}, and {turned:.9g} for the same samples "
                     "the other way round", False, own.entry, "a function of the samples alone, in any order")
    else:
        yield Clause("metric", f"{own.name} is {perfect:.6g} for the truth itself, {noisy:.6g} for a guess")


def _predictions(sweep: Sweep, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """The truth told as a prediction, and a guess, as `seqsweep.training.predict` gives them."""
    draw = np.random.default_rng(0)
    if isinstance(sweep.task, ForecastingConfig):
        y = np.repeat(truth.y[..., None], max(1, len(sweep.task.quantiles)), axis=-1)
        return y, y + draw.normal(0, 1 + np.nanstd(y), y.shape)
    if sweep.task.type == "regression":
        return truth.y, truth.y + draw.normal(0, 1 + np.nanstd(truth.y), truth.y.shape)
    certain = np.eye(len(truth.weight_C))[truth.y]
    guess = draw.uniform(0.1, 1, certain.shape)
    return certain, guess / guess.sum(1, keepdims=True)


def _few(data: Prepared) -> Prepared:
    """Fewer samples of each part, evenly spread."""
    def some(samples: Samples) -> Samples:
        chosen = np.linspace(0, len(samples) - 1, min(_SAMPLES, len(samples))).astype(int)
        return Samples(**{name: array[chosen] if len(array) else array for name, array in vars(samples).items()})
    return replace(data, parts={part: some(samples) for part, samples in data.parts.items()})
