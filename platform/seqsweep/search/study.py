"""One grid cell's trials as Optuna sees them: a study built anew from what is known, so it holds no hidden state."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from seqsweep.records import Scalar, TrialState
from seqsweep.search.history import History, Known
from seqsweep.search.space import Distribution, Params, Space

optuna.logging.set_verbosity(optuna.logging.ERROR)


SHOWN = {"tpe": (250, 250), "gp": (50, 100)}
"""How many of a cell's ended trials a sampler is shown: the best, and others evenly spread over the rest.

So an ask costs the same at 5,000 trials as at 500. TPE's model of the good trials is the one it would have of all; that
of the others is blunter. Shown half as many, it ended farther from the optimum of a smooth bowl after 1,000 trials
(benchmarks/search.py --shown: log10 of the regret .36 +- .10 higher); with these, within what seeds differ by.
"""
_GOOD = 25
"""TPE's good trials: a tenth of those that have ended, at most so many, which is Optuna's rule."""


class _Shown(InMemoryStorage):
    """A study's storage in which trials that are known already stand before its own, without being copied."""

    def __init__(self, known: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._known = known
        self._next = known[-1].number + 1 if known else 0

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Number the study's own trials after those that are known."""
        trial_id = super().create_new_trial(study_id, template_trial)
        self.get_trial(trial_id).number = self._next
        self._next += 1
        return trial_id

    def get_all_trials(self, study_id: int, deepcopy: bool = True,
                       states: Container[OptunaState] | None = None) -> list[FrozenTrial]:
        """The known trials and the study's own, ascending by number."""
        known = [trial for trial in self._known if states is None or trial.state in states]
        return [*known, *super().get_all_trials(study_id, deepcopy, states)]


class Proposals:
    """Draws parameter sets for one trial, each draw aware of the ones before it.

    tpe: multivariate TPE with constant liar (Bergstra et al., 2011; Falkner et al., 2018), asked define-by-run, so an
    inactive parameter is never drawn. A pruned trial counts after all complete ones, later epochs first; a divergence
    carries no value and so ranks behind all others, now and later.
    `fixed`: values that are given, not drawn; the others are drawn knowing only the trials that have these values too,
    once there are as many as a start at random takes.

    gp: Optuna's Gaussian process, which knows complete trials and fixed dimensions only: pruned trials are told by
    their best epoch, a divergence as bad as the worst, and inactive dimensions stand at their first value.
    """

    def __init__(self, method: str, space: Space, history: History, startup: int, seed: int,
                 fixed: Mapping[str, Scalar] = MappingProxyType({})) -> None:
        self._space, self._fixed = space, fixed
        self._flat = method == "gp"
        known = history.chosen(*SHOWN[method]) if method in SHOWN else []
        alike = [trial for trial in known if fixed.items() <= trial.params.items()]
        ended = history.ended
        if fixed and len(alike) >= startup:
            known, ended = alike, sum(trial.state is not TrialState.RUNNING for trial in alike)
        frozen = _gp_trials(space, known) if self._flat else _tpe_trials(space, known, fixed)
        sampler = _sampler(method, startup, seed, good=min(_GOOD, -(-ended // 10)))
        self._study = optuna.create_study(storage=_Shown(frozen), sampler=sampler)

    def draw(self) -> Params:
        """The next parameter set: axes, fixed and drawn parameters, active ones only."""
        known = self._space.distributions
        if self._flat:
            drawn = {**self._study.ask({**known}).params, **self._fixed}
            return self._space.choose(lambda name, _: drawn[name])
        trial, fixed = self._study.ask(), self._fixed
        return self._space.choose(lambda name, _: fixed[name] if name in fixed else _suggest(trial, name, known[name]))


def _sampler(method: str, startup: int, seed: int, good: int) -> BaseSampler:
    if method == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `gamma` is deprecated, and goes with Optuna 6
            return TPESampler(n_startup_trials=startup, multivariate=True, constant_liar=True, seed=seed,
                              gamma=lambda _: good)
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


def _tpe_trials(space: Space, history: Sequence[Known], fixed: Mapping[str, Scalar]) -> list[FrozenTrial]:
    spread = {name: known for name, known in space.distributions.items() if name not in fixed}
    trials = []
    for known in history:
        seen = {known.epoch: known.value} if known.state is TrialState.PRUNED and known.value is not None else {}
        trials.append(_frozen(known, {name: known.params[name] for name in spread if name in known.params}, spread,
                              known.value if known.state is TrialState.COMPLETE else None, seen))
    return trials


def _gp_trials(space: Space, history: Sequence[Known]) -> list[FrozenTrial]:
    values = _tamed([known.value for known in history if known.value is not None])
    worst, tamed = max(values, default=0.0), iter(values)
    trials = []
    for known in history:
        flat = {name: known.params.get(name, first_value(spread)) for name, spread in space.distributions.items()}
        told = None if known.state is TrialState.RUNNING else worst if known.value is None else next(tamed)
        trials.append(_frozen(replace(known, state=TrialState.RUNNING if told is None else TrialState.COMPLETE), flat,
                              space.distributions, told, {}))
    return trials


def _frozen(known: Known, params: Params, spread: Mapping[str, Distribution], value: float | None,
            seen: dict[int, float]) -> FrozenTrial:
    return FrozenTrial(
        trial_id=known.number, number=known.number, state=OptunaState[known.state.name], params=params,
        distributions={name: spread[name] for name in params}, value=value, intermediate_values=seen,
        datetime_start=None, datetime_complete=None, user_attrs={}, system_attrs={})


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
