"""MLflow runs as a projection of the store: the sweep is the parent run, each trial a child run.

Everything here can be done again at any time: a run is looked for by its tags before it is created, points keep the
times of the store, and what was projected is written in the run's own tags. So an MLflow database that was deleted
comes back whole, and nothing is ever there twice.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from seqsweep.errors import Unavailable
from seqsweep.records import Report, TrialRecord, TrialState
from seqsweep.store.records import Store, SweepRecord, SweepState
from seqsweep.tracking.client import answering, connect, pages
from seqsweep.tracking.notes import (
    dataset,
    members,
    superfluous_views,
    sweep_note,
    test_figures,
    trials_view,
    view_link,
    view_tag,
)

SWEEP_TAG = "seqsweep.uid"
"""Tag of every run of a sweep: the sweep's uid, which unlike its name is never given twice."""
TRIAL_TAG = "seqsweep.trial"
"""Tag of a child run: the sweep's uid, a slash and the trial's number."""
REVISION_TAG = "seqsweep.revision"
"""Tag of a child run: the trial's revision when it was last projected while it ran."""
EPOCH_TAG = "seqsweep.epoch"
"""Tag of a child run: the last epoch that was projected while it ran."""
NOTED_TAG = "seqsweep.noted"
"""Tag of a sweep's run: the evaluation its description tells of; a person's own words over it stay."""
PARENT_TAG = "mlflow.parentRunId"

_RETRIED = frozenset({"hangs", "micro_batch", "whole_epochs"})
"""Facts of a trial's breakdowns, which are tags: no figures to compare trials by."""

BATCH = 100
"""Trials read from the store at a time."""
POINTS = 900
"""Metric points in a request; MLflow takes at most 1,000 of all things together."""

TRIAL_STATUS = {TrialState.RUNNING: "RUNNING", TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED",
                TrialState.FAILED: "FAILED"}
SWEEP_STATUS = {SweepState.QUEUED: "SCHEDULED", SweepState.RUNNING: "RUNNING", SweepState.STOPPING: "RUNNING",
                SweepState.STOPPED: "KILLED", SweepState.FINISHED: "FINISHED", SweepState.FAILED: "FAILED"}


def project(store: Store, name: str, tracking_uri: str) -> None:
    """Bring every run of a sweep to what the store holds; Unavailable if MLflow or the store fails."""
    runs = Runs(store, name, tracking_uri)
    runs.project_trials()
    runs.project_sweep()


def find_run(tracking_uri: str, sweep: SweepRecord, number: int | None = None) -> str | None:
    """Id of a trial's run, or without a number of the sweep's; None if it was not projected yet."""
    with answering(tracking_uri):
        client = connect(tracking_uri)
        experiment = client.get_experiment_by_name(_experiment_name(sweep))
        if experiment is None:
            return None
        key = "" if number is None else f"{sweep.uid}/{number}"
        wanted = f"tags.{SWEEP_TAG} = '{sweep.uid}'" + (f" AND tags.{TRIAL_TAG} = '{key}'" if key else "")
        found = [run.info.run_id for run in pages(client.search_runs, [experiment.experiment_id], wanted)
                 if run.data.tags.get(TRIAL_TAG, "") == key]
    return min(found, default=None)


@dataclass
class _ChildRun:
    """What of a trial is in MLflow already."""

    run_id: str
    revision: int
    epoch: int
    status: str
    parent: str

    def holds(self, record: TrialRecord, status: str, parent: str) -> bool:
        """Whether all that is known of the trial is there; the status of a closed trial is written last."""
        current = record.outcome is not None or self.revision == record.revision
        return current and (self.status, self.parent) == (status, parent)


