"""The gate: may a candidate follow the champion? Everything is scored on the candidate's own test part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import FitConfig, PromoteConfig
from seqsweep.config.tasks import METRICS, AnomalyConfig, TaskConfig
from seqsweep.data.batch import Keys, Prepared
from seqsweep.evaluation.bootstrap import Comparison, Terms, compare, units
from seqsweep.evaluation.terms import own_terms, terms_of
from seqsweep.own import told
from seqsweep.tasks.metrics import truth_of
from seqsweep.tasks.own import OwnMetric

Predictions = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Champion:
    """The version to beat, and what it says about the candidate's test part."""

    name: str
    """`electricity/3`."""
    prediction: Predictions | None
    """Shaped as the candidate's; None where it cannot predict this task."""
    seen_keys: Keys
    """Hashes of the rows it was trained on, or chosen by."""
    problem: str = ""
    """Why it cannot predict, where that is known."""


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate passes, every requirement's reason, and the figures."""

    passed: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, float]
    comparisons: tuple[Comparison, ...] = ()


def decide(promote: PromoteConfig, config: FitConfig, data: Prepared, candidate: Predictions,
           baselines: Mapping[str, Predictions], champion: Champion | None) -> Verdict:
    """Hold every requirement of `promote.require` against the candidate.

    All predictions are of the test part of `data`, shaped as `seqsweep.training.predict` gives them. The baseline to
    beat is the best of all on the test part itself, which is stricter than one chosen on the validation part.
    """
    judge = _Judge(promote, config, data, candidate)
    results = [judge.baseline(baselines) if requirement == "beats_baseline" else judge.champion(champion)
               for requirement in promote.require]
    if not results:
        results = [_Result(True, "nothing is required")]
    comparisons = tuple(result.comparison for result in results if result.comparison)
    figures = {f"candidate_{judge.metric}": judge.terms.value()} if len(judge.units.order_N) else {}
    for comparison in comparisons:
        figures |= _figures(comparison)
    return Verdict(all(result.passed for result in results), tuple(result.reason for result in results), figures,
                   comparisons)


@dataclass(frozen=True)
class _Result:
    passed: bool
    reason: str
    comparison: Comparison | None = None


class _Judge:
    def __init__(self, promote: PromoteConfig, config: FitConfig, data: Prepared, candidate: Predictions) -> None:
        self.promote, self.config, self.data = promote, config, data
        judged = config.metric.judged
        self.metric = judged.name
        self.goal: Literal["minimize", "maximize"] = judged.goal or METRICS[config.task.type][self.metric]
        self.truth = truth_of(config.task, data, "test")
        self.shape = candidate.shape
        self.terms = self._terms(candidate)
        self.units = units(data.parts["test"], _shared_rows(config.task),
                           whole=isinstance(config.task, AnomalyConfig))

    def baseline(self, baselines: Mapping[str, Predictions]) -> _Result:
        if not baselines:
            return _Result(False, "beats_baseline: no baseline was scored")
        terms = {name: self._terms(prediction) for name, prediction in baselines.items()}
        value = {name: each.value() * (1 if self.goal == "minimize" else -1) for name, each in terms.items()}
        best = min(value, key=lambda name: (np.isnan(value[name]), value[name]))
        return self._result("beats_baseline", terms[best], f"{best}, the best of {len(terms)} baselines here")

    def champion(self, champion: Champion | None) -> _Result:
        name = "beats_champion"
        if champion is None:
            return _Result(True, f"{name}: yes: there is no {self.promote.to} yet")
        seen = np.intersect1d(champion.seen_keys, self.data.row_keys["test"]).size
        if seen:
            share = 100 * seen / max(1, len(self.data.row_keys["test"]))
            return _Result(False, f"{name}: {champion.name} was trained or chosen on {seen} rows ({share:.3g}%) of "
                                  "this test part, so its figure here says nothing; test on rows it has not seen")
        if champion.prediction is None or not self._comparable(champion.prediction):
            why = champion.problem or "it was made for another task (targets, horizon, quantiles or classes)"
            return _Result(False, f"{name}: {champion.name} cannot be compared on this test part: {why}; register the "
                                  "candidate as another model")
        return self._result(name, self._terms(champion.prediction), champion.name)

    def _comparable(self, prediction: Predictions) -> bool:
        """A point forecast may stand beside quantiles: it is taken for each of them."""
        point = (*self.shape[:-1], 1) if len(self.shape) == 4 else self.shape
        return prediction.shape in (self.shape, point)

    def _terms(self, prediction: Predictions) -> Terms:
        own = self.config.metric.judged.own
        if own is not None:
            with told(own, f"{own.name} of samples of the test part"):
                return own_terms(OwnMetric(own, self.config.task, self.truth), np.ascontiguousarray(prediction))
        return terms_of(self.config.task, self.metric, np.ascontiguousarray(prediction), self.truth)

    def _result(self, requirement: str, rival: Terms, rival_name: str) -> _Result:
        comparison = compare(self.terms, rival, self.units, rival_name=rival_name, metric=self.metric, goal=self.goal,
                             margin=self.promote.margin)
        ahead = comparison.difference > 0
        verdict = ("yes" if ahead else "near enough") if comparison.better else "not beyond chance" if ahead else "no"
        return _Result(comparison.better, f"{requirement}: {verdict}: {comparison}", comparison)


def _shared_rows(task: TaskConfig) -> int:
    """Over how many rows two samples of a series may depend on each other: forecasts of the same rows do, and numbers
    or alarms told from the same rows.
    """
    if task.type == "forecasting":
        return task.horizon
    return 1 if task.type == "classification" else task.context or 1


def _figures(comparison: Comparison) -> dict[str, float]:
    name = f"{comparison.metric} vs {comparison.rival_name.partition(',')[0]}"
    return {name: comparison.rival, f"{name}: better by": comparison.difference, f"{name}: low": comparison.low,
            f"{name}: high": comparison.high}
