"""One grid cell's trials as Optuna sees them: a study built anew from what is known, so it holds no hidden state."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from seqsweep.records import Scalar, TrialState
from seqsweep.search.space import Distribution, Params, Space

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Known:
    """What the samplers may know of one trial."""

    params: Mapping[str, Scalar]
    state: TrialState
    """RUNNING, COMPLETE, or PRUNED; a breakdown says nothing about the parameters and is left out."""
    value: float | None = None
    """The best epoch's metric, finite and to be minimised; None while running, and for a divergence."""
    epoch: int = 0
    """The last epoch trained."""


class Proposals:
    """Draws parameter sets for one trial, each draw aware of the ones before it.

    tpe: multivariate TPE with constant liar (Bergstra et al., 2011; Falkner et al., 2018), asked define-by-run, so an
    inactive parameter is never drawn. A pruned trial counts after all complete ones, later epochs first; a divergence
    carries no value and so ranks behind all others, now and later.
    gp: Optuna's Gaussian process, which knows complete trials and fixed dimensions only: pruned trials are told by
    their best epoch, a divergence as bad as the worst, and inactive dimensions stand at their first value.
    """

    def __init__(self, method: str, space: Space, known: Iterable[Known], startup: int, seed: int) -> None:
        self._space = space
        self._flat = method == "gp"
        self._study = optuna.create_study(sampler=_sampler(method, startup, seed))
        if method == "gp":
            self._study.add_trials(_gp_trials(space, tuple(known)))
        elif method == "tpe":
            self._study.add_trials(_tpe_trial(space, trial) for trial in known)

    def draw(self) -> Params:
        """The next parameter set: axes, fixed and drawn parameters, active ones only."""
        known = self._space.distributions
        if self._flat:
            drawn = self._study.ask({**known}).params
            return self._space.choose(lambda name, _: drawn[name])
        trial = self._study.ask()
        return self._space.choose(lambda name, _: _suggest(trial, name, known[name]))


def _sampler(method: str, startup: int, seed: int) -> BaseSampler:
    if method == "tpe":
        return TPESampler(n_startup_trials=startup, multivariate=True, constant_liar=True, seed=seed)
    if method == "gp":
        return GPSampler(n_startup_trials=startup, warn_independent_sampling=False, seed=seed)
    return RandomSampler(seed=seed)


def _suggest(trial: optuna.Trial, name: str, known: Distribution) -> Scalar:
    if isinstance(known, CategoricalDistribution):
        choice: Scalar = trial.suggest_categorical(name, known.choices)  # type: ignore[assignment]
        return choice
    if isinstance(known, IntDistribution):
        return trial.suggest_int(name, known.low, known.high, step=known.step, log=known.log)
    return trial.suggest_float(name, known.low, known.high, step=known.step, log=known.log)


def _tpe_trial(space: Space, known: Known) -> FrozenTrial:
    drawn = {name: known.params[name] for name in space.distributions if name in known.params}
    seen = {known.epoch: known.value} if known.state is TrialState.PRUNED and known.value is not None else {}
    return create_trial(state=OptunaState[known.state.name], params=drawn, intermediate_values=seen,
                        distributions={name: space.distributions[name] for name in drawn},
                        value=known.value if known.state is TrialState.COMPLETE else None)


def _gp_trials(space: Space, history: Sequence[Known]) -> list[FrozenTrial]:
    values = _tamed([known.value for known in history if known.value is not None])
    worst, tamed = max(values, default=0.0), iter(values)
    trials = []
    for known in history:
        flat = {name: known.params.get(name, first_value(spread)) for name, spread in space.distributions.items()}
        told = None if known.state is TrialState.RUNNING else worst if known.value is None else next(tamed)
        trials.append(create_trial(state=OptunaState.RUNNING if told is None else OptunaState.COMPLETE, value=told,
                                   params=flat, distributions=dict(space.distributions)))
    return trials


def _tamed(values: list[float]) -> list[float]:
    """Cut off values far on the bad side (2.7 standard deviations of a normal), which would flatten all the others."""
    if len(values) < 4:
        return values
    lower, middle, _ = statistics.quantiles(values, n=4)
    fence = middle + 4 * (middle - lower)
    return [min(value, fence) for value in values] if fence > middle else values


def first_value(known: Distribution) -> Scalar:
    """Where an inactive dimension stands for a model that needs every dimension."""
    return known.choices[0] if isinstance(known, CategoricalDistribution) else known.low  # type: ignore[return-value]
