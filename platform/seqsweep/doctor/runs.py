"""MLflow's runs of a sweep beside the store: none missing, none twice, none that says something else."""

from __future__ import annotations

import math
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run

from seqsweep.doctor.findings import Finding, Kind, Remedy
from seqsweep.doctor.stored import Record, Stored

_STATUS = {"running": "RUNNING", "complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_SWEEP_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}

Points = dict[str, list[tuple[int, float]]]
"""Metric -> step and value of each point."""


@dataclass(frozen=True)
class Projected:
    """The runs of a sweep as MLflow has them."""

    runs: list[Run]
    points: dict[str, Points]
    """By run id; of runs of trials only."""


def client_of(uri: str) -> MlflowClient:
    """MLflow's client, once something answers there. Raises OSError where nothing does."""
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite" and not Path(uri.partition(":///")[2].partition("?")[0]).is_file():
        raise FileNotFoundError("there is no such file")  # the client would make one
    if parts.hostname and scheme in _PORTS:
        socket.create_connection((parts.hostname, parts.port or _PORTS[scheme]), timeout=5.0).close()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def read_runs(client: MlflowClient, uid: str) -> Projected:
    """Every run, not deleted, that bears the sweep's uid, in whatever experiment, with all points of its curves."""
    experiments = [each.experiment_id for each in _pages(client.search_experiments)]
    found: list[Run] = []
    for first in range(0, len(experiments), 100):
        found += _pages(client.search_runs, experiments[first:first + 100], f"tags.seqsweep.uid = '{uid}'")
    wanted = [(run.info.run_id, name) for run in found if "seqsweep.trial" in run.data.tags for name in
              run.data.metrics]
    points: dict[str, Points] = defaultdict(dict)
    with ThreadPoolExecutor(4) as pool:
        for (run_id, name), history in zip(wanted, pool.map(lambda each: client.get_metric_history(*each), wanted),
                                           strict=True):
            points[run_id][name] = [(point.step, point.value) for point in history]
    return Projected(found, points)


def _pages(search: Any, *arguments: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = search(*arguments, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def check_runs(stored: Stored, projected: Projected) -> Iterator[Finding]:
    """Findings about the runs. While a controller is at work, or was killed, MLflow may be behind the store."""
    uid = stored.sweep["uid"]
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in projected.runs:
        by_key[run.data.tags.get("seqsweep.trial", "")].append(run)
    for key, runs in by_key.items():
        for surplus in _surplus(stored, runs, projected):
            yield Finding(Kind.DUPLICATED, f"MLflow, {_name(key)}", f"it has {len(runs)} runs", "", Remedy.DELETE_RUN,
                          (surplus.info.run_id,))
    parents = by_key.pop("", [])
    yield from _parent(stored, parents)
    trials = {f"{uid}/{trial['number']}": trial for trial in stored.trials}
    for key in sorted(set(by_key) - set(trials)):
        for run in by_key[key]:
            yield Finding(Kind.ORPHANED, f"MLflow, {_name(key)}", "it has a run, and is not in the store", "",
                          Remedy.DELETE_RUN, (run.info.run_id,))
    for key, trial in trials.items():
        if key not in by_key:
            yield from _behind(stored, f"trial {trial['number']}", "it has no run")
        for run in by_key.get(key, []):
            yield from _run(stored, trial, run, parents, projected.points.get(run.info.run_id, {}))


def _surplus(stored: Stored, runs: list[Run], projected: Projected) -> list[Run]:
    """All but the one that a registered version hangs on, or that most other runs are under, or the least id."""
    def rank(run: Run) -> tuple[bool, int, str]:
        under = sum(each.data.tags.get("mlflow.parentRunId") == run.info.run_id for each in projected.runs)
        return run.info.run_id != _registered(stored), -under, run.info.run_id

    return sorted(runs, key=rank)[1:]


def _registered(stored: Stored) -> str | None:
    """Id of the run that the sweep's registered version hangs on."""
    return ((stored.stages.get("register") or {}).get("value") or {}).get("run")


def _parent(stored: Stored, parents: list[Run]) -> Iterator[Finding]:
    name = stored.sweep["name"]
    if not parents:
        if stored.trials:
            yield from _behind(stored, name, "the sweep has no run")
        return
    wanted = None if stored.is_live else _SWEEP_STATUS.get(stored.sweep["state"])
    if wanted and any(run.info.status != wanted for run in parents):
        yield from _behind(stored, name, f"the sweep is {stored.sweep['state']}, and its run {parents[0].info.status}")


def _run(stored: Stored, trial: Record, run: Run, parents: list[Run], points: Points) -> Iterator[Finding]:
    where, name = f"MLflow, trial {trial['number']}", f"trial {trial['number']}"
    wanted = _STATUS.get(trial["state"])
    if run.info.status != wanted and not (run.info.status != "RUNNING" and trial["state"] == "running"):
        yield from _behind(stored, name, f"it is {trial['state']}, and its run {run.info.status}")
    elif run.info.status != wanted:
        yield Finding(Kind.CONTRADICTING, where, f"it is running, and its run {run.info.status}", "", Remedy.PROJECT)
    if parents and run.data.tags.get("mlflow.parentRunId") not in {parent.info.run_id for parent in parents}:
        yield from _behind(stored, name, "its run is not under the sweep's run")
    wrong = [*_params(trial, run, has_all=bool(points)), *_points(stored, trial, run, points)]
    if run.info.status == wanted and run.info.status != "RUNNING":
        wrong += [f"its tag {tag} is {run.data.tags.get(f'seqsweep.{tag}')!r}, and the store has {trial[tag]!r}"
                  for tag in ("state", "reason") if run.data.tags.get(f"seqsweep.{tag}") != trial[tag]]
    for what in wrong:
        if run.info.run_id == _registered(stored):
            yield Finding(Kind.CONTRADICTING, where, what, "a registered version hangs on this run, so it is left")
        else:
            yield Finding(Kind.CONTRADICTING, where, what, "", Remedy.RENEW_RUN, (run.info.run_id,))


def _params(trial: Record, run: Run, *, has_all: bool) -> Iterator[str]:
    params: Mapping[str, Any] = trial["params"] or {}
    for name, text in run.data.params.items():
        if name not in params or not _same(params[name], text):
            yield f"its parameter {name} is {text}, and the store has {params.get(name)!r}"
    if has_all and (missing := sorted(set(params) - set(run.data.params))):
        yield f"its run lacks the parameter {', '.join(missing)}"


def _same(value: Any, text: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value) == text
    try:
        return float(text) == value
    except ValueError:
        return False


def _points(stored: Stored, trial: Record, run: Run, points: Points) -> Iterator[str]:
    """Every epoch of the curve once, with the store's value; of a trial under way MLflow has the first part."""
    closed = trial["state"] != "running" and run.info.status != "RUNNING"
    curve = {report["epoch"]: report["metrics"] or {} for report in stored.curves.get(trial["id"], [])}
    names = {name for metrics in curve.values() for name in metrics}
    for name in sorted(names):
        had = points.get(name, [])
        steps = [step for step, _ in had]
        if len(set(steps)) < len(steps):
            yield f"{name} has more than one point at epoch {next(step for step in steps if steps.count(step) > 1)}"
        told = dict(had)
        wrong = [epoch for epoch, metrics in curve.items()
                 if epoch in told and name in metrics and not _equal(told[epoch], metrics[name])]
        if wrong:
            yield f"{name} at epoch {wrong[0]} is {told[wrong[0]]!r}, and the store has {curve[wrong[0]][name]!r}"
        if closed and (missing := [epoch for epoch, metrics in curve.items() if name in metrics and epoch not in told]):
            yield f"{name} has no point at epoch {missing[0]}"
        if closed and (beyond := sorted(set(told) - set(curve))):
            yield f"{name} has a point at epoch {beyond[0]}, which the store does not have"
    if not closed:
        return
    metric = (stored.spec.get("metric") or {}).get("name")
    for name, value in {f"best_val_{metric}": trial["value"], "best_epoch": trial["best_epoch"]}.items():
        had = points.get(name, [])
        if [figure for _, figure in had] != ([] if value is None else [float(value)]):
            yield f"{name} is {had[-1][1] if had else None!r}, and the store has {value!r}"


def _equal(told: float, stored: float) -> bool:
    if math.isnan(stored):
        return math.isnan(told)
    if math.isinf(stored):  # MLflow's databases have no infinity
        return told in (stored, math.copysign(sys.float_info.max, stored))
    return told == stored


def _behind(stored: Stored, name: str, what: str) -> Iterator[Finding]:
    """What a projection has not brought yet: no fault before the sweep has come to rest."""
    if stored.is_live:
        return
    at_rest = stored.sweep["state"] in _SWEEP_STATUS
    yield Finding(Kind.LOST if at_rest else Kind.NOTE, f"MLflow, {name}", what,
                  f"`seqsweep project {stored.sweep['name']}` writes it", Remedy.PROJECT)


def _name(key: str) -> str:
    return f"trial {key.rpartition('/')[2]}" if key else "the sweep"
