"""What a sweep will cost, before it is run: a sample of its trials is timed, then the search is simulated.

The probe trains a sample of trials for two epochs on a slice of the training part, in as many workers as the sweep
will have, so that what they take from each other is in the figures. The simulation then plays the sweep's trials on
those workers, with learning curves that never cross in random order, which is what pruning sees in the mean.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from seqsweep.cluster import messages
from seqsweep.cluster.messages import Advance, Lost, Probed
from seqsweep.cluster.pool import Pool, open_pool, ray_session
from seqsweep.config.models import OwnModelConfig
from seqsweep.config.shapes import GATES, bucket, convolutions
from seqsweep.config.sweep import FitConfig, Sweep, fit_config
from seqsweep.config.training import Choice, ProgramConfig
from seqsweep.data.batch import Prepared, Samples
from seqsweep.data.prepare import prepare
from seqsweep.errors import SearchFailed
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.search.brain import Brain
from seqsweep.search.pruning import Pruner
from seqsweep.search.space import size

_SAMPLE = 24
"""Trials that the probe times at most."""
_SLICE = 256
"""Training samples that the probe's epochs have at least."""
_SIMULATIONS = 20


@dataclass(frozen=True)
class Plan:
    """What to expect of a sweep."""

    trials: int
    """Trials the search will start at the most."""
    grid_points: int | None
    """Combinations of a finite search space; None where it is continuous."""
    workers: int
    weights: tuple[int, int, int]
    """Trainable numbers of a model: least, median, most of the sampled trials."""
    memory_bytes: int
    """Of the largest sampled model in training: weights, gradients, optimiser, activations, and the data."""
    train_samples: int
    epoch_seconds: tuple[float, float, float]
    """Seconds of one epoch, validation included: least, median, most of the sampled trials."""
    seconds: float
    """The search, from first to last trial; median of the simulations. Early stopping inside a trial is
    not foreseen, and makes it shorter."""
    probe_seconds: float
    """What finding this out took."""


@dataclass(frozen=True)
class Probe:
    """What one sampled trial costs."""

    epochs: int
    epoch_seconds: float
    num_weights: int
    memory_bytes: int
    grid_cell: str = ""


def plan(sweep: Sweep, ray_address: str = "local") -> Plan:
    """Prepare the data, time a sample of trials and simulate the search; nothing is stored.

    Raises InvalidData as a sweep would, SearchFailed where a sampled trial cannot be trained.
    """
    began = time.monotonic()
    data = prepare(sweep)
    trials = sample(sweep, min(_SAMPLE, sweep.budget.max_trials))
    sliced, factor = _slice(data, max(fit_config(sweep, t.params, t.seed).training.batch_size for t in trials))
    with ray_session(ray_address, sweep.resources):
        pool = open_pool(sliced, sweep.resources, most=sweep.budget.max_trials)
        try:
            probes = _time(sweep, trials, pool, factor, data)
        finally:
            pool.close()
    points = size(sweep)
    count = min(sweep.budget.max_trials, points if points is not None else sweep.budget.max_trials)
    seconds = median(simulate(sweep, probes, count, pool.size, seed) for seed in range(_SIMULATIONS))
    if sweep.budget.max_time is not None:
        seconds = min(seconds, sweep.budget.max_time)
    weights = sorted(probe.num_weights for probe in probes)
    epochs = sorted(probe.epoch_seconds for probe in probes)
    return Plan(
        trials=count, grid_points=points, workers=pool.size, weights=(weights[0], int(median(weights)), weights[-1]),
        memory_bytes=max(probe.memory_bytes for probe in probes), train_samples=len(data[0].parts["train"]),
        epoch_seconds=(epochs[0], median(epochs), epochs[-1]), seconds=seconds,
        probe_seconds=time.monotonic() - began)


def sample(sweep: Sweep, count: int) -> list[Trial]:
    """Trials drawn at random from the sweep's space, grid cells in turn."""
    method = "grid" if sweep.method == "grid" else "random"
    brain = Brain(sweep.model_copy(update={"method": method}))
    drawn: list[Trial] = []
    for number in range(count):
        trial = brain.ask(number)
        if trial is None:
            break
        brain.tell(number, Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.0, 1), [Report(1, {})])
        drawn.append(trial)
    return drawn


