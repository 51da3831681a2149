"""The leaderboard: the winner beside the naive baselines on the test part, and what wins, said first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy.typing as npt

from seqsweep.config.sweep import FitConfig, MetricConfig, PromoteConfig, sign_of
from seqsweep.config.tasks import TaskConfig
from seqsweep.data.batch import Prepared
from seqsweep.evaluation.baselines import baselines
from seqsweep.evaluation.gate import decide
from seqsweep.records import Scalar, TrialRecord, model_name
from seqsweep.tasks.metrics import truth_of
from seqsweep.tasks.own import metrics_of
from seqsweep.training.predict import Member, predict_together

Kind = Literal["winner", "trial", "ensemble", "baseline"]


@dataclass(frozen=True, eq=False)
class Scored:
    """One model's figures on the validation and the test part, and its test predictions."""

    validation: float | None
    """The sweep's metric; the mean over folds. None where it was not computed here."""
    test: Mapping[str, float]
    """All metrics of the task; empty where there is no test part."""
    prediction: npt.NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The winner and the baselines beside it."""

    winner: Scored
    baselines: Mapping[str, Scored]
    beyond_chance: bool = True
    """False where winner and best baseline differ by no more than chance on the test part."""


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard."""

    kind: Kind
    name: str
    validation: float | None
    test: Mapping[str, float] = field(default_factory=dict)
    """Empty for trials other than the winner: the test part is opened once, for the one chosen on validation."""
    params: Mapping[str, Scalar] = field(default_factory=dict)
    members: Mapping[int, int] = field(default_factory=dict)
    """Of an ensemble: trial -> how often it counts in the mean."""


@dataclass(frozen=True)
class Leaderboard:
    """The headline, and the rows in the order they are to be read."""

    headline: str
    metric: str
    rows: tuple[Row, ...]


def evaluate(members: Sequence[Member], data: tuple[Prepared, ...], device: str = "cpu",
             with_baselines: bool = True) -> Evaluation:
    """Open the test part for the winner, one trial or several whose mean it is, and the baselines.

    Weights of several folds predict as their mean. Baselines are fitted on the first fold; their validation value is
    the mean over folds, as a trial's is.
    """
    config, test = members[0].fit, _has(data[0], "test")
    prediction = predict_together(members, data, "test", device) if test else None
    winner = Scored(None, {} if prediction is None else _metrics(config, data[0], "test", prediction), prediction)
    if not with_baselines:
        return Evaluation(winner, {})
    predictions = baselines(config.task, data[0], "test") if test else {}
    validation = _baseline_validation(config, data)
    told_apart = prediction is None or not predictions or _told_apart(config, data[0], prediction, predictions)
    return Evaluation(winner, {
        name: Scored(validation.get(name), _metrics(config, data[0], "test", each), each)
        for name, each in predictions.items()}, told_apart)


def leaderboard(metric: MetricConfig, task: TaskConfig, winner: int, trials: Sequence[TrialRecord],
                evaluation: Evaluation, top: int = 10, ensemble: Mapping[str, Any] | None = None) -> Leaderboard:
    """Put the winner, the next best trials by validation value, and the baselines into one table.

    `winner` is the number of the best trial. `ensemble`: what the stage that picked one stored; where it is `better`
    than that trial it wins, and has the test figures. Where a baseline has the better test figure it stands first, and
    the headline says so, and whether that is beyond chance. Test figures are those of `metric.test`, where it is set.
    """
    chosen_by, metric = metric, metric.judged
    sign = sign_of(metric, task)
    valued = [trial for trial in trials if trial.outcome is not None and trial.outcome.value is not None]
    by = sign_of(chosen_by, task)
    ranked = sorted(valued, key=lambda trial: (by * _value(trial), trial.number))
    rows = [Row("winner", f"trial {winner}", _value(trial), evaluation.winner.test, trial.trial.params)
            for trial in ranked if trial.number == winner]
    if ensemble and len(members := dict(ensemble["picks"])) > 1:
        together = Row("ensemble", model_name(members), ensemble["validation"], members=members)
        rows = [replace(together, kind="winner", test=evaluation.winner.test)] if ensemble["better"] else [
            *rows, together]
    naive = [Row("baseline", name, scored.validation, scored.test) for name, scored in evaluation.baselines.items()]
    naive.sort(key=lambda row: _rank(row, metric, sign))
    shown = {row.name for row in rows}
    others = [Row("trial", name, _value(trial), {}, trial.trial.params)
              for trial in ranked if (name := f"trial {trial.number}") not in shown][:top - 1]
    if naive and rows and not _rank(rows[0], metric, sign) < _rank(naive[0], metric, sign):
        rows = [naive.pop(0), *rows]
    wins = "wins" if evaluation.beyond_chance else "leads, not beyond chance"
    headline = _headline(metric, sign, rows, naive, chosen_by.name, wins)
    return Leaderboard(headline, metric.name, (*rows, *others, *naive))


