"""From a winner to a champion: registration, and the gate on the candidate's own test part."""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import ValidationError

from seqsweep.config.settings import Settings
from seqsweep.config.sweep import PromoteConfig, Sweep
from seqsweep.config.tasks import WindowTask
from seqsweep.data.batch import Prepared
from seqsweep.data.prepare import prepare
from seqsweep.data.sources import read_sources
from seqsweep.errors import Conflict, InvalidData, NotFound, Problem, Refused
from seqsweep.evaluation.baselines import baselines
from seqsweep.evaluation.gate import Champion, decide
from seqsweep.records import TrialRecord, model_name
from seqsweep.serving import fetch
from seqsweep.store.records import Store, SweepRecord
from seqsweep.tracking.contest import champion_on
from seqsweep.tracking.notes import model_note, version_note
from seqsweep.tracking.package import build_package
from seqsweep.tracking.packaged import Package
from seqsweep.tracking.registry import ModelVersion, Registry, Story
from seqsweep.tracking.runs import closing_point, find_run
from seqsweep.training.predict import Member, predict_together
from seqsweep.winner import registration_key

Requirement = Literal["beats_champion", "beats_baseline"]


@dataclass(frozen=True)
class Promotion:
    """What the gate said of a candidate that passed."""

    candidate: str
    alias: str
    reasons: tuple[str, ...]
    figures: Mapping[str, float]
    test_uses: int
    """How many models this test part has judged, this one included: each makes the next figure less honest; 0 where
    the gate was not asked, since the candidate has the alias already."""

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def register_winner(record: SweepRecord, sweep: Sweep, winner: TrialRecord, members: tuple[Member, ...],
                    data: tuple[Prepared, ...], evaluation: Mapping[str, Any], settings: Settings) -> ModelVersion:
    """Package the winner and register it once; registering again returns the version there is.

    `winner`: the best trial; `members`: it alone, or the trials whose mean won, which hangs on the sweep's own run.
    `evaluation` is the stored result of the evaluate stage. Raises Unavailable where MLflow does not answer.
    """
    if sweep.registration is None or winner.outcome is None or winner.outcome.value is None:
        raise ValueError("only a trial with a value is registered, and only where the sweep says so")
    picks = {member.trial: member.picks for member in members}
    alone = len(members) == 1
    run = find_run(settings.tracking_uri, record, winner.number if alone else None)
    if run is None:
        raise NotFound(f"{model_name(picks) if alone else 'the sweep'} of {sweep.name} has no run in MLflow yet; "
                       f"`seqsweep project {sweep.name}` brings it")
    row = _winner_row(evaluation)
    value = {f"best_val_{sweep.metric.name}": winner.outcome.value} if alone else {
        f"val_{sweep.metric.name}": row["validation"]}
    figures = value | {f"test_{name}": figure for name, figure in row.get("test", {}).items()}
    package = Package.of(sweep=sweep.name, members=members, data=sweep.data, prepare=sweep.prepare, prepared=data,
                         figures=figures)
    kind, _, which = model_name(picks).partition(" ")
    tags = {"sweep": sweep.name, kind: which, "data_hash": package.data_hash}
    name = sweep.registration.model or sweep.name
    params = {name: str(value) for name, value in winner.trial.params.items()} if alone else {kind: which}
    story = Story(model_note(sweep, name), version_note(evaluation, sweep.metric.name, sweep.name), params,
                  tuple(closing_point(winner, name, value) for name, value in package.facts.figures.items()))
    with tempfile.TemporaryDirectory(prefix="seqsweep-") as folder:
        built = build_package(Path(folder) / "model", package, _example(sweep, package))
        return Registry(settings.tracking_uri, create=True).register(
            name, built, run_id=run, key=registration_key(record, picks), alias=sweep.registration.alias,
            tags={f"seqsweep.{name}": value for name, value in tags.items()}, story=story)