def simulate(sweep: Sweep, probes: Sequence[Probe], trials: int, workers: int, seed: int) -> float:
    """Seconds until the last of so many trials ends on so many workers; `seed` draws costs and curves."""
    draw, pruner = random.Random(seed), Pruner(sweep)  # noqa: S311 - a simulation
    costs = [probes[number % len(probes)] for number in range(trials)]
    metric, values = f"val_{sweep.metric.name}", [draw.random() for _ in range(trials)]
    free = [0.0] * workers
    events: list[tuple[float, int, int]] = []
    started, now = 0, 0.0

    def go_on(at: float, number: int, epoch: int) -> None:
        step = pruner.next_step(number, epoch, costs[number].epochs)
        heapq.heappush(events, (at + (step - epoch) * costs[number].epoch_seconds, number, step))

    while free or events:
        while free and started < trials:
            go_on(heapq.heappop(free), started, 0)
            started += 1
        if not events:
            break
        now, number, epoch = heapq.heappop(events)
        pruner.see(Trial(number, {}, 0, costs[number].grid_cell),
                   [Report(each, {metric: values[number]}) for each in range(1, epoch + 1)])
        if epoch >= costs[number].epochs or pruner.should_prune(number, epoch):
            heapq.heappush(free, now)
        else:
            go_on(now, number, epoch)
    return now


def _slice(data: tuple[Prepared, ...], batch_size: int) -> tuple[tuple[Prepared, ...], float]:
    """The folds with their training and validation parts cut to a slice, and by how much they were cut."""
    whole = sum(len(fold.parts[part]) for fold in data for part in ("train", "val"))
    train = max(_SLICE, 2 * batch_size)
    cut = tuple(replace(fold, parts={"train": _first(fold.parts["train"], train),
                                     "val": _first(fold.parts["val"], train * len(fold.parts["val"])
                                                   // len(fold.parts["train"]) + 1)}) for fold in data)
    return cut, whole / sum(len(fold.parts[part]) for fold in cut for part in ("train", "val"))


def _first(samples: Samples, count: int) -> Samples:
    """So many samples, evenly spread over the part."""
    chosen = np.linspace(0, len(samples) - 1, min(count, len(samples))).astype(int)
    return Samples(**{name: array[chosen] if len(array) else array for name, array in vars(samples).items()})


def _time(sweep: Sweep, trials: list[Trial], pool: Pool, factor: float, data: tuple[Prepared, ...]) -> list[Probe]:
    """Train each trial for two epochs of the slice, alone, by the kernel the sweep would choose; the second counts."""
    kernel = None if sweep.resources.kernel == "auto" else sweep.resources.kernel
    waiting, probes, choices = list(trials), list[Probe](), dict[str, Choice]()
    while len(probes) < len(trials):
        for worker in pool.idle():
            if waiting:
                trial = waiting.pop(0)
                config = fit_config(sweep, trial.params, trial.seed)
                if choice := choices.get(bucket(config)):
                    config = config.model_copy(update={
                        "early_stopping": None, "training": config.training.model_copy(update={"epochs": 2}),
                        "program": choice.program})
                    pool.submit(worker, Advance(trial.number, 0, config, 0, 2, slice_s=math.inf))
                else:
                    pool.submit(worker, messages.Probe(trial.number, 0, config, 1, kernel,
                                                       timed=not sweep.deterministic))
        for event in pool.wait(0.2):
            problem = event.answer if isinstance(event.answer, Lost) else event.answer.failure
            if isinstance(event.answer, Lost) or problem:
                raise SearchFailed(f"a sampled trial could not be trained: {problem.message if problem else ''}")
            trial = trials[event.answer.trial]
            config = fit_config(sweep, trial.params, trial.seed)
            if isinstance(event.answer, Probed):
                choices[bucket(config)] = event.answer.choice or Choice(ProgramConfig(), 1, {})
                waiting.insert(0, trial)
                continue
            probes.append(Probe(config.training.epochs, event.answer.reports[-1].metrics["seconds"] * factor,
                                event.answer.num_weights, memory(config, event.answer.num_weights, data),
                                trial.grid_cell))
    return probes


def memory(config: FitConfig, num_weights: int, data: tuple[Prepared, ...]) -> int:
    """Bytes one trial needs in training: weights, gradient and two moments, activations of a batch, and the data.

    Of a user's own model without the activations.
    """
    model, batch = config.model, config.training.batch_size
    arrays = sum(int(array.nbytes) for fold in data for array in fold.arrays().values())
    if isinstance(model, OwnModelConfig):  # what it keeps of each step is not known
        return int(16 * num_weights * len(data) + arrays)
    steps = int(data[0].parts["train"].length_N.max())
    units = model.hidden_size * model.num_layers * (1 + model.bidirectional)
    features = data[0].values_TF.shape[1]
    convolved = sum(width * inputs + 3 * channels for inputs, channels, width in convolutions(model, features))
    activations = batch * steps * (units * (GATES[model.cell] + 2) + features + convolved) * 4
    return int(16 * num_weights * len(data) + activations + arrays)