class Runs:
    """The MLflow runs of one sweep. Every method raises Unavailable if MLflow or the store fails.

    After a failure make a new one: what it knows of MLflow may no longer be so.
    """

    def __init__(self, store: Store, name: str, tracking_uri: str) -> None:
        self._store = store
        self._name = name
        self._uri = tracking_uri
        self._cursor = 0
        self._told = False
        sweep = store.sweep(name)
        spec = json.loads(sweep.spec)
        self._metric = f"val_{spec['metric']['name']}"
        self._sign = -1 if spec["metric"].get("goal") == "maximize" else 1
        with answering(tracking_uri):
            self._client = connect(tracking_uri)
            self._experiment = _ensure_experiment(self._client, tracking_uri, _experiment_name(sweep))
            self._parent, self._children = self._find(sweep)
            self._ensure_view(sweep)

    def project_trials(self) -> int:
        """Project the trials that were written since the last call; returns how many they were."""
        count = 0
        sweep = self._store.sweep(self._name)
        while records := self._store.trials(self._name, since=self._cursor, limit=BATCH):
            for record in sorted(records, key=lambda record: record.revision):
                with answering(self._uri):
                    self._tell_params(sweep)
                    self._project_trial(sweep, record)
                self._cursor = record.revision
            count += len(records)
        return count

    def project_sweep(self) -> None:
        """Project the sweep itself: its state, its best value over time, the YAML and the leaderboard."""
        sweep = self._store.sweep(self._name)
        records = self._store.trials(self._name, curves=False)
        with answering(self._uri):
            tags = {**_facts(sweep.facts), "seqsweep.state": sweep.state.value, "seqsweep.message": sweep.message,
                    "seqsweep.data_hash": sweep.data_hash or "", "seqsweep.trials": str(len(records))}
            self._log(self._parent, _best_so_far(records, f"best_{self._metric}", self._sign), {}, tags)
            self._log_dataset(self._parent, sweep)
            self._project_evaluation(sweep, records)
            self._client.log_text(self._parent, sweep.document, "sweep.yaml")
            self._client.log_text(self._parent, leaderboard_csv(records, self._sign), "leaderboard.csv")
            self._set_status(self._parent, SWEEP_STATUS[sweep.state], sweep.updated)

    def _project_evaluation(self, sweep: SweepRecord, records: Sequence[TrialRecord]) -> None:
        """The winner's test figures, beside its curve and on the sweep's run, which also gets a description."""
        stage = self._store.stage(self._name, "evaluate")
        if stage is None:
            return
        winner = next(record for record in records if record.number == stage.value["winner"])
        child = self._children.get(f"{sweep.uid}/{winner.number}")
        if child is None:
            return  # it ended after the trials were projected
        points = [closing_point(winner, name, value) for name, value in test_figures(stage).items()]
        if not members(stage.value):  # an ensemble's are on the sweep's run alone
            self._log(child.run_id, points, {}, {})
        noted = self._client.get_run(self._parent).data.tags.get(NOTED_TAG)
        note = sweep_note(stage.value, self._metric.removeprefix("val_"), view_link(self._experiment, sweep))
        self._log(self._parent, points, {}, {} if noted == stage.key else {
            "mlflow.note.content": note, NOTED_TAG: stage.key})

    def _ensure_view(self, sweep: SweepRecord) -> None:
        """Save a view of the sweep's trials once: a person may change or delete it."""
        tags = self._client.get_experiment(self._experiment).tags
        if self._parent in tags.get(view_tag(sweep.uid), ""):
            return
        view = trials_view(sweep, self._parent, self._sign)
        self._client.set_experiment_tag(self._experiment, view_tag(sweep.uid), view)
        for tag in superfluous_views({**tags, view_tag(sweep.uid): view}):
            self._client.delete_experiment_tag(self._experiment, tag)

    def _log_dataset(self, run_id: str, sweep: SweepRecord) -> None:
        if given := dataset(sweep):
            self._client.log_inputs(run_id, [given])

    def _find(self, sweep: SweepRecord) -> tuple[str, dict[str, _ChildRun]]:
        """The sweep's run, created where there is none, and those of its trials by key; duplicates are deleted."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in pages(self._client.search_runs, [self._experiment], f"tags.{SWEEP_TAG} = '{sweep.uid}'"):
            found[run.data.tags.get(TRIAL_TAG, "")].append(run)
        for runs in found.values():
            runs.sort(key=lambda run: str(run.info.run_id))  # of two creations all processes keep the same
            for duplicate in runs[1:]:
                self._client.delete_run(duplicate.info.run_id)
        self._restore(sweep, found)
        parents = found.pop("", None)
        parent = parents[0].info.run_id if parents else self._create_parent(sweep)
        return parent, {key: _child_run(runs[0]) for key, runs in found.items()}

    def _restore(self, sweep: SweepRecord, found: dict[str, list[Run]]) -> None:
        """Undelete the runs of registered versions: a new run in the place of one would leave its version without."""
        mine, deleted = f"tags.{SWEEP_TAG} = '{sweep.uid}'", ViewType.DELETED_ONLY
        lost = {run.info.run_id: run for run in pages(self._client.search_runs, [self._experiment], mine, deleted)
                if run.data.tags.get(TRIAL_TAG, "") not in found}
        for version in lost and self._client.search_model_versions(f"tags.`seqsweep.key` LIKE '{sweep.uid}/%'"):
            if run := lost.pop(version.run_id, None):
                self._client.restore_run(run.info.run_id)
                found[run.data.tags.get(TRIAL_TAG, "")] = [self._client.get_run(run.info.run_id)]

    def _tell_params(self, sweep: SweepRecord) -> None:
        """Log the sweep's parameters with its first trial: without one it may still become another sweep."""
        if self._told:
            return
        # MLflow's parameters never change: one that differs since a resume is told by the YAML alone.
        logged = self._client.get_run(self._parent).data.params
        params = {key: value for key, value in _sweep_params(sweep).items() if key not in logged}
        self._log(self._parent, [], params, {})
        self._told = True

    def _create_parent(self, sweep: SweepRecord) -> str:
        run = self._client.create_run(
            self._experiment, start_time=_milliseconds(sweep.created), run_name=sweep.name,
            tags={SWEEP_TAG: sweep.uid, "seqsweep.sweep": sweep.name, "mlflow.source.name": "seqsweep"})
        return str(run.info.run_id)

    def _project_trial(self, sweep: SweepRecord, record: TrialRecord) -> None:
        """Write what is new. The last call tells that all is there: of a closed trial the status, else the tags."""
        key, status = f"{sweep.uid}/{record.number}", TRIAL_STATUS[record.state]
        child = self._children.get(key)
        if child and child.holds(record, status, self._parent):
            return
        tags = {**_trial_tags(sweep, record), PARENT_TAG: self._parent}
        child, new = (child, False) if child else (self._create_child(sweep, record, key, tags), True)
        if not child.revision:
            self._log_dataset(child.run_id, sweep)
        epoch = _settled_epoch(record)
        metrics = list(_curve(record, child.epoch, epoch)) + _summary(record, self._metric)
        if record.outcome is None:
            tags |= {EPOCH_TAG: str(epoch), REVISION_TAG: str(record.revision)}
        elif new:
            tags = {}  # it was created with them
        self._log(child.run_id, metrics, {name: str(value) for name, value in record.trial.params.items()}, tags)
        if child.status != status:
            self._set_status(child.run_id, status, record.ended)
        self._children[key] = _ChildRun(child.run_id, record.revision, epoch, status, self._parent)

    def _create_child(self, sweep: SweepRecord, record: TrialRecord, key: str, tags: Mapping[str, str]) -> _ChildRun:
        run = self._client.create_run(
            self._experiment, start_time=_milliseconds(record.started), run_name=f"{sweep.name}-{record.number}",
            tags={SWEEP_TAG: sweep.uid, TRIAL_TAG: key, "mlflow.source.name": "seqsweep", **tags})
        self._children[key] = child = _ChildRun(str(run.info.run_id), 0, 0, "RUNNING", self._parent)
        return child

    def _log(self, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Write points first: the tags that tell what was projected must be the last."""
        full = max(0, len(metrics) - 1) // POINTS * POINTS
        for start in range(0, full, POINTS):
            self._client.log_batch(run_id, metrics=metrics[start:start + POINTS])
        self._client.log_batch(run_id, metrics=metrics[full:], params=[Param(*item) for item in params.items()],
                               tags=[RunTag(key, value[:5000]) for key, value in tags.items()])

    def _set_status(self, run_id: str, status: str, ended: float | None) -> None:
        if status in ("RUNNING", "SCHEDULED"):
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, _milliseconds(ended or 0.0))


def leaderboard_csv(records: Sequence[TrialRecord], sign: int) -> str:
    """The closed trials as CSV, best first (sign +1: the least value is best), with a column for each parameter."""
    closed = [record for record in records if record.outcome is not None]
    names = sorted({name for record in closed for name in record.trial.params})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["number", "state", "reason", "value", "best_epoch", *names])
    for record in sorted(closed, key=lambda record: (_rank(record, sign), record.number)):
        outcome = record.outcome
        assert outcome is not None  # noqa: S101  closed trials have one
        writer.writerow([record.number, outcome.state.value, outcome.reason.value, outcome.value, outcome.best_epoch,
                         *(record.trial.params.get(name, "") for name in names)])
    return text.getvalue()


def _rank(record: TrialRecord, sign: int) -> float:
    value = None if record.outcome is None or record.state is TrialState.FAILED else record.outcome.value
    return math.inf if value is None else sign * value


def _experiment_name(sweep: SweepRecord) -> str:
    return str(json.loads(sweep.spec).get("experiment") or sweep.name)


def _ensure_experiment(client: MlflowClient, uri: str, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(uri, name)))
        except MlflowException as error:
            experiment = client.get_experiment_by_name(name)  # another sweep may have been faster
            if experiment is None:
                raise error from None
    if experiment.lifecycle_stage == "deleted":
        raise Unavailable(f"the MLflow experiment {name} was deleted; restore it with "
                          f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`")
    return str(experiment.experiment_id)


def _artifact_location(uri: str, name: str) -> str | None:
    """Beside an SQLite file, in the working folder for another database; a server knows its own place."""
    if uri.startswith(("http://", "https://")):
        return None
    database = uri.partition(":///")[2].partition("?")[0] if uri.startswith("sqlite") else ""
    folder = Path(database).absolute().parent if database else Path.cwd()
    return (folder / "mlruns" / name).as_uri()


def _child_run(run: Run) -> _ChildRun:
    tags = run.data.tags
    return _ChildRun(str(run.info.run_id), int(tags.get(REVISION_TAG, 0)), int(tags.get(EPOCH_TAG, 0)),
                     run.info.status, tags.get(PARENT_TAG, ""))


def _settled_epoch(record: TrialRecord) -> int:
    """The last epoch that no resume takes back: MLflow cannot replace a point."""
    if record.state is TrialState.RUNNING:
        return record.checkpoint_epoch
    return record.reports[-1].epoch if record.reports else 0


def _curve(record: TrialRecord, after: int, upto: int) -> Iterator[Metric]:
    for report, time in zip(record.reports, record.times, strict=True):
        if after < report.epoch <= upto:
            yield from _points(report, time)


def _points(report: Report, time: float) -> Iterator[Metric]:
    for name, value in report.metrics.items():
        yield Metric(name, value, _milliseconds(time), report.epoch)


def _summary(record: TrialRecord, metric: str) -> list[Metric]:
    """A closed trial's value, best epoch, and what was measured on the way."""
    if record.outcome is None or record.ended is None:
        return []
    figures = {name: float(value) for name, value in record.extra.items()
               if not isinstance(value, bool | str) and name not in _RETRIED}
    if record.outcome.value is not None and record.outcome.best_epoch is not None:
        figures |= {f"best_{metric}": record.outcome.value, "best_epoch": float(record.outcome.best_epoch)}
    return [closing_point(record, name, value) for name, value in figures.items()]


def closing_point(record: TrialRecord, name: str, value: float) -> Metric:
    """A figure of the whole trial, put at its best epoch and its end: written again it is the same point."""
    step = record.outcome.best_epoch if record.outcome else None
    return Metric(name, value, _milliseconds(record.ended or 0.0), step or 0)


def _best_so_far(records: Sequence[TrialRecord], name: str, sign: int) -> list[Metric]:
    """The sweep's best value whenever a trial bettered it, with the trial's number as step."""
    points: list[Metric] = []
    best = math.inf
    for record in sorted(records, key=lambda record: (record.ended or math.inf, record.number)):
        if _rank(record, sign) < best:
            best = _rank(record, sign)
            points.append(Metric(name, sign * best, _milliseconds(record.ended or 0.0), record.number))
    return points


def _trial_tags(sweep: SweepRecord, record: TrialRecord) -> dict[str, str]:
    known = _facts({name: sweep.facts[name] for name in ("code_version", "hardware") if name in sweep.facts})
    measured = _facts({name: value for name, value in record.extra.items()
                       if isinstance(value, bool | str) or name in _RETRIED})
    outcome = record.outcome
    tags = {**known, **measured, "seqsweep.sweep": sweep.name, "seqsweep.state": record.state.value,
            "seqsweep.reason": outcome.reason.value if outcome else "",
            "seqsweep.message": outcome.message if outcome else "", "seqsweep.seed": str(record.trial.seed),
            "seqsweep.data_hash": sweep.data_hash or "", "seqsweep.worker": record.worker,
            "seqsweep.attempts": str(record.attempts), "seqsweep.grid_cell": record.trial.grid_cell}
    return {name: value[:5000] for name, value in tags.items() if value}


def _facts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {f"seqsweep.{name}": value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def _sweep_params(sweep: SweepRecord) -> dict[str, str]:
    """The validated sweep, one parameter a field: `budget.max_trials`, and `parameters.lr` as JSON."""
    params: dict[str, str] = {}
    for section, fields in json.loads(sweep.spec).items():
        nested = fields if isinstance(fields, dict) else {"": fields}
        for name, value in nested.items():
            if value is not None and name != "code":
                key = f"{section}.{name}" if name else section
                params[key] = value if isinstance(value, str) else json.dumps(_stated(value))
    return params


def _stated(value: Any) -> Any:
    """Without the fields of a searched parameter that say nothing: no bound, no step, no condition."""
    return {key: each for key, each in value.items() if each not in (None, {})} if isinstance(value, dict) else value


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