def promote(reference: str, settings: Settings, *, to: str = "champion", margin: float = 0.0,
            require: tuple[Requirement, ...] = ("beats_champion", "beats_baseline"), why: str = "",
            data: tuple[Prepared, ...] | None = None) -> Promotion:
    """Score candidate, champion and baselines on the candidate's test part; give it the alias if it passes.

    `reference`: `electricity@challenger`, `electricity/3`, or `electricity` for its newest version. `data`: the
    candidate's prepared data, where they are at hand. A version that holds the alias already keeps it unasked. Raises
    Refused, and changes nothing, where it does not pass; Conflict where the data have changed since.
    """
    try:
        config = PromoteConfig(to=to, require=require, margin=margin)
    except ValidationError as error:
        raise Refused(*(Problem(str(problem["loc"][0]), f"cannot be {problem['input']!r}", problem["msg"])
                        for problem in error.errors())) from None
    version, package = fetch(reference, settings)
    if to in version.aliases:
        return Promotion(str(version), to, (f"it is {to} already",), {}, 0)
    sweep = _sweep_of(package, settings)
    data = data or prepare(sweep)
    _check_same(package, data, version)
    candidate = predict_together(package.members, data, "test")
    with Store.open_existing(settings.store) as store:
        uses = store.touch_test(data[0].info.data_hash, sweep.name, package.facts.model)
    champion = _champion(version.name, to, data[0], sweep, settings)
    verdict = decide(config, package.facts.fit, data[0], candidate,
                     baselines(package.facts.fit.task, data[0], "test"), champion)
    reasons = (*verdict.reasons, f"this test part has judged {uses} model{'s' * (uses != 1)} so far")
    if not verdict.passed:
        raise Refused(*(Problem(f"{version} is not promoted", reason) for reason in reasons))
    Registry(settings.tracking_uri).promote(version.name, version.version, to, by=getpass.getuser(),
                                            why=why or "; ".join(verdict.reasons), figures=verdict.figures)
    return Promotion(str(version), to, reasons, verdict.figures, uses)


def _winner_row(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The winner's among the rows of the evaluate stage."""
    rows = [row for row in evaluation.get("rows", ()) if row["kind"] == "winner"]
    return rows[0] if rows else {}


def _example(sweep: Sweep, package: Package) -> pd.DataFrame | None:
    """The first rows of the training file that a prediction needs; None where they cannot be shown as they are."""
    task = sweep.task
    source = read_sources(sweep.data)[0]
    if source.frame.attrs.get("sequences") or (not isinstance(task, WindowTask) and not sweep.data.series):
        return None
    frame = source.frame[[name for name in package.columns if name in source.frame]]
    if sweep.data.series:
        frame = frame[frame[sweep.data.series] == frame[sweep.data.series].iloc[0]]
    if task.type == "forecasting":
        frame = frame.head(task.context + sweep.prepare.lead + (task.horizon if task.known else 0))
    elif task.type == "anomaly":
        frame = frame.head(2 * task.context + sweep.prepare.lead)
    elif task.type == "regression":
        frame = frame.head(task.context or len(frame))
    try:
        package.predict(frame)
    except InvalidData:
        return None  # the first rows have a gap that only training may have
    return frame


def _sweep_of(package: Package, settings: Settings) -> Sweep:
    name = package.facts.sweep
    try:
        with Store.open_existing(settings.store) as store:
            return Sweep.model_validate_json(store.sweep(name).spec)
    except NotFound as error:
        raise NotFound(Problem(name, "the candidate's sweep is not in this store, so its test part is not known",
                               "promote where the sweep was run, with the same SEQSWEEP_STORE; one that was "
                               "deleted is to be submitted again")) from error


def _check_same(package: Package, data: tuple[Prepared, ...], version: ModelVersion) -> None:
    if package.data_hash != data[0].info.data_hash:
        raise Conflict(Problem(str(version), "the data, or how seqsweep splits them, have changed since it was "
                               "trained: its test part is gone",
                               "submit the sweep again under another name, and promote its winner"))


def _champion(name: str, alias: str, data: Prepared, sweep: Sweep, settings: Settings) -> Champion | None:
    """The version to beat, with its predictions for the same test samples, prepared in its own way."""
    holder = Registry(settings.tracking_uri).holder(name, alias)
    if holder is None:
        return None
    _, package = fetch(f"{name}/{holder.version}", settings)
    return champion_on(str(holder), package, sweep.task, sweep.data, data)