def _told_apart(config: FitConfig, data: Prepared, candidate: npt.NDArray[Any],
                rivals: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Whether the gate's bootstrap tells the candidate from the best rival, whichever is ahead."""
    if config.metric.judged.own is not None:
        return True  # drawing samples anew would run the user's code thousands of times: the gate does, where asked
    (found,) = decide(PromoteConfig(require=("beats_baseline",)), config, data, candidate, rivals, None).comparisons
    return not found.low <= 0 <= found.high


def _headline(metric: MetricConfig, sign: int, rows: list[Row], naive: list[Row], chosen_by: str,
              wins: str) -> str:
    if not rows:
        return "no trial wins: none has a value"
    first = rows[0]
    if not first.test:
        return f"{first.name} wins on the validation part: {chosen_by} {_figure(first.validation)}; no test part"
    ours = first.test[metric.name]
    says = f"{first.name} {wins}: {metric.name} {_figure(ours)} on the test part{_errors(first)}"
    if first.kind == "baseline":
        theirs = rows[1].test[metric.name]
        ours_is = "the ensemble" if rows[1].members else "the best trial"
        return (f"{says}; {ours_is} ({rows[1].name}) has {_figure(theirs)}{_errors(rows[1])}, "
                f"{_distance(theirs, ours, sign)}")
    if not naive:
        return says
    best = naive[0].test[metric.name]
    return (f"{says}, {_distance(ours, best, sign)} the best baseline, {naive[0].name} "
            f"({_figure(best)}{_errors(naive[0])})")


def _errors(row: Row) -> str:
    """How many sequences a classifier got wrong."""
    return f", {row.test['errors']:.0f} wrong" if "errors" in row.test else ""


def _distance(ours: float, theirs: float, sign: int) -> str:
    """`39% below` where less is better, `0.012 above` where more is."""
    side = "below" if ours < theirs else "above"
    if ours == theirs:
        return "the same as"
    if sign > 0 and theirs > 0 and math.isfinite(ours / theirs):
        return f"{100 * abs(1 - ours / theirs):.3g}% {side}"
    return f"{abs(ours - theirs):.3g} {side}"


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.5g}"


def _rank(row: Row, metric: MetricConfig, sign: int) -> tuple[bool, float]:
    value = row.test.get(metric.name, math.nan)
    return (math.isnan(value), 0.0 if math.isnan(value) else sign * value)


def _value(trial: TrialRecord) -> float:
    value = trial.outcome.value if trial.outcome else None
    return math.nan if value is None else value


def _has(data: Prepared, part: str) -> bool:
    return part in data.parts and len(data.parts[part]) > 0


def _metrics(config: FitConfig, data: Prepared, part: str, prediction: npt.NDArray[Any]) -> dict[str, float]:
    task = config.task
    truth = truth_of(task, data, part)
    found = metrics_of(config.metric, task, truth, prediction)
    if task.type == "classification":
        found["errors"] = float((prediction.argmax(axis=1) != truth.y).sum())
    return found


def _baseline_validation(config: FitConfig, data: tuple[Prepared, ...]) -> dict[str, float]:
    """Mean over folds; a baseline that some fold's history does not allow, or that has no such figure, has none."""
    values: dict[str, list[float]] = {}
    for fold in data:
        for name, prediction in (baselines(config.task, fold, "val") if _has(fold, "val") else {}).items():
            values.setdefault(name, []).append(_metrics(config, fold, "val", prediction)[config.metric.name])
    means = {name: math.fsum(each) / len(each) for name, each in values.items() if len(each) == len(data)}
    return {name: mean for name, mean in means.items() if not math.isnan(mean)}
